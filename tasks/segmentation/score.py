"""Scores of a segmentation: a pure function of stored masks and truth (sections 11.6 and 11.8)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from results.record import Baselines, Metric
from tasks.answer_rows import answers_by_image
from tasks.baselines.majority import one_class_everywhere, segmentation_chance
from tasks.metrics.segmentation import NO_PIXELS, Confusion
from tasks.metrics.segmentation import score as score_pixels
from tasks.segmentation.mask_text import Mask, mask_from_text
from tasks.task import Row, Scored

METRICS = ("oa", "miou", "mean_accuracy", "fw_iou")
"""The first is the headline; the first two are the columns of the paper's Table 4."""


def score(predictions: Sequence[Row], truth: Row) -> Scored:
    """Metrics, baselines, details and warnings of one cell.

    Intervals draw what the split does not divide: images, or places with all their polarisations.
    """
    classes = list(truth["classes"])
    units = _units(truth)
    answers = answers_by_image(predictions, {row["image_id"] for row in truth["test"]}, "mask")
    labels: list[Mask] = []
    confusion = Confusion(len(classes))
    for rows in units.values():
        true, said = [], []
        for row in rows:
            mask = mask_from_text(row["mask"], what=f"the true mask of {row['image_id']}")
            answer = mask_from_text(
                answers[row["image_id"]], what=f"the mask of {row['image_id']}", size=(mask.shape[0], mask.shape[1])
            )
            true.append(mask.ravel())
            said.append(answer.ravel())
        labels.append(np.concatenate(true))
        confusion.update(labels[-1], np.concatenate(said))
    found = score_pixels(confusion, classes)
    metrics = {name: _with_units(found.metrics[name], len(truth["test"])) for name in METRICS}
    return {
        "metrics": metrics,
        "baselines": baselines(truth["train_counts"], labels, confusion, classes),
        "details": {
            "confusion": confusion.matrix.tolist(),
            "per_class": {name: scores._asdict() for name, scores in found.per_class.items()},
            "scored_classes": found.scored_classes,
            "pixels": found.pixels,
        },
        "warnings": _warnings(truth["train_counts"], confusion, classes),
    }


def baselines(
    train_counts: Sequence[int], labels: Sequence[Mask], confusion: Confusion, classes: Sequence[str]
) -> Baselines:
    """Guessing every pixel evenly, and the class with most training pixels everywhere (section 11.8).

    Guessing has an expected mIoU that is not 0: a class of the share p is met on p/K of the pixels.
    """
    most = max(range(len(classes)), key=lambda label: (train_counts[label], -label))
    everywhere = score_pixels(one_class_everywhere(labels, most, len(classes)), classes, intervals=False)
    chance = segmentation_chance(confusion.matrix)
    shares = confusion.matrix.sum(axis=1)
    if shares.sum():
        share = shares / shares.sum()
        iou = share / (len(classes) * share + 1 - share)
        chance = {**chance, "mean_accuracy": 100.0 / len(classes), "fw_iou": 100.0 * float((share * iou).sum())}
    return Baselines(
        chance={name: chance.get(name) for name in METRICS},
        majority={name: everywhere.metrics[name].value for name in METRICS},
    )


def _units(truth: Row) -> dict[str, list[Row]]:
    units: dict[str, list[Row]] = {}
    for row in truth["test"]:
        units.setdefault(row["unit"], []).append(row)
    return units


def _with_units(metric: Metric, images: int) -> Metric:
    """The number of images is what a reader expects; the interval says if it drew something larger."""
    if metric.interval and metric.n != images:
        return metric.model_copy(update={"n": images, "interval": f"{metric.interval} over {metric.n} units"})
    return metric.model_copy(update={"n": images})


def _warnings(train_counts: Sequence[int], confusion: Confusion, classes: Sequence[str]) -> list[str]:
    labelled = confusion.matrix.sum(axis=1)
    if not labelled.sum():
        return [f"{NO_PIXELS} in the test part: nothing can be scored"]
    found = []
    for what, counts in (("training", train_counts), ("test", labelled)):
        absent = [name for name, count in zip(classes, counts, strict=True) if not count]
        if absent:
            found.append(f"no {what} pixels of {', '.join(absent)}")
    return found
