"""The one plain vision transformer that tasks see, for every geometry a card can state.

Parameter names are timm's (section 3.1 of the adapter specification), blocks are timm's, attention is the fused
scaled-dot-product kernel. The position table is built for the image size of the task and resized on the fly for
any other: bicubic with anti-aliasing as timm does it, the class row kept.

Accepted trade-off: one feature map per image, of the last block after the final norm; heads that want a pyramid
make it from that map, as ViTDet does.
"""

from __future__ import annotations

import math
import re
from functools import partial

import torch
from timm.layers import PatchEmbed, QuickGELU, resample_abs_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from adapters.card import Architecture
from adapters.interface import FeatureMap, Features, Grid
from foundation.errors import UsageError
from foundation.seeds import derive_seed

_BLOCK_NAME = re.compile(r"blocks\.(\d+)\.")
_EMBEDDINGS = ("cls_token", "pos_embed", "patch_embed.", "norm_pre.")
_ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "quick_gelu": QuickGELU}
_NOT_BUILT = ("sincos3d", "irpe_k")
_TABLE_STD = 0.02  # timm's initial spread of position tables and linear weights
_CLASS_STD = 1e-6  # timm's initial spread of the class token
_WAVELENGTHS = 10_000.0  # base of the sine-cosine table in MAE


class PlainViT(nn.Module):
    """A vision transformer of any geometry that `Architecture` can state."""

    def __init__(
        self, architecture: Architecture, *, image_size: int, dropout: float = 0.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        _require_built(architecture)
        width, depth = architecture.width, architecture.depth
        self.architecture = architecture
        self.width = width
        self.stride = architecture.patch
        self.layer_count = depth
        self.in_channels = architecture.in_channels
        self.grid = self.grid_of(image_size, image_size)
        norm = partial(nn.LayerNorm, eps=architecture.norm_eps)
        # CPU tensors without storage of their own kind: `build_vit` decides how they are filled.
        self.patch_embed = PatchEmbed(
            img_size=None,
            patch_size=architecture.patch,
            in_chans=architecture.in_channels,
            embed_dim=width,
            bias=architecture.patch_bias,
            flatten=False,
            strict_img_size=False,
        )
        rows = self.grid.h * self.grid.w + architecture.class_token
        self.cls_token = nn.Parameter(torch.empty(1, 1, width)) if architecture.class_token else None
        self.pos_embed = None
        if architecture.position != "none":
            # A sine-cosine table is fixed by definition; a learned one goes on learning.
            learned = architecture.position == "learned"
            self.pos_embed = nn.Parameter(torch.empty(1, rows, width), requires_grad=learned)
        self.pos_drop = nn.Dropout(dropout)
        self.norm_pre = norm(width) if architecture.pre_norm else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                Block(
                    width,
                    architecture.heads,
                    mlp_ratio=architecture.mlp_ratio,
                    qkv_bias=True,
                    proj_drop=dropout,
                    drop_path=drop_path * i / max(depth - 1, 1),
                    act_layer=_ACTIVATIONS[architecture.activation or "gelu"],
                    norm_layer=norm,
                )
                for i in range(depth)
            )
        )
        self.norm = norm(width) if architecture.final_norm else nn.Identity()
        self._resized: dict[tuple[object, ...], Tensor] = {}

    def grid_of(self, height: int, width: int) -> Grid:
        """The token grid of an image; sides that the patch does not divide are refused."""
        patch = self.architecture.patch
        if height % patch or width % patch or not height or not width:
            near = sorted({max(patch, side // patch * patch + more) for side in (height, width) for more in (0, patch)})
            raise UsageError(
                f"an image of {height} x {width} pixels cannot be cut into patches of {patch}",
                where=f"encoder of width {self.width} with patch {patch}",
                way_out=f"use sides that {patch} divides, for example {' or '.join(map(str, near))}",
            )
        return Grid(height // patch, width // patch)

    def forward(self, images: Tensor) -> Features:
        """Features of images [B, C, H, W]."""
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise UsageError(
                f"images of shape {tuple(images.shape)} where [B, {self.in_channels}, H, W] is expected",
                way_out=f"prepare the images with the card's input contract ({self.in_channels} channels)",
            )
        grid = self.grid_of(images.shape[2], images.shape[3])
        tokens = self.patch_embed(images).flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        if self.pos_embed is not None:
            tokens = tokens + self._positions(grid)
        tokens = self.norm(self.blocks(self.norm_pre(self.pos_drop(tokens))))
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
        """The class token and the position table."""
        return {"cls_token", "pos_embed"}

    def train(self, mode: bool = True) -> PlainViT:
        """Forgets resized position tables: training is about to change them."""
        self._resized.clear()
        super().train(mode)
        return self

    def _positions(self, grid: Grid) -> Tensor:
        """The position table for `grid`: differentiable where gradients are wanted, else remembered."""
        table = self.pos_embed
        assert table is not None  # asked for only by forward, where there is one
        if grid == self.grid:
            return table
        if self.training or torch.is_grad_enabled():
            return self._resize(table, grid)
        # The version counts writes in place, so weights loaded later are not answered with an old table.
        key = (grid, table.device, table.dtype, table.data_ptr(), table._version)
        if key not in self._resized:
            self._resized[key] = self._resize(table, grid)
        return self._resized[key]

    def _resize(self, table: Tensor, grid: Grid) -> Tensor:
        return resize_positions(table, old=self.grid, new=grid, class_token=self.cls_token is not None)


def resize_positions(table: Tensor, *, old: Grid, new: Grid, class_token: bool) -> Tensor:
    """A position table [1, N, D] for another grid: bicubic over the grid rows, the class row kept."""
    resized: Tensor = resample_abs_pos_embed(
        table, new_size=list(new), old_size=list(old), num_prefix_tokens=int(class_token)
    )
    return resized


def build_vit(
    architecture: Architecture,
    *,
    image_size: int,
    seed: int | None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> PlainViT:
    """Builds the encoder; `seed` None leaves the parameters unset, for a checkpoint that fills all of them.

    Each parameter draws from a generator of its own, so neither the global random state nor the depth of the
    model changes what a parameter starts from.
    """
    with torch.device("meta"):  # no time and no random numbers for values that are overwritten anyway
        encoder = PlainViT(architecture, image_size=image_size, dropout=dropout, drop_path=drop_path)
    encoder.to_empty(device="cpu")
    if seed is not None:
        with torch.no_grad():
            for name, parameter in encoder.named_parameters():
                generator = torch.Generator().manual_seed(derive_seed("encoder", seed, name))
                _initialise(encoder, name, parameter, generator)
    return encoder


def _initialise(encoder: PlainViT, name: str, parameter: Tensor, generator: torch.Generator) -> None:
    """The initial values of timm, the kernel of the patch embedding included."""
    if name == "cls_token":
        parameter.normal_(std=_CLASS_STD, generator=generator)
    elif name == "pos_embed":
        if encoder.architecture.position == "sincos2d":
            parameter.copy_(sincos_table(encoder.grid, encoder.width, class_token=encoder.cls_token is not None))
        else:
            nn.init.trunc_normal_(parameter, std=_TABLE_STD, generator=generator)
    elif name.startswith("patch_embed."):
        # Uniform within 1 / sqrt(fan in), the default of convolutions, for kernel and bias alike.
        bound = 1 / math.sqrt(encoder.in_channels * encoder.stride**2)
        parameter.uniform_(-bound, bound, generator=generator)
    elif name.endswith("bias"):
        parameter.zero_()
    elif parameter.ndim == 1:
        parameter.fill_(1.0)  # scales of the layer norms
    else:
        nn.init.trunc_normal_(parameter, std=_TABLE_STD, generator=generator)


def sincos_table(grid: Grid, width: int, *, class_token: bool) -> Tensor:
    """The fixed table of MAE: one half of the width for the column, one for the row; each sines, then cosines.

    (Section 3.2 of the adapter specification; MoCo v3 orders its table otherwise, and stores it.)
    """
    if width % 4:
        raise UsageError(f"a sine-cosine table needs a width that 4 divides, not {width}", way_out="change the width")
    rates = _WAVELENGTHS ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    rows, columns = torch.meshgrid(
        torch.arange(grid.h, dtype=torch.float64), torch.arange(grid.w, dtype=torch.float64), indexing="ij"
    )
    halves = []
    for position in (columns, rows):
        angle = position.reshape(-1, 1) * rates
        halves += [angle.sin(), angle.cos()]
    table = torch.cat(halves, dim=1)
    if class_token:
        table = torch.cat([torch.zeros(1, width, dtype=table.dtype), table])
    return table.float().unsqueeze(0)


def _require_built(architecture: Architecture) -> None:
    if architecture.kind != "vit":
        raise UsageError(f"a {architecture.kind} architecture is not a plain ViT", way_out="not built yet")
    if architecture.position in _NOT_BUILT:
        raise UsageError(
            f"position terms {architecture.position!r} are not built yet",
            way_out="choose a model with a learned or a 2-D sine-cosine position table",
        )
