"""Patch kernels for another patch size: a B/32 or L/14 tower read as a /16 one (mode `resampled16`).

Section 3.3 of the adapter specification. The pseudo-inverse method asks for the kernel whose answer to a resized patch
is that of the old kernel to the patch as it was (FlexiViT): exact where patches grow, nearest in the least-squares
sense where they shrink. Bilinear resizing of images acts on rows and columns separately, so one small matrix [new, old]
per side is all that has to be inverted.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from foundation.errors import UsageError

Method = Literal["pseudo_inverse", "bilinear"]


def resample(kernel: Tensor, new_patch: int, method: Method = "pseudo_inverse") -> Tensor:
    """A patch kernel [D, C, p, p] for patches of `new_patch` pixels."""
    if kernel.ndim != 4 or kernel.shape[2] != kernel.shape[3] or new_patch < 1:
        raise UsageError(
            f"a patch kernel of shape {tuple(kernel.shape)} cannot be made one for patches of {new_patch} pixels",
            way_out="give a kernel [D, C, p, p]; sum or pick the frames of a kernel over time first",
        )
    old_patch = kernel.shape[2]
    if new_patch == old_patch:
        return kernel
    resize = resizing_matrix(old_patch, new_patch)
    exact = kernel.double()
    if method == "pseudo_inverse":
        resize = torch.linalg.pinv(resize).T
        scale = 1.0
    else:
        # A kernel with as many times more pixels would answer as many times louder.
        scale = (old_patch / new_patch) ** 2
    return (scale * (resize @ exact @ resize.T)).to(kernel.dtype)


def resizing_matrix(old: int, new: int) -> Tensor:
    """[new, old]: bilinear resizing of a line of `old` pixels, with anti-aliasing where it shrinks."""
    lines = torch.eye(old, dtype=torch.float64)[None, None]
    return interpolate(lines, size=(new, old), mode="bilinear", antialias=True, align_corners=False)[0, 0]
