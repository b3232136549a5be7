"""The one plain vision transformer that tasks see, for every geometry a card can state.

Parameter names are timm's (section 3.1 of the adapter specification), blocks are timm's, attention is the fused
scaled-dot-product kernel. A position table that is a weight is built for the image size of the task and resized on the
fly for any other: bicubic with anti-aliasing as timm does it, the class row kept. Tables that follow from a formula
alone (Prithvi's) and buckets of relative positions (SAR-JEPA's) are no weights: they are in no state dict, and layouts
leave them out.

Accepted trade-off: one feature map per image, of the last layer read; heads that want a pyramid make it from that map,
as ViTDet does.
"""

from __future__ import annotations

import re
from functools import partial
from typing import cast

import torch
from timm.layers import PatchEmbed, QuickGELU
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from adapters.card import Architecture
from adapters.image_batch import require_images, token_grid
from adapters.initial_values import Startable, patch_projection, started, usual
from adapters.interface import FeatureMap, Features, Grid
from adapters.positions import TableMemory, resize_positions, sincos3d_table, sincos_table
from adapters.relative_positions import RelativeAttention, buckets
from foundation.errors import UsageError

__all__ = ["PlainViT", "build_vit", "compile_encoder", "resize_positions", "sincos_table"]

_BLOCK_NAME = re.compile(r"blocks\.(\d+)\.")
_EMBEDDINGS = ("cls_token", "pos_embed", "patch_embed.", "norm_pre.")
_ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "quick_gelu": QuickGELU}
_CLASS_STD = 1e-6  # timm's initial spread of the class token


class PlainViT(Startable):
    """A vision transformer of any geometry that `Architecture` can state."""

    position_name: str | None
    """Name of the position table among the parameters; None where it is no weight."""

    def __init__(
        self, architecture: Architecture, *, image_size: int, dropout: float = 0.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        _require_vit(architecture)
        width, position = architecture.width, architecture.position
        self.architecture = architecture
        self.width = width
        self.stride = architecture.patch
        self.layer_count = architecture.depth
        self.in_channels = architecture.in_channels
        self.grid = self.grid_of(image_size, image_size)
        norm = partial(nn.LayerNorm, eps=architecture.norm_eps)
        self.patch_embed = PatchEmbed(
            img_size=None,
            patch_size=architecture.patch,
            in_chans=architecture.in_channels,
            embed_dim=width,
            bias=architecture.patch_bias,
            flatten=False,
            strict_img_size=False,
        )
        self.class_rows = int(architecture.class_token)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width)) if architecture.class_token else None
        self.pos_embed = None
        rows = self.grid.h * self.grid.w + self.class_rows
        self.position_name = "pos_embed" if position in ("learned", "sincos2d") else None
        if self.position_name is not None:
            # A sine-cosine table is fixed by definition; a learned one goes on learning.
            self.pos_embed = nn.Parameter(torch.empty(1, rows, width), requires_grad=position == "learned")
        if position in ("sincos3d", "irpe_k"):
            # For the native grid; moves with the module, belongs to no checkpoint.
            self.register_buffer("fixed_table", self._fixed_table(self.grid), persistent=False)
        self.pos_drop = nn.Dropout(dropout)
        self.norm_pre = norm(width) if architecture.pre_norm else nn.Identity()
        self.blocks = nn.Sequential(*_blocks(architecture, norm, dropout, drop_path))
        self.norm = norm(width) if architecture.final_norm else nn.Identity()
        self.output_norm = norm(width) if architecture.output_norm else nn.Identity()
        self.depth_read = _depth_read(architecture)
        if self.depth_read is not None:
            # Never run, so never trained; in the state because the files hold them.
            for part in (*self.blocks[self.depth_read :], self.norm):
                part.requires_grad_(False)
        self._memory = TableMemory()

    def grid_of(self, height: int, width: int) -> Grid:
        """The token grid of an image; sides that the patch does not divide are refused."""
        return token_grid(
            height, width, self.architecture.patch, where=f"encoder of width {self.width} with patch {self.stride}"
        )

    def forward(self, images: Tensor) -> Features:
        """Features of images [B, C, H, W]."""
        require_images(images, self.in_channels)
        grid = self.grid_of(images.shape[2], images.shape[3])
        tokens = self.patch_embed(images).flatten(2).transpose(1, 2)
        # Joining copies into row order; without a class token the copy is made once here, not in every block.
        tokens = tokens.contiguous() if self.cls_token is None else self._joined(self.cls_token, tokens)
        positions = self.positions(grid)
        if positions is not None:
            tokens = tokens + positions
        tokens = self.output_norm(self._transformed(self.norm_pre(self.pos_drop(tokens)), grid))
        if self.cls_token is None:
            return Features(tokens.mean(dim=1), None, tokens, grid)
        class_token = tokens[:, 0]
        return Features(class_token, class_token, tokens[:, 1:], grid)

    def maps(self, images: Tensor) -> list[FeatureMap]:
        """The patch tokens as one map: a view, not a copy."""
        features = self(images)
        return [FeatureMap(features.tokens.transpose(1, 2).unflatten(2, tuple(features.grid)), self.stride)]

    def layer_id(self, parameter_name: str) -> int:
        """0 for embeddings, i + 1 for block i, L + 1 for the final norm."""
        if parameter_name.startswith(_EMBEDDINGS):
            return 0
        block = _BLOCK_NAME.match(parameter_name)
        return int(block[1]) + 1 if block else self.layer_count + 1

    def no_weight_decay(self) -> set[str]:
        """The class token and the tables of positions, absolute and relative."""
        leaves = {"cls_token", "pos_embed", "lookup_table_weight"}
        return {name for name, _ in self.named_parameters() if name.rpartition(".")[2] in leaves}

    def positions(self, grid: Grid) -> Tensor | None:
        """The absolute table for `grid`, the class row included, where there is one."""
        if self.pos_embed is not None:
            return self._memory.resized(
                self.pos_embed, old=self.grid, new=grid, class_token=bool(self.class_rows), training=self.training
            )
        return self._table_of(grid) if self.architecture.position == "sincos3d" else None

    def train(self, mode: bool = True) -> PlainViT:
        """Forgets resized position tables: training is about to change them."""
        self._memory.forget()
        super().train(mode)
        return self

    def fill_fixed_tables(self) -> None:
        """Writes the table or the buckets of the native grid."""
        if "fixed_table" in self._buffers:
            self.get_buffer("fixed_table").copy_(self._fixed_table(self.grid))

    def initialise(self, name: str, parameter: Tensor, generator: torch.Generator) -> None:
        """The initial values of timm, the kernel of the patch embedding included."""
        if name == "cls_token":
            parameter.normal_(std=_CLASS_STD, generator=generator)
        elif name == "pos_embed" and self.architecture.position == "sincos2d":
            parameter.copy_(sincos_table(self.grid, self.width, class_token=bool(self.class_rows)))
        elif name.startswith("patch_embed."):
            patch_projection(parameter, generator, fan_in=self.in_channels * self.stride**2)
        elif name.endswith("lookup_table_weight"):
            parameter.zero_()  # starts as attention without relative positions
        else:
            usual(name, parameter, generator)

    def _joined(self, class_token: Tensor, tokens: Tensor) -> Tensor:
        return torch.cat([class_token.expand(len(tokens), -1, -1), tokens], dim=1)

    def _transformed(self, tokens: Tensor, grid: Grid) -> Tensor:
        """After the blocks that are read, and the final norm where the last one is."""
        blocks = self.blocks if self.depth_read is None else self.blocks[: self.depth_read]
        if self.architecture.position == "irpe_k":
            pairs = self._table_of(grid)
            for block in blocks:
                tokens = block(tokens, attn_mask=pairs)
        else:
            tokens = blocks(tokens)
        return tokens if self.depth_read is not None else cast(Tensor, self.norm(tokens))

    def _table_of(self, grid: Grid) -> Tensor:
        """The fixed table for `grid`: of any size by its definition, never resized."""
        native = self.get_buffer("fixed_table")
        if grid == self.grid:
            return native
        key = (grid, native.device, native.dtype)
        return self._memory.remembered(key, lambda: self._fixed_table(grid).to(native))

    def _fixed_table(self, grid: Grid) -> Tensor:
        if self.architecture.position == "irpe_k":
            return buckets(grid, class_token=bool(self.class_rows))
        return sincos3d_table(grid, self.width, class_token=bool(self.class_rows))


def build_vit(
    architecture: Architecture,
    *,
    image_size: int,
    seed: int | None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> PlainViT:
    """Builds the encoder; `seed` None leaves the parameters unset, for a checkpoint that fills all of them."""
    return started(lambda: PlainViT(architecture, image_size=image_size, dropout=dropout, drop_path=drop_path), seed)


def compile_encoder(encoder: nn.Module, *, backend: str = "inductor") -> None:
    """Compiles the encoder's forward in place: parameter names, checkpoints and device moves stay as they are."""
    encoder.compile(backend=backend)


def _blocks(
    architecture: Architecture, norm: partial[nn.LayerNorm], dropout: float, drop_path: float
) -> list[nn.Module]:
    """Blocks of timm, with drop path growing linearly with depth."""
    depth, width, heads = architecture.depth, architecture.width, architecture.heads
    blocks: list[nn.Module] = [
        Block(
            width,
            heads,
            mlp_ratio=architecture.mlp_ratio,
            qkv_bias=True,
            proj_drop=dropout,
            drop_path=drop_path * i / max(depth - 1, 1),
            act_layer=_ACTIVATIONS[architecture.activation or "gelu"],
            norm_layer=norm,
        )
        for i in range(depth)
    ]
    if architecture.position == "irpe_k":
        for block in blocks:
            block.attn = RelativeAttention(width, heads, dropout=dropout)
    return blocks


def _depth_read(architecture: Architecture) -> int | None:
    """Blocks that are run when a layer before the last is read; None for all of them and the final norm.

    Layers are numbered as hidden states are elsewhere: i is the output of the i-th block, -1 that of the last, -2 that
    of the last but one, which is what LLaVA reads (section 9.12 of the adapter specification).
    """
    layer, depth = architecture.feature_layer, architecture.depth
    if layer is None:
        return None
    read = layer if layer >= 0 else depth + 1 + layer
    if not 1 <= read <= depth:
        raise UsageError(
            f"feature_layer {layer} is not one of {depth} blocks",
            way_out=f"count from 1 to {depth}, or back from -1 (the last) to {-depth}",
        )
    return read


def _require_vit(architecture: Architecture) -> None:
    if architecture.kind != "vit":
        raise UsageError(
            f"a {architecture.kind} architecture is not a plain ViT", way_out="build it with the builder of its kind"
        )
