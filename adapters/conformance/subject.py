"""The model under test, and what the checks ask of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from adapters.interface import FeatureMap, Features, LoadedModel
from foundation.seeds import derive_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from adapters.card import ModelCard

Build = Callable[..., LoadedModel]
"""`build(image_size=..., seed=...)`."""

QUICK_SIDE = 64
"""A quick check looks at images of about this side (the mini profile's)."""

SHOWN = 5
"""Names in a message."""


class Size(NamedTuple):
    """Height and width in pixels."""

    height: int
    width: int


@dataclass
class Subject:
    """A loaded model, and how to build it again."""

    card: ModelCard
    build: Build
    loaded: LoadedModel
    size: int
    quick: bool

    @property
    def encoder(self) -> Any:
        """The encoder; nothing about it is believed before it is checked."""
        return self.loaded.encoder

    def images(self, count: int, size: Size | None = None, *, purpose: str = "images") -> Tensor:
        """Random normalised images, the same each time."""
        height, width = size or Size(self.size, self.size)
        generator = torch.Generator().manual_seed(derive_seed("conformance", purpose, count, height, width))
        return torch.randn(count, self.loaded.contract.channels, height, width, generator=generator)

    def see(self, images: Tensor, encoder: Any = None) -> Features:
        """Features in evaluation mode, without gradients."""
        encoder = self.encoder if encoder is None else encoder
        encoder.eval()
        with torch.no_grad():
            features: Features = encoder(images)
        return features

    def maps(self, images: Tensor, encoder: Any = None) -> list[FeatureMap]:
        """Maps in evaluation mode, without gradients."""
        encoder = self.encoder if encoder is None else encoder
        encoder.eval()
        with torch.no_grad():
            found: list[FeatureMap] = encoder.maps(images)
        return found


def fitting(size: int, stride: int) -> int:
    """The side next to `size` that the stride divides, at least two strides."""
    return max(2, round(size / stride)) * stride


def quick_side(stride: int) -> int:
    """A small side that the stride divides."""
    return max(2, math.ceil(QUICK_SIDE / stride)) * stride


def largest_difference(one: Tensor, other: Tensor) -> float:
    """The largest difference in relation to the largest value."""
    scale = max(float(one.abs().max()), float(other.abs().max()), 1e-12)
    return float((one.float() - other.float()).abs().max()) / scale


def named(names: list[str]) -> str:
    """The first few names, and how many more."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def training_mode(encoder: Any) -> Iterator[None]:
    """Training for the time of the block, with a random state of its own; evaluation after it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("conformance", "training"))
        encoder.train()
        try:
            yield
        finally:
            encoder.eval()
            for parameter in encoder.parameters():
                parameter.grad = None
