"""Where targets can stand: formations of rectangles that keep clear of each other and inside the ground.

Rectangles are rows of five numbers: x, y, length, width, heading.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.targets.body import Size, turned_corners

Floats = NDArray[np.float64]
X, Y, LENGTH, WIDTH, HEADING = range(5)
_CELL_MARGIN = 0.01  # our choice, share of the ground: no centre so close to a border of cells that rounding decides


class Region(NamedTuple):
    """An upright rectangle of ground."""

    left: float
    top: float
    right: float
    bottom: float


class Member(NamedTuple):
    """One target that looks for a place."""

    type: str
    size: Size


class Formation(NamedTuple):
    """Members as they stand to each other."""

    members: tuple[Member, ...]
    poses: Floats
    """(n, 3): x, y, heading, around any origin."""
    kind: str = ""
    """How they stand, for whoever builds around them."""
    facing: float = 0.0
    """The direction that the noses of the (first) row look to."""


def whole(extent: tuple[float, float]) -> Region:
    """All of a ground of that height and width."""
    return Region(-extent[1] / 2, -extent[0] / 2, extent[1] / 2, extent[0] / 2)


def cell_region(cell: int, extent: tuple[float, float]) -> Region:
    """The inner part of cell 1 to 9 (section 6.1)."""
    row, column = divmod(cell - 1, 3)
    height, width = extent[0] / 3, extent[1] / 3
    left, top = -extent[1] / 2 + column * width, -extent[0] / 2 + row * height
    x, y = _CELL_MARGIN * extent[1], _CELL_MARGIN * extent[0]
    return Region(left + x, top + y, left + width - x, top + height - y)


def no_rectangles() -> Floats:
    """An empty list of rectangles."""
    return np.zeros((0, 5))


def overlapping(one: Floats, other: Floats, gap: float = 0.0) -> NDArray[np.bool_]:
    """Which rectangles of `one` (rows) come closer than about `gap` to which of `other` (columns)."""
    dx = other[None, :, X] - one[:, None, X]
    dy = other[None, :, Y] - one[:, None, Y]
    turn = other[None, :, HEADING] - one[:, None, HEADING]
    cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    half_one, half_other = (one[:, None, LENGTH:HEADING] + 2 * gap) / 2, other[None, :, LENGTH:HEADING] / 2
    apart = _apart(dx, dy, one[:, None, HEADING], half_one, half_other, cos, sin)
    apart |= _apart(dx, dy, other[None, :, HEADING], half_other, half_one, cos, sin)
    return ~apart


def _apart(
    dx: Floats, dy: Floats, heading: Floats, half: Floats, half_beside: Floats, cos: Floats, sin: Floats
) -> NDArray[np.bool_]:
    """Whether an axis of the rectangles with `heading` tells them from those beside."""
    along = np.abs(dx * np.cos(heading) + dy * np.sin(heading))
    across = np.abs(dy * np.cos(heading) - dx * np.sin(heading))
    reach_along = half[..., 0] + half_beside[..., 0] * cos + half_beside[..., 1] * sin
    reach_across = half[..., 1] + half_beside[..., 0] * sin + half_beside[..., 1] * cos
    separate: NDArray[np.bool_] = (along >= reach_along) | (across >= reach_across)
    return separate


def rectangles(formation: Formation, shift: Floats) -> Floats:
    """The formation's rectangles, moved; `shift` (..., 2) gives (..., n, 5)."""
    sizes = np.array([member.size for member in formation.members])
    shape = (*shift.shape[:-1], len(sizes))
    out = np.empty((*shape, 5))
    out[..., :2] = formation.poses[:, :2] + shift[..., None, :]
    out[..., LENGTH:HEADING] = sizes
    out[..., HEADING] = formation.poses[:, 2]
    return out


def stands_apart(formation: Formation, gap: float) -> bool:
    """Whether no two members come closer than `gap`."""
    here = rectangles(formation, np.zeros(2))
    close = overlapping(here, here, gap)
    return not bool(np.triu(close, 1).any())


def upright_boxes(formation: Formation) -> tuple[Floats, Floats]:
    """Smallest and largest x and y of every member's outlines, (n, 2) each."""
    turned = zip(formation.members, formation.poses, strict=True)
    corners = [turned_corners(member.type, member.size, float(pose[2])) for member, pose in turned]
    low = np.array([outline.min(axis=0) for outline in corners])
    high = np.array([outline.max(axis=0) for outline in corners])
    return low + formation.poses[:, :2], high + formation.poses[:, :2]


def within(formation: Formation, region: Region, ground: Region) -> bool:
    """Whether the middle of every member's upright box lies in `region` and all outlines on `ground`."""
    low, high = upright_boxes(formation)
    middle = (low + high) / 2
    inside = (middle >= region[:2]).all() and (middle <= region[2:]).all()
    return bool(inside and (low >= ground[:2]).all() and (high <= ground[2:]).all())


def free_shift(
    rng: np.random.Generator,
    formation: Formation,
    region: Region,
    ground: Region,
    taken: Floats,
    gap: float,
    tries: int = 12,
) -> Floats | None:
    """A move that brings the middle of every member's upright box into `region`, all outlines into `ground`.

    Args:
        rng: Draws the moves that are tried.
        formation: What is to be moved.
        region: Where the middles belong.
        ground: What no outline may leave.
        taken: Rectangles to keep clear of.
        gap: By how many metres.
        tries: How many moves are tried.

    Returns:
        x and y of the first move that works, or nothing.
    """
    low, high = upright_boxes(formation)
    middle = (low + high) / 2
    least = np.maximum(np.array(region[:2]) - middle.min(axis=0), np.array(ground[:2]) - low.min(axis=0))
    most = np.minimum(np.array(region[2:]) - middle.max(axis=0), np.array(ground[2:]) - high.max(axis=0))
    if (least > most).any():
        return None
    shifts: Floats = rng.uniform(least, most, (tries, 2))
    if not len(taken):
        return np.array(shifts[0])
    tried = rectangles(formation, shifts)
    hits = overlapping(tried.reshape(-1, 5), taken, gap).any(axis=1).reshape(tries, -1).any(axis=1)
    if hits.all():
        return None
    return np.array(shifts[int(np.argmin(hits))])


def first_place(
    rng: np.random.Generator,
    formations: Iterable[Formation],
    regions: Sequence[Region],
    ground: Region,
    taken: Floats,
    gap: float,
    tries: int = 12,
) -> Formation | None:
    """The first formation, moved, that finds a place, looking through the regions in their order."""
    formations = list(formations)
    for region in regions:
        for formation in formations:
            shift = free_shift(rng, formation, region, ground, taken, gap, tries)
            if shift is not None:
                poses = formation.poses.copy()
                poses[:, :2] += shift
                return formation._replace(poses=poses)
    return None
