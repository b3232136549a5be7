"""A baseline as the training loop takes it: which images, which views, which random numbers, which rate.

Everything that is drawn hangs on the place in the training, so a run that was killed goes on as if nothing had been.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from klip.corpus import text_hash
from klip.text import SegmentedText
from klip.tokens.batch import pack
from klip.tokens.layout import TextTokens
from klip.tokens.vocabulary import Specials
from klip.training.distributed import World
from klip.training.engine import TrainingPlan
from klip.training.optimiser import OptimiserPlan
from klip.training.order import batches_per_epoch, epoch_batches
from klip.training.position import Position
from klip.training.schedule import Cosine
from klip.unimodal.baseline import Baseline
from klip.unimodal.contrastive import ContrastivePretraining
from klip.unimodal.settings import BaselineSettings

RATE_BATCH = 256
"""Images per step that the rates of section 12 are meant for."""


class BaselineObjective:
    """What all baselines share: an order of the images, and nothing to remember beside the module."""

    def __init__(self, module: nn.Module, pixels: NDArray[np.uint8], settings: BaselineSettings, world: World) -> None:
        self.module = module
        self.batch_size = settings.batch_size_per_device
        self.batches_per_epoch = batches_per_epoch(len(pixels), self.batch_size, world.size)
        self.world = world
        self._seed = settings.seed
        self._pixels = pixels

    def rows(self, epoch: int, first: int) -> Iterator[Tensor]:
        """Which images each batch of this process takes."""
        return epoch_batches(
            len(self._pixels),
            self.batch_size,
            seed=self._seed,
            epoch=epoch,
            first=first,
            rank=self.world.rank,
            processes=self.world.size,
        )

    def images(self, rows: Tensor) -> Tensor:
        """8-bit images [B, H, W] on the device."""
        return torch.from_numpy(self._pixels[rows.numpy()]).to(self.world.device, non_blocking=True)

    @abstractmethod
    def batches(self, epoch: int, first: int) -> Iterator[Any]:
        """The batches of an epoch from number `first` on."""

    @abstractmethod
    def loss(self, module: nn.Module, batch: Any, position: Position) -> dict[str, Tensor]:
        """The losses of one batch."""

    def after_step(self, position: Position) -> None:
        """Nothing follows."""

    def state(self) -> dict[str, Any]:
        """Nothing beside the module."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing."""


class ImageObjective(BaselineObjective):
    """Views of images, for the baselines that see no text."""

    def __init__(self, module: Baseline, pixels: NDArray[np.uint8], settings: BaselineSettings, world: World) -> None:
        super().__init__(module, pixels, settings, world)
        self._baseline = module

    def batches(self, epoch: int, first: int) -> Iterator[Tensor]:
        """8-bit images."""
        return (self.images(rows) for rows in self.rows(epoch, first))

    def loss(self, module: nn.Module, batch: Tensor, position: Position) -> dict[str, Tensor]:
        """Of views that are drawn here."""
        views = self._baseline.views_of(batch, position.generator("views"))
        losses: dict[str, Tensor] = module(views, position.generator("masks"))
        return losses

    def after_step(self, position: Position) -> None:
        """Slow copies follow."""
        self._baseline.follow(position.step, position.total_steps)


class TextImageObjective(BaselineObjective):
    """Views of images with their texts."""

    def __init__(
        self,
        module: ContrastivePretraining,
        pixels: NDArray[np.uint8],
        texts: Sequence[SegmentedText],
        tokens: Sequence[TextTokens],
        specials: Specials,
        settings: BaselineSettings,
        world: World,
    ) -> None:
        super().__init__(module, pixels, settings, world)
        self._contrastive = module
        self._tokens = pack(tokens, specials)
        self.text_hashes = [text_hash(text) for text in texts]
        self._hashes = torch.tensor(self.text_hashes, dtype=torch.int64)

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Any, ...]]:
        """Images, tokens and hashes of the texts."""
        device = self.world.device
        for rows in self.rows(epoch, first):
            yield self.images(rows), self._tokens.rows(rows).trimmed().to(device), self._hashes[rows].to(device)

    def loss(self, module: nn.Module, batch: tuple[Any, ...], position: Position) -> dict[str, Tensor]:
        """Of views that agree with the texts."""
        pixels, tokens, hashes = batch
        views = self._contrastive.views_of(pixels, position.generator("views", pixels.device))
        losses: dict[str, Tensor] = module(views, tokens, hashes)
        return losses


def plan_of(
    settings: BaselineSettings,
    batches: int,
    world: World,
    configuration: dict[str, Any],
    about: dict[str, Any],
) -> TrainingPlan:
    """Optimiser and schedule of section 12: a rate per 256 images, warm-up and cosine step by step."""
    optim = settings.optim
    total = settings.epochs * batches
    peak = optim.rate * settings.batch_size_per_device * world.size / RATE_BATCH
    return TrainingPlan(
        configuration=configuration,
        seed=settings.seed,
        epochs=settings.epochs,
        schedule=Cosine(peak, round(optim.warmup * total), total),
        optimiser=OptimiserPlan(optim.weight_decay, optim.betas, clip_norm=optim.clip_norm),
        precision=settings.precision,
        about=about,
    )
