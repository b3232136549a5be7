"""The large forms of the ground: which theme lies where, as signed fields on a grid and polygons cut out of them.

A field is positive where its theme lies. Polygons follow the fields between grid nodes, so straight borders stay
straight and organic ones are not stepped.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_WAVES = 28
_CRUMB = 3.0  # cells of the grid; smaller islands and clearings are left out
_STRAIGHT = 1e-3  # sine of the angle under which three corners count as one line


class Grid(NamedTuple):
    """Nodes in metres; covers the ground and a margin around it."""

    x: Floats
    """Of the columns."""
    y: Floats
    """Of the rows."""

    @property
    def cell(self) -> tuple[float, float]:
        """Metres between columns and between rows."""
        return float(self.x[1] - self.x[0]), float(self.y[1] - self.y[0])

    def nearest(self, x: Floats, y: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of the nodes nearest to points; points beyond the grid get its border."""
        columns = np.rint((x - self.x[0]) / self.cell[0]).astype(np.int64)
        rows = np.rint((y - self.y[0]) / self.cell[1]).astype(np.int64)
        return np.clip(rows, 0, len(self.y) - 1), np.clip(columns, 0, len(self.x) - 1)


def grid(extent: tuple[float, float], nodes: int, margin: float) -> Grid:
    """A grid of `nodes` cells a side over the ground, `margin` (part of the extent) beyond its border."""

    def axis(length: float) -> Floats:
        step = length / nodes
        more = int(np.ceil(margin * nodes))
        return np.asarray((np.arange(-more, nodes + more) + 0.5) * step - length / 2, dtype=np.float64)

    return Grid(axis(extent[1]), axis(extent[0]))


class Fractal(NamedTuple):
    """A smooth field of deviation one, the sum of random plane waves; the same on any grid."""

    along_x: Floats
    along_y: Floats
    amplitude: NDArray[np.complex128]

    @staticmethod
    def draw(rng: np.random.Generator, longest: float, shortest: float, slope: float) -> Fractal:
        """Waves of random direction from the longest to the shortest, amplitude as length^slope."""
        lengths = np.exp(np.linspace(np.log(longest), np.log(shortest), _WAVES))
        directions = rng.uniform(0, 2 * np.pi, _WAVES)
        phases = rng.uniform(0, 2 * np.pi, _WAVES)
        sizes = lengths**slope
        sizes *= np.sqrt(2 / (sizes**2).sum())
        numbers = 2 * np.pi / lengths
        return Fractal(numbers * np.cos(directions), numbers * np.sin(directions), sizes * np.exp(1j * phases))

    def on(self, at: Grid) -> Floats:
        """Values at the nodes."""
        rows = np.exp(1j * at.y[:, None] * self.along_y)
        columns = np.exp(1j * at.x[:, None] * self.along_x) * self.amplitude
        values: Floats = rows.real @ columns.real.T - rows.imag @ columns.imag.T
        return values


class Sites(NamedTuple):
    """Middle points of zones, or rectangles; every one has a theme."""

    x: Floats
    y: Floats
    theme: NDArray[np.int64]
    half: Floats | None = None
    """(n, 2): half length and width of rectangles that cover the ground; None: nearest site wins."""
    heading: float = 0.0
    """Of the rectangles."""

    def costs(self, x: Floats, y: Floats) -> dict[int, Floats]:
        """For every theme: how far points are from belonging to it; the smallest wins."""
        if self.half is None:
            # Squared distance less what all sites share: linear, so borders between zones are exact lines on any grid.
            scale = np.sqrt(np.ptp(self.x) * np.ptp(self.y) / len(self.x)) + 1e-9
            one, other = np.broadcast_arrays(x, y)
            nodes = np.stack([one.ravel(), other.ravel(), np.ones(one.size)])
            planes = np.stack([-self.x, -self.y, (self.x**2 + self.y**2) / 2], axis=1) / scale
            each = list((planes @ nodes).reshape(-1, *one.shape))
        else:
            u, v = _turn(x, y, self.heading)
            each = [
                np.maximum(np.abs(u - a) - h, np.abs(v - b) - w)
                for a, b, (h, w) in zip(*_turn(self.x, self.y, self.heading), self.half, strict=True)
            ]
        by_theme: dict[int, Floats] = {}
        for theme, cost in zip(self.theme.tolist(), each, strict=True):
            by_theme[theme] = np.minimum(by_theme[theme], cost) if theme in by_theme else cost
        return by_theme


def _turn(x: Floats, y: Floats, heading: float) -> tuple[Floats, Floats]:
    return x * np.cos(heading) + y * np.sin(heading), -x * np.sin(heading) + y * np.cos(heading)


def scattered(rng: np.random.Generator, extent: tuple[float, float], count: int) -> tuple[Floats, Floats]:
    """About `count` sites per ground, no two of them close, some beyond the border."""
    side = max(2, round(np.sqrt(count)))
    step = 1.0 / side
    steps = np.arange(-1, side + 1) + 0.5
    offset = rng.uniform(-0.5, 0.5, 2)
    columns, rows = np.meshgrid(steps + offset[0], steps + offset[1])
    jitter = rng.uniform(-0.42, 0.42, (2, *columns.shape))
    x = ((columns + jitter[0]) * step - 0.5) * extent[1]
    y = ((rows + jitter[1]) * step - 0.5) * extent[0]
    near = (np.abs(x) < 0.8 * extent[1]) & (np.abs(y) < 0.8 * extent[0])
    return x[near], y[near]


def rectangles(
    rng: np.random.Generator, extent: tuple[float, float], count: int, heading: float
) -> tuple[Floats, Floats, Floats]:
    """Middles and half sides of rectangles that tile the ground, as a map of parcels is cut."""
    half = 0.75 * float(np.hypot(*extent))
    largest = np.sqrt(extent[0] * extent[1] / count) * 1.25
    todo, done = [(-half, -half, half, half)], []
    while todo:
        left, top, right, bottom = todo.pop()
        width, height = right - left, bottom - top
        if max(width, height) < largest * rng.uniform(0.8, 1.5):
            done.append((left, top, right, bottom))
            continue
        cut = rng.uniform(0.35, 0.65)
        if width > height:
            middle = left + cut * width
            todo += [(left, top, middle, bottom), (middle, top, right, bottom)]
        else:
            middle = top + cut * height
            todo += [(left, top, right, middle), (left, middle, right, bottom)]
    boxes = np.array(done)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    x, y = _turn(centres[:, 0], centres[:, 1], -heading)
    return x, y, (boxes[:, 2:] - boxes[:, :2]) / 2


def margins(costs: dict[int, Floats]) -> dict[int, Floats]:
    """The field of every theme: positive where it wins, zero on its border."""
    if len(costs) == 1:
        return {theme: np.ones_like(cost) for theme, cost in costs.items()}
    stacked = np.stack(list(costs.values()))
    order = np.partition(stacked, 1, axis=0)
    best, second = order[0], order[1]
    return {
        theme: np.where(cost <= best, second - cost, best - cost) for theme, cost in zip(costs, stacked, strict=True)
    }


def regions(field: Floats, at: Grid) -> list[Floats]:
    """Polygons (n, 2: x, y) of the places where a field is positive; holes hang on their ring by a seam."""
    from skimage.measure import find_contours, points_in_poly

    if not (field > 0).any():
        return []
    # A frame of negative values closes all rings beyond the border of the ground.
    framed = np.pad(field, 1, constant_values=-max(float(np.abs(field).max()), 1e-6))
    closed = [ring[:, ::-1] for ring in find_contours(framed, 0.0, positive_orientation="low")]
    sized = [(_area(ring), ring) for ring in closed]
    sized = [(area, ring) for area, ring in sized if abs(area) >= _CRUMB]
    areas = [area for area, _ in sized]
    rings = [_without_straight(ring) for _, ring in sized]
    outer = [place for place, area in enumerate(areas) if area > 0]
    polygons = {place: rings[place] for place in outer}
    for place, area in enumerate(areas):
        if area >= 0:
            continue
        around = [o for o in outer if areas[o] > -area and points_in_poly(rings[place][:1], rings[o])[0]]
        if around:
            home = min(around, key=lambda o: areas[o])
            polygons[home] = np.concatenate(
                [polygons[home], rings[home][:1], rings[place], rings[place][:1], rings[home][:1]]
            )
    x = at.x[0] + (np.arange(-1, len(at.x) + 1)) * at.cell[0]
    y = at.y[0] + (np.arange(-1, len(at.y) + 1)) * at.cell[1]
    origin, step = np.array([x[0], y[0]]), np.array(at.cell)
    return [origin + polygons[place] * step for place in outer if len(rings[place]) >= 3]


def _area(closed: Floats) -> float:
    """Signed area of a ring whose last corner is its first, by the shoelace formula."""
    x, y = closed[:, 0], closed[:, 1]
    return 0.5 * float(x[:-1] @ y[1:] - x[1:] @ y[:-1])


def _without_straight(closed: Floats) -> Floats:
    """The corners of a ring once each, without those that lie on a line with their neighbours."""
    after = np.diff(closed, axis=0)
    before = np.concatenate([after[-1:], after[:-1]])
    turn = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
    sizes = (before**2).sum(axis=1) * (after**2).sum(axis=1)
    kept = turn**2 > _STRAIGHT**2 * np.maximum(sizes, 1e-24)
    corners: Floats = closed[:-1][kept] if kept.sum() >= 3 else closed[:-1]
    return corners
