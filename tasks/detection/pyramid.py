"""The simple feature pyramid of ViTDet, from whatever maps an encoder has (section 4.1 of the task specification).

Each level is made from the map whose stride is nearest: by deconvolutions where the map is coarser, by max pooling
where it is finer; then a 1 x 1 and a 3 x 3 convolution, each with a norm over the channels. A plain ViT has one map, so
this is ViTDet's pyramid; a hierarchical network gives each level its own map. Levels coarser than 32 are made from the
level before by taking every other cell; only proposals come from them.

Strides are nominal, powers of two: a map of patches of 14 pixels counts as one of stride 16, and its levels lie at 3.5,
7, 14 and 28 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from adapters.interface import FeatureMap
from foundation.errors import UsageError
from tasks.detection.channel_norm import ChannelNorm

COARSEST_REGION_STRIDE = 32
"""Regions are read from levels up to this stride (section 4.1: strides 4-32)."""

_NORM_EPS = 1e-6  # as in ViTDet's norms over channels


class Source(NamedTuple):
    """Channels and stride of one of an encoder's maps."""

    channels: int
    stride: int


class Level(NamedTuple):
    """One level: what it is called after, and how many pixels really lie between its cells."""

    stride: int
    spacing: float


class FeaturePyramid(nn.Module):
    """Maps of equal width at the wanted strides."""

    def __init__(self, sources: Sequence[Source], strides: Sequence[int], channels: int) -> None:
        super().__init__()
        _require_powers_of_two(strides)
        self.branches = nn.ModuleList()
        self._source_of: list[int] = []
        levels: list[Level] = []
        self.extra = 0
        for stride in strides:
            if stride > COARSEST_REGION_STRIDE:
                self.extra += 1
                levels.append(Level(stride, 2 * levels[-1].spacing))
                continue
            chosen = nearest_source(sources, stride)
            source = sources[chosen]
            doublings = nominal(source.stride) - nominal(stride)
            self._source_of.append(chosen)
            self.branches.append(nn.Sequential(*_branch(source.channels, doublings, channels)))
            levels.append(Level(stride, source.stride / 2**doublings))
        self.levels = tuple(levels)

    @property
    def used(self) -> list[int]:
        """Numbers of the maps that levels are made from."""
        return sorted(set(self._source_of))

    def forward(self, maps: Sequence[FeatureMap]) -> list[Tensor]:
        """The levels from fine to coarse, [B, channels, h, w] each, in channels-last order."""
        found: list[Tensor] = [
            branch(maps[source].values) for branch, source in zip(self.branches, self._source_of, strict=True)
        ]
        for _ in range(self.extra):
            found.append(max_pool2d(found[-1], kernel_size=1, stride=2))
        return found


def nominal(stride: float) -> int:
    """The exponent of the power of two nearest to a stride."""
    return round(math.log2(stride))


def nearest_source(sources: Sequence[Source], stride: int) -> int:
    """The map of that stride, else the nearest; of two equally near ones the coarser, which has seen more."""

    def distance(index: int) -> tuple[int, int]:
        exponent = nominal(sources[index].stride)
        return abs(exponent - nominal(stride)), -exponent

    return min(range(len(sources)), key=distance)


def _branch(width: int, doublings: int, channels: int) -> Iterator[nn.Module]:
    for step in range(doublings):
        if step:
            yield ChannelNorm(width, eps=_NORM_EPS)
            yield nn.GELU()
        narrower = max(width // 2, 1)
        yield nn.ConvTranspose2d(width, narrower, kernel_size=2, stride=2)
        width = narrower
    if doublings < 0:
        yield nn.MaxPool2d(2**-doublings)
    yield nn.Conv2d(width, channels, kernel_size=1, bias=False)
    yield ChannelNorm(channels, eps=_NORM_EPS)
    yield nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
    yield ChannelNorm(channels, eps=_NORM_EPS)


def _require_powers_of_two(strides: Sequence[int]) -> None:
    wrong = [stride for stride in strides if stride < 1 or stride & (stride - 1)]
    if wrong or list(strides) != sorted(set(strides)) or not strides or strides[0] > COARSEST_REGION_STRIDE:
        raise UsageError(
            f"pyramid strides {list(strides)} are no rising powers of two from {COARSEST_REGION_STRIDE} or below",
            where="pyramid_strides of the detection settings",
            way_out="use for example [4, 8, 16, 32, 64]",
        )
    extra = [stride for stride in strides if stride > COARSEST_REGION_STRIDE]
    before = [stride for stride in strides if stride <= COARSEST_REGION_STRIDE]
    expected = [before[-1] * 2 ** (step + 1) for step in range(len(extra))]
    if extra != expected:
        raise UsageError(
            f"pyramid strides above {COARSEST_REGION_STRIDE} must double the level before, not {extra}",
            where="pyramid_strides of the detection settings",
            way_out=f"use {before + expected}",
        )
