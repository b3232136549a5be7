"""What the baselines have in common: an encoder, the statistics of its input, blocks for their heads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from adapters.encoder import PlainViT
from klip.unimodal.settings import BaselineSettings, ViewSettings
from klip.unimodal.tower import build_tower, channels, drawn_start
from klip.unimodal.views import view

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Section 6 of the adapter specification."""
NORM_EPS = 1e-6  # section 2.1


class InputStatistics(NamedTuple):
    """Per channel of the encoder, on pixels in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def statistics_of(settings: ViewSettings, channel_count: int, of_corpus: tuple[float, float]) -> InputStatistics:
    """What `views.norm` stands for; `of_corpus` are mean and standard deviation of the corpus in 0..1."""
    if settings.norm == "dataset":
        return InputStatistics((of_corpus[0],) * channel_count, (of_corpus[1],) * channel_count)
    if settings.norm == "none":
        return InputStatistics((0.0,) * channel_count, (1.0,) * channel_count)
    if channel_count == 3:
        return InputStatistics(IMAGENET_MEAN, IMAGENET_STD)
    return InputStatistics((sum(IMAGENET_MEAN) / 3,) * channel_count, (sum(IMAGENET_STD) / 3,) * channel_count)


class HeadPlan(NamedTuple):
    """Geometry of a head."""

    width: int
    depth: int
    heads: int


class Baseline(nn.Module):
    """An encoder and an objective; `forward` gives the losses of a batch of 8-bit images."""

    views_taken = 1
    mean: Tensor
    std: Tensor

    def __init__(self, settings: BaselineSettings, statistics: InputStatistics) -> None:
        super().__init__()
        self.settings = settings
        self.statistics = statistics
        self.encoder: PlainViT = build_tower(settings.tower, settings.seed)
        shape = (1, settings.tower.channels, 1, 1)
        self.register_buffer("mean", torch.tensor(statistics.mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(statistics.std).view(shape), persistent=False)

    def views_of(self, pixels: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Random views [B, S, S] in 0..1 of images [B, H, W]."""
        size = self.settings.tower.image_size
        return [view(pixels, size, self.settings.views, generator, which) for which in range(self.views_taken)]

    @abstractmethod
    def forward(self, views: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """`loss`, and what else is worth a line in the log."""

    def follow(self, step: int, total_steps: int) -> None:
        """What moves without a gradient, once `step` steps of the optimiser are done."""

    def input_of(self, grey: Tensor) -> Tensor:
        """Grey [B, S, S] in 0..1 as the encoder takes it."""
        normalised: Tensor = (channels(grey, self.encoder) - self.mean) / self.std
        return normalised


class Head(nn.Module):
    """A narrower transformer behind the encoder, which is thrown away with its mask token after training."""

    def __init__(self, width: int, plan: HeadPlan, out: int, *, mask_width: int, seed: int, purpose: str) -> None:
        super().__init__()
        self.embed = nn.Linear(width, plan.width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, mask_width))
        norm = partial(nn.LayerNorm, eps=NORM_EPS)
        blocks = [Block(plan.width, plan.heads, qkv_bias=True, norm_layer=norm) for _ in range(plan.depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = norm(plan.width)
        self.out = nn.Linear(plan.width, out)
        drawn_start(self, seed, purpose)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, n, out] of tokens that are embedded already."""
        found: Tensor = self.out(self.norm(self.blocks(tokens)))
        return found
