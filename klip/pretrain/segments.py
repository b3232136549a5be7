"""Segments left out at random, so that texts with a gap are nothing new when screening makes them (section 3.5)."""

from __future__ import annotations

import torch
from torch import Tensor

from klip.tokens.batch import TokenBatch, without

KEPT = 3
"""Segments that a text keeps at least (section 3.5)."""


def drop_segments(tokens: TokenBatch, share: float, generator: torch.Generator, pad: int) -> TokenBatch:
    """Each segment leaves with probability `share`, while at least three stay."""
    if share <= 0:
        return tokens
    return without(tokens, dropped(tokens.present, share, generator), pad)


def dropped(present: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which of the segments bool [B, 8] leave; of those drawn to leave, the last drawn stay where too few would."""
    draws = torch.rand(present.shape, generator=generator, device=present.device).masked_fill(~present, -1.0)
    safe = draws.topk(min(KEPT, present.shape[1]), dim=1).values[:, -1:]
    return present & (draws < share) & (draws < safe)
