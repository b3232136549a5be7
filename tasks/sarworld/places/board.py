"""The ground while details are put on it: what lies where, streets' curved axes, and what is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.places.courses import Swing
from tasks.sarworld.places.plan import THEMES, Plan
from tasks.sarworld.places.zones import Floats, Grid

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Board:
    """Themes at the nodes of a fine grid, without what rivers and roads take."""

    at: Grid
    themes: NDArray[np.int64]
    """Index into `THEMES`; -1 under and beside rivers and roads."""
    extent: tuple[float, float]
    finest_m: float
    """Nothing smaller has to be drawn one by one."""

    @staticmethod
    def of(plan: Plan, at: Grid, finest_m: float, kerb_m: float, taken: Flags) -> Board:
        """The board of a plan, `kerb_m` clear of roads and banks, and without the nodes that are taken already."""
        themes = plan.themes(at)
        x, y = at.x[None, :], at.y[:, None]
        lines = [*plan.roads, *plan.ramps, *([plan.river] if plan.river is not None else [])]
        for line in lines:
            themes[line.inside(x, y) > -kerb_m] = -1
        themes[taken] = -1
        return Board(at, themes, plan.extent, finest_m)

    def has(self, *themes: str) -> bool:
        """Whether a theme lies anywhere."""
        return any(bool((self.themes == THEMES.index(theme)).any()) for theme in themes)

    def is_at(self, x: Floats, y: Floats, *themes: str) -> Flags:
        """Whether points lie on one of the themes."""
        wanted = np.zeros(len(THEMES) + 1, dtype=bool)  # the last one stands for what is taken
        wanted[[THEMES.index(theme) for theme in themes]] = True
        flags: Flags = wanted[self.themes[self.at.nearest(x, y)]]
        return flags

    def on_ground(self, x: Floats, y: Floats, beyond: float = 0.0) -> Flags:
        """Whether points lie on the ground itself, or at most so far beyond its border."""
        flags: Flags = (np.abs(x) <= self.extent[1] / 2 + beyond) & (np.abs(y) <= self.extent[0] / 2 + beyond)
        return flags

    def touched_by(self, boxes: Floats) -> Flags:
        """Whether rectangles (rows of x, y, length, width, heading) reach into the ground."""
        x, y, length, width, heading = boxes.T
        half_x, half_y = self.extent[1] / 2, self.extent[0] / 2
        cosine, sine = np.abs(np.cos(heading)), np.abs(np.sin(heading))
        # Two rectangles meet unless the direction of one of their sides tells them apart.
        along = x * np.cos(heading) + y * np.sin(heading)
        across = -x * np.sin(heading) + y * np.cos(heading)
        flags: Flags = np.abs(x) <= half_x + (length * cosine + width * sine) / 2
        flags &= np.abs(y) <= half_y + (length * sine + width * cosine) / 2
        flags &= np.abs(along) <= length / 2 + half_x * cosine + half_y * sine
        flags &= np.abs(across) <= width / 2 + half_x * sine + half_y * cosine
        return flags

    def holds(self, boxes: Floats, *themes: str) -> Flags:
        """Whether rectangles (rows of x, y, length, width, heading) lie wholly on one of the themes."""
        inside = self.is_at(boxes[:, 0], boxes[:, 1], *themes)
        x, y, length, width, heading = boxes[inside].T[:, :, None]
        steps = np.linspace(-0.5, 0.5, 3 if not inside.any() or length.max() < 20 else 7)
        s, t = (a.ravel() for a in np.meshgrid(steps, (-0.5, 0.0, 0.5)))
        u, v = s * length, t * width
        at_x = x + u * np.cos(heading) - v * np.sin(heading)
        at_y = y + u * np.sin(heading) + v * np.cos(heading)
        inside[inside] = self.is_at(at_x, at_y, *themes).all(axis=1)
        return inside


class Bent(NamedTuple):
    """Axes u, v that are turned and, in grown places, bent."""

    heading: float
    origin: tuple[float, float]
    across: tuple[Swing, ...] = ()
    """Shift of u with v, then of v with u."""

    @staticmethod
    def draw(rng: np.random.Generator, heading: float, bend: float, wavelength: float) -> Bent:
        """Axes with a random origin; `bend` is how far lines leave their straight course."""
        origin = rng.uniform(-0.5, 0.5, 2) * wavelength
        swings = []
        for _ in range(2):
            size, length, phase = rng.uniform(0.7, 1.3), rng.uniform(0.8, 1.3), rng.uniform(0, 2 * np.pi)
            swings.append(Swing(float(bend * size), float(wavelength * length), float(phase)))
        return Bent(heading, (float(origin[0]), float(origin[1])), tuple(swings) if bend else ())

    def ground(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """Where a place of the bent frame lies."""
        if self.across:
            u = u + self._aside(0, v)
            v = v + self._aside(1, u)
        cosine, sine = np.cos(self.heading), np.sin(self.heading)
        x: Floats = self.origin[0] + u * cosine - v * sine
        y: Floats = self.origin[1] + u * sine + v * cosine
        return x, y

    def _aside(self, which: int, at: Floats) -> Floats:
        swing = self.across[which]
        shift: Floats = swing.amplitude * np.sin(2 * np.pi * at / swing.wavelength + swing.phase)
        return shift

    def along_u(self, u: Floats, v: Floats) -> Floats:
        """Direction on the ground of lines of constant v."""
        one, other = self.ground(u - 1.0, v), self.ground(u + 1.0, v)
        heading: Floats = np.arctan2(other[1] - one[1], other[0] - one[0])
        return heading


def runs(inside: Flags, shortest: int) -> list[tuple[int, int]]:
    """Start and end (exclusive) of the unbroken runs of at least `shortest` points."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= shortest]
