"""Boxes against the image they lie in: the checks of section 2.1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from tasks.datasets.records import Box

OUTSIDE = 2.0
"""Pixels that a box may pass the border before its file counts as bad (section 2.1)."""
SMALLEST_SIDE = 1.0
"""Clipped boxes with a shorter side are dropped (section 2.1)."""


class CheckedBoxes(NamedTuple):
    """Boxes inside the image, and what was done to get there."""

    kept: tuple[Box, ...]
    clipped: int
    dropped: int


def check_boxes(boxes: Sequence[Box], width: int, height: int) -> CheckedBoxes:
    """Clips boxes to the image and drops the slivers that are left.

    Raises:
        ValueError: A box has no area, is not finite, or passes the border by more than two pixels.
    """
    kept: list[Box] = []
    clipped = dropped = 0
    for box in boxes:
        inside = _clip(box, width, height)
        clipped += inside != box
        if min(inside.width, inside.height) < SMALLEST_SIDE:
            dropped += 1
        else:
            kept.append(inside)
    return CheckedBoxes(tuple(kept), clipped, dropped)


def _clip(box: Box, width: int, height: int) -> Box:
    sides = box[:4]
    if not all(math.isfinite(side) for side in sides):
        raise ValueError(f"has a box that is not finite: {_shown(box)}")
    if box.width <= 0 or box.height <= 0:
        raise ValueError(f"has a box without area: {_shown(box)}")
    right, bottom = box.x + box.width, box.y + box.height
    outside = max(-box.x, -box.y, right - width, bottom - height)
    if outside > OUTSIDE:
        raise ValueError(f"has a box {outside:g} px outside the image of {width} x {height}: {_shown(box)}")
    if outside <= 0:
        return box
    left, top = max(0.0, box.x), max(0.0, box.y)
    # A box may lie outside as a whole, by less than two pixels: nothing of it is left.
    clipped = (max(0.0, min(float(width), right) - left), max(0.0, min(float(height), bottom) - top))
    return box._replace(x=left, y=top, width=clipped[0], height=clipped[1])


def _shown(box: Box) -> str:
    return f"x {box.x:g}, y {box.y:g}, width {box.width:g}, height {box.height:g}"
