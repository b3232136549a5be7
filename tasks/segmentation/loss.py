"""Cross entropy of class maps against masks that are finer than the maps, without the detour over every pixel.

The logits of a tile are few: one row per patch. The usual way interpolates them to all pixels, takes the cross entropy
there and goes the same way back. Bilinear interpolation is linear: up = R x C' with two small matrices. So

* the true class's part of the loss, the sum of `up` at the labels, is the product of the logits with the masks taken
  back to the patches (`R' onehot C`), which hang on the masks alone and are made once per tile;
* what remains per pixel is the logarithm of a sum of exponentials, whose gradient falls off on the way.

Equal to `cross_entropy(interpolate(...))` but for rounding, and made of matrix products, so it is deterministic on a
GPU as well. The mean is over labelled pixels (section 5.1); without any, loss and gradient are 0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from adapters.interface import Grid

_AT_ONCE = 16  # tiles whose one-hot masks are in memory together


def class_shares(masks: NDArray[np.uint8], classes: int, grid: Grid, device: torch.device) -> Tensor:
    """What the masks look like from the patches: [N, h, w, K], the interpolation's weight of each class per patch.

    Args:
        masks: [N, side, side]; values from `classes` on count for no class.
        classes: K.
        grid: Patches of a tile.
        device: Where it is computed; the shares themselves are in the computer's memory.
    """
    rows, columns = (interpolation(cells, masks.shape[1], device, torch.float32) for cells in grid)
    labels = torch.arange(classes, dtype=torch.uint8, device=device)[:, None, None, None]
    shares = torch.empty((len(masks), *grid, classes))
    for low in range(0, len(masks), _AT_ONCE):
        some = torch.from_numpy(np.array(masks[low : low + _AT_ONCE])).to(device)
        one_hot = (some[None] == labels).float()
        shares[low : low + _AT_ONCE] = ((rows.T @ one_hot) @ columns).permute(1, 2, 3, 0)
    return shares


def upsampled(logits: Tensor, side: int) -> Tensor:
    """Bilinear interpolation of [B, h, w, K] to pixels, classes first: [K, B, side, side]."""
    batch, height, width, classes = logits.shape
    rows = interpolation(height, side, logits.device, logits.dtype)
    columns = interpolation(width, side, logits.device, logits.dtype)
    maps = logits.permute(3, 0, 1, 2).reshape(classes * batch, height, width)
    return ((rows @ maps) @ columns.T).view(classes, batch, side, side)


def likeliest(maps: Tensor) -> Tensor:
    """The class [B, h, w] (uint8) with the largest of [K, B, h, w]; the first of equal ones."""
    best, labels = maps[0].clone(), torch.zeros(maps.shape[1:], dtype=torch.uint8, device=maps.device)
    for label in range(1, len(maps)):  # a few passes over contiguous maps; argmax over a far axis takes ten times that
        labels.masked_fill_(maps[label] > best, label)
        torch.maximum(best, maps[label], out=best)
    return labels


def mask_cross_entropy(logits: Tensor, shares: Tensor, valid: Tensor | None, side: int) -> Tensor:
    """Mean cross entropy over the labelled pixels of a batch.

    Args:
        logits: [B, h, w, K].
        shares: `class_shares` of the masks.
        valid: [B, side, side], True where a pixel is labelled; None if all are.
        side: Of the tiles.
    """
    with torch.autocast(logits.device.type, enabled=False):
        return cast(Tensor, _MaskCrossEntropy.apply(logits.float(), shares, valid, side))


class _MaskCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, shares: Tensor, valid: Tensor | None, side: int) -> Tensor:
        batch, height, width, classes = logits.shape
        maps = upsampled(logits, side)
        top = maps.amax(dim=0)
        maps.sub_(top).exp_()
        total = maps.sum(dim=0)
        logs = total.log().add_(top)
        if valid is None:
            pixels = logs.new_tensor(float(logs.numel()))
            maps.div_(total)
        else:
            pixels = valid.sum().to(logs.dtype).clamp_min(1.0)
            logs.mul_(valid)
            maps.mul_(valid / total)
        loss = (logs.sum() - (logits * shares).sum()) / pixels
        if ctx.needs_input_grad[0]:
            rows = interpolation(height, side, logits.device, logits.dtype)
            columns = interpolation(width, side, logits.device, logits.dtype)
            back = (rows.T @ maps.view(classes * batch, side, side)) @ columns
            gradient = back.view(classes, batch, height, width).permute(1, 2, 3, 0) - shares
            ctx.save_for_backward(gradient / pixels)
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0], None, None, None


@lru_cache(maxsize=16)
def interpolation(cells: int, pixels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The weights [pixels, cells] of bilinear interpolation along one axis, corners not aligned."""
    with torch.inference_mode(mode=False):  # an inference tensor, once kept, could not be trained with
        identity = torch.eye(cells, dtype=torch.float64)[None]
        weights = interpolate(identity, size=pixels, mode="linear", align_corners=False)[0].T
        return weights.to(device=device, dtype=dtype).contiguous()
