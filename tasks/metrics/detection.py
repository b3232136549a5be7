"""Average precision of boxes (section 11.2 of the task specification), computed by faster-coco-eval.

The library leaves some cases to its caller: the order of equal scores, no detections at all, no true boxes at all.
They are settled here, before it is asked. As in COCO, at most 100 detections count per image *and class*.
The interval of AP50 comes from resampled images. For that the matches are made once, by an own and much smaller
implementation of the same rule at IoU 0.50; a test holds the two together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CheckError
from foundation.seeds import derive_seed
from results.record import Metric
from results.statistics import bootstrap
from tasks.metrics.precision_recall import interpolated, interpolated_rows

Array = NDArray[np.float64]

PER_IMAGE = 100
"""Section 11.2: detections that count, per image and class."""
NO_TRUTH = "no ground truth"
_BEYOND_EVERY_RANGE = 1e11  # an area above COCO's "all" range: the library then ignores the box, without a crowd's IoU
_LARGEST = 1e10  # the end of that range: the library would ignore a larger detection, where it is plainly wrong


class Box(NamedTuple):
    """A true box; x and y of its top-left corner, in pixels."""

    image_id: str
    label: int
    x: float
    y: float
    w: float
    h: float
    difficult: bool = False


class Detection(NamedTuple):
    """A predicted box."""

    image_id: str
    label: int
    x: float
    y: float
    w: float
    h: float
    score: float


class ClassScores(NamedTuple):
    """One class, in percent; None where the test part has no box of it."""

    ap50: float | None
    ap50_95: float | None
    recall100: float | None
    boxes: int
    detections: int


@dataclass(frozen=True)
class DetectionScores:
    """What the detections are worth."""

    metrics: dict[str, Metric]
    """`ap50`, `ap50_95` and `recall100`; recall is the mean over the IoU thresholds 0.50 to 0.95, as COCO prints it."""
    per_class: dict[str, ClassScores]
    absent_classes: tuple[str, ...]
    """Classes without test boxes, left out of every mean."""
    warnings: tuple[str, ...]


def score(
    truth: Sequence[Box],
    detections: Sequence[Detection],
    *,
    images: Sequence[str],
    classes: Sequence[str],
    ignore_difficult: bool = False,
    intervals: bool = True,
) -> DetectionScores:
    """Average precision over all test images, those without boxes included.

    A detection without a finite score is placed last, which is as if it were not there; one whose box is not finite,
    has a negative side or is larger than any image is a false positive.

    Args:
        truth: all boxes of the test part.
        detections: in any order.
        images: every test image.
        classes: names in label order.
        ignore_difficult: difficult boxes are neither asked for nor held against a detection that finds them.
        intervals: resample images for the interval of AP50.
    """
    _check(truth, detections, images, len(classes))
    boxes = sorted(truth)
    found, warnings = canonical(detections)
    asked = [box for box in boxes if not (ignore_difficult and box.difficult)]
    absent = sorted(set(range(len(classes))) - {box.label for box in asked})
    if not asked:
        metrics = {name: Metric(value=None, reason=NO_TRUTH) for name in ("ap50", "ap50_95", "recall100")}
        nothing = {name: ClassScores(None, None, None, 0, 0) for name in classes}
        return DetectionScores(metrics, nothing, tuple(classes), warnings)
    per_class = _per_class(boxes, found, images, classes, ignore_difficult)
    reason = f"{len(absent)} classes without test boxes left out" if absent else ""
    means = {
        name: math.fsum(values) / len(values)
        for name in ("ap50", "ap50_95", "recall100")
        if (values := [value for row in per_class.values() if (value := getattr(row, name)) is not None])
    }
    metrics = {name: Metric(value=value, n=len(images), reason=reason) for name, value in means.items()}
    if intervals:
        resampled = ResampledAP50(boxes, found, images=images, classes=len(classes), ignore_difficult=ignore_difficult)
        low, high = bootstrap(resampled, len(images), seed=derive_seed("ap50", len(images), len(classes)))
        update = {"low": low, "high": high, "interval": "bootstrap(1000)"}
        metrics["ap50"] = metrics["ap50"].model_copy(update=update)
    return DetectionScores(metrics, per_class, tuple(classes[label] for label in absent), warnings)


def coco_ground_truth(
    truth: Sequence[Box], images: Sequence[str], classes: int, *, ignore_difficult: bool = False
) -> dict[str, Any]:
    """The boxes as a COCO data set; images are numbered in the order of their names."""
    number = _numbers(images)
    annotations = [
        {
            "id": index + 1,
            "image_id": number[box.image_id],
            "category_id": box.label + 1,
            "bbox": [box.x, box.y, box.w, box.h],
            "area": _BEYOND_EVERY_RANGE if ignore_difficult and box.difficult else box.w * box.h,
            "iscrowd": 0,
        }
        for index, box in enumerate(truth)
    ]
    return {
        "info": {},
        "images": [{"id": value} for value in number.values()],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(classes)],
        "annotations": annotations,
    }


def coco_detections(detections: Sequence[Detection], images: Sequence[str]) -> list[dict[str, Any]]:
    """The detections as COCO results, in the order given."""
    number = _numbers(images)
    return [
        {
            "image_id": number[found.image_id],
            "category_id": found.label + 1,
            "bbox": [found.x, found.y, found.w, found.h],
            "score": found.score,
        }
        for found in detections
    ]


class ResampledAP50:
    """AP50 as a function of which images are in the test part: a metric for the bootstrap."""

    def __init__(
        self,
        truth: Sequence[Box],
        detections: Sequence[Detection],
        *,
        images: Sequence[str],
        classes: int,
        ignore_difficult: bool = False,
    ) -> None:
        self.count = len(images)
        position = {image: index for index, image in enumerate(images)}
        self._classes = []
        for label in range(classes):
            boxes = [box for box in truth if box.label == label]
            asked = np.zeros(self.count)
            for box in boxes:
                asked[position[box.image_id]] += not (ignore_difficult and box.difficult)
            if asked.any():
                matched = match([d for d in detections if d.label == label], boxes, ignore_difficult=ignore_difficult)
                where = np.array([position[image] for image in matched.image_ids], dtype=np.int64)
                self._classes.append((asked, where, matched.right))

    def __call__(self, chosen: NDArray[np.int64]) -> float:
        """In percent; NaN if the chosen images hold no true box."""
        copies = np.bincount(chosen, minlength=self.count).astype(np.float64)
        values = []
        for asked, where, right in self._classes:
            wanted = float(copies @ asked)
            if wanted > 0:
                values.append(interpolated(copies[where] * right, copies[where] * ~right, wanted))
        return 100.0 * math.fsum(values) / len(values) if values else math.nan

    def many(self, draws: NDArray[np.int64]) -> Array:
        """The same of each of the draws [R, n]."""
        offsets = self.count * np.arange(len(draws))[:, None]
        drawn = np.bincount((draws + offsets).ravel(), minlength=len(draws) * self.count)
        copies: Array = drawn.reshape(len(draws), self.count).astype(np.float64)
        total, classes = np.zeros(len(draws)), np.zeros(len(draws))
        for asked, where, right in self._classes:
            wanted = copies @ asked
            there = wanted > 0
            found: Array = copies[:, where]
            values = interpolated_rows(found * right, found * ~right, np.where(there, wanted, 1.0))
            total += np.where(there, values, 0.0)
            classes += there
        return np.where(classes > 0, 100.0 * total / np.maximum(classes, 1), np.nan)


class Matches(NamedTuple):
    """Detections of one class from the surest down, those on ignored boxes left out."""

    image_ids: list[str]
    right: NDArray[np.bool_]


def match(
    detections: Sequence[Detection], truth: Sequence[Box], *, iou: float = 0.5, ignore_difficult: bool = False
) -> Matches:
    """Assigns true boxes of one class to detections, the surest first, each to the best one that is still free."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    for box in sorted(truth, key=lambda box: (ignore_difficult and box.difficult, box)):
        boxes[box.image_id].append(box)
    by_image: dict[str, list[int]] = defaultdict(list)
    ordered = sorted(detections, key=canonical_order)
    for index, found in enumerate(ordered):
        if len(by_image[found.image_id]) < PER_IMAGE:
            by_image[found.image_id].append(index)
    state = np.full(len(ordered), -1)  # -1 left out, 0 wrong, 1 right
    for image, indices in by_image.items():
        state[indices] = 0
        if not boxes[image]:
            continue
        overlap = overlaps([ordered[index] for index in indices], boxes[image])
        ignored = np.array([ignore_difficult and box.difficult for box in boxes[image]])
        for row, index in enumerate(indices):
            candidates = np.where(overlap[row] >= min(iou, 1 - 1e-10), overlap[row], -1.0)
            free = np.where(ignored, -1.0, candidates)
            if free.max() <= 0:
                free = np.where(ignored, candidates, -1.0)
            if free.max() <= 0:
                continue
            # Of equally good boxes COCO takes the last one.
            best = len(free) - 1 - int(free[::-1].argmax())
            state[index] = -1 if ignored[best] else 1
            overlap[:, best] = -1.0
    kept = state >= 0
    return Matches([found.image_id for found, keep in zip(ordered, kept, strict=True) if keep], state[kept] == 1)


def overlaps(detections: Sequence[Detection], truth: Sequence[Box]) -> Array:
    """Intersection over union [detections, boxes]."""
    a = np.array([(d.x, d.y, d.w, d.h) for d in detections], dtype=np.float64).reshape(-1, 1, 4)
    b = np.array([(t.x, t.y, t.w, t.h) for t in truth], dtype=np.float64).reshape(1, -1, 4)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    union = a[..., 2:].prod(axis=2) + b[..., 2:].prod(axis=2) - both
    shares: Array = both / np.where(union > 0, union, 1.0)
    return shares


def canonical_order(found: Detection) -> tuple[Any, ...]:
    """Section 11.2: equal scores are ordered by what the detection says, not by where it stood."""
    return (-found.score, found.image_id, found.label, found.x, found.y, found.w, found.h)


def canonical(detections: Sequence[Detection]) -> tuple[list[Detection], tuple[str, ...]]:
    """The detections that count from the surest down, and what is to be said of the others.

    One without a finite score is left out; one whose box is impossible stays with an empty box, which is never right.
    """
    kept, without_score, without_box = [], 0, 0
    for found in detections:
        if not math.isfinite(found.score):
            without_score += 1
        elif not (
            all(map(math.isfinite, found[2:6])) and found.w >= 0 and found.h >= 0 and found.w * found.h <= _LARGEST
        ):
            without_box += 1
            kept.append(found._replace(x=0.0, y=0.0, w=0.0, h=0.0))
        else:
            kept.append(found)
    warnings = []
    if without_score:
        warnings.append(f"{without_score} detections without a finite score are left out")
    if without_box:
        warnings.append(f"{without_box} detections with an impossible box count as false positives")
    return sorted(kept, key=canonical_order), tuple(warnings)


def _per_class(
    boxes: Sequence[Box],
    found: Sequence[Detection],
    images: Sequence[str],
    classes: Sequence[str],
    ignore_difficult: bool,
) -> dict[str, ClassScores]:
    from faster_coco_eval import COCO, COCOeval_faster

    expected = coco_ground_truth(boxes, images, len(classes), ignore_difficult=ignore_difficult)
    truth = COCO(expected)
    results = [
        {**row, "id": index + 1, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
        for index, row in enumerate(coco_detections(found, images))
    ]
    evaluation = COCOeval_faster(truth, COCO({**expected, "annotations": results}), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    # [IoU threshold, recall, class, area range, limit]; the first range is "all", the last limit 100.
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    recall = np.asarray(evaluation.eval["recall"])[:, :, 0, -1]
    scores = {}
    for label, name in enumerate(classes):
        asked = sum(box.label == label and not (ignore_difficult and box.difficult) for box in boxes)
        detected = sum(d.label == label for d in found)
        if asked:
            of_class = precision[:, :, label]
            scores[name] = ClassScores(
                100.0 * float(of_class[0].mean()),
                100.0 * float(of_class.mean()),
                100.0 * float(recall[:, label].mean()),
                asked,
                detected,
            )
        else:
            scores[name] = ClassScores(None, None, None, 0, detected)
    return scores


def _numbers(images: Sequence[str]) -> dict[str, int]:
    # The libraries walk images in ascending number, and this order settles ties across images.
    return {image: index + 1 for index, image in enumerate(sorted(images))}


def _check(truth: Sequence[Box], detections: Sequence[Detection], images: Sequence[str], classes: int) -> None:
    known = set(images)
    if len(known) != len(images):
        raise CheckError("a test image is named twice", way_out="name each test image once")
    every: list[Box | Detection] = [*truth, *detections]
    for box in every:
        kind = "detection" if isinstance(box, Detection) else "true box"
        if box.image_id not in known:
            raise CheckError(
                f"a {kind} lies in an image that is not in the test part",
                where=box.image_id,
                way_out="predict exactly the test images",
            )
        if not 0 <= box.label < classes:
            raise CheckError(
                f"a {kind} has the label {box.label}, but there are {classes} classes",
                where=box.image_id,
                way_out="number classes from 0 in the order of their names",
            )
    for true_box in truth:
        if not (all(map(math.isfinite, true_box[2:6])) and true_box.w > 0 and true_box.h > 0):
            raise CheckError("a true box has no area", where=true_box.image_id, way_out="leave it out of the truth")
