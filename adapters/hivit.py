"""HiViT: two stages of MLP-only blocks on fine cells, then a plain transformer on patches of 16 pixels.

SARATR-X is one (HiViT-B, section 9.15 of the adapter specification). A patch of 16 x 16 pixels is first 4 x 4 cells of
a quarter of the width, then 2 x 2 cells of half of it, then one token; the first two stages mix channels only, so the
cells of the whole image are handled as one map, channels last. No class token; relative positions are off in all
published configurations and are not built.

`blocks` counts what the published files count: stem blocks, the two merging steps and the main blocks in one row. So
HiViT-B has 30 layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from timm.layers import DropPath, Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from adapters.card import Architecture
from adapters.image_batch import require_images, token_grid
from adapters.initial_values import Startable, patch_projection, started, usual
from adapters.interface import FeatureMap, Features, Grid
from adapters.positions import TableMemory, sincos_table
from foundation.errors import UsageError

STEM_BLOCKS = 4
"""MLP-only blocks in each of the two stages before the main one (section 9.15)."""

_CELL = 4  # pixels per side of a cell of the first stage
_PATCH = 16  # four cells, merged twice
_STEM_MLP_RATIO = 3  # 384 over 128 and 768 over 256 in the published file
_MERGES = 2
_BLOCK_NAME = re.compile(r"blocks\.(\d+)\.")


class _Stages(NamedTuple):
    fine: Tensor
    """[B, H / 4, W / 4, D / 4]."""
    middle: Tensor
    """[B, H / 8, W / 8, D / 2]."""
    tokens: Tensor
    """[B, N, D]."""


class CellEmbedding(nn.Module):
    """Pixels to cells of 4 x 4, channels last, normalised."""

    def __init__(self, in_channels: int, width: int, norm: partial[nn.LayerNorm], *, bias: bool) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, kernel_size=_CELL, stride=_CELL, bias=bias)
        self.norm = norm(width)

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to [B, H / 4, W / 4, width]."""
        cells: Tensor = self.norm(self.proj(images).permute(0, 2, 3, 1))
        return cells


class StemBlock(nn.Module):
    """A residual MLP on every cell by itself."""

    def __init__(self, width: int, norm: partial[nn.LayerNorm], *, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.norm2 = norm(width)
        self.mlp = Mlp(width, _STEM_MLP_RATIO * width, act_layer=nn.GELU, drop=dropout)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, cells: Tensor) -> Tensor:
        """[B, h, w, width] to the same."""
        changed: Tensor = cells + self.drop_path(self.mlp(self.norm2(cells)))
        return changed


class Merge(nn.Module):
    """Four neighbouring cells into one of twice the width."""

    def __init__(self, width: int, norm: partial[nn.LayerNorm]) -> None:
        super().__init__()
        self.norm = norm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, cells: Tensor) -> Tensor:
        """[B, h, w, width] to [B, h / 2, w / 2, 2 width]."""
        batch, rows, columns, width = cells.shape
        pairs = cells.view(batch, rows // 2, 2, columns // 2, 2, width)  # the axes of 2: parity of row and column
        # Section 9.15: (even row, even column), (odd, even), (even, odd), (odd, odd).
        merged: Tensor = self.reduction(self.norm(pairs.permute(0, 1, 3, 4, 2, 5).flatten(3)))
        return merged


class HiViT(Startable):
    """A hierarchical vision transformer whose two first stages have no attention."""

    position_name: str | None
    """Name of the position table among the parameters; None where there is none."""
    class_rows = 0

    def __init__(
        self, architecture: Architecture, *, image_size: int, dropout: float = 0.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        _require_hivit(architecture)
        width = architecture.width
        self.architecture = architecture
        self.width = width
        self.stride = _PATCH
        self.in_channels = architecture.in_channels
        self.grid = self.grid_of(image_size, image_size)
        norm = partial(nn.LayerNorm, eps=architecture.norm_eps)
        self.patch_embed = CellEmbedding(architecture.in_channels, width // 4, norm, bias=architecture.patch_bias)
        self.position_name = "absolute_pos_embed" if architecture.position != "none" else None
        self.absolute_pos_embed = None
        if self.position_name is not None:
            rows = self.grid.h * self.grid.w
            learned = architecture.position == "learned"
            self.absolute_pos_embed = nn.Parameter(torch.empty(1, rows, width), requires_grad=learned)
        self.pos_drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_blocks(architecture, norm, dropout, drop_path))
        self.layer_count = len(self.blocks)
        self.norm = norm(width) if architecture.final_norm else nn.Identity()
        self._memory = TableMemory()

    def grid_of(self, height: int, width: int) -> Grid:
        """The token grid of an image; sides that 16 does not divide are refused."""
        return token_grid(height, width, _PATCH, where=f"HiViT of width {self.width}")

    def forward(self, images: Tensor) -> Features:
        """Features of images [B, C, H, W]; pooled is the mean of the tokens."""
        tokens = self._stages(images).tokens
        return Features(tokens.mean(dim=1), None, tokens, self.grid_of(images.shape[2], images.shape[3]))

    def maps(self, images: Tensor) -> list[FeatureMap]:
        """The three stages with strides 4, 8 and 16, as views."""
        stages = self._stages(images)
        grid = self.grid_of(images.shape[2], images.shape[3])
        last = stages.tokens.view(-1, *grid, self.width)
        return [
            FeatureMap(cells.permute(0, 3, 1, 2), stride)
            for cells, stride in zip((stages.fine, stages.middle, last), (_CELL, 2 * _CELL, _PATCH), strict=True)
        ]

    def layer_id(self, parameter_name: str) -> int:
        """0 for embeddings, i + 1 for block i (merging steps count), L + 1 for the final norm."""
        if parameter_name.startswith(("absolute_pos_embed", "patch_embed.")):
            return 0
        block = _BLOCK_NAME.match(parameter_name)
        return int(block[1]) + 1 if block else self.layer_count + 1

    def no_weight_decay(self) -> set[str]:
        """The position table."""
        return set() if self.position_name is None else {self.position_name}

    def train(self, mode: bool = True) -> HiViT:
        """Forgets resized position tables: training is about to change them."""
        self._memory.forget()
        super().train(mode)
        return self

    def fill_fixed_tables(self) -> None:
        """Has none."""

    def initialise(self, name: str, parameter: Tensor, generator: torch.Generator) -> None:
        """The initial values of timm's transformers; a fixed table by its formula."""
        if name == "absolute_pos_embed" and self.architecture.position == "sincos2d":
            parameter.copy_(sincos_table(self.grid, self.width, class_token=False))
        elif name.startswith("patch_embed.proj."):
            patch_projection(parameter, generator, fan_in=self.in_channels * _CELL**2)
        else:
            usual(name, parameter, generator)

    def _stages(self, images: Tensor) -> _Stages:
        require_images(images, self.in_channels)
        grid = self.grid_of(images.shape[2], images.shape[3])
        cells = self.patch_embed(images)
        before_merge = []
        main = _MERGES * (STEM_BLOCKS + 1)
        for block in self.blocks[:main]:
            if isinstance(block, Merge):
                before_merge.append(cells)
            cells = block(cells)
        tokens = cells.flatten(1, 2)
        if self.absolute_pos_embed is not None:
            tokens = tokens + self._memory.resized(
                self.absolute_pos_embed, old=self.grid, new=grid, class_token=False, training=self.training
            )
        tokens = self.pos_drop(tokens)
        for block in self.blocks[main:]:
            tokens = block(tokens)
        return _Stages(before_merge[0], before_merge[1], self.norm(tokens))


def build_hivit(
    architecture: Architecture,
    *,
    image_size: int,
    seed: int | None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> HiViT:
    """Builds the encoder; `seed` None leaves the parameters unset, for a checkpoint that fills all of them."""
    return started(lambda: HiViT(architecture, image_size=image_size, dropout=dropout, drop_path=drop_path), seed)


def _blocks(
    architecture: Architecture, norm: partial[nn.LayerNorm], dropout: float, drop_path: float
) -> Iterator[nn.Module]:
    """Stem blocks, merging step, stem blocks, merging step, main blocks; drop path grows linearly over the blocks."""
    width, depth = architecture.width, architecture.depth
    residual = _MERGES * STEM_BLOCKS + depth
    rates = iter(drop_path * i / (residual - 1) for i in range(residual))
    for stem_width in (width // 4, width // 2):
        for _ in range(STEM_BLOCKS):
            yield StemBlock(stem_width, norm, dropout=dropout, drop_path=next(rates))
        yield Merge(stem_width, norm)
    for _ in range(depth):
        yield Block(
            width,
            architecture.heads,
            mlp_ratio=architecture.mlp_ratio,
            qkv_bias=True,
            proj_drop=dropout,
            drop_path=next(rates),
            norm_layer=norm,
        )


def _require_hivit(architecture: Architecture) -> None:
    """Refuses what no HiViT has, rather than building something else under the card's name."""
    wrong = [
        words
        for words, holds in {
            "kind is not hivit": architecture.kind != "hivit",
            f"patch is {architecture.patch}, not {_PATCH}": architecture.patch != _PATCH,
            "class_token is on": architecture.class_token,
            "pre_norm is on": architecture.pre_norm,
            "output_norm is on": architecture.output_norm,
            "feature_layer is set": architecture.feature_layer is not None,
            "activation is not gelu": architecture.activation not in (None, "gelu"),
            f"position is {architecture.position}": architecture.position not in ("learned", "sincos2d", "none"),
            "width, depth or heads is missing": not (architecture.width and architecture.depth and architecture.heads),
            "4 does not divide the width": architecture.width % 4 != 0,
            "heads do not divide the width": architecture.heads > 0 and architecture.width % architecture.heads != 0,
        }.items()
        if holds
    ]
    if wrong:
        raise UsageError(
            f"not a HiViT: {'; '.join(wrong)}",
            where="architecture of the model's card",
            way_out="see the card of saratr-x-hivit-b for one that is",
        )
