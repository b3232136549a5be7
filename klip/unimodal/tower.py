"""The encoder of every baseline, taken apart: patches in, patches out, some of them left out or replaced between.

It is the plain ViT that the benchmark loads, so what is trained is exported as it is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from adapters.card import Architecture
from adapters.encoder import PlainViT, build_vit
from adapters.initial_values import usual
from foundation.seeds import derive_seed
from klip.unimodal.settings import TowerSettings


def architecture_of(tower: TowerSettings) -> Architecture:
    """The geometry as a card states it."""
    return Architecture(
        kind="vit",
        width=tower.width,
        depth=tower.depth,
        heads=tower.heads,
        patch=tower.patch,
        activation="gelu",
        norm_eps=1e-6,
        in_channels=tower.channels,
        position=tower.position,
        image_size=tower.image_size,
    )


def build_tower(tower: TowerSettings, seed: int) -> PlainViT:
    """A new encoder; all methods start by the same rule (section 12 of the KLIP specification)."""
    return build_vit(architecture_of(tower), image_size=tower.image_size, seed=seed)


def patch_tokens(encoder: PlainViT, images: Tensor) -> Tensor:
    """[B, N, D]: projected patches with their positions, without the class token."""
    tokens: Tensor = encoder.patch_embed(images).flatten(2).transpose(1, 2)
    return tokens + position_rows(encoder)[:, 1:]


def position_rows(encoder: PlainViT) -> Tensor:
    """The position table [1, 1 + N, D] of the encoder's own grid, the class row first."""
    table = encoder.positions(encoder.grid)
    assert table is not None  # every tower here has an absolute table
    return table


def encoded(encoder: PlainViT, tokens: Tensor) -> Tensor:
    """[B, 1 + n, D]: any patch tokens behind the class token, through the blocks and the final norm."""
    assert encoder.cls_token is not None  # every tower here has one
    head = encoder.cls_token + position_rows(encoder)[:, :1]
    states: Tensor = encoder.norm(encoder.blocks(torch.cat([head.expand(len(tokens), -1, -1), tokens], dim=1)))
    return states


def channels(images: Tensor, encoder: PlainViT) -> Tensor:
    """Grey [B, S, S] as the encoder's channels [B, C, S, S], without copying."""
    return images[:, None].expand(-1, encoder.in_channels, -1, -1)


def patches_of(images: Tensor, patch: int) -> Tensor:
    """[B, F, S, S] as rows of patches [B, N, F * patch * patch], in the order of the tokens."""
    count, features, height, width = images.shape
    tiles = images.reshape(count, features, height // patch, patch, width // patch, patch)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(count, (height // patch) * (width // patch), -1)


def drawn_start(module: nn.Module, seed: int, *purpose: str) -> None:
    """Initial values of everything that is not the encoder, each from a generator of its own."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            usual(name, parameter, torch.Generator().manual_seed(derive_seed(*purpose, seed, name)))


def keep_random(count: int, total: int, kept: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which `kept` of `total` places stay, [count, kept], and which go, [count, total - kept], in random order."""
    order = torch.rand(count, total, generator=generator, device=generator.device).argsort(dim=1)
    return order[:, :kept], order[:, kept:]


def taken(tokens: Tensor, places: Tensor) -> Tensor:
    """Tokens [B, N, D] at places [B, n]."""
    return tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))


def share_kept(total: int, share: float) -> int:
    """Whole places for a share of them, at least one."""
    return max(1, math.floor(total * share + 1e-9))
