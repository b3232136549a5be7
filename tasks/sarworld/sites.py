"""The 135 invented places of the world: where, what for, which way they are turned (section 14.1).

Coordinates lie on land, somewhere between real towns; nothing there looks like what is rendered. Neighbouring numbers
differ in kind, so any run of seven sites holds every kind once.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

from foundation.errors import UsageError
from foundation.seeds import derive_seed
from tasks.sarworld.truth import LANDFORMS

COUNT = 135  # section 14.1
KINDS = ("airport", "port", "urban", "industrial", "rural", "river", "mixed")
"""Kinds of scenes of section 14.1; `port` stands for port and sea."""
_LANDFORMS_OF_KIND = {
    "airport": ("plain", "urban flat"),
    "port": ("coastal",),
    "urban": ("urban flat", "plain"),
    "industrial": ("plain", "urban flat"),
    "rural": ("hilly", "plain"),
    "river": ("river-network plain",),
    "mixed": LANDFORMS,
}
# West, east, south, north in degrees: well inside large bodies of land.
_INLAND = (
    (113.5, 117.5, 33.5, 37.5), (103.8, 106.0, 29.5, 31.5), (9.0, 17.5, 48.3, 51.5), (-5.5, -1.5, 38.5, 41.5),
    (-100.0, -95.5, 36.5, 40.0), (-85.5, -81.5, 38.5, 40.8), (75.5, 79.0, 16.0, 22.0), (-52.0, -47.0, -22.0, -17.0),
    (-63.5, -60.5, -35.5, -31.5), (144.5, 147.5, -33.5, -30.5), (66.5, 73.5, 48.5, 51.5), (5.5, 9.0, 8.5, 12.0),
    (24.5, 27.5, -28.5, -26.5), (31.5, 35.5, 38.3, 39.8), (0.5, 4.5, 45.5, 48.5), (100.2, 102.3, 14.8, 16.8),
)  # fmt: skip
_NEAR_A_COAST = (
    (4.9, 5.9, 51.8, 52.6), (119.4, 120.3, 32.3, 33.8), (-81.8, -81.1, 27.2, 28.8), (8.7, 9.6, 55.4, 56.8),
    (70.3, 71.4, 21.8, 22.6), (-56.8, -55.4, -34.1, -33.2), (-16.4, -15.6, 14.3, 15.8),
)  # fmt: skip


class Site(NamedTuple):
    """One place."""

    id: str
    kind: str
    landform: str
    longitude: float
    latitude: float
    heading: float
    """By which everything there is turned, radians."""


@cache
def site(number: int) -> Site:
    """The site of that number; the same in all worlds."""
    if not 0 <= number < COUNT:
        raise UsageError(f"there is no site {number}", where="sarworld.sites", way_out=f"use 0 to {COUNT - 1}")
    import numpy as np  # here: planning a world must not cost the import of the array libraries

    rng = np.random.default_rng(derive_seed("sarworld-site", number))
    kind = KINDS[number % len(KINDS)]
    landforms = _LANDFORMS_OF_KIND[kind]
    landform = landforms[int(rng.integers(len(landforms)))]
    boxes = _NEAR_A_COAST if landform == "coastal" else _INLAND
    west, east, south, north = boxes[int(rng.integers(len(boxes)))]
    return Site(
        id=f"site_{number:03d}",
        kind=kind,
        landform=landform,
        longitude=round(float(rng.uniform(west, east)), 5),
        latitude=round(float(rng.uniform(south, north)), 5),
        heading=float(rng.uniform(0, 2 * math.pi)),
    )


SECOND_SET = 90
"""Airports from this site on are shown by SAR-AIRcraft-1.0 alone, whose domain is shifted (section 14.4)."""


def sites_of(kind: str, *, first_set: bool | None = None) -> tuple[Site, ...]:
    """All sites of a kind, in order, or those of one of the two sets."""
    if kind not in KINDS:
        raise UsageError(f"no such kind of scene: {kind}", way_out=f"choose from {', '.join(KINDS)}")
    numbers = range(KINDS.index(kind), COUNT, len(KINDS))
    return tuple(site(n) for n in numbers if first_set is None or (n < SECOND_SET) == first_set)


def site_for(kind: str, scene: str) -> Site:
    """The site of an image that has no other claim to one; it hangs on the image's name alone."""
    places = sites_of(kind, first_set=True)
    return places[derive_seed("sarworld-site-for", scene) % len(places)]
