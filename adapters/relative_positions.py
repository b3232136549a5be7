"""Relative positions on the keys, as SAR-JEPA trains them: iRPE, contextual, product of two axes, shared by the heads.

Section 9.9 of the adapter specification: the logit of query i and key j is `scale * q k + q W[:, b(i, j)]`, with the
query unscaled in the second term. The bucket b comes from the differences of rows and columns, each squeezed into
-3..3; pairs with the class token have a bucket of their own.

The second term is one product of the queries with all 50 columns of W, of which each pair of tokens then gathers its
own; the fused attention kernel takes the result as an additive mask. Gathering was the fastest of four ways measured
on a CPU (twice as fast as decomposing into rows and columns). Its price is a mask of B x heads x N x N numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from adapters.interface import Grid

_REACH = 3  # differences are squeezed into -3..3
_SIDE = 2 * _REACH + 1
CLASS_BUCKET = _SIDE * _SIDE
"""Bucket of every pair with the class token: 49."""
BUCKETS = CLASS_BUCKET + 1
"""Columns of the lookup table: 50."""


def squeeze(difference: int) -> int:
    """0 and +-1 stay, +-2 and +-3 become +-2, everything further +-3."""
    size = abs(difference)
    near = size if size < 2 else 2 if size < 4 else _REACH
    return int(math.copysign(near, difference))


def buckets(grid: Grid, *, class_token: bool) -> Tensor:
    """Bucket of every pair (query, key) of tokens: [N, N], the class token first."""
    rows, columns = (
        torch.tensor([[squeeze(query - key) + _REACH for key in range(side)] for query in range(side)]) for side in grid
    )
    cells = grid.h * grid.w
    pairs = (rows[:, None, :, None] * _SIDE + columns[None, :, None, :]).reshape(cells, cells)
    if not class_token:
        return pairs
    whole = torch.full((cells + 1, cells + 1), CLASS_BUCKET)
    whole[1:, 1:] = pairs
    return whole


class LookupTable(nn.Module):
    """The trained table [1, head width, buckets]; a module of its own for the sake of the published names."""

    def __init__(self, head_width: int) -> None:
        super().__init__()
        self.lookup_table_weight = nn.Parameter(torch.empty(1, head_width, BUCKETS))

    def forward(self, queries: Tensor, pairs: Tensor) -> Tensor:
        """The additive term [B, heads, N, N] of unscaled queries [B, heads, N, head width]."""
        terms = queries @ self.lookup_table_weight
        return terms.gather(3, pairs.expand(*queries.shape[:2], -1, -1))


class RelativeAttention(nn.Module):
    """Self-attention with relative positions on the keys; names are those of timm's attention."""

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.rpe_k = LookupTable(width // heads)
        self.proj = nn.Linear(width, width)
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Attends among tokens [B, N, D]; what timm's block hands through as the mask are the pairs' buckets [N, N]."""
        if attn_mask is None or is_causal:
            raise TypeError("relative attention needs the buckets of the pairs, and knows no causal order")
        queries, keys, values = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mask = self.rpe_k(queries, attn_mask)
        mixed = scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        joined: Tensor = self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))
        return joined
