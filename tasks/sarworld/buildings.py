"""Buildings as a radar sees them: wall and roof laid over the ground in front, a bright line at the foot, a shadow.

Section 14.3 of the task specification. A point at height h is displaced by h / tan(incidence) towards the sensor; what
lies within h tan(incidence) behind is shaded; wall and ground make a corner along the foot of the facing wall.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.ground import COVERS, Building, Raster, polygon_pixels
from tasks.sarworld.scatterers import Scatterers
from tasks.sarworld.sensors import Sensor
from tasks.sarworld.targets.plan import View

Floats = NDArray[np.float64]

LAYOVER_DB = 4.0  # section 14.3: the strip of wall, roof edge and ground that fall together
DOUBLE_BOUNCE_DB = (12.0, 18.0)  # section 14.3: oblique and parallel to the track
_PARALLEL_WITHIN_DEG = 45.0  # our choice: where the line has fallen to the lower value
_FACING_LEAST = 0.25  # our choice: a wall turned further away returns nothing to the sensor
_ROOF_DB = {"housing": -1.0, "industrial": -10.0}  # our choice: gables scatter, flat sheet roofs reflect away
_EAVES_DB = 7.0  # our choice: section 14.3 asks for bright edges on halls
_JITTER_DB = 3.0  # our choice: from wall to wall
_FINEST_SPACING_M = 0.5  # our choice: closer points cannot be told apart by any of the sensors' users


def mean_layover_m(buildings: Sequence[Building], view: View) -> float:
    """By how far, on average, bright walls lie off the ground plan that the mask shows."""
    return float(np.mean([item.height for item in buildings])) * view.layover_per_m if buildings else 0.0


def stand_up(buildings: Sequence[Building], raster: Raster, pixel_m: float, view: View) -> NDArray[np.bool_]:
    """Puts roofs and walls where the radar sees them, in place, and says what is in their shadow."""
    shape = (raster.cover.shape[0], raster.cover.shape[1])
    shaded = np.zeros(shape, dtype=bool)
    for item in buildings:
        corners = item.corners()
        shadow = _passed_over(
            _side(corners, -view.look), _side(corners, view.look), view.look * view.shadow_per_m * item.height
        )
        shaded[polygon_pixels(shadow, shape, pixel_m)] = True
    # Shadows first: a wall that is lit stands in front of its neighbour's shadow.
    for item in buildings:
        corners = item.corners()
        shift = -view.look * view.layover_per_m * item.height
        roof = polygon_pixels(corners + np.array([shift, 0.0]), shape, pixel_m)
        facing = _side(corners, -view.look)
        walls = polygon_pixels(_passed_over(facing, facing, shift), shape, pixel_m)
        for inside, gain in ((roof, _ROOF_DB[item.cover]), (walls, LAYOVER_DB)):
            raster.cover[inside] = COVERS.index(item.cover)
            raster.gain_db[inside] = gain
            shaded[inside] = False
    return shaded


def building_points(
    buildings: Sequence[Building], sensor: Sensor, view: View, level_db: dict[str, float], rng: np.random.Generator
) -> Scatterers:
    """Points along the foot of every facing wall, and along the eaves of halls.

    Args:
        buildings: What stands there.
        sensor: Its resolution cell decides how many points a wall needs.
        view: From where it looks.
        level_db: Mean of the clutter of each kind of building, which the lines stand out of.
        rng: One draw of jitter per wall, one of phase per point.
    """
    if not buildings:
        return Scatterers.joined([])
    corners = np.array([item.corners() for item in buildings])
    heights = np.array([item.height for item in buildings])
    levels = np.array([level_db[item.cover] for item in buildings])
    halls = np.array([item.cover == "industrial" for item in buildings])
    ends = np.roll(corners, -1, axis=1)
    along = ends - corners
    lengths = np.linalg.norm(along, axis=2)
    outward = _outward(corners, along, lengths)
    facing = -view.look * outward[..., 0]
    oblique = np.degrees(np.arccos(np.clip(np.abs(facing), 0, 1))) / _PARALLEL_WITHIN_DEG
    low, high = DOUBLE_BOUNCE_DB
    foot = high - (high - low) * np.minimum(oblique, 1.0) + rng.normal(0.0, _JITTER_DB, facing.shape)
    cell_db = 20 * np.log10(sensor.resolution_m)
    spacing = max(sensor.resolution_m, _FINEST_SPACING_M)
    density_db = 10 * np.log10(spacing / sensor.resolution_m)
    which = facing > _FACING_LEAST
    layover = -view.look * view.layover_per_m * heights
    feet = _lines(corners[which], along[which], lengths[which], spacing, 0.0)
    lit = which & halls[:, None]
    eaves = _lines(corners[lit], along[lit], lengths[lit], spacing, np.broadcast_to(layover[:, None], lit.shape)[lit])
    rcs = np.concatenate(
        [
            np.repeat((foot + levels[:, None])[which], feet[2]),
            np.repeat(np.broadcast_to(levels[:, None] + _EAVES_DB, lit.shape)[lit], eaves[2]),
        ]
    )
    rcs = rcs + cell_db + density_db + rng.normal(0.0, 1.0, len(rcs))
    x, y = (np.concatenate([feet[axis], eaves[axis]]) for axis in (0, 1))
    return Scatterers(x, y, rcs, rng.uniform(0, 2 * np.pi, len(x)))


def _lines(
    starts: Floats, along: Floats, lengths: Floats, spacing: float, shift: Floats | float
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Points every `spacing` along lines: x, y, and how many belong to each line."""
    counts = np.maximum(1, np.rint(lengths / spacing)).astype(np.int64)
    owner = np.repeat(np.arange(len(counts)), counts)
    step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (step + 0.5) / counts[owner]
    points = starts[owner] + share[:, None] * along[owner]
    offset = np.broadcast_to(np.asarray(shift, dtype=np.float64), counts.shape)[owner]
    return points[:, 0] + offset, points[:, 1], counts


def _outward(corners: Floats, along: Floats, lengths: Floats) -> Floats:
    normals = np.stack([-along[..., 1], along[..., 0]], axis=-1) / np.maximum(lengths, 1e-9)[..., None]
    middle = corners.mean(axis=1, keepdims=True)
    from_middle = corners + along / 2 - middle
    sign = np.sign((normals * from_middle).sum(axis=-1, keepdims=True))
    turned: Floats = normals * np.where(sign == 0, 1, sign)
    return turned


def _side(corners: Floats, direction: int) -> Floats:
    """The part of a rectangle's outline on its left (-1) or right (1), from the topmost to the lowest corner."""
    order = np.argsort(corners[:, 1], kind="stable")
    top, bottom = corners[order[0]], corners[order[-1]]
    chain = [top]
    for corner in corners[order[1:-1]]:
        share = (corner[1] - top[1]) / max(bottom[1] - top[1], 1e-9)
        if direction * (corner[0] - top[0] - share * (bottom[0] - top[0])) > 0:
            chain.append(corner)
    return np.array([*chain, bottom])


def _passed_over(near: Floats, far: Floats, shift: float) -> Floats:
    """The outline of what lies between `near` and `far` once `far` is moved along x."""
    return np.concatenate([near, (far + np.array([shift, 0.0]))[::-1]])
