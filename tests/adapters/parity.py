"""What the parity tests share: a card of any architecture on a file, and the comparison of two encoders."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from adapters.card import Architecture, ModelCard, WeightSource
from adapters.encoder import PlainViT
from adapters.interface import Features, Grid
from adapters.load import load
from adapters.positions import resize_positions
from adapters.registry import common_input

TOLERANCE = 1e-5
"""In float32, on features that a layer norm has brought to order one."""


def architecture(**facts: object) -> Architecture:
    """A small plain vision transformer with what a family states."""
    small = {"kind": "vit", "width": 32, "depth": 3, "heads": 2, "patch": 8, "activation": "gelu", "image_size": 32}
    return Architecture.model_validate(small | facts)


def clip_like(**facts: object) -> Architecture:
    """The same with the facts of CLIP's family (section 3.1 of the adapter specification)."""
    clip = {"activation": "quick_gelu", "norm_eps": 1e-5, "pre_norm": True, "patch_bias": False}
    return architecture(**(clip | facts))


def card_of(path: Path, facts: Architecture, layout: str) -> ModelCard:
    channels = {1: "single", 3: "half", 6: "six_bands"}[facts.in_channels]
    return ModelCard(
        id="mine",
        name="Mine",
        backbone="other",
        kind="own",
        architecture=facts,
        input=common_input(channels),
        weights=WeightSource(kind="file", path=str(path)),
        layout=layout,
    )


def encoder_from(path: Path, facts: Architecture, layout: str, image_size: int | None = None) -> PlainViT:
    """Our encoder, filled from the file."""
    model = load(card_of(path, facts, layout), image_size=image_size or facts.image_size, seed=0)
    assert isinstance(model.encoder, PlainViT)
    return model.encoder.eval()


def images(size: int, channels: int = 3, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(size))


def ours(path: Path, facts: Architecture, layout: str, size: int) -> Features:
    with torch.no_grad():
        features: Features = encoder_from(path, facts, layout, size)(images(size, facts.in_channels))
    return features


def randomise(network: nn.Module, seed: int = 7) -> None:
    """Values that leave nothing at zero or one: a swapped pair of norms or biases must show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.3 * noise if parameter.ndim == 1 else 0.15 * noise)


def resized(table: Tensor, side: int) -> Tensor:
    """A learned table [1, N, D] with a class row for `side` x `side` tokens, by the stated rule."""
    old = round((table.shape[1] - 1) ** 0.5)
    return resize_positions(table, old=Grid(old, old), new=Grid(side, side), class_token=True)


def assert_equal_features(mine: Features, class_token: Tensor | None, tokens: Tensor, grid: int) -> None:
    assert mine.grid == Grid(grid, grid)
    assert tokens.abs().max() > 0.5, "features of nothing would agree with anything"
    torch.testing.assert_close(mine.tokens, tokens, atol=TOLERANCE, rtol=TOLERANCE)
    if class_token is not None:
        assert mine.class_token is not None
        torch.testing.assert_close(mine.class_token, class_token, atol=TOLERANCE, rtol=TOLERANCE)
