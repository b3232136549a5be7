"""Decoded images, once: kept in the cache per (data set, size) and shared by all models through the page cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.decode import read_grey
from adapters.pixel_cache import cached_array
from foundation.progress import Progress, silent
from tasks.datasets.just_decoded import JUST_DECODED
from tasks.lookahead import each_opened

Grey = NDArray[np.uint8]


class ImageSource(NamedTuple):
    """An image and the hash of its pixels."""

    path: Path
    pixel_hash: str


def centre_square(grey: Grey, size: int) -> Grey:
    """The test transform: short side resized to `size`, then the centre square (section 3.1)."""
    from PIL import Image

    height, width = grey.shape
    scale = size / min(height, width)
    new_width, new_height = max(size, round(width * scale)), max(size, round(height * scale))
    resized = Image.fromarray(grey).resize((new_width, new_height), Image.Resampling.BICUBIC)
    left, top = (new_width - size) // 2, (new_height - size) // 2
    return np.asarray(resized, dtype=np.uint8)[top : top + size, left : left + size]


def whole_square(grey: Grey, size: int) -> Grey:
    """The whole image squeezed into a square: nothing that a text speaks of is cut off (section 7)."""
    from PIL import Image

    resized = Image.fromarray(grey).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.uint8)


def load_squares(sources: Sequence[ImageSource], size: int, progress: Progress = silent) -> Grey:
    """The centre squares of all images as one read-only array [N, size, size], decoded only where not in the cache."""
    return _cached("squares", centre_square, sources, size, progress)


def load_whole(sources: Sequence[ImageSource], size: int, progress: Progress = silent) -> Grey:
    """All images whole, squeezed into squares, in the same way."""
    return _cached("whole", whole_square, sources, size, progress)


def load_originals(sources: Sequence[ImageSource], progress: Progress = silent) -> list[Grey]:
    """All images at their own sizes, in memory."""
    return list(each_opened(_pixels, sources, progress, "decoding"))


def _cached(
    name: str, square: Callable[[Grey, int], Grey], sources: Sequence[ImageSource], size: int, progress: Progress
) -> Grey:
    def fill(squares: Grey) -> None:
        def read(source: ImageSource) -> Grey:
            return square(_pixels(source), size)

        for position, whole in enumerate(each_opened(read, sources, progress, "decoding")):
            squares[position] = whole

    hashes = [source.pixel_hash for source in sources]
    return cached_array(name, hashes, (len(sources), size, size), fill, sources=[Path(__file__)])


def _pixels(source: ImageSource) -> Grey:
    return JUST_DECODED.take(source.pixel_hash, partial(read_grey, source.path))
