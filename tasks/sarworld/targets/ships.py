"""Ships by type: hull, superstructure and what stands on deck (section 14.3 of the task specification).

Lengths and beams are those of section 14.3 where it gives them; the others are typical of the registered fleet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from foundation.names import unknown_name
from tasks.sarworld.targets.plan import Plan

HULL_DB = 8.0  # our choice: cross-section of a hull point every few metres; ships are steel corners
BRIDGE_GAIN_DB = 15.0  # section 14.3: bridge aft, over the hull
DECK_DB = -1.0  # our choice: fittings of the deck against hull points
_FLASH_DB = 7.0
_DECK_AREA_M2 = 18.0  # our choice: deck per fitting that can be told apart
_GOLDEN = 0.6180339887  # its multiples fill an interval evenly


@dataclass(frozen=True)
class Dimensions:
    """Metres of one ship."""

    length: float
    beam: float


@dataclass(frozen=True)
class ShipType:
    """A category of FUSAR-SHIP: ranges of size, and the function that dresses the hull."""

    name: str
    length: tuple[float, float]
    beam: tuple[float, float]
    dress: Callable[[Plan, Dimensions], None]
    hull_db: float = 0.0
    """Hull against `HULL_DB`: low wooden or sloped sides return less, high plain ones more."""


def _bridge(plan: Plan, size: Dimensions, at: float, gain_db: float = BRIDGE_GAIN_DB, height: float = 12.0) -> None:
    """A block across the beam at share `at` of the length from the stern: one very bright point, some bright ones."""
    u = (at - 0.5) * size.length
    side = 0.4 * size.beam
    plan.point(u, 0.0, HULL_DB + gain_db, z=0.3 * height)
    plan.line((u, -side), (u, side), HULL_DB + gain_db - 7, spacing=4.0, z=height, flash_db=4.0)
    plan.line((u - 0.035 * size.length, -side), (u - 0.035 * size.length, side), HULL_DB + gain_db - 9,
              spacing=4.0, z=0.6 * height, flash_db=4.0)  # fmt: skip


def _mast(plan: Plan, u: float, height: float, gain_db: float) -> None:
    plan.point(u, 0.0, HULL_DB + gain_db, z=0.3 * height)
    plan.point(u, 0.0, HULL_DB + gain_db - 6, z=height)


def _deck(plan: Plan, size: Dimensions, level_db: float) -> None:
    """Fittings all over the deck, evenly but in no rows: seen from afar a ship is a filled shape."""
    count = max(4, round(0.85 * size.length * size.beam / _DECK_AREA_M2))
    for number in range(count):
        u = ((number + 0.5) / count - 0.5) * 0.94 * size.length
        v = (number * _GOLDEN % 1.0 - 0.5) * 0.8 * size.beam
        bow = max(0.0, u / size.length - 0.38) / 0.12  # the hull narrows towards the bow
        plan.point(u, v * (1 - 0.8 * min(1.0, bow)), level_db, z=2.0)


def _cargo(plan: Plan, size: Dimensions) -> None:
    _bridge(plan, size, 0.1)
    hatch = 24.0  # section 14.3: hatch rows every 20 to 28 m
    for row in range(int(0.72 * size.length / hatch) + 1):
        u = -0.3 * size.length + row * hatch
        plan.line((u, -0.32 * size.beam), (u, 0.32 * size.beam), HULL_DB + 5, spacing=5.0, z=1.0, flash_db=4.0)
    _mast(plan, 0.46 * size.length, 10.0, 6.0)


def _tanker(plan: Plan, size: Dimensions) -> None:
    _bridge(plan, size, 0.09)
    plan.line((-0.33 * size.length, 0), (0.44 * size.length, 0), HULL_DB + 6, spacing=5.0, z=1.0, flash_db=4.0)
    plan.line((0.02 * size.length, -0.4 * size.beam), (0.02 * size.length, 0.4 * size.beam), HULL_DB + 8,
              spacing=3.0, z=2.0)  # the manifold amidships  # fmt: skip


def _fishing(plan: Plan, size: Dimensions) -> None:
    plan.point(-0.12 * size.length, 0.0, HULL_DB + 12, z=1.0)


def _dredger(plan: Plan, size: Dimensions) -> None:
    _bridge(plan, size, 0.16, gain_db=BRIDGE_GAIN_DB - 3)
    plan.line((-0.2 * size.length, 0), (0.32 * size.length, 0), HULL_DB + 9, spacing=4.0, z=5.0, flash_db=5.0)
    plan.point(0.05 * size.length, 0.45 * size.beam, HULL_DB + 12, z=4.0)
    plan.line((0.1 * size.length, 0.5 * size.beam), (-0.2 * size.length, 0.6 * size.beam), HULL_DB + 5, spacing=4.0)


def _passenger(plan: Plan, size: Dimensions) -> None:
    for share in (-0.36, -0.18, 0.0, 0.18, 0.36):
        plan.line((-0.42 * size.length, share * size.beam), (0.36 * size.length, share * size.beam), HULL_DB + 5,
                  spacing=6.0, z=8.0, flash_db=4.0)  # fmt: skip
    _mast(plan, 0.3 * size.length, 12.0, 9.0)
    _mast(plan, -0.15 * size.length, 12.0, 9.0)


def _tug(plan: Plan, size: Dimensions) -> None:
    plan.line((0.12 * size.length, -0.25 * size.beam), (0.12 * size.length, 0.25 * size.beam), HULL_DB + 11,
              spacing=3.0, z=3.0)  # fmt: skip
    plan.point(0.05 * size.length, 0.0, HULL_DB + 13, z=1.0)
    plan.line((-0.5 * size.length, 0), (-0.1 * size.length, 0), HULL_DB + 1, spacing=3.0)


def _law_enforcement(plan: Plan, size: Dimensions) -> None:
    _mast(plan, 0.18 * size.length, 14.0, 13.0)  # section 14.3: two masts
    _mast(plan, -0.14 * size.length, 12.0, 12.0)
    plan.line((-0.2 * size.length, 0), (0.25 * size.length, 0), HULL_DB + 3, spacing=4.0, z=5.0, flash_db=4.0)


def _bare(plan: Plan, size: Dimensions) -> None:
    plan.point(0.1 * size.length, 0.0, HULL_DB + 8)


SHIP_TYPES: Mapping[str, ShipType] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            ShipType("Cargo", (120, 220), (18, 32), _cargo),
            ShipType("DiveVessel", (40, 70), (9, 14), _bare),
            ShipType("Dredger", (60, 110), (14, 22), _dredger),
            ShipType("Fishing", (20, 45), (6, 9), _fishing, -4.0),
            ShipType("LawEnforce", (60, 100), (9, 13), _law_enforcement, -3.0),
            ShipType("Passenger", (80, 180), (16, 30), _passenger, 2.0),
            ShipType("Tanker", (150, 250), (25, 42), _tanker),
            ShipType("Tug", (20, 35), (7, 11), _tug, 2.0),
            ShipType("WingInGrnd", (15, 30), (10, 18), _bare),
        )
    }
)


def ship_type(name: str) -> ShipType:
    """The type of that category."""
    if name not in SHIP_TYPES:
        raise unknown_name("ship type", name, SHIP_TYPES, see="tasks/sarworld/README.md")
    return SHIP_TYPES[name]


def draw_dimensions(name: str, rng: np.random.Generator) -> Dimensions:
    """Length and beam of one ship; longer ships of a type are broader."""
    kind = ship_type(name)
    share = float(rng.beta(2.0, 2.0))
    spread = float(np.clip(share + rng.normal(0.0, 0.15), 0.0, 1.0))
    return Dimensions(
        kind.length[0] + share * (kind.length[1] - kind.length[0]),
        kind.beam[0] + spread * (kind.beam[1] - kind.beam[0]),
    )


def ship_plan(name: str, size: Dimensions) -> Plan:
    """Outline and scatterers of one ship, bow along +u."""
    plan = Plan()
    half, side = size.length / 2, size.beam / 2
    shoulder = half - 0.12 * size.length
    plan.outlines.append([(half, 0), (shoulder, side), (-half, 0.85 * side), (-half, -0.85 * side), (shoulder, -side)])
    spacing = max(2.5, size.length / 45)
    hull = HULL_DB + ship_type(name).hull_db
    for left in (1.0, -1.0):
        plan.line((shoulder, left * side), (-half, 0.85 * left * side), hull, spacing=spacing, z=3.0,
                  flash_db=_FLASH_DB, outward=(0, left))  # fmt: skip
        plan.line((half, 0), (shoulder, left * side), hull, spacing=spacing, z=3.0, flash_db=4.0,
                  outward=(0.5, left))  # fmt: skip
    plan.line((-half, -0.85 * side), (-half, 0.85 * side), hull + 2, spacing=spacing, flash_db=4.0, outward=(-1, 0))
    _deck(plan, size, hull + DECK_DB)
    ship_type(name).dress(plan, size)
    return plan
