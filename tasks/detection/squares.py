"""Images of a detection data set at the size they are learnt and tested at, decoded once and kept in the cache.

Tests see the longest side at exactly the size of the input. Training draws another size for every image and epoch
(section 4.1), so its images are kept as the file has them, and only those that are larger than the largest size ever
drawn are brought down to it: no enlarged picture is made from a reduced one, and nothing is decoded per epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adapters.decode import read_grey
from adapters.pixel_cache import cached_array
from foundation.progress import Progress, silent
from foundation.seeds import derive_seed
from tasks.datasets.just_decoded import JUST_DECODED
from tasks.detection.data import Scene
from tasks.lookahead import each_opened

Grey = NDArray[np.uint8]


class Size(NamedTuple):
    """Pixels down and across."""

    height: int
    width: int


@dataclass(frozen=True)
class Squares:
    """Images in the top-left corners of squares [N, S, S] whose rest is 0 (section 4.1)."""

    pixels: Grey
    contents: tuple[Size, ...]
    """What each image fills of its square."""
    files: tuple[Size, ...]
    """How large each image is in its file."""

    def __len__(self) -> int:
        """Images."""
        return len(self.contents)

    def content(self, position: int) -> Grey:
        """One image without the padding."""
        height, width = self.contents[position]
        return self.pixels[position, :height, :width]


def fitted(file: Size, longest: float) -> Size:
    """The size at which the longest side is so long, the ratio kept; no side vanishes."""
    scale = longest / max(file)
    return Size(max(1, round(file.height * scale)), max(1, round(file.width * scale)))


def squares_to_test(scenes: Sequence[Scene], size: int, progress: Progress = silent) -> Squares:
    """Images with the longest side at `size`, enlarged where the file is smaller."""
    files = tuple(Size(scene.height, scene.width) for scene in scenes)
    return _cached(scenes, files, tuple(fitted(file, size) for file in files), size, progress)


def squares_to_learn(scenes: Sequence[Scene], largest: float, progress: Progress = silent) -> Squares:
    """Images as the file has them, but none longer than `largest`."""
    files = tuple(Size(scene.height, scene.width) for scene in scenes)
    limit = math.ceil(largest)
    contents = tuple(file if max(file) <= limit else fitted(file, limit) for file in files)
    side = max((max(content) for content in contents), default=1)
    return _cached(scenes, files, contents, side, progress)


def noise_like(squares: Squares, scenes: Sequence[Scene], seed: int) -> Squares:
    """Noise of the same shapes, other for every image: what the noise twin is shown."""
    noise = np.zeros(squares.pixels.shape, dtype=np.uint8)
    for position, (scene, content) in enumerate(zip(scenes, squares.contents, strict=True)):
        rng = np.random.default_rng(derive_seed("noise", seed, scene.image_id))
        noise[position, : content.height, : content.width] = rng.integers(0, 256, content, dtype=np.uint8)
    return Squares(noise, squares.contents, squares.files)


def resized(grey: Grey, size: Size, box: tuple[float, float, float, float] | None = None) -> Grey:
    """The part of an image within `box` (left, top, right, bottom), bilinear and antialiased."""
    if box is None and grey.shape == size:
        return grey
    picture = Image.fromarray(grey).resize((size.width, size.height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(picture, dtype=np.uint8)


def _cached(
    scenes: Sequence[Scene], files: tuple[Size, ...], contents: tuple[Size, ...], side: int, progress: Progress
) -> Squares:
    def fill(pixels: Grey) -> None:
        def read(position: int) -> Grey:
            scene = scenes[position]
            grey = JUST_DECODED.take(scene.pixel_hash, partial(read_grey, scene.path))
            return resized(grey, contents[position])

        pixels[:] = 0
        for position, grey in enumerate(each_opened(read, range(len(scenes)), progress, "decoding")):
            pixels[position, : grey.shape[0], : grey.shape[1]] = grey

    parts = [f"{scene.pixel_hash} {content}" for scene, content in zip(scenes, contents, strict=True)]
    pixels = cached_array("scenes", parts, (len(scenes), side, side), fill, sources=[Path(__file__)])
    return Squares(pixels, contents, files)
