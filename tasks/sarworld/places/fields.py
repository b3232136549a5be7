"""Open ground: parcels with their rows, hedges, woods, and the lines of poles across them."""

from __future__ import annotations

import numpy as np

from tasks.sarworld.ground import Patch, strip
from tasks.sarworld.places.board import Bent, Board, Flags
from tasks.sarworld.places.town import points
from tasks.sarworld.places.zones import Floats
from tasks.sarworld.scatterers import Scatterers

_PARCEL_STEPS_DB = (-2.0, 0.0, 2.0)  # section 14.2: parcels with +-2 dB steps
_ROW_PERIOD_M = (4.0, 9.0)  # our choice: drilled rows seen through tramlines
_HEDGE_M = (3.0, 6.0)
_HEDGE_CHANCE = 0.16


def parcels(rng: np.random.Generator, board: Board, heading: float, bent: bool) -> list[Patch]:
    """Fields of the farmland zones, each with its own level and rows, and hedges between some of them."""
    if not board.has("farmland"):
        return []
    half = 0.75 * float(np.hypot(*board.extent))
    scale = float(np.clip(min(board.extent) / 400, 0.7, 2.0))
    long_side, short_side = float(rng.uniform(75, 130)) * scale, float(rng.uniform(34, 60)) * scale
    axes = Bent.draw(rng, heading + float(rng.uniform(-0.25, 0.25)), 12.0 * scale if bent else 0.0, 320.0 * scale)
    columns, rows = int(2 * half / long_side) + 2, int(2 * half / short_side) + 2
    x, y = _lattice(rng, axes, (columns, rows), (long_side, short_side), 0.16 if bent else 0.05)
    quads = np.stack(
        [np.stack([c[:-1, :-1], c[:-1, 1:], c[1:, 1:], c[1:, :-1]], axis=-1).reshape(-1, 4) for c in (x, y)], axis=-1
    )
    seen = _touches(board, quads)
    heads = np.arctan2(quads[:, 1, 1] - quads[:, 0, 1], quads[:, 1, 0] - quads[:, 0, 0])
    patches = []
    for place in np.flatnonzero(seen):
        gain = float(rng.choice(_PARCEL_STEPS_DB)) + float(rng.uniform(-0.4, 0.4))
        kind = rng.random()
        if kind < 0.06:
            patches.append(Patch("grass", quads[place], role="parcel", gain_db=0.5 * gain))
        elif kind < 0.12:
            patches.append(Patch("woodland", quads[place], role="wood", gain_db=0.3 * gain))
        else:
            period = float(rng.uniform(*_ROW_PERIOD_M))
            direction = float(heads[place]) + (np.pi / 2 if rng.random() < 0.15 else 0.0)
            ploughed = rng.random() < 0.7 and period >= 2 * board.finest_m
            patches.append(
                Patch(
                    "farmland",
                    quads[place],
                    role="parcel",
                    gain_db=gain,
                    rows=(direction, period) if ploughed else None,
                )
            )
    return patches + _hedges(rng, board, x, y)


def _lattice(
    rng: np.random.Generator, axes: Bent, counts: tuple[int, int], sides: tuple[float, float], jitter: float
) -> tuple[Floats, Floats]:
    """Corners of parcels: every strip of the lattice is cut at its own places."""
    columns, rows = counts
    # One row of corners per border between strips; widths vary from strip to strip and along them.
    v = np.cumsum(rng.uniform(0.7, 1.3, rows + 1)) * sides[1]
    v = v - v.mean()
    u = np.cumsum(rng.uniform(0.7, 1.3, columns + 1)) * sides[0]
    u = u - u.mean()
    uu, vv = np.meshgrid(u, v)
    uu = uu + rng.normal(0, jitter, uu.shape) * sides[0]
    vv = vv + rng.normal(0, jitter, vv.shape) * sides[1]
    return axes.ground(uu, vv)


def _touches(board: Board, quads: Floats) -> Flags:
    """Whether any part of a parcel lies on a farmland zone of the ground."""
    s, t = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, 6), np.linspace(0, 1, 6)))
    weights = np.stack([(1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t])
    x, y = quads[..., 0] @ weights, quads[..., 1] @ weights
    seen = board.is_at(x, y, "farmland") & board.on_ground(x, y, 10.0)
    touched: Flags = np.any(seen, axis=1)
    return touched


def _hedges(rng: np.random.Generator, board: Board, x: Floats, y: Floats) -> list[Patch]:
    """Rows of trees along some borders of parcels."""
    if board.finest_m > _HEDGE_M[1]:
        return []
    corners = np.stack([x, y], axis=-1)
    pairs = [(corners[:, :-1], corners[:, 1:]), (corners[:-1], corners[1:])]
    lines = np.concatenate([np.stack([a.reshape(-1, 2), b.reshape(-1, 2)], axis=1) for a, b in pairs])
    share = np.array([0.0, 0.25, 0.5, 0.75, 1.0])[None, :, None]
    along = lines[:, :1] * (1 - share) + lines[:, 1:] * share
    kept = board.is_at(along[..., 0], along[..., 1], "farmland").all(axis=1)
    kept &= board.on_ground(along[..., 0], along[..., 1]).any(axis=1)
    kept &= rng.random(len(lines)) < _HEDGE_CHANCE
    widths = rng.uniform(*_HEDGE_M, len(lines))
    return [Patch("woodland", strip(lines[n], float(widths[n])), role="hedge") for n in np.flatnonzero(kept)]


def power_line(rng: np.random.Generator, board: Board) -> list[Scatterers]:
    """Masts across open ground, seldom anything else than one line."""
    if rng.random() < 0.5 or not board.has("farmland", "meadow"):
        return []
    half = 0.6 * float(np.hypot(*board.extent))
    heading, offset = float(rng.uniform(0, np.pi)), float(rng.uniform(-0.3, 0.3)) * min(board.extent)
    along = np.arange(-half, half, float(rng.uniform(55, 85)))
    x = along * np.cos(heading) - offset * np.sin(heading)
    y = along * np.sin(heading) + offset * np.cos(heading)
    kept = board.on_ground(x, y) & board.is_at(x, y, "farmland", "meadow", "woodland")
    x, y = x[kept], y[kept]
    # A mast is a few struts close together.
    spread = rng.normal(0, 0.7, (2, 3 * len(x)))
    rows = np.stack([np.repeat(x, 3) + spread[0], np.repeat(y, 3) + spread[1], rng.uniform(4, 12, 3 * len(x))], axis=1)
    return [points(rng, rows)]
