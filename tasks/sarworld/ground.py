"""What lies on a piece of ground, in metres, before any sensor looks at it.

One layout serves all sensors and all pixel sizes: covers are polygons, buildings are boxes with a height, targets know
their type and place. Axes: the origin is the middle of the ground, x to the east (along image columns), y to the
south (along image rows). Angles turn from x towards y.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.clutter import CLASSES, SHOULDER_GAIN_DB, SHOULDER_WIDTH_M, swell_db
from tasks.sarworld.scatterers import Scatterers, pixel_centres
from tasks.sarworld.truth import LAND_COVERS, Facts

Floats = NDArray[np.float64]
Shape = tuple[int, int]

COVERS = tuple(CLASSES)
"""Covers by index: the classes of section 14.2."""
LABEL_OF_COVER = {
    "water": "water",
    "sea": "water",
    "tarmac": "road",
    "farmland": "vegetation",
    "woodland": "vegetation",
    "housing": "building",
    "industrial": "building",
}
"""What a map calls a cover; bare ground and grass are not on the map (section 5.2: unlabelled)."""
UNLABELLED = 255
_ROW_DB = 1.0  # our choice: crest against mean of the plough rows of a field


@dataclass(frozen=True)
class Patch:
    """A polygon of one cover; later patches lie over earlier ones."""

    cover: str
    """One of `COVERS`."""
    corners: Floats
    """(n, 2): x, y."""
    role: str = ""
    """What it is, such as runway, apron, road, river, parcel, block, quay."""
    gain_db: float = 0.0
    """Against the cover's mean, e.g. the steps between fields (section 14.2)."""
    rows: tuple[float, float] | None = None
    """Direction (radians) and period (metres) of plough rows."""
    shoulder: bool = False
    """A brighter rim inside the border, as beside runways, roads and aprons (section 14.2)."""
    label: str | None = None
    """The map's name where it is not that of the cover; an empty string: not on the map."""


@dataclass(frozen=True)
class Building:
    """A box on the ground."""

    x: float
    y: float
    length: float
    width: float
    heading: float
    """Direction of the length."""
    height: float
    cover: str = "housing"
    """Housing or industrial: how its roof returns."""

    def corners(self) -> Floats:
        """The four corners of the ground plan, in order."""
        return rectangle(self.x, self.y, self.length, self.width, self.heading)


@dataclass(frozen=True)
class Target:
    """An aircraft or a ship, at the middle of its ground plan's length."""

    kind: Literal["aircraft", "ship"]
    type: str
    x: float
    y: float
    heading: float
    """Of nose or bow."""
    length: float
    width: float
    """Span or beam."""
    context: str
    """One of the contexts of `truth`."""
    gain_db: float = 0.0
    moving_m: float = 0.0
    """By how much its image is drawn out along azimuth."""
    labelled: bool = True
    """False for one that only stands by, such as a neighbour at the border of a chip."""


class Swell(NamedTuple):
    """Waves on the sea (section 14.2)."""

    wavelength_m: float
    heading: float
    phase: float


@dataclass(frozen=True)
class Layout:
    """A piece of ground."""

    scene: str
    """Its id; all draws hang on it."""
    extent: tuple[float, float]
    """Height and width in metres."""
    base: str
    """The cover under all patches."""
    facts: Facts
    patches: tuple[Patch, ...] = ()
    buildings: tuple[Building, ...] = ()
    targets: tuple[Target, ...] = ()
    fixtures: Scatterers = field(default_factory=lambda: Scatterers.joined([]))
    """Poles, cranes, fences, vehicles: they shine and have no label."""
    swell: Swell | None = None

    def in_landform(self, landform: str) -> Layout:
        """The same ground in the landform of its site."""
        return replace(self, facts=replace(self.facts, landform=landform))


def rectangle(x: float, y: float, length: float, width: float, heading: float) -> Floats:
    """Corners of a rectangle around (x, y), its length along `heading`."""
    along = np.array([np.cos(heading), np.sin(heading)])
    across = np.array([-np.sin(heading), np.cos(heading)])
    signs = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) / 2
    corners: Floats = np.array([x, y]) + signs[:, :1] * length * along + signs[:, 1:] * width * across
    return corners


def strip(line: Sequence[tuple[float, float]] | Floats, width: float) -> Floats:
    """The polygon of a line (a road, a river) of a constant width; joints are mitred."""
    points = np.asarray(line, dtype=np.float64)
    steps = np.diff(points, axis=0)
    steps /= np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-9)
    normals = np.stack([-steps[:, 1], steps[:, 0]], axis=1)
    joints = np.concatenate([normals[:1], normals[:-1] + normals[1:], normals[-1:]])
    joints /= np.maximum(np.linalg.norm(joints, axis=1, keepdims=True), 1e-9)
    # A mitre reaches further out where the line bends; at most twice, for hairpins.
    reach = (joints * np.concatenate([normals[:1], normals])).sum(axis=1, keepdims=True)
    offsets = joints * (width / 2) / np.maximum(reach, 0.5)
    return np.concatenate([points + offsets, (points - offsets)[::-1]])


class Raster(NamedTuple):
    """The ground on a pixel grid."""

    cover: NDArray[np.uint8]
    """Index into `COVERS`."""
    gain_db: NDArray[np.float32]
    """Against the mean of the cover."""


def grid_shape(extent: tuple[float, float], pixel_m: float) -> Shape:
    """Rows and columns of a ground on a pixel size."""
    return max(1, round(extent[0] / pixel_m)), max(1, round(extent[1] / pixel_m))


def polygon_pixels(corners: Floats, shape: Shape, pixel_m: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the pixels whose centres lie in a polygon.

    Every edge toggles all pixels to the right of where it crosses a row of centres; what was toggled an odd number of
    times is inside. The cost grows with the length of the outline, not with corners times pixels.
    """
    x = corners[:, 0] / pixel_m + (shape[1] - 1) / 2
    y = corners[:, 1] / pixel_m + (shape[0] - 1) / 2
    x_end, y_end = np.roll(x, -1), np.roll(y, -1)
    first = np.clip(np.ceil(np.minimum(y, y_end)), 0, shape[0]).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(y, y_end)), 0, shape[0]).astype(np.int64)
    crossed = last - first
    if not crossed.any():
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    edge = np.repeat(np.arange(len(x)), crossed)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(crossed) - crossed, crossed) + first[edge]
    at = x[edge] + (row - y[edge]) * (x_end[edge] - x[edge]) / (y_end[edge] - y[edge])
    column = np.clip(np.ceil(at), 0, shape[1]).astype(np.int64)
    top, left = row.min(), column.min()
    rows, columns = row.max() - top + 1, column.max() - left + 1
    toggles = np.bincount((row - top) * columns + column - left, minlength=rows * columns).reshape(rows, columns)
    inside = np.nonzero(np.cumsum(toggles, axis=1) & 1)
    return inside[0] + top, inside[1] + left


def rasterise(layout: Layout, shape: Shape, pixel_m: float) -> Raster:
    """Cover and gain of every pixel."""
    cover = np.full(shape, COVERS.index(layout.base), dtype=np.uint8)
    gain = np.zeros(shape, dtype=np.float32)
    x, y = pixel_centres(shape[1], pixel_m), pixel_centres(shape[0], pixel_m)
    rims = []
    for patch in layout.patches:
        inside = polygon_pixels(patch.corners, shape, pixel_m)
        cover[inside] = COVERS.index(patch.cover)
        gain[inside] = patch.gain_db
        if patch.rows is not None:
            direction, period = patch.rows
            across = -x[inside[1]] * np.sin(direction) + y[inside[0]] * np.cos(direction)
            gain[inside] += _ROW_DB * np.sin(2 * np.pi * across / period)
        if patch.shoulder:
            rims.append(patch)
    if rims:
        gain += SHOULDER_GAIN_DB * _rims(rims, cover, pixel_m)
    sea = cover == COVERS.index("sea")
    if layout.swell is not None and sea.any():
        waves = swell_db(x[None, :], y[:, None], *layout.swell)
        gain[sea] += waves[sea]
    return Raster(cover, gain)


def _rims(patches: Sequence[Patch], cover: NDArray[np.uint8], pixel_m: float) -> NDArray[np.bool_]:
    """Pixels of tarmac within a shoulder's width of ground that is none; where two meet there is no rim."""
    from scipy.ndimage import distance_transform_edt

    shape = (cover.shape[0], cover.shape[1])
    own = np.zeros(shape, dtype=bool)
    for patch in patches:
        own[polygon_pixels(patch.corners, shape, pixel_m)] = True
    tarmac = cover == COVERS.index("tarmac")
    # The border of the image is no border of the tarmac.
    outside = np.pad(~tarmac, 1, mode="edge")
    if not outside.any():
        return np.zeros(shape, dtype=bool)
    distance = distance_transform_edt(~outside)[1:-1, 1:-1] * pixel_m
    rim: NDArray[np.bool_] = own & tarmac & (distance <= max(SHOULDER_WIDTH_M, pixel_m))
    return rim


def map_labels(layout: Layout, shape: Shape, pixel_m: float) -> NDArray[np.uint8]:
    """The map of the ground plan: index into `LAND_COVERS`, 255 where the map shows nothing.

    As on maps made from layers, water stays water under a bridge (section 5.2).
    """
    labels = np.full(shape, _label(layout.base, None), dtype=np.uint8)
    water, road = LAND_COVERS.index("water"), LAND_COVERS.index("road")
    for patch in layout.patches:
        inside = polygon_pixels(patch.corners, shape, pixel_m)
        label = _label(patch.cover, patch.label)
        if label == road:
            dry = labels[inside] != water
            inside = (inside[0][dry], inside[1][dry])
        labels[inside] = label
    return labels


def _label(cover: str, name: str | None) -> int:
    name = LABEL_OF_COVER.get(cover, "") if name is None else name
    return LAND_COVERS.index(name) if name else UNLABELLED
