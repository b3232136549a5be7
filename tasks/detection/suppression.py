"""Non-maximum suppression for all images and groups at once.

torchvision keeps groups apart by shifting their boxes; the more groups there are, the further. In single precision
the shift would cost a coordinate its last digits, and what is found in an image would depend on its place in the
batch. In double precision it does not.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import batched_nms


class Kept(NamedTuple):
    """What is left of a flat list: places [B, limit] in it, surest first, and where there is something at all."""

    places: Tensor
    valid: Tensor


class Candidates(NamedTuple):
    """A flat list: boxes [K, 4], scores [K], image of each [K], and group of each [K] (a level, or a class)."""

    boxes: Tensor
    scores: Tensor
    image: Tensor
    group: Tensor


def surest(found: Candidates, *, images: int, groups: int, overlap: float, limit: int) -> Kept:
    """Per image the surest candidates that overlap no surer one of their group by more than `overlap`."""
    kept = batched_nms(found.boxes.double(), found.scores.double(), found.image * groups + found.group, overlap)
    # Of many boxes torchvision leaves equal scores in any order; here the first in the list comes first.
    kept = kept.sort().values
    kept = kept[found.scores[kept].sort(descending=True, stable=True).indices]
    image, order = found.image[kept].sort(stable=True)  # `kept` is ordered by score, and stays so within an image
    counts = torch.bincount(image, minlength=images)
    rank = torch.arange(len(kept), device=image.device) - (counts.cumsum(0) - counts)[image]
    within = rank < limit
    index = torch.zeros(images, limit, dtype=torch.long, device=image.device)
    index[image[within], rank[within]] = kept[order[within]]
    return Kept(index, torch.arange(limit, device=image.device) < counts[:, None])
