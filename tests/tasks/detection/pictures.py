"""Tiny scenes for the tests of detection: bright rectangles on noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, int, int, int]


class Picture(NamedTuple):
    """What one image of a tiny data set holds: its size and its targets as x, y, width, height."""

    width: int = 48
    height: int = 40
    boxes: tuple[Corner, ...] = ()
    names: tuple[str, ...] = ()
    whole: bool = True
    """False: the file is cut off."""


def draw(number: int, picture: Picture) -> NDArray[np.uint8]:
    """Noise with the targets as bright rectangles."""
    rng = np.random.default_rng([7, number])
    grey = rng.integers(0, 90, (picture.height, picture.width), dtype=np.uint8)
    for x, y, width, height in picture.boxes:
        grey[y : y + height, x : x + width] += np.uint8(150)
    return grey


def random_pictures(count: int, *, seed: int = 0, targets: int = 2, size: tuple[int, int] = (48, 40)) -> list[Picture]:
    """Targets of 8 to 14 pixels that do not overlap."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        boxes: list[Corner] = []
        while len(boxes) < targets:
            w, h = (int(side) for side in rng.integers(8, 15, 2))
            x, y = int(rng.integers(0, size[0] - w + 1)), int(rng.integers(0, size[1] - h + 1))
            clear = all(
                x > bx + bw + 2 or bx > x + w + 2 or y > by + bh + 2 or by > y + h + 2 for bx, by, bw, bh in boxes
            )
            if clear:
                boxes.append((x, y, w, h))
        pictures.append(Picture(*size, tuple(boxes)))
    return pictures
