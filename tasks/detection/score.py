"""Scores of a detection: a pure function of stored predictions and truth (section 11.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from foundation.errors import CheckError
from results.record import Baselines
from tasks.answer_rows import answers_by_image, is_number
from tasks.metrics import detection
from tasks.metrics.detection import Box, Detection
from tasks.metrics.precision_recall import interpolated_curve
from tasks.task import Row, Scored

METRICS = ("ap50", "ap50_95", "recall100")
"""AP50 is the column of the paper's Table 4."""
TRIVIAL = "threshold detector (constant false alarm rate), fitted on the training part"
"""What stands under `majority`: the best of the two trivial answers of section 11.8; the other, no boxes, has 0."""


def score(predictions: Sequence[Row], truth: Row) -> Scored:
    """Metrics, baselines, details and warnings of one cell."""
    images = [row["image_id"] for row in truth["test"]]
    classes = list(truth["classes"])
    boxes = true_boxes(truth)
    found = detections(predictions, images)
    lenient = bool(truth.get("ignore_difficult", False))
    scored = detection.score(boxes, found, images=images, classes=classes, ignore_difficult=lenient)
    simple = detections(truth["threshold"], images)
    trivial = detection.score(boxes, simple, images=images, classes=classes, ignore_difficult=lenient, intervals=False)
    undefined = all(lenient and box.difficult for box in boxes)
    return {
        "metrics": {name: scored.metrics[name] for name in METRICS},
        "baselines": Baselines(
            chance=dict.fromkeys(METRICS, None if undefined else 0.0),
            majority={name: trivial.metrics[name].value for name in METRICS},
        ),
        "details": {
            "per_class": {name: row._asdict() for name, row in scored.per_class.items()},
            "precision_at_recall": curves(boxes, found, classes, ignore_difficult=lenient),
            "absent_classes": list(scored.absent_classes),
            "detections": len(found),
            "majority_is": TRIVIAL,
        },
        "warnings": list(scored.warnings),
    }


def true_boxes(truth: Row) -> list[Box]:
    """The boxes of the test part."""
    return [
        Box(row["image_id"], int(label), float(x), float(y), float(w), float(h), bool(difficult))
        for row in truth["test"]
        for x, y, w, h, label, difficult in row["boxes"]
    ]


def detections(predictions: Sequence[Row], images: Sequence[str]) -> list[Detection]:
    """Stored predictions as the metric wants them; they must answer for exactly these images."""
    answers = answers_by_image(predictions, images, "boxes")
    for image in images:
        if not isinstance(answers[image], list | tuple):
            raise CheckError(
                f"the boxes of an image are no list but {type(answers[image]).__name__}",
                where=image,
                way_out="give a list of boxes; of an image without targets an empty one",
            )
    return [_detection(image, box) for image in images for box in answers[image]]


def curves(
    boxes: Sequence[Box], found: Sequence[Detection], classes: Sequence[str], *, ignore_difficult: bool = False
) -> dict[str, list[float] | None]:
    """Interpolated precision in per cent at 101 recalls from 0 to 1, at IoU 0.5; None for classes without test boxes.

    The mean over a class's points is its AP50.
    """
    found, _ = detection.canonical(found)
    drawn: dict[str, list[float] | None] = {}
    for label, name in enumerate(classes):
        true = [box for box in boxes if box.label == label]
        asked = sum(not (ignore_difficult and box.difficult) for box in true)
        if not asked:
            drawn[name] = None
            continue
        own = [one for one in found if one.label == label]
        right = detection.match(own, true, ignore_difficult=ignore_difficult).right
        drawn[name] = [float(f"{100.0 * value:.6g}") for value in interpolated_curve(right, ~right, asked)]
    return drawn


def _detection(image: str, box: Any) -> Detection:
    numbers = isinstance(box, list | tuple) and all(map(is_number, box))
    if not numbers or len(box) != 6 or not float(box[4]).is_integer():
        raise CheckError(
            f"not a detection: {box!r}"[:200],
            where=image,
            way_out="give [x, y, width, height, label, score] with the number of a class as label",
        )
    x, y, w, h, label, sure = box
    return Detection(image, int(label), float(x), float(y), float(w), float(h), float(sure))
