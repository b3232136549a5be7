"""A layout for each of the seven kinds of scenes (section 14.1 of the task specification)."""

from __future__ import annotations

import numpy as np

from tasks.sarworld.ground import Layout
from tasks.sarworld.places.airport import airport
from tasks.sarworld.places.land import land
from tasks.sarworld.places.port import port
from tasks.sarworld.places.wishes import wish_of_kind
from tasks.sarworld.plan import FUSAR_AIR_CLASSES, FUSAR_SHIP_CLASSES
from tasks.sarworld.sites import Site
from tasks.sarworld.targets.wishes import Group

_MOST_TARGETS = 12  # section 14.3
_TARGET_SPACING_M = {"airport": 90.0, "port": 260.0}  # our choice: ground per target that keeps a scene readable


def layout_of_kind(kind: str, scene: str, rng: np.random.Generator, extent: tuple[float, float], site: Site) -> Layout:
    """What lies around a site of that kind."""
    if kind == "airport":
        groups = _groups(rng, extent, kind, FUSAR_AIR_CLASSES)
        return airport(scene, rng, extent, groups, site.heading).in_landform(site.landform)
    if kind == "port":
        return port(scene, rng, extent, _groups(rng, extent, kind, FUSAR_SHIP_CLASSES), site.heading)
    wish = wish_of_kind(kind, rng)
    return land(scene, rng, extent, wish._replace(landform=site.landform))


def _groups(
    rng: np.random.Generator, extent: tuple[float, float], kind: str, classes: tuple[str, ...]
) -> tuple[Group, ...]:
    """One to twelve targets in cells drawn at random; small ones where there is little room."""
    room = int(extent[0] * extent[1] / _TARGET_SPACING_M[kind] ** 2)
    count = int(rng.integers(1, max(2, min(_MOST_TARGETS, room) + 1)))
    small = ("fighter", "regional") if kind == "airport" else ("Fishing", "Tug")
    pool = classes if min(extent) >= 3 * _TARGET_SPACING_M[kind] else small
    cells = rng.integers(1, 10, count)
    types = rng.integers(0, len(pool), count)
    by_cell: dict[int, list[str]] = {}
    for cell, index in zip(cells, types, strict=True):
        by_cell.setdefault(int(cell), []).append(pool[int(index)])
    return tuple(Group(cell, tuple(names)) for cell, names in sorted(by_cell.items()))
