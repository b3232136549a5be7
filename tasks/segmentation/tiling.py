"""Images cut into tiles on a regular grid, once, and put together again (section 5.1 of the task specification).

The grid starts in the top-left corner and goes on until every pixel lies in a tile. What the last tiles have beyond the
image is padding: pixels 0, mask ignored; an image smaller than a tile is one tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.pixel_cache import cached_array
from foundation.errors import UsageError
from foundation.progress import Progress, silent
from foundation.seeds import derive_seed
from tasks.datasets.images import read_pixels
from tasks.datasets.just_decoded import JUST_DECODED
from tasks.datasets.masks import read_mask
from tasks.datasets.records import IGNORE, DatasetIndex, ImageEntry
from tasks.lookahead import each_opened

Pixels = NDArray[np.uint8]
ReadPixels = Callable[[ImageEntry], Pixels]

_DATASETS = Path(__file__).resolve().parent.parent / "datasets"
_SOURCES = (Path(__file__).resolve(), _DATASETS / "images.py", _DATASETS / "masks.py")


@dataclass(frozen=True)
class Tiling:
    """Side of the tiles and step between them."""

    side: int
    stride: int

    def starts(self, length: int) -> range:
        """Where the tiles along one side of an image begin."""
        if self.stride > self.side:
            raise UsageError(
                f"stride {self.stride} leaves pixels between tiles of {self.side}", way_out="stride <= tile"
            )
        count = max(0, -(-(length - self.side) // self.stride)) + 1
        return range(0, count * self.stride, self.stride)

    def tiles(self, height: int, width: int) -> int:
        """Tiles of an image."""
        return len(self.starts(height)) * len(self.starts(width))

    def cut(self, pixels: Pixels, padding: int) -> Pixels:
        """The tiles [N, side, side, ...] of an image, row by row."""
        height, width = pixels.shape[:2]
        rows, columns = self.starts(height), self.starts(width)
        below, right = rows[-1] + self.side - height, columns[-1] + self.side - width
        beyond = [(0, below), (0, right), *[(0, 0)] * (pixels.ndim - 2)]
        padded = np.pad(pixels, beyond, constant_values=padding)
        tiles = [padded[y : y + self.side, x : x + self.side] for y in rows for x in columns]
        return np.stack(tiles)

    def joined(self, tiles: Pixels, height: int, width: int) -> Pixels:
        """The image of that size, filled up to whole tiles, that the tiles of `cut` were cut from."""
        rows, columns = self.starts(height), self.starts(width)
        shape = (rows[-1] + self.side, columns[-1] + self.side, *tiles.shape[3:])
        whole = np.empty(shape, dtype=np.uint8)
        corners = [(y, x) for y in rows for x in columns]
        for (y, x), tile in zip(corners, tiles, strict=True):
            whole[y : y + self.side, x : x + self.side] = tile
        return whole


class TileSet(NamedTuple):
    """The tiles of many images, one after the other."""

    pixels: Pixels
    """[N, side, side], or [N, side, side, 3] of composites."""
    first: NDArray[np.int64]
    """Where the tiles of each image begin; one more entry at the end."""


class MaskTiles(NamedTuple):
    """The masks of many tiles; images that share a mask share its tiles."""

    masks: Pixels
    """[M, side, side]."""
    rows: NDArray[np.int64]
    """For each tile of the images its row in `masks`."""


def load_tiles(
    index: DatasetIndex, entries: Sequence[ImageEntry], tiling: Tiling, progress: Progress = silent
) -> TileSet:
    """The tiles of all images, decoded only where the cache does not have them."""
    first = _first(entries, tiling)
    channels = (3,) if entries and entries[0].more else ()
    shape = (int(first[-1]), tiling.side, tiling.side, *channels)

    def fill(out: Pixels) -> None:
        def read(entry: ImageEntry) -> Pixels:
            return JUST_DECODED.take(entry.pixel_hash, lambda: read_pixels(index, entry))

        _fill(out, entries, first, tiling, read, 0, progress)

    parts = [f"{tiling}", *(entry.pixel_hash for entry in entries)]
    return TileSet(cached_array("tiles", parts, shape, fill, sources=_SOURCES), first)


def noise_tiles(entries: Sequence[ImageEntry], tiling: Tiling, seed: int) -> TileSet:
    """Tiles of images of noise in the sizes of the real ones: the noise twin."""
    first = _first(entries, tiling)
    channels = (3,) if entries and entries[0].more else ()
    pixels = np.empty((int(first[-1]), tiling.side, tiling.side, *channels), dtype=np.uint8)
    _fill(pixels, entries, first, tiling, noise_of(seed), 0, silent)
    return TileSet(pixels, first)


def noise_of(seed: int) -> ReadPixels:
    """Reads noise instead of an image."""

    def read(entry: ImageEntry) -> Pixels:
        rng = np.random.default_rng(derive_seed("noise", seed, entry.image_id))
        shape = (entry.height, entry.width, *((3,) if entry.more else ()))
        return rng.integers(0, 256, shape, dtype=np.uint8)

    return read


def load_mask_tiles(
    index: DatasetIndex, entries: Sequence[ImageEntry], tiling: Tiling, progress: Progress = silent
) -> MaskTiles:
    """The mask tiles that go with `load_tiles` of the same images."""
    distinct = list({entry.mask_hash: entry for entry in entries}.values())
    begin = _first(distinct, tiling)

    def fill(out: Pixels) -> None:
        _fill(out, distinct, begin, tiling, lambda entry: read_mask(index, entry), IGNORE, progress)

    shape = (int(begin[-1]), tiling.side, tiling.side)
    parts = [f"{tiling}", *(entry.mask_hash for entry in distinct)]
    masks = cached_array("mask-tiles", parts, shape, fill, sources=_SOURCES)
    of_mask = {
        entry.mask_hash: np.arange(low, high) for entry, low, high in zip(distinct, begin[:-1], begin[1:], strict=True)
    }
    rows = [of_mask[entry.mask_hash] for entry in entries]
    return MaskTiles(masks, np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64))


def _first(entries: Sequence[ImageEntry], tiling: Tiling) -> NDArray[np.int64]:
    counts = [tiling.tiles(entry.height, entry.width) for entry in entries]
    return np.cumsum([0, *counts], dtype=np.int64)


def _fill(
    out: Pixels,
    entries: Sequence[ImageEntry],
    first: NDArray[np.int64],
    tiling: Tiling,
    read: ReadPixels,
    padding: int,
    progress: Progress,
) -> None:
    for position, pixels in enumerate(each_opened(read, entries, progress, "cutting tiles")):
        out[first[position] : first[position + 1]] = tiling.cut(pixels, padding)
