"""The area under a curve of precision over recall, as COCO measures it (section 11.2 of the task specification)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RECALLS = np.linspace(0.0, 1.0, 101)
"""Section 11.2: points of the interpolation."""


def interpolated(right: Array, wrong: Array, wanted: float) -> float:
    """Area under the interpolated curve of precision over recall, 0 to 1.

    Args:
        right: how many right detections stand at each place, from the surest down.
        wrong: how many wrong ones.
        wanted: true boxes.
    """
    if not len(right):
        return 0.0
    hits, misses = np.cumsum(right), np.cumsum(wrong)
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / wanted, RECALLS, side="left")
    return float(np.where(at < len(right), best_from_here[np.minimum(at, len(right) - 1)], 0.0).mean())
