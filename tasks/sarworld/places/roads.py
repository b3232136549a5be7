"""Roads through the ground, and interchanges."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.places.courses import Course, Ring, reach_of, winding
from tasks.sarworld.places.zones import Floats

MOST_BRIDGE = 0.5
"""Of a road."""
_TRIES = 4
_MOTORWAY_M, _MAIN_ROAD_M, _RAMP_M = 24.0, 15.0, 7.5  # our choice: two lanes either way, three lanes, one lane

Extent = tuple[float, float]
Wet = Callable[[Floats, Floats], NDArray[np.bool_]]


class Roads(NamedTuple):
    """All roads of a piece of ground."""

    lines: tuple[Course, ...]
    """From border to border."""
    ramps: tuple[Ring | Course, ...]
    verge: Course | None
    """Grass between the ramps: a square."""
    bend: bool


NO_ROADS = Roads((), (), None, False)


def roads_through(rng: np.random.Generator, extent: Extent, heading: float, grown: bool, wet: Wet) -> Roads:
    """One to five roads by the size of the ground, along and across a heading.

    Args:
        rng: All draws come from it.
        extent: Height and width of the ground in metres.
        heading: Of the first road; the second crosses it.
        grown: Roads bend and keep to the heading less closely.
        wet: Whether points lie in water, which roads rather keep out of.
    """
    height, width = extent
    smaller = min(extent)
    bends = bool(grown or rng.random() < 0.3)
    count = int(rng.integers(1, 3)) + (smaller > 400) + (smaller > 900) * 2
    roads = []
    for number in range(count):
        # Roads of one direction keep their distance: each has its own part of the way across.
        rank, ranks = number // 2, (count + 1 - number % 2) // 2
        for _ in range(_TRIES):
            turned = heading + (number % 2) * np.pi / 2 + float(rng.normal(0, 0.06))
            if grown:
                turned += float(rng.normal(0, 0.2))
            off = 0.7 * ((rank + float(rng.uniform(0.1, 0.9))) / ranks - 0.5)
            x, y = -off * np.sin(turned) * width, off * np.cos(turned) * height
            broad = float(rng.uniform(6.5, 12.0) if smaller < 400 else rng.uniform(8.0, 16.0))
            swings = winding(rng, 0.03 * smaller, 0.9 * smaller) if bends else ()
            road = Course(float(x), float(y), turned, broad, reach_of(extent), swings)
            if _bridged(road, extent, wet) < MOST_BRIDGE:
                break
        roads.append(road)
    return Roads(tuple(roads), (), None, bends)


def _bridged(road: Course, extent: Extent, wet: Wet) -> float:
    """The part of a road on the ground that runs over water."""
    x, y = road.on_axis(min(extent) / 40).T
    seen = (np.abs(x) <= extent[1] / 2) & (np.abs(y) <= extent[0] / 2)
    return float(np.mean(wet(x[seen], y[seen]))) if seen.any() else 1.0


def clover_leaf(rng: np.random.Generator, extent: Extent, heading: float, place: int) -> Roads:
    """An interchange in one of `truth.QUADRANTS`, that roads shall dominate: two roads, four loops, four slip roads."""
    (height, width), smaller = extent, min(extent)
    x, y = (place % 2 - 0.5) / 2 * width, (place // 2 - 0.5) / 2 * height
    x, y = (float(value) for value in np.array([x, y]) + rng.uniform(-0.04, 0.04, 2) * smaller)
    turned = heading + float(rng.integers(2)) * np.pi / 2
    reach = reach_of(extent)
    roads = (Course(x, y, turned, _MOTORWAY_M, reach), Course(x, y, turned + np.pi / 2, _MAIN_ROAD_M, reach))
    loop = float(rng.uniform(0.07, 0.085)) * smaller
    off = float(np.sqrt(2)) * (loop + 10.0)
    slip = off + loop + 10.0
    ramps: list[Ring | Course] = []
    for corner in range(4):
        angle = turned + np.pi / 4 + corner * np.pi / 2
        cosine, sine = float(np.cos(angle)), float(np.sin(angle))
        ramps.append(Ring(x + off * cosine, y + off * sine, loop, _RAMP_M))
        # It ends on both roads: half as long as it lies far from where they cross.
        ramps.append(Course(x + slip * cosine, y + slip * sine, angle + np.pi / 2, _RAMP_M, slip - 4.0))
    verge = Course(x, y, turned + np.pi / 4, 2 * slip, slip)
    return Roads(roads, tuple(ramps), verge, False)
