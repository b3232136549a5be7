"""Boxes as x1 y1 x2 y2: overlap, and the four numbers that a network gives for one box relative to another.

Everything is batched; the formulas are those of Faster R-CNN, as torchvision has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

UNSCALED = (1.0, 1.0, 1.0, 1.0)
"""The proposal network's deltas are not scaled."""

_LARGEST_GROWTH = math.log(1000 / 16)  # of a side, in the logarithm: the bound of Faster R-CNN's implementations


class Targets(NamedTuple):
    """What is to be found in one image: boxes [M, 4] in pixels of the padded square, labels [M]."""

    boxes: Tensor
    labels: Tensor


class PaddedTargets(NamedTuple):
    """The targets of a batch: boxes [B, M, 4] and labels [B, M], with `valid` [B, M] where there is one."""

    boxes: Tensor
    labels: Tensor
    valid: Tensor


def padded(targets: Sequence[Targets], device: torch.device) -> PaddedTargets:
    """The targets of a batch side by side."""
    boxes = pad_sequence([one.boxes.reshape(-1, 4).float() for one in targets], batch_first=True)
    labels = pad_sequence([one.labels.reshape(-1) for one in targets], batch_first=True)
    counts = torch.tensor([len(one.labels) for one in targets])
    valid = torch.arange(labels.shape[1]) < counts[:, None]
    return PaddedTargets(boxes.to(device), labels.to(device), valid.to(device))


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union [..., M, N] of boxes [..., M, 4] and [..., N, 4]; 0 where both are empty."""
    one, other = first.unsqueeze(-2).unbind(-1), second.unsqueeze(-3).unbind(-1)
    width = (torch.minimum(one[2], other[2]) - torch.maximum(one[0], other[0])).clamp_(min=0)
    height = (torch.minimum(one[3], other[3]) - torch.maximum(one[1], other[1])).clamp_(min=0)
    common = width.mul_(height)
    union = (_area(one) + _area(other)).sub_(common)
    return common.div_(union.clamp_(min=torch.finfo(union.dtype).tiny))


def encode(wanted: Tensor, given: Tensor, scale: Sequence[float]) -> Tensor:
    """Deltas [..., 4] that lead from the boxes `given` to the boxes `wanted`, in units of `scale`."""
    x, y, width, height = _centred(given)
    wanted_x, wanted_y, wanted_width, wanted_height = _centred(wanted)
    deltas = torch.stack(
        [
            (wanted_x - x) / width,
            (wanted_y - y) / height,
            (wanted_width / width).log(),
            (wanted_height / height).log(),
        ],
        dim=-1,
    )
    return deltas / deltas.new_tensor(scale)


def decode(deltas: Tensor, given: Tensor, scale: Sequence[float]) -> Tensor:
    """The boxes that deltas [..., 4] in units of `scale` lead to."""
    x, y, width, height = _centred(given)
    right, down, wider, higher = (deltas * deltas.new_tensor(scale)).unbind(-1)
    x, y = x + right * width, y + down * height
    half_width = 0.5 * width * wider.clamp(max=_LARGEST_GROWTH).exp()
    half_height = 0.5 * height * higher.clamp(max=_LARGEST_GROWTH).exp()
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=-1)


def large_enough(boxes: Tensor, smallest: float) -> Tensor:
    """Whether both sides of each box have that length."""
    return (boxes[..., 2:] - boxes[..., :2] >= smallest).all(dim=-1)


def _area(sides: Sequence[Tensor]) -> Tensor:
    return (sides[2] - sides[0]) * (sides[3] - sides[1])


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    left, top, right, bottom = boxes.unbind(-1)
    width, height = right - left, bottom - top
    return left + 0.5 * width, top + 0.5 * height, width, height
