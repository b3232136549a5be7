"""The one path from SAR pixels to what an encoder is fed.

8-bit grey images go through `encoder_input`, as all tasks do. Other samples (complex, amplitude, power, decibels,
16 bit; several polarisations) go through `prepare`, by the rules that `input_rules` states. Both are pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from adapters.card import InputContract
from adapters.input_rules import choose_bands, require_convertible
from foundation.errors import UsageError

CLIP_FACTOR = 3.0
"""Amplitudes are clipped at this many means of the non-zero pixels (section 2.2 of the task specification)."""

FLOOR_DB = -100.0
"""What no signal is in decibels: far below the noise floor of any SAR, and finite."""


class Statistics(NamedTuple):
    """Mean and standard deviation per channel, in the contract's unit (0..255 for uint8)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def encoder_input(grey: Tensor, contract: InputContract, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """8-bit grey [B, H, W] to the encoder's normalised channels [B, C, H, W].

    `mean` and `std` are on the 0..255 scale, one entry per channel of the task's three-channel statistics or of the
    contract's own; a single-channel encoder takes their average.
    """
    if grey.dtype != torch.uint8 or grey.ndim != 3:
        raise UsageError(f"8-bit grey [B, H, W] is expected, not {grey.dtype} of {grey.ndim} dimensions")
    if contract.unit != "uint8":
        raise UsageError(
            f"this model expects {contract.unit}; the data are 8-bit grey and cannot be turned back into it",
            way_out="choose a model whose card says unit = uint8",
        )
    if len(set(mean)) == 1 and len(set(std)) == 1:
        # Equal statistics: normalise the one channel and repeat it without copying.
        return grey[:, None].float().sub_(mean[0]).div_(std[0]).expand(-1, contract.channels, -1, -1)
    if contract.channels == 1:
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    if len(mean) != contract.channels:
        raise UsageError(
            f"statistics for {len(mean)} channels, but the encoder takes {contract.channels}",
            way_out="this encoder needs statistics of its own; it cannot be fed the task's",
        )
    shape = (1, contract.channels, 1, 1)
    centre = torch.tensor(mean, device=grey.device).view(shape)
    spread = torch.tensor(std, device=grey.device).view(shape)
    return (grey[:, None].float() - centre) / spread


def native_statistics(contract: InputContract) -> Statistics:
    """The contract's own mean and std: on the 0..255 scale for 8-bit models, else in the contract's unit."""
    scale = 255 if contract.unit == "uint8" else 1
    return Statistics(tuple(scale * value for value in contract.mean), tuple(scale * value for value in contract.std))


def prepare(
    samples: Tensor,
    bands: Sequence[str],
    unit: str,
    contract: InputContract,
    *,
    statistics: Statistics | None = None,
) -> Tensor:
    """Samples of any SAR product to the encoder's normalised channels [B, C, H, W].

    The bands are chosen, converted to the contract's unit, normalised, and one band is repeated for all channels;
    a complex one becomes two, its real and its imaginary part.

    Args:
        samples: [B, H, W] of one band, or [B, P, H, W]; complex for unit "complex".
        bands: The polarisation of each band; an empty text where it is not known.
        unit: What a sample is (see `input_rules`).
        contract: What the model expects.
        statistics: In place of the contract's own, for models that are fed with those of the data set (Prithvi:
            section 6 of the adapter specification).
    """
    if samples.ndim == 3:
        samples = samples[:, None]
    if samples.ndim != 4 or samples.shape[1] != len(bands):
        raise UsageError(
            f"samples of shape {tuple(samples.shape)} with {len(bands)} named bands",
            way_out="give [B, P, H, W] with one name per band, or [B, H, W] with one",
        )
    chosen = choose_bands(bands, contract)
    values = to_unit(samples[:, list(chosen)], unit, contract.unit)
    mean, std = statistics or native_statistics(contract)
    if len(mean) != contract.channels or len(std) != contract.channels:
        raise UsageError(
            f"statistics for {len(mean)} channels, but the encoder takes {contract.channels}",
            way_out="give one mean and one standard deviation per channel of the encoder",
        )
    if values.is_complex():
        values = torch.view_as_real(values).movedim(-1, 2).flatten(1, 2)
    if values.shape[1] not in (1, contract.channels):
        raise UsageError(
            f"{values.shape[1]} channels, but the encoder takes {contract.channels}",
            way_out=f"the card must state channels = {values.shape[1]}",
        )
    shape = (1, contract.channels, 1, 1)
    centre = torch.tensor(mean, device=samples.device).view(shape)
    spread = torch.tensor(std, device=samples.device).view(shape)
    return (values.float() - centre) / spread


def to_unit(samples: Tensor, from_unit: str, to_unit: str) -> Tensor:
    """Samples of one unit in another: float32, uint8 for "uint8", complex for "complex".

    Samples that are not finite count as no data, like zeros. Decibels are 20 log10 of the amplitude; no signal is
    -100 dB there and back. To 8 bit each image (the last two dimensions) is clipped at three means of its non-zero
    pixels and scaled, as the readers of the tasks do it.
    """
    require_convertible(from_unit, to_unit)
    _require_kind(samples, from_unit)
    if from_unit == to_unit:
        return samples
    amplitude = _amplitude(samples, from_unit)
    if to_unit == "uint8":
        return _mean_clip(amplitude)
    if to_unit == "power":
        amplitude = amplitude.square()
    elif to_unit == "db":
        amplitude = 20 * amplitude.clamp_min(10 ** (FLOOR_DB / 20)).log10()
    return amplitude.float()


def _require_kind(samples: Tensor, unit: str) -> None:
    if (unit == "complex") != samples.is_complex():
        raise UsageError(f"{samples.dtype} samples are not {unit}", way_out="name the unit that the samples are in")
    if unit == "uint8" and samples.dtype != torch.uint8:
        raise UsageError(f"{samples.dtype} samples are not uint8", way_out="name the unit that the samples are in")
    if unit in ("amplitude", "power", "uint16") and samples.numel() and bool((samples < 0).any()):
        raise UsageError(f"{unit} below zero: these are no {unit} samples", way_out="call them db if they are decibels")


def _amplitude(samples: Tensor, unit: str) -> Tensor:
    """Amplitude in double precision, so that a chain of conversions ends where the direct one does."""
    values = samples.abs().double() if unit == "complex" else samples.double()
    if unit == "db":
        values = torch.where(values > FLOOR_DB, 10 ** (values / 20), 0.0)
    elif unit == "power":
        values = values.sqrt()
    return torch.where(values.isfinite(), values, 0.0)


def _mean_clip(amplitude: Tensor) -> Tensor:
    count = (amplitude > 0).sum(dim=(-2, -1), keepdim=True)
    ceiling = CLIP_FACTOR * amplitude.sum(dim=(-2, -1), keepdim=True) / count.clamp_min(1)
    scaled = torch.minimum(amplitude, ceiling) / torch.where(ceiling > 0, ceiling, 1.0) * 255
    return scaled.round().to(torch.uint8)
