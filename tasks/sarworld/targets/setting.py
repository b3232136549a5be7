"""What a person would say about the targets of a layout and what lies around them: facts read off the layout."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.ground import COVERS, Building, Layout, Patch, Target, grid_shape, polygon_pixels
from tasks.sarworld.truth import Arrangement

Floats = NDArray[np.float64]

SURROUNDINGS = (
    "apron", "runway", "taxiway", "grass", "terminal", "calm water", "swell", "quay", "cranes", "breakwater",
    "buildings", "woodland", "farmland",
)  # fmt: skip
"""In the fixed order of `truth.Facts.surroundings`."""
_SEEN_SHARE = 0.004  # our choice: of the ground; less is not worth a word
_GRID_PX = 96  # our choice: shares to a few thousandths are enough for words
_TOUCHING = 1.25  # our choice, in mean lengths: gaps within which targets belong together
_STRAIGHT = 0.35  # our choice, in mean lengths: how far a target of a row stands off its line


def arrangement_of(targets: Sequence[Target]) -> Arrangement:
    """How the targets stand: a pair, a row or a cluster where they are near each other, else scattered."""
    shown = [target for target in targets if target.labelled]
    if len(shown) < 2:
        return "single" if shown else "none"
    places = np.array([(target.x, target.y) for target in shown])
    lengths = np.array([max(target.length, target.width) for target in shown])
    if not _connected(places, lengths):
        return "scattered"
    if len(shown) == 2:
        return "pair"
    off_line = np.linalg.svd(places - places.mean(axis=0))[2][1]
    deviation = np.abs((places - places.mean(axis=0)) @ off_line).max()
    return "row" if deviation <= _STRAIGHT * lengths.mean() else "cluster"


def _connected(places: Floats, lengths: Floats) -> bool:
    """Whether steps over small gaps lead from each to each."""
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    near = distance <= (lengths[:, None] + lengths[None]) / 2 + _TOUCHING * lengths.mean()
    reached = near[0]
    for _ in range(len(places)):
        reached = near[reached].any(axis=0)
    return bool(reached.all())


def seen(layout: Layout) -> tuple[dict[str, float], dict[str, float]]:
    """Shares of the ground by role and by cover."""
    pixel_m = max(layout.extent) / _GRID_PX
    shape = grid_shape(layout.extent, pixel_m)
    owner = np.full(shape, -1, dtype=np.int64)
    for index, patch in enumerate(layout.patches):
        owner[polygon_pixels(patch.corners, shape, pixel_m)] = index
    shares = np.bincount(owner.ravel() + 1, minlength=len(layout.patches) + 1) / owner.size
    roles: dict[str, float] = {}
    covers = dict.fromkeys(COVERS, 0.0)
    covers[layout.base] += float(shares[0])
    for patch, share in zip(layout.patches, shares[1:], strict=True):
        roles[patch.role] = roles.get(patch.role, 0.0) + float(share)
        covers[patch.cover] += float(share)
    return roles, covers


def roads_across(patches: Sequence[Patch], extent: tuple[float, float]) -> int:
    """Roads of which something lies on the ground."""
    pixel_m = max(extent) / _GRID_PX
    shape = grid_shape(extent, pixel_m)
    return sum(len(polygon_pixels(p.corners, shape, pixel_m)[0]) > 0 for p in patches if p.role == "road")


def buildings_in(buildings: Sequence[Building], extent: tuple[float, float]) -> tuple[Building, ...]:
    """Buildings whose ground plan touches the ground."""
    if not buildings:
        return ()
    corners = np.array([building.corners() for building in buildings])
    half = np.array([extent[1], extent[0]]) / 2
    # A convex plan is off an upright rectangle if it lies beyond one of its sides, or the rectangle beyond one of its.
    off = (corners.min(axis=1) > half).any(axis=1) | (corners.max(axis=1) < -half).any(axis=1)
    frame = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
    for axis in (corners[:, 0] - corners[:, 1], corners[:, 1] - corners[:, 2]):
        own = (corners * axis[:, None]).sum(axis=2)
        other = frame @ axis.T
        off |= (own.min(axis=1) > other.max(axis=0)) | (own.max(axis=1) < other.min(axis=0))
    return tuple(building for building, outside in zip(buildings, off, strict=True) if not outside)


def surroundings_of(layout: Layout, standing: Collection[str] = ()) -> tuple[str, ...]:
    """What lies around, of `SURROUNDINGS`, in that order.

    Args:
        layout: Its patches and buildings are looked at.
        standing: What the layout's maker knows and patches do not show: terminal, cranes.
    """
    roles, covers = seen(layout)
    found = set(standing) | {role for role, share in roles.items() if share >= _SEEN_SHARE}
    found |= {cover for cover, share in covers.items() if share >= _SEEN_SHARE}
    if covers["water"] >= _SEEN_SHARE:
        found.add("calm water")
    if covers["sea"] >= _SEEN_SHARE and layout.swell is not None:
        found.add("swell")
    if layout.buildings or covers["housing"] >= _SEEN_SHARE:
        found.add("buildings")
    return tuple(name for name in SURROUNDINGS if name in found)


def dashes(start: Floats, end: Floats, spacing: float) -> Floats:
    """Points every `spacing` metres along a line, both ends among them."""
    count = max(2, round(float(np.linalg.norm(end - start)) / spacing) + 1)
    points: Floats = np.linspace(start, end, count)
    return points


def crane(rng: np.random.Generator, foot: Floats, along: Floats, seaward: Floats, reach: float) -> Floats:
    """A gantry: four bright legs and a boom out over the water; (n, 3) as x, y, cross-section in dB."""
    legs = np.array([foot + a * along - b * seaward for a in (-6.0, 6.0) for b in (0.0, 12.0)])
    boom = dashes(foot - 12.0 * seaward, foot + reach * seaward, 3.5)
    points = np.concatenate([legs, boom])
    levels = np.concatenate([rng.normal(17.0, 3.0, len(legs)), rng.normal(8.0, 3.0, len(boom))])
    kept = rng.random(len(points)) > 0.2
    return np.column_stack([points, levels])[kept]
