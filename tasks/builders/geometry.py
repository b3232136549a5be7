"""Where in an image something is: quadrants and the cells of a 3 x 3 grid (section 6.1 of the task specification).

A box belongs to the place of its centre (decision 5 of section 1). Comparisons are made in whole numbers, because
`3 * x / width` is rounded in floating point and would move centres across a border.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from foundation.errors import CheckError

QUADRANTS = ("top-left", "top-right", "bottom-left", "bottom-right")
"""In the order in which captions and questions go through them."""
CELLS = 9
"""Of the grid, numbered 1 to 9 row by row from the top left."""


class Box(NamedTuple):
    """Corner and sides in pixels; the origin is the top-left corner of the first pixel, x to the right, y down."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> Point:
        """Where it counts as being."""
        return Point(self.x + self.width / 2, self.y + self.height / 2)


class Point(NamedTuple):
    """A place in an image, in pixels."""

    x: float
    y: float


class Size(NamedTuple):
    """Of an image, in pixels."""

    width: int
    height: int


def quadrant(point: Point, size: Size) -> str:
    """One of `QUADRANTS`; what lies on a middle line belongs to the right and to the bottom."""
    _check(point, size)
    return QUADRANTS[2 * _part(point.y, size.height, 2) + _part(point.x, size.width, 2)]


def cell(point: Point, size: Size) -> int:
    """1 to 9, row by row from the top left; what lies on a grid line belongs to the right and to below it."""
    _check(point, size)
    return 3 * _part(point.y, size.height, 3) + _part(point.x, size.width, 3) + 1


def tenths(value: float, whole: int, parts: int) -> str:
    """`parts * value / whole` with one decimal, rounded half up and exactly, for coordinates in texts."""
    numerator, denominator = float(value).as_integer_ratio()
    divisor = denominator * whole
    rounded = (2 * 10 * parts * numerator + divisor) // (2 * divisor)
    return f"{rounded // 10}.{rounded % 10}"


def closer_than(a: Point, b: Point, size: Size, percent: int) -> bool:
    """Whether two places are nearer to each other than this, with both sides of the image counted as 100 per cent."""
    # Multiplied out: with whole and half pixels nothing is rounded, so the border is where it should be.
    across = 100 * (a.x - b.x) * size.height
    down = 100 * (a.y - b.y) * size.width
    return across * across + down * down < (percent * size.width * size.height) ** 2


def _part(value: float, whole: int, parts: int) -> int:
    """Which of the equal parts of a side `value` lies in; the far end belongs to the last one."""
    numerator, denominator = float(value).as_integer_ratio()
    return min(parts - 1, parts * numerator // (denominator * whole))


def _check(point: Point, size: Size) -> None:
    if min(size) < 1:
        raise CheckError(f"an image of {size.width} x {size.height} pixels", way_out="give the size of the image")
    inside = math.isfinite(point.x) and math.isfinite(point.y) and 0 <= point.x <= size.width
    if not (inside and 0 <= point.y <= size.height):
        raise CheckError(
            f"the centre ({point.x}, {point.y}) lies outside the image of {size.width} x {size.height} pixels",
            way_out="clip boxes to the image first, and give x, y, width, height in pixels",
        )
