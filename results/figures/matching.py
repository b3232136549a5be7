"""Which detections found which targets, for pictures: greedy by score within each class (section 13, Fig. 12)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

SHOWN_SCORE = 0.5
"""Detections below are not drawn (section 13, Fig. 12)."""
SHOWN_IOU = 0.5
"""From this overlap on a detection has found a target (section 13, Fig. 12)."""

Box = Sequence[float]
"""x, y, width, height in pixels."""


class Detection(NamedTuple):
    """One answer that is drawn."""

    box: tuple[float, float, float, float]
    label: int
    score: float
    target: int | None
    """The target it found, by its place in the truth; None: nothing."""
    overlap: float
    """Intersection over union with that target; 0 without one."""


class Matching(NamedTuple):
    """The answers for one image, and the targets that nobody found."""

    detections: tuple[Detection, ...]
    missed: tuple[int, ...]

    @property
    def matched(self) -> int:
        """Detections that found a target."""
        return sum(detection.target is not None for detection in self.detections)

    @property
    def unmatched(self) -> int:
        """Detections of nothing."""
        return len(self.detections) - self.matched


def match(
    answers: Sequence[Sequence[float]],
    targets: Sequence[Sequence[float]],
    *,
    score: float = SHOWN_SCORE,
    iou: float = SHOWN_IOU,
) -> Matching:
    """Matches answers with targets.

    Args:
        answers: x, y, width, height, label, score.
        targets: x, y, width, height, label, and whatever follows.
        score: Answers below are left out.
        iou: Least overlap of a match.
    """
    shown = sorted((row for row in answers if row[5] >= score), key=lambda row: (-row[5], row[4], *row[:4]))
    free = set(range(len(targets)))
    found = []
    for row in shown:
        best, overlap = None, 0.0
        for place in sorted(free):
            if int(targets[place][4]) == int(row[4]):
                value = overlap_of(row, targets[place])
                if value >= iou and value > overlap:
                    best, overlap = place, value
        if best is not None:
            free.remove(best)
        x, y, width, height = row[:4]
        found.append(Detection((x, y, width, height), int(row[4]), float(row[5]), best, overlap))
    return Matching(tuple(found), tuple(sorted(free)))


def overlap_of(first: Box, second: Box) -> float:
    """Intersection over union of two boxes; 0 for boxes without area."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    union = first[2] * first[3] + second[2] * second[3] - shared
    return shared / union if union > 0 else 0.0
