"""Segments left out at random, so that texts with a gap are nothing new when screening makes them (section 3.5).

Each segment leaves with the given probability. How many leave is drawn once for all texts of a batch that have as many
segments, which ones for every text: the texts stay alike in length, so that little of a batch is padding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from klip.settings import SLOTS
from klip.tokens.batch import TokenBatch, without

KEPT = 3
"""Segments that a text keeps at least (section 3.5)."""


def drop_segments(tokens: TokenBatch, share: float, generator: torch.Generator, pad: int) -> TokenBatch:
    """Each segment leaves with probability `share`, while at least three stay."""
    if share <= 0:
        return tokens
    return without(tokens, dropped(tokens.present, share, generator), pad)


def dropped(present: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which of the segments bool [B, 8] leave."""
    device = present.device
    count = present.sum(dim=1)
    # The same draws for all, as many of them as a text has segments: a binomial number of its own size.
    leaving = (torch.rand(SLOTS, generator=generator, device=device) < share).cumsum(dim=0)
    wanted = torch.cat([leaving.new_zeros(1), leaving])[count]
    draws = torch.rand(present.shape, generator=generator, device=device).masked_fill(~present, 2.0)
    rank = draws.argsort(dim=1).argsort(dim=1)
    allowed = torch.minimum((count - KEPT).clamp(min=0), wanted)
    return present & (rank < allowed[:, None])
