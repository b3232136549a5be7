"""The images of a corpus as one array: decoded once, resized once, shared through the page cache."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.decode import read_grey
from adapters.pixel_cache import Pixels, cached_array
from foundation.progress import Progress, silent
from klip.corpus import Corpus, unreadable

_READERS = 4
"""Files that are read at once: the decoders leave Python's lock alone."""

_AT_ONCE = 4096
"""Images whose moments are summed at once, so that the array need not fit the memory."""


class Statistics(NamedTuple):
    """Mean and standard deviation of the pixels, 0 to 1, as `image.norm=dataset` asks for (section 2.5)."""

    mean: float
    std: float


def load_pixels(corpus: Corpus, size: int, progress: Progress = silent) -> Pixels:
    """8-bit grey [N, size, size], read-only, in the order of the corpus."""

    def fill(pixels: Pixels) -> None:
        for row, image in enumerate(_resized(corpus, size)):
            pixels[row] = image
            progress(row + 1, len(corpus), "decoding images")

    shape = (len(corpus), size, size)
    return cached_array("klip", corpus.image_hashes, shape, fill, sources=[Path(__file__)])


def statistics(pixels: Pixels) -> Statistics:
    """Over all pixels."""
    count = total = squares = 0
    for first in range(0, len(pixels), _AT_ONCE):
        frequency = np.bincount(pixels[first : first + _AT_ONCE].ravel(), minlength=256)
        values = np.arange(256)
        count += int(frequency.sum())
        total += int(frequency @ values)
        squares += int(frequency @ values**2)
    mean = total / count
    return Statistics(mean / 255, (squares / count - mean**2) ** 0.5 / 255)


def _resized(corpus: Corpus, size: int) -> Iterator[NDArray[np.uint8]]:
    def one(row: int) -> NDArray[np.uint8]:
        path = corpus.image_path(row)
        try:
            return _square(read_grey(path), size)
        except (OSError, ValueError, SyntaxError) as error:
            raise unreadable(path, error) from error

    with ThreadPoolExecutor(_READERS) as pool:
        for first in range(0, len(corpus), _AT_ONCE):
            yield from pool.map(one, range(first, min(first + _AT_ONCE, len(corpus))))


def _square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Bicubic and antialiased, as the tasks resize theirs."""
    if image.shape == (size, size):
        return image
    import torch
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(np.array(image))[None, None].float()
    resized = interpolate(pixels, size=(size, size), mode="bicubic", antialias=True)
    array: NDArray[np.uint8] = resized[0, 0].round_().clamp_(0, 255).to(torch.uint8).numpy()
    return array
