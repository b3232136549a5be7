"""Gradient by ratio: edges as the logarithm of the ratio of sums on both sides, which speckle and gain do not move.

Speckle multiplies, so differences of pixels grow with brightness and ratios do not. The half-windows of a kernel of
half-size r are r lines wide and 2 r + 1 long, on both sides of the pixel, whose own line belongs to neither.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def gradient_by_ratio(grey: Tensor, half_size: int, floor: float) -> Tensor:
    """Magnitude [B, H, W] of the gradient of images [B, H, W]; borders are reflected."""
    r = half_size
    padded = F.pad(grey[:, None], (r, r, r, r), mode="reflect")
    across = _log_ratio(padded, r, floor)
    along = _log_ratio(padded.transpose(2, 3), r, floor).transpose(2, 3)
    # The root has no finite slope at nought; nobody differentiates a target, but a flat image must not give NaN.
    return (across.square() + along.square()).sqrt()[:, 0]


def multi_scale_gradient(grey: Tensor, half_sizes: Sequence[int], floor: float) -> Tensor:
    """[B, scales, H, W]."""
    return torch.stack([gradient_by_ratio(grey, half_size, floor) for half_size in half_sizes], dim=1)


def _log_ratio(padded: Tensor, r: int, floor: float) -> Tensor:
    """Logarithm of the sum on the right over the one on the left: sums of r columns, shifted, are both sides."""
    tall = F.avg_pool2d(padded, (2 * r + 1, 1), stride=1) * (2 * r + 1)
    strips = F.avg_pool2d(tall, (1, r), stride=1) * r
    width = padded.shape[3] - 2 * r
    left, right = strips[..., :width], strips[..., r + 1 : r + 1 + width]
    return torch.log((right + floor) / (left + floor))
