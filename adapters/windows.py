"""A plain vision transformer for large images: attention within windows, and across the whole grid in a few blocks.

What ViTDet does to a backbone (section 4.1 of the task specification). The class token is dropped with its row of the
position table, every block gets relative position terms decomposed into rows and columns that start at zero, windows
that do not divide the grid are filled up with zeros after the block's first norm, and no norm follows the last block.

The relative terms cost no mask: the logit `scale * q k + r_row(q, i) + r_column(q, j)` of a key in row i and column j
is one product of the query extended by its terms for all rows and columns with the key extended by ones in places i
and j. So neither a mask [B, heads, N, N] nor its gradient is ever made, and any fused kernel can be used.

The encoder is taken over, not copied: what is not run any more (class token, final norm) is frozen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, one_hot, pad, scaled_dot_product_attention

from adapters.encoder import PlainViT
from adapters.image_batch import require_images
from adapters.interface import FeatureMap, Features, Grid
from adapters.positions import TableMemory
from adapters.relative_positions import RelativeAttention, buckets

_TERMS_NAME = re.compile(r"terms\.(\d+)\.")
_VIT = "vit."


class RelativeTerms(nn.Module):
    """Two tables, one entry per difference of rows and one per difference of columns, shared by the heads."""

    def __init__(self, grid: Grid, head_width: int) -> None:
        super().__init__()
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid.h - 1, head_width))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid.w - 1, head_width))

    def forward(self, queries: Tensor, grid: Grid, differences: Tensor) -> Tensor:
        """Terms [N, heads, h w, h + w] of unscaled queries [N, heads, h w, d] with every row and every column."""
        table = torch.cat([_fitted(self.rel_pos_h, grid.h), _fitted(self.rel_pos_w, grid.w)])
        # One product with all differences, of which each token gathers its own: see `relative_positions`.
        terms = queries @ table.T
        return terms.gather(3, differences.expand(*queries.shape[:2], -1, -1))


class WindowedViT(nn.Module):
    """A `PlainViT` with attention within windows; an encoder itself, of one map.

    `global_blocks` are the blocks that attend across the whole grid. Where the last of them is not the encoder's last
    block, they were meant for another depth: as many blocks are then spread evenly, the last one included (for 12 and
    24 blocks this gives the published choices of ViTDet). A window not smaller than the grid is the grid.
    """

    def __init__(self, vit: PlainViT, *, window: int, global_blocks: Sequence[int]) -> None:
        super().__init__()
        architecture = vit.architecture
        self.vit = vit
        self.window = window
        self.width = vit.width
        self.stride = vit.stride
        self.layer_count = vit.layer_count
        self.in_channels = vit.in_channels
        depth = len(vit.blocks) if vit.depth_read is None else vit.depth_read
        self.global_blocks = spread(global_blocks, depth)
        head_width = architecture.width // architecture.heads
        grids = [vit.grid if index in self.global_blocks else self._window_of(vit.grid) for index in range(depth)]
        self.terms = nn.ModuleList(RelativeTerms(grid, head_width) for grid in grids)
        for unused in (vit.norm, vit.output_norm):
            unused.requires_grad_(False)
        if vit.cls_token is not None:
            vit.cls_token.requires_grad_(False)
        self._memory = TableMemory()

    def forward(self, images: Tensor) -> Features:
        """Features of images [B, C, H, W]; pooled is the mean of the tokens."""
        tokens, grid = self._transformed(images)
        return Features(tokens.mean(dim=1), None, tokens, grid)

    def maps(self, images: Tensor) -> list[FeatureMap]:
        """The tokens after the last block read, as one map: a view in channels-last order."""
        tokens, grid = self._transformed(images)
        cells = tokens.view(len(tokens), grid.h, grid.w, self.width)
        return [FeatureMap(cells.permute(0, 3, 1, 2), self.stride)]

    def layer_id(self, parameter_name: str) -> int:
        """As of the encoder; relative terms belong to their block."""
        terms = _TERMS_NAME.match(parameter_name)
        return int(terms[1]) + 1 if terms else self.vit.layer_id(parameter_name.removeprefix(_VIT))

    def no_weight_decay(self) -> set[str]:
        """As of the encoder, and the relative terms."""
        own = {name for name, _ in self.named_parameters() if _TERMS_NAME.match(name)}
        return own | {_VIT + name for name in self.vit.no_weight_decay()}

    def _transformed(self, images: Tensor) -> tuple[Tensor, Grid]:
        vit = self.vit
        require_images(images, self.in_channels)
        grid = vit.grid_of(images.shape[2], images.shape[3])
        tokens = vit.patch_embed(images).flatten(2).transpose(1, 2).contiguous()
        positions = vit.positions(grid)
        if positions is not None:
            tokens = tokens + positions[:, vit.class_rows :]
        tokens = vit.norm_pre(vit.pos_drop(tokens))
        for index, terms in enumerate(self.terms):
            block = vit.blocks[index]
            normed = block.norm1(tokens)  # type: ignore[operator]
            window = grid if index in self.global_blocks else self._window_of(grid)
            if window != grid:
                normed = windows(normed, grid, window)
            mixed = self._attended(block, cast(RelativeTerms, terms), normed, window)
            if window != grid:
                mixed = unwindowed(mixed, grid, window)
            tokens = tokens + block.drop_path1(block.ls1(mixed))  # type: ignore[operator]
            tokens = tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))  # type: ignore[operator]
        return tokens, grid

    def _attended(self, block: nn.Module, terms: RelativeTerms, tokens: Tensor, grid: Grid) -> Tensor:
        """Attention among tokens [N, h w, D] of one window or of the whole grid."""
        attention = block.attn
        heads = self.vit.architecture.heads
        qkv: Tensor = attention.qkv(tokens)  # type: ignore[operator, union-attr]
        parts = qkv.view(len(qkv), qkv.shape[1], 3, heads, self.width // heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mask = None
        if isinstance(attention, RelativeAttention):
            mask = attention.rpe_k(queries, self._remembered("buckets", grid, tokens.device))
        differences = self._remembered("differences", grid, tokens.device)
        places = self._remembered("places", grid, tokens.device).to(keys.dtype)
        scale = queries.shape[3] ** -0.5
        mixed = scaled_dot_product_attention(
            torch.cat([scale * queries, terms(queries, grid, differences)], dim=3),
            torch.cat([keys, places.expand(*keys.shape[:2], -1, -1)], dim=3),
            values,
            attn_mask=mask,
            scale=1.0,
        )
        joined: Tensor = attention.proj_drop(attention.proj(mixed.transpose(1, 2).flatten(2)))  # type: ignore[operator, union-attr]
        return joined

    def _window_of(self, grid: Grid) -> Grid:
        return Grid(min(self.window, grid.h), min(self.window, grid.w))

    def _remembered(self, kind: str, grid: Grid, device: torch.device) -> Tensor:
        """What follows from a grid alone; made once."""

        def make() -> Tensor:
            if kind == "buckets":
                return buckets(grid, class_token=False).to(device)
            table = _places(grid) if kind == "places" else _differences(grid)
            return table.to(device)

        return self._memory.remembered((kind, grid, device), make)


def spread(blocks: Sequence[int], depth: int) -> tuple[int, ...]:
    """`blocks` where the last of them is the last of `depth`; else as many, evenly spread, the last one included."""
    if not blocks or max(blocks) == depth - 1:
        return tuple(blocks)
    count = min(len(blocks), depth)
    return tuple((number + 1) * depth // count - 1 for number in range(count))


def windows(tokens: Tensor, grid: Grid, window: Grid) -> Tensor:
    """Tokens [B, h w, D] as windows [B n, window h x window w, D]; what lies beyond the grid is zero."""
    batch, _, width = tokens.shape
    cells = tokens.view(batch, grid.h, grid.w, width)
    below, beside = -grid.h % window.h, -grid.w % window.w
    if below or beside:
        cells = pad(cells, (0, 0, 0, beside, 0, below))
    down, across = (grid.h + below) // window.h, (grid.w + beside) // window.w
    cells = cells.view(batch, down, window.h, across, window.w, width).transpose(2, 3)
    return cells.reshape(batch * down * across, window.h * window.w, width)


def unwindowed(tokens: Tensor, grid: Grid, window: Grid) -> Tensor:
    """The inverse: tokens [B, h w, D], without what was filled up."""
    width = tokens.shape[2]
    down, across = -(-grid.h // window.h), -(-grid.w // window.w)
    cells = tokens.view(-1, down, across, window.h, window.w, width).transpose(2, 3)
    cells = cells.reshape(-1, down * window.h, across * window.w, width)
    return cells[:, : grid.h, : grid.w].reshape(-1, grid.h * grid.w, width)


def _fitted(table: Tensor, side: int) -> Tensor:
    """A table of differences for another side: linear, as ViTDet does it."""
    if len(table) == 2 * side - 1:
        return table
    return interpolate(table.T[None], size=2 * side - 1, mode="linear")[0].T


def _places(grid: Grid) -> Tensor:
    """[h w, h + w]: ones at the token's row and column."""
    rows, columns = torch.meshgrid(torch.arange(grid.h), torch.arange(grid.w), indexing="ij")
    return torch.cat([one_hot(rows.flatten(), grid.h), one_hot(columns.flatten(), grid.w)], dim=1).float()


def _differences(grid: Grid) -> Tensor:
    """[h w, h + w]: which entry of the joined tables each token has for every row and every column."""
    rows, columns = torch.meshgrid(torch.arange(grid.h), torch.arange(grid.w), indexing="ij")
    for_rows = rows.reshape(-1, 1) - torch.arange(grid.h) + grid.h - 1
    for_columns = columns.reshape(-1, 1) - torch.arange(grid.w) + grid.w - 1
    return torch.cat([for_rows, for_columns + 2 * grid.h - 1], dim=1)
