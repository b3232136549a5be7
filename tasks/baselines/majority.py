"""Answers that need no image: the most common training answer, and what guessing is worth (section 11.8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CellError, CheckError
from tasks.metrics.segmentation import IGNORE, Confusion

POSITION_ANSWERS = 2**9 - 1
"""Section 6.3: non-empty subsets of the nine cells."""
LAND_COVER_SETS = 2**4 - 1
"""Section 6.3: non-empty subsets of the four land covers."""


def most_common(answers: Sequence[str]) -> str:
    """The answer given most often; of equally common ones the first by the alphabet."""
    if not answers:
        raise CellError("there are no training answers", way_out="raise --limit, or leave it out")
    return min(Counter(answers).items(), key=lambda item: (-item[1], item[0]))[0]


class MajorityAnswers:
    """The most common training answer of each kind of question; of all questions for a kind never seen.

    A kind is whatever tells questions apart without the image: the task, or the task and the quadrant.
    """

    def __init__(self, kinds: Sequence[Hashable], answers: Sequence[str]) -> None:
        if len(kinds) != len(answers):
            raise CheckError(f"{len(kinds)} questions with {len(answers)} answers", way_out="give one answer each")
        self._overall = most_common(answers)
        by_kind: dict[Hashable, list[str]] = {}
        for kind, answer in zip(kinds, answers, strict=True):
            by_kind.setdefault(kind, []).append(answer)
        self._answers = {kind: most_common(own) for kind, own in by_kind.items()}

    def predict(self, kinds: Sequence[Hashable]) -> list[str]:
        """One answer per question."""
        return [self._answers.get(kind, self._overall) for kind in kinds]


def same_caption(captions: Sequence[Sequence[str]], images: int) -> list[str]:
    """The most common training caption for every test image.

    Args:
        captions: of each training image.
        images: how many test images there are.
    """
    return [most_common([text for own in captions for text in own])] * images


def largest_class(masks: Sequence[NDArray[np.uint8]], classes: int) -> int:
    """The class with most training pixels; of equally large ones the first."""
    counts = np.zeros(classes, dtype=np.int64)
    for mask in masks:
        counts += np.bincount(mask[mask != IGNORE].ravel(), minlength=classes)[:classes]
    return int(counts.argmax())


def one_class_everywhere(labels: Sequence[NDArray[np.uint8]], label: int, classes: int) -> Confusion:
    """The confusion of a prediction that holds one class only: OA is its share, mIoU that over the scored classes."""
    confusion = Confusion(classes)
    for mask in labels:
        confusion.update(mask, np.full_like(mask, label))
    return confusion


def segmentation_chance(matrix: NDArray[np.integer[Any]]) -> dict[str, float | None]:
    """What guessing each pixel evenly among all classes is worth, in percent, for many pixels.

    OA is 1/K. A class with the share p of the pixels is met by p/K of them, and is labelled or predicted on
    p + 1/K - p/K.

    Args:
        matrix: any confusion matrix of the test part; only how often each class is labelled matters.
    """
    classes, pixels = len(matrix), int(matrix.sum())
    if not pixels:
        return {"oa": None, "miou": None}
    share = matrix.sum(axis=1) / pixels
    iou = share / (classes * share + 1 - share)
    return {"oa": 100.0 / classes, "miou": 100.0 * float(iou.mean())}


def answer_chance(task: str, *, largest_count: int | None = None, types: int | None = None) -> float:
    """What guessing evenly in the answer space of a question is worth, in percent (sections 6.3 and 11.8).

    Args:
        task: id of one of the six question tasks.
        largest_count: the largest count among the training answers; the space is 0 to it.
        types: how many type names the data set has.
    """
    if task == "vqa_target_count" and largest_count is not None:
        space = largest_count + 1
    elif task == "vqa_target_rec" and types:
        space = types
    elif task in _FIXED:
        space = _FIXED[task]
    else:
        raise CheckError(
            f"the answer space of {task} is not known",
            way_out="give the largest training count for counting, the number of types for recognition",
        )
    return 100.0 / space


_FIXED = {
    "vqa_target_pos": POSITION_ANSWERS,
    "vqa_main_land": 4,
    "vqa_all_land": LAND_COVER_SETS,
    "vqa_reg_land": 4,
}
