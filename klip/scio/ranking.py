"""How well a number separates two kinds of things (no torch)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def area_under_curve(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> float:
    """How often a positive lies above a negative, ties half: the area under the ROC curve; NaN without both kinds."""
    if not len(positives) or not len(negatives):
        return float("nan")
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left") + np.searchsorted(ordered, positives, side="right")
    return float(below.mean() / (2 * len(negatives)))
