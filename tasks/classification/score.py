"""Scores of a classification: a pure function of stored predictions and truth (section 11.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CheckError
from foundation.seeds import derive_seed
from results.record import Baselines, Metric
from results.statistics import bootstrap, wilson
from tasks.answer_rows import answers_by_image, is_number
from tasks.task import Row, Scored

Scores = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

TOP = (1, 3)
"""The two columns of the paper's Table 4."""


def ranks(scores: Scores, labels: Labels, mode: Literal["against", "library"] = "against") -> NDArray[np.int64]:
    """How many classes are placed before the true one.

    Ties go against the model: other classes with an equal score count as placed before, so constant scores give 0 per
    cent and not the share of class 0. `library` places the lower index first, for comparison with libraries. A row
    with NaN is placed last.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    better = (scores > own).sum(axis=1)
    equal = scores == own
    if mode == "against":
        ties = equal.sum(axis=1) - 1
    else:
        ties = (equal & (np.arange(scores.shape[1]) < labels[:, None])).sum(axis=1)
    placed: NDArray[np.int64] = (better + ties).astype(np.int64)
    placed[np.isnan(scores).any(axis=1)] = scores.shape[1]
    return placed


def confusion(scores: Scores, labels: Labels) -> tuple[NDArray[np.int64], int]:
    """Rows are true classes, columns predicted ones (lowest index on ties); and how many rows gave no answer."""
    classes = scores.shape[1]
    answered = ~np.isnan(scores).any(axis=1)
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (labels[answered], scores[answered].argmax(axis=1)), 1)
    return matrix, int((~answered).sum())


def score(predictions: Sequence[Row], truth: Row) -> Scored:
    """Metrics, baselines, details and warnings of one cell."""
    scores, labels = _aligned(predictions, truth)
    classes = list(truth["classes"])
    placed = ranks(scores, labels)
    metrics = {f"top{k}": _share(placed < k, k, len(classes)) for k in TOP}
    metrics["macro"] = _macro(placed < 1, labels, len(classes))
    matrix, unanswered = confusion(scores, labels)
    warnings = [f"{unanswered} of {len(labels)} answers hold NaN and count as wrong"] if unanswered else []
    return {
        "metrics": metrics,
        "baselines": baselines(truth["train_counts"], labels, len(classes)),
        "details": {
            "confusion": matrix.tolist(),
            "recall": [_recall(placed < 1, labels, label) for label in range(len(classes))],
            "unanswered": unanswered,
        },
        "warnings": warnings,
    }


def baselines(train_counts: Sequence[int], labels: Labels, classes: int) -> Baselines:
    """Uniform guessing, and always answering the largest training classes (section 11.8)."""
    by_size = sorted(range(classes), key=lambda label: (-train_counts[label], label))
    chance: dict[str, float | None] = {f"top{k}": 100.0 * min(k, classes) / classes for k in TOP}
    majority: dict[str, float | None] = {
        f"top{k}": 100.0 * float(np.isin(labels, by_size[:k]).mean()) if len(labels) else None for k in TOP
    }
    return Baselines(
        chance={**chance, "macro": 100.0 / classes},
        majority={**majority, "macro": 100.0 / len(set(labels.tolist())) if by_size[0] in labels else 0.0},
    )


def _aligned(predictions: Sequence[dict[str, Any]], truth: dict[str, Any]) -> tuple[Scores, Labels]:
    asked = [row["image_id"] for row in truth["test"]]
    answers = answers_by_image(predictions, asked, "scores")
    classes = len(truth["classes"])
    table = [_numbers(answers[name], name, classes) for name in asked]
    scores = np.array(table, dtype=np.float64).reshape(len(asked), classes)
    return scores, np.array([row["label"] for row in truth["test"]], dtype=np.int64)


def _numbers(answer: Any, image: str, classes: int) -> list[float]:
    way_out = "give one number per class in the order of the truth's classes, or null for none"
    if not isinstance(answer, list | tuple):
        raise CheckError(f"the scores of {image} are no list but {type(answer).__name__}", way_out=way_out)
    if len(answer) != classes:
        raise CheckError(f"{image} has {len(answer)} scores for {classes} classes", way_out=way_out)
    odd = [value for value in answer if value is not None and not is_number(value)]
    if odd:
        raise CheckError(f"a score of {image} is no number: {odd[0]!r}"[:200], way_out=way_out)
    return [math.nan if value is None else float(value) for value in answer]


def _share(right: NDArray[np.bool_], k: int, classes: int) -> Metric:
    n = len(right)
    if n == 0:
        return Metric(value=None, reason="no test images")
    if k >= classes:
        return Metric(value=100.0, n=n, reason=f"{classes} classes: 100 by definition")
    low, high = wilson(int(right.sum()), n)
    return Metric(value=100.0 * int(right.sum()) / n, low=low, high=high, interval="wilson", n=n)


def _macro(right: NDArray[np.bool_], labels: Labels, classes: int) -> Metric:
    n = len(right)
    if n == 0:
        return Metric(value=None, reason="no test images")
    absent = classes - len(set(labels.tolist()))

    def mean_recall(chosen: NDArray[np.int64]) -> float:
        hits = np.bincount(labels[chosen], weights=right[chosen], minlength=classes)
        sizes = np.bincount(labels[chosen], minlength=classes)
        return 100.0 * float((hits[sizes > 0] / sizes[sizes > 0]).mean())

    low, high = bootstrap(mean_recall, n, seed=derive_seed("macro", n, classes))
    return Metric(
        value=mean_recall(np.arange(n)),
        low=low,
        high=high,
        interval="bootstrap(1000)",
        n=n,
        reason=f"{absent} classes without test images left out" if absent else "",
    )


def _recall(right: NDArray[np.bool_], labels: Labels, label: int) -> float | None:
    chosen = labels == label
    return 100.0 * float(right[chosen].mean()) if chosen.any() else None
