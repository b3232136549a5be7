"""The area under a curve of precision over recall, as COCO measures it (section 11.2 of the task specification)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.float64] | NDArray[np.bool_]

RECALLS = np.linspace(0.0, 1.0, 101)
"""Section 11.2: points of the interpolation."""


def interpolated(right: Counts, wrong: Counts, wanted: float) -> float:
    """Area under the interpolated curve of precision over recall, 0 to 1: the mean of its points."""
    return float(interpolated_curve(right, wrong, wanted).mean())


def interpolated_rows(right: Array, wrong: Array, wanted: Array) -> Array:
    """`interpolated` of many rows at once: whole numbers of detections [R, n] and of boxes [R], at least one each."""
    rows, places = right.shape
    if not places:
        return np.zeros(rows)
    hits, misses = np.cumsum(right, axis=1), np.cumsum(wrong, axis=1)
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # The fewest hits that reach each point, in whole numbers: then all rows can be searched as one that never falls.
    needed = np.ceil(RECALLS * wanted[:, None])
    needed -= (needed - 1) / wanted[:, None] >= RECALLS
    needed += needed / wanted[:, None] < RECALLS
    apart = (hits[:, -1].max() + wanted.max() + 2) * np.arange(rows)[:, None]
    at = np.searchsorted((hits + apart).ravel(), (needed + apart).ravel(), side="left").reshape(needed.shape)
    at -= places * np.arange(rows)[:, None]
    found = np.take_along_axis(best_from_here, np.minimum(at, places - 1), axis=1)
    means: Array = np.where(at < places, found, 0.0).mean(axis=1)
    return means


def interpolated_curve(right: Counts, wrong: Counts, wanted: float) -> Array:
    """The best precision, 0 to 1, at each of `RECALLS` and beyond; 0 where so much is never found.

    Args:
        right: how many right detections stand at each place, from the surest down.
        wrong: how many wrong ones.
        wanted: true boxes.
    """
    if not len(right):
        return np.zeros_like(RECALLS)
    hits, misses = np.cumsum(right, dtype=np.float64), np.cumsum(wrong, dtype=np.float64)
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / wanted, RECALLS, side="left")
    curve: Array = np.where(at < len(right), best_from_here[np.minimum(at, len(right) - 1)], 0.0)
    return curve
