"""Masked language modelling as infilling (section 4.3 of the KLIP specification).

Only positions that count go through the language head: the same loss at a fraction of its cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from klip.model.early_count import EarlyCount, places
from klip.model.precision import at_least_single

if TYPE_CHECKING:
    from klip.model.klip import KLIP


def language_loss(
    model: KLIP,
    hidden: Tensor,
    gold: Tensor,
    chosen: Tensor,
    *,
    smoothing: float = 0.0,
    count: EarlyCount | None = None,
) -> Tensor:
    """Mean negative log likelihood of `gold` at `chosen` (bool, both of the shape of `hidden` without its width).

    `count` is the number of chosen positions where it was asked for earlier. Without a chosen position the loss is
    exactly 0 and still has a graph, so that every rank has the same gradients.
    """
    flat = chosen.flatten()
    at = places(flat, (EarlyCount(flat) if count is None else count).value())
    logits = at_least_single(model.lm_logits(hidden.flatten(0, 1)[at]))
    if not len(at):
        return logits.sum() + 0.0 * at_least_single(hidden).sum()
    return F.cross_entropy(logits, gold.flatten()[at], label_smoothing=smoothing)


def next_token_loss(
    model: KLIP,
    hidden: Tensor,
    gold: Tensor,
    targets: Tensor,
    *,
    smoothing: float = 0.0,
    count: EarlyCount | None = None,
) -> Tensor:
    """The loss of a decoder: position p - 1 says token p; the first is no target."""
    return language_loss(model, hidden[:, :-1], gold[:, 1:], targets[:, 1:], smoothing=smoothing, count=count)
