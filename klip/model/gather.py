"""Rows of all ranks in rank order, with or without gradient (sections 5.3 and 5.4). One process gets its own rows back.

All ranks must bring the same number of rows, which `drop_last` sees to.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from klip.tokens.batch import TokenBatch


def world() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which one this is."""
    return dist.get_rank() if world() > 1 else 0


@torch.no_grad()
def gathered(part: Tensor) -> Tensor:
    """[world * B, ...] without gradient."""
    if world() == 1:
        return part
    rows = [torch.empty_like(part) for _ in range(world())]
    dist.all_gather(rows, part.contiguous())
    return torch.cat(rows)


def gathered_with_gradient(part: Tensor) -> Tensor:
    """[world * B, ...]; the gradient of a row is the sum over the ranks that used it.

    Together with the mean that data-parallel training takes over ranks this is the gradient of the mean of the ranks'
    losses.
    """
    return part if world() == 1 else cast(Tensor, _Gather.apply(part))


def gathered_tokens(tokens: TokenBatch, pad: int) -> TokenBatch:
    """Texts of all ranks in the width of the widest."""
    if world() == 1:
        return tokens
    width = torch.tensor(tokens.width, device=tokens.ids.device)
    dist.all_reduce(width, op=dist.ReduceOp.MAX)
    wide = tokens.padded(int(width), pad)
    return TokenBatch(gathered(wide.ids), gathered(wide.slot), gathered(wide.kind))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        ctx.rows = len(part)
        return gathered(part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        return total[rank() * ctx.rows : (rank() + 1) * ctx.rows]
