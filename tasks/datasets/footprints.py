"""Which ground an image shows, from its name or its georeference, so that overlaps and neighbours can be found.

<scene>_<n>_<n>_<n>_<n>             the window of a tile in its scene: two ranges, or two corners
<scene>_x<n>_y<n>                   the upper left corner of a tile
<City>_<img>_<area>_<row>_<col>     the place of a tile in a grid (FUSAR-Map)
<scene>_r<n>_c<n>                   the same in other words
GeoTIFF                             the rectangle of its coordinates
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.datasets.records import DatasetIndex, ImageEntry

EXPORTED = re.compile(r"_(?:jpe?g|png|tiff?|bmp)\.rf\.[0-9a-f]+$", re.IGNORECASE)
"""What exports of annotation tools put behind a file name."""

_WINDOW = re.compile(r"(?P<scene>.+?)_(?P<a>\d+)_(?P<b>\d+)_(?P<c>\d+)_(?P<d>\d+)")
_CORNER = re.compile(r"(?P<scene>.+?)_x(?P<x>\d+)_y(?P<y>\d+)", re.IGNORECASE)
_MAP_TILE = re.compile(r"(?P<scene>.+_\d+_\d+)_(?P<row>\d+)_(?P<col>\d+)_SAR_\d+", re.IGNORECASE)
_GRID_TILE = re.compile(r"(?P<scene>.+?)_r(?P<row>\d+)_c(?P<col>\d+)", re.IGNORECASE)
_MAP_SCENE = re.compile(r"(?P<scene>.+_\d+)_\d+_\d+_\d+_SAR_\d+", re.IGNORECASE)


class Footprint(NamedTuple):
    """A rectangle of ground in the coordinates of its scene."""

    scene: str
    left: float
    top: float
    right: float
    bottom: float
    touching: bool = False
    """Cells of a grid: those that share a side or a corner are neighbours."""


class Overlap(NamedTuple):
    """Two images of the same or of adjacent ground."""

    first: str
    second: str
    share: float
    """Of the smaller rectangle; 0 for neighbours in a grid."""


def plain_stem(name: str) -> str:
    """A file name without its ending and without what an export put behind it."""
    return EXPORTED.sub("", Path(name).stem)


def scene_in_name(name: str) -> str:
    """The parent scene that the name of a FUSAR-Map tile carries, or nothing."""
    found = _MAP_SCENE.fullmatch(Path(name).stem)
    return found["scene"] if found else ""


def footprints(index: DatasetIndex) -> dict[str, Footprint]:
    """Image to ground, of the images that tell it."""
    found = {}
    for image in index.images:
        footprint = of_name(image) or _of_coordinates(index.root / image.path)
        if footprint is not None:
            found[image.image_id] = footprint
    return found


def of_name(image: ImageEntry) -> Footprint | None:
    """The ground that a file name states."""
    stem = plain_stem(image.path)
    folder = Path(image.path).parent.as_posix()
    for pattern in (_MAP_TILE, _GRID_TILE):
        if cell := pattern.fullmatch(stem):
            row, column = int(cell["row"]), int(cell["col"])
            return Footprint(f"{folder}/{cell['scene']}", column, row, column + 1, row + 1, touching=True)
    if corner := _CORNER.fullmatch(stem):
        left, top = int(corner["x"]), int(corner["y"])
        return Footprint(f"{folder}/{corner['scene']}", left, top, left + image.width, top + image.height)
    if window := _WINDOW.fullmatch(stem):
        a, b, c, d = (int(window[side]) for side in "abcd")
        sides = {image.width, image.height}
        if b > a and d > c and {b - a, d - c} <= sides:
            return Footprint(f"{folder}/{window['scene']}", a, c, b, d)
        if c > a and d > b and {c - a, d - b} <= sides:
            return Footprint(f"{folder}/{window['scene']}", a, b, c, d)
    return None


def overlaps(found: dict[str, Footprint]) -> list[Overlap]:
    """Pairs that share ground, or adjoin in a grid."""
    scenes: dict[str, list[tuple[Footprint, str]]] = defaultdict(list)
    for name, footprint in found.items():
        scenes[footprint.scene].append((footprint, name))
    pairs: list[Overlap] = []
    for members in scenes.values():
        pairs += _swept(sorted(members))
    return sorted(pairs)


def _swept(members: Sequence[tuple[Footprint, str]]) -> Iterable[Overlap]:
    """Rectangles from left to right against those that are still open."""
    open_ones: list[tuple[Footprint, str]] = []
    for one, name in members:
        open_ones = [
            other for other in open_ones if other[0].right > one.left or (one.touching and other[0].right == one.left)
        ]
        for other, known in open_ones:
            width = min(one.right, other.right) - max(one.left, other.left)
            height = min(one.bottom, other.bottom) - max(one.top, other.top)
            if (width > 0 and height > 0) or (one.touching and width >= 0 and height >= 0):
                smaller = min(_area(one), _area(other))
                first, second = sorted((name, known))
                yield Overlap(first, second, round(max(width, 0.0) * max(height, 0.0) / smaller, 4))
        open_ones.append((one, name))


def _area(footprint: Footprint) -> float:
    return (footprint.right - footprint.left) * (footprint.bottom - footprint.top)


def _of_coordinates(path: Path) -> Footprint | None:
    """The rectangle of a georeferenced file; tiles of different projections are not compared."""
    if path.suffix.lower() not in {".tif", ".tiff"}:
        return None
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path) as source:
                if source.crs is None or source.transform.is_identity:
                    return None
                bounds, projection = source.bounds, source.crs.to_string()
        except RasterioError:
            return None
    left, right = sorted((bounds.left, bounds.right))
    low, high = sorted((bounds.bottom, bounds.top))
    return Footprint(projection, left, low, right, high) if right > left and high > low else None
