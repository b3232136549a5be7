"""Pixel metrics from one confusion matrix over all valid test pixels (section 11.6 of the task specification)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CheckError
from foundation.seeds import derive_seed
from results.record import Metric
from results.statistics import bootstrap

Mask = NDArray[np.integer[Any]]
Counts = NDArray[np.int64]
Shares = NDArray[np.float64]

IGNORE = 255
"""Section 11.6: pixels with this label are not scored."""
NO_PIXELS = "no valid pixels"


class Confusion:
    """Pixel counts, tile by tile: rows are true classes, columns predicted ones."""

    def __init__(self, classes: int) -> None:
        if not 1 <= classes <= IGNORE:
            raise CheckError(
                f"{classes} classes", way_out=f"1 to {IGNORE} classes fit beside the ignore label {IGNORE}"
            )
        self.classes = classes
        self._tiles: list[Counts] = []

    def update(self, labels: Mask, predicted: Mask) -> None:
        """Counts one tile; under the ignore label anything may be predicted."""
        if labels.shape != predicted.shape:
            raise CheckError(
                f"the mask is {labels.shape} and its prediction {predicted.shape}",
                way_out="predict a class for every pixel of the tile",
            )
        valid = labels != IGNORE
        true, said = labels[valid].astype(np.int64), predicted[valid].astype(np.int64)
        for values, what in ((true, "mask"), (said, "prediction")):
            if values.size and not (values.min() >= 0 and values.max() < self.classes):
                odd = int(values.min()) if values.min() < 0 else int(values.max())
                raise CheckError(
                    f"a {what} holds the class {odd}, but there are {self.classes} classes",
                    way_out="number classes from 0; only the mask may hold the ignore label",
                )
        cells = np.bincount(true * self.classes + said, minlength=self.classes**2)
        self._tiles.append(cells.reshape(self.classes, self.classes))

    @property
    def tiles(self) -> Counts:
        """[tiles, classes, classes], in the order of the updates."""
        return np.array(self._tiles, dtype=np.int64).reshape(-1, self.classes, self.classes)

    @property
    def matrix(self) -> Counts:
        """[classes, classes] over all tiles."""
        total: Counts = self.tiles.sum(axis=0)
        return total


class ClassScores(NamedTuple):
    """One class, in percent."""

    iou: float | None
    """None if the class is neither labelled nor predicted; 0 if it is predicted only."""
    accuracy: float | None
    """Share of its pixels that are found; None if it has none."""
    labelled: int
    predicted: int


@dataclass(frozen=True)
class SegmentationScores:
    """What the masks are worth."""

    metrics: dict[str, Metric]
    """`oa`, `miou`, `mean_accuracy` and `fw_iou`."""
    per_class: dict[str, ClassScores]
    scored_classes: int
    """Classes that enter mIoU."""
    pixels: int
    """Valid ones."""


class _Ratios(NamedTuple):
    iou: Shares
    accuracy: Shares


def score(confusion: Confusion, classes: Sequence[str], *, intervals: bool = True) -> SegmentationScores:
    """All metrics of 11.6, with intervals over tiles.

    Args:
        confusion: counts of all test tiles.
        classes: names in label order.
        intervals: resample tiles for the intervals of OA and mIoU.
    """
    if len(classes) != confusion.classes:
        raise CheckError(f"{len(classes)} names for {confusion.classes} classes", way_out="name every class once")
    matrix = confusion.matrix
    pixels = int(matrix.sum())
    if not pixels:
        undefined = {name: Metric(value=None, reason=NO_PIXELS) for name in ("oa", "miou", "mean_accuracy", "fw_iou")}
        return SegmentationScores(undefined, {name: ClassScores(None, None, 0, 0) for name in classes}, 0, 0)
    tiles = confusion.tiles
    ratios = _ratios(matrix)
    scored = int((~np.isnan(ratios.iou)).sum())
    left_out = f"{len(classes) - scored} classes neither labelled nor predicted left out"
    values = {
        "oa": _overall(matrix),
        "miou": _mean_iou(matrix),
        "mean_accuracy": 100.0 * float(np.nanmean(ratios.accuracy)),
        "fw_iou": 100.0 * float(np.nansum(matrix.sum(axis=1) / pixels * ratios.iou)),
    }
    metrics = {
        name: Metric(value=value, n=len(tiles), reason=left_out if name == "miou" and scored < len(classes) else "")
        for name, value in values.items()
    }
    if intervals:
        for name, metric in (("oa", _overall), ("miou", _mean_iou)):
            low, high = bootstrap(
                _Resampled(tiles, metric), len(tiles), seed=derive_seed(name, len(tiles), len(classes))
            )
            update = {"low": low, "high": high, "interval": "bootstrap(1000)"}
            metrics[name] = metrics[name].model_copy(update=update)
    labelled, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    per_class = {
        name: ClassScores(
            _percent(ratios.iou[label]),
            _percent(ratios.accuracy[label]),
            int(labelled[label]),
            int(predicted[label]),
        )
        for label, name in enumerate(classes)
    }
    return SegmentationScores(metrics, per_class, scored, pixels)


class _Resampled:
    """A metric of the confusion matrix as a function of which tiles are in the test part."""

    def __init__(self, tiles: Counts, metric: Any) -> None:
        # Whole numbers up to 2^53 are exact in floats, and these multiply much faster.
        self._flat = tiles.reshape(len(tiles), -1).astype(np.float64)
        self._classes = tiles.shape[1]
        self._metric = metric

    def __call__(self, chosen: NDArray[np.int64]) -> float:
        copies = np.bincount(chosen, minlength=len(self._flat)).astype(np.float64)
        return float(self._metric((copies @ self._flat).reshape(self._classes, self._classes)))


def _ratios(matrix: NDArray[Any]) -> _Ratios:
    hits = np.diag(matrix).astype(np.float64)
    labelled, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    union = labelled + predicted - np.diag(matrix)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _Ratios(hits / union, hits / labelled)


def _overall(matrix: NDArray[Any]) -> float:
    total = float(matrix.sum())
    return 100.0 * float(np.trace(matrix)) / total if total else math.nan


def _mean_iou(matrix: NDArray[Any]) -> float:
    iou = _ratios(matrix).iou
    defined = iou[~np.isnan(iou)]
    return 100.0 * float(defined.mean()) if len(defined) else math.nan


def _percent(share: np.float64) -> float | None:
    return None if np.isnan(share) else 100.0 * float(share)
