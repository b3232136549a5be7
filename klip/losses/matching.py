"""Image-text matching with hard negatives (section 4.2 of the KLIP specification)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from foundation.errors import UsageError
from klip.model.precision import at_least_single

_FLOOR = 1e-4  # [B] section 4.2: no candidate is impossible


class Negatives(NamedTuple):
    """One wrong partner per row; rows without a candidate have none."""

    partner: Tensor
    """int64 [B]."""
    valid: Tensor
    """bool [B]."""


def negative_weights(similarity: Tensor, same: Tensor, hardness: float = 1.0) -> Tensor:
    """How likely each candidate [B, C] is drawn: the harder, the likelier; never one of the same image or text.

    With a hardness below 1 similarities count less, at 0 all candidates are as likely.
    """
    weights = (at_least_single(similarity.detach()) * hardness).softmax(dim=1) + _FLOOR
    return weights.masked_fill(same, 0.0)


def draw_negatives(weights: Tensor, draw: Tensor) -> Negatives:
    """One candidate per row, by inversion of the cumulated weights at `draw` (uniform in [0, 1), [B]).

    All rows at once and without asking the device for a number, unlike drawing row by row.
    """
    if weights.shape[1] < 2:
        raise UsageError(
            "matching needs another image to be mismatched with",
            way_out="use a batch of two or more per device (batch_size_per_device), or switch matching off",
        )
    edges = weights.double().cumsum(dim=1)
    total = edges[:, -1:]
    index = torch.searchsorted(edges, draw.double()[:, None] * total, right=True)[:, 0]
    # Rounding may carry a draw past the last edge: the last candidate that can be drawn at all stands before it.
    last = weights.shape[1] - 1 - (weights > 0).flip(1).to(torch.int8).argmax(dim=1)
    return Negatives(torch.minimum(index, last), total[:, 0] > 0)


def matching_loss(logits: Tensor, valid_text: Tensor, valid_image: Tensor) -> Tensor:
    """Cross-entropy over B matches, B wrong texts and B wrong images; rows without a negative do not count."""
    count = len(valid_text)
    labels = torch.zeros(3 * count, dtype=torch.int64, device=logits.device)
    labels[:count] = 1
    weights = torch.cat([torch.ones(count, device=logits.device), valid_text.float(), valid_image.float()])
    losses = F.cross_entropy(at_least_single(logits), labels, reduction="none")
    return (losses * weights).sum() / weights.sum()
