"""The network, with the interface that all tasks of the benchmark use (adapters/interface.py)."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from adapters.card import Architecture
from adapters.interface import FeatureMap, Features, Grid
from foundation.errors import UsageError

STEM = 4
"""The stem takes patches of this side; each further stage halves the map."""


class TinyEncoder(nn.Module):
    """A stem and a few convolutional stages; one map per stage, the tokens are the cells of the last."""

    def __init__(self, *, in_channels: int, width: int, stages: int, dropout: float) -> None:
        super().__init__()
        widths = [width // 2 ** (stages - 1 - stage) for stage in range(stages)]
        self.in_channels = in_channels
        self.width = width  # of pooled feature and tokens
        self.stride = STEM * 2 ** (stages - 1)  # pixels per token
        self.layer_count = stages  # for the layer-wise decay of the learning rate
        self.stem = nn.Conv2d(in_channels, widths[0], STEM, stride=STEM)
        self.stages = nn.ModuleList(
            Stage(widths[max(stage - 1, 0)], widths[stage], halve=stage > 0, dropout=dropout) for stage in range(stages)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Features:
        """Features of normalised images [B, C, H, W]."""
        last = self._maps(images)[-1]
        grid = Grid(int(last.shape[2]), int(last.shape[3]))
        tokens = self.norm(last.flatten(2).transpose(1, 2))  # rows first
        return Features(pooled=tokens.mean(dim=1), class_token=None, tokens=tokens, grid=grid)

    def maps(self, images: Tensor) -> list[FeatureMap]:
        """One map per stage, from fine to coarse."""
        return [FeatureMap(values, STEM * 2**stage) for stage, values in enumerate(self._maps(images))]

    def layer_id(self, parameter_name: str) -> int:
        """0 for the stem, the stage's number from 1, and one more for what comes after."""
        stage = re.match(r"stages\.(\d+)\.", parameter_name)
        if stage:
            return int(stage[1]) + 1
        return 0 if parameter_name.startswith("stem.") else self.layer_count + 1

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that must not decay although they are no vectors: here none."""
        return set()

    def _maps(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        if images.shape[1] != self.in_channels or height % self.stride or width % self.stride:
            raise UsageError(
                f"images of shape {tuple(images.shape)} do not fit",
                where=type(self).__name__,
                way_out=f"give {self.in_channels} channels and sides that {self.stride} divides",
            )
        values = self.stem(images)
        found = []
        for stage in self.stages:
            values = stage(values)
            found.append(values)
        return found


class Stage(nn.Module):
    """Halves the map where asked to, then adds what a convolution sees."""

    def __init__(self, in_width: int, width: int, *, halve: bool, dropout: float) -> None:
        super().__init__()
        self.down = nn.Conv2d(in_width, width, 2, stride=2) if halve else nn.Identity()
        self.norm = nn.GroupNorm(1, width)  # not over the batch: an image's features hang on it alone
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.drop = nn.Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """A map [B, D, h, w] of the next stage."""
        values = self.down(values)
        mixed: Tensor = values + self.drop(torch.nn.functional.gelu(self.mix(self.norm(values))))
        return mixed


def build(
    architecture: Architecture,
    *,
    image_size: int,  # noqa: ARG001 (this network takes any size)
    seed: int,  # noqa: ARG001 (the random state is set from it)
    dropout: float,
    drop_path: float,  # noqa: ARG001 (this network has none)
) -> TinyEncoder:
    """What the benchmark calls.

    Args:
        architecture: Of the card.
        image_size: Side of the task's images, for networks that need to know it.
        seed: Of the initial values. The global random state is set from it already, and put back afterwards.
        dropout: Of the task's settings.
        drop_path: Of the task's settings.
    """
    return TinyEncoder(
        in_channels=architecture.in_channels, width=architecture.width, stages=architecture.depth, dropout=dropout
    )
