"""Whether SAR samples can become what a model expects. Decided without torch, so that planning can ask.

The rules for units, from what the samples are (rows) to what the card states (columns):

| samples | uint8 | amplitude | power | db | complex | reflectance |
| --- | --- | --- | --- | --- | --- | --- |
| uint8 | as it is | - | - | - | - | - |
| uint16 | mean clip | - | - | - | - | - |
| amplitude, power, db | mean clip | yes | yes | yes | - | - |
| complex | mean clip | yes | yes | yes | as it is | - |

8-bit images are clipped and scaled per image, which cannot be undone. 16-bit digital numbers are proportional to
amplitude by a factor that only the product's metadata know. Only complex data have a phase. Reflectance belongs to
optical sensors.

The rules for polarisations: a contract that names as many as it has channels (two or more) wants one channel each, in
that order; one that names others accepts the first of them that the data have; one that names none takes any one
(HH, VV, HV, VH in this order, else the first band). A monostatic radar measures HV = VH, so one stands in for the
other. A complex band fills two channels, its real and its imaginary part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from adapters.card import InputContract
from foundation.errors import UsageError

Unit = Literal["uint8", "uint16", "amplitude", "power", "db", "complex", "reflectance"]
"""What a sample is. A card's contract knows all of them but uint16."""

LINEAR = ("amplitude", "power", "db")
"""Units of detected data that can be turned into one another."""

PREFERRED = ("HH", "VV", "HV", "VH")
"""Which band a model that takes any one is fed."""

_RECIPROCAL = {"HV": "VH", "VH": "HV"}
_COARSE = {
    "uint8": (
        "8-bit images are clipped and scaled one by one, and that cannot be undone",
        "feed the product that the 8-bit images were made from, or choose a model whose card says unit = uint8",
    ),
    "uint16": (
        "the factor from 16-bit digital numbers to amplitude is not in the samples",
        "multiply by the calibration factor of the product's metadata and call the result amplitude",
    ),
}


def require_convertible(from_unit: str, to_unit: str) -> None:
    """Raises with the reason and the way out when samples of one unit cannot become another."""
    if from_unit == to_unit:
        return
    reason = way_out = ""
    if "reflectance" in (from_unit, to_unit):
        reason = "reflectance is measured by optical sensors, radar echoes are not"
        way_out = "choose a model whose card states a radar unit"
    elif from_unit in _COARSE and to_unit != "uint8":
        reason, way_out = _COARSE[from_unit]
    elif to_unit == "complex":
        reason, way_out = "detected data have lost their phase", "feed the single-look complex product"
    elif to_unit == "uint16" or to_unit not in (*LINEAR, "uint8"):
        reason, way_out = f"no rule leads to {to_unit}", f"choose one of uint8, {', '.join(LINEAR)}"
    elif from_unit not in (*LINEAR, "complex", *_COARSE):
        reason = f"{from_unit!r} is no unit of SAR samples"
        way_out = f"name one of uint8, uint16, {', '.join(LINEAR)}, complex"
    if reason:
        raise UsageError(f"samples in {from_unit} cannot become {to_unit}: {reason}", way_out=way_out)


def choose_bands(bands: Sequence[str], contract: InputContract) -> tuple[int, ...]:
    """The positions of the bands that a model is fed, in the order of its channels.

    Args:
        bands: The polarisation of each band of the data; an empty text where it is not known.
        contract: What the model expects.
    """
    if not bands:
        raise UsageError("the data have no band", way_out="name one polarisation per band, or '' where it is unknown")
    have = [band.upper() for band in bands]
    if len(set(have) - {""}) != len([band for band in have if band]):
        raise UsageError(f"a polarisation is named twice: {', '.join(have)}", way_out="name each band once")
    wanted = [name.upper() for name in contract.polarisations]
    if not wanted:
        found = [_position(name, have) for name in PREFERRED]
        return (next((position for position in found if position is not None), 0),)
    positions = [_position(name, have) for name in wanted]
    if len(wanted) > 1 and len(wanted) * (2 if contract.unit == "complex" else 1) == contract.channels:
        lacking = [name for name, position in zip(wanted, positions, strict=True) if position is None]
        if lacking:
            raise _no_band(" and ".join(lacking), wanted, have)
        return tuple(position for position in positions if position is not None)
    first = next((position for position in positions if position is not None), None)
    if first is None:
        raise _no_band(" or ".join(wanted), wanted, have)
    return (first,)


def require_fit(contract: InputContract, *, unit: str = "uint8", bands: Sequence[str] = ("",)) -> None:
    """Raises when data of this unit and with these bands cannot be fed to a model; says why and what would help."""
    require_convertible(unit, contract.unit)
    choose_bands(bands, contract)


def _position(name: str, have: Sequence[str]) -> int | None:
    for spelling in (name, _RECIPROCAL.get(name)):
        if spelling in have:
            return have.index(spelling)
    return None


def _no_band(lacking: str, wanted: Sequence[str], have: Sequence[str]) -> UsageError:
    known = [band for band in have if band]
    return UsageError(
        f"this model expects {lacking}, and the data have {', '.join(known) or 'no named polarisation'}",
        where=f"model with {' and '.join(wanted)}",
        way_out="choose data with that polarisation, name the bands if they have it, or choose a model that takes any",
    )
