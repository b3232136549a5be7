"""Which candidates are positive, which negative, and which of them a loss looks at; a whole batch at a time.

The rules are those of Faster R-CNN as torchvision has them, but for two: a target that no candidate overlaps has no
nearest candidate, where torchvision makes all candidates positive that overlap nothing; and a setting says from which
overlap on a nearest candidate counts, where torchvision takes any.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tasks.detection.boxes import PaddedTargets, overlaps


class Matches(NamedTuple):
    """Of candidates [B, N]: the target each overlaps most, and what that makes of it; neither: not used."""

    target: Tensor
    positive: Tensor
    negative: Tensor


class Sample(NamedTuple):
    """The chosen candidates: places [B, S], of which `positive` [B, S] are positive and all `valid` [B, S] count."""

    places: Tensor
    positive: Tensor
    valid: Tensor


def match(
    candidates: Tensor,
    targets: PaddedTargets,
    *,
    positive_iou: float,
    negative_iou: float,
    low_quality_iou: float | None,
) -> Matches:
    """Matches candidates [B, N, 4], or [N, 4] for all images, with the targets of their image.

    With `low_quality_iou`, the candidates that overlap a target most are positive if that is at least so much, and
    more than nothing; each still belongs to the target that it overlaps most itself.
    """
    images, most = targets.valid.shape
    count = candidates.shape[-2]
    if not most:
        nothing = torch.zeros(images, count, dtype=torch.bool, device=candidates.device)
        return Matches(nothing.long(), nothing, ~nothing)
    shared = overlaps(targets.boxes, candidates)
    shared.masked_fill_(~targets.valid[:, :, None], -1.0)
    best, target = shared.max(dim=1)
    positive = best >= positive_iou
    if low_quality_iou is not None:
        nearest = shared.amax(dim=2, keepdim=True)
        nearest.masked_fill_((nearest <= 0) | (nearest < low_quality_iou), 2.0)  # an overlap that nothing has
        positive |= (shared == nearest).any(dim=1)
    return Matches(target, positive, (best < negative_iou) & ~positive)


def sample(positive: Tensor, negative: Tensor, *, count: int, positive_share: float) -> Sample:
    """Up to `count` candidates per image by lot, positive ones up to their share, negative ones for the rest.

    The lots are drawn from torch's own generator, which the training loop seeds for every epoch.
    """
    lots = torch.rand(positive.shape, device=positive.device)
    candidates = positive.shape[1]
    most = min(int(count * positive_share), candidates)
    drawn, chosen = lots.masked_fill(~positive, -1.0).topk(most, dim=1)
    is_positive = drawn >= 0
    room = count - is_positive.sum(dim=1, keepdim=True)
    drawn, others = lots.masked_fill_(~negative, -1.0).topk(min(count, candidates), dim=1)
    is_negative = (drawn >= 0) & (torch.arange(others.shape[1], device=others.device) < room)
    return Sample(
        torch.cat([chosen, others], dim=1),
        torch.cat([is_positive, torch.zeros_like(is_negative)], dim=1),
        torch.cat([is_positive, is_negative], dim=1),
    )
