"""SAR amplitude to 8 bit, one way for all readers (section 2.2 of the task specification)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UsageError


def mean_clip_uint8(amplitude: NDArray[Any], factor: float = 3.0) -> NDArray[np.uint8]:
    """Clips at `factor` times the mean of the non-zero pixels and scales to 0-255, per image.

    Complex input is taken as its magnitude. Pixels that are not finite count as no data, like zeros: they
    stay out of the mean and become zero. An image without any signal becomes all zero.

    Args:
        amplitude: Any shape, any real or complex type; not negative.
        factor: Where to clip, in means; 3 in section 2.2.
    """
    if not factor > 0:
        raise UsageError(f"the clip factor must be positive, got {factor}", where="mean_clip_uint8", way_out="use 3.0")
    values = np.abs(amplitude) if np.iscomplexobj(amplitude) else np.asarray(amplitude)
    values = values.astype(np.float64)
    values[~np.isfinite(values)] = 0.0
    if values.size and values.min() < 0:
        raise UsageError(
            "amplitude below zero: this is not an amplitude image",
            where="mean_clip_uint8",
            way_out="convert decibels to amplitude first, 10 ** (dB / 20)",
        )
    signal = values[values > 0]
    if signal.size == 0:
        return np.zeros(values.shape, dtype=np.uint8)
    ceiling = factor * float(signal.mean())
    scaled: NDArray[np.uint8] = np.rint(np.minimum(values, ceiling) / ceiling * 255.0).astype(np.uint8)
    return scaled
