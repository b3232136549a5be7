"""What a detector says of one image, as it is stored: boxes in pixels of the file, the surest first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating[Any]]


def answer(
    image_id: str, boxes: Boxes, labels: NDArray[np.integer[Any]], scores: Boxes, *, digits: int = 9
) -> dict[str, Any]:
    """One line of the predictions; nine significant digits give every float32 back exactly.

    Args:
        image_id: Of the test part.
        boxes: [K, 4] left, top, width, height.
        labels: [K] indices of classes.
        scores: [K].
        digits: Significant ones of the scores.
    """
    return {
        "image_id": image_id,
        "boxes": [
            [*(float(f"{side:.9g}") for side in box), int(label), float(f"{score:.{digits}g}")]
            for box, label, score in zip(boxes.tolist(), labels.tolist(), scores.tolist(), strict=True)
        ],
    }


def within_image(corners: Boxes, width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Corners [K, 4] clipped to the image as left, top, width, height, and which of them are boxes still.

    What lies in the padding, has no area or is not finite is no box.
    """
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(corners).all(axis=1))
    limits = np.array([width, height, width, height], dtype=np.float64)
    inside = np.clip(np.where(finite[:, None], corners, 0.0).astype(np.float64), 0.0, limits)
    sides = inside[:, 2:] - inside[:, :2]
    real: NDArray[np.bool_] = finite & (sides.min(axis=1, initial=np.inf) > 0)
    return np.concatenate([inside[:, :2], sides], axis=1), real
