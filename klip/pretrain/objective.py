"""KLIP as an objective of the training loop: batches from a corpus, the three losses, and the twins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foundation.errors import CheckError
from klip.augment import augment, normalise
from klip.model.pretrainer import PairBatch, Pretrainer, StepContext
from klip.pretrain.mirror import flipped
from klip.pretrain.segments import drop_segments
from klip.scio.readiness import held_out_rows
from klip.settings import PretrainingSettings
from klip.tokens.batch import TokenBatch
from klip.training.distributed import World
from klip.training.order import batches_per_epoch, epoch_batches
from klip.training.position import Position


@dataclass(frozen=True)
class Texts:
    """What the images are paired with in a stage."""

    version: int
    tokens: TokenBatch
    text_hash: Tensor
    """int64 [N]."""
    noise: Tensor
    """bool [N, 8]: segments that infilling neither asks for nor sees."""
    digest: str
    """Hash of version and noise: a training does not go on with others."""
    mirrored: TokenBatch | None = None
    """The texts of the mirrored images, with `image.flip=text_aware`."""


@dataclass(frozen=True)
class Images:
    """The images of a corpus."""

    pixels: NDArray[np.uint8]
    """[N, S, S]."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_id: Tensor
    """int64 [N]: equal where two rows show the same image."""


@dataclass(frozen=True)
class _Rows:
    """A batch before the device: 8-bit images and texts."""

    pixels: Tensor
    tokens: TokenBatch
    mirrored: TokenBatch | None
    image_id: Tensor
    text_hash: Tensor
    noise: Tensor


def alpha_at(settings: PretrainingSettings, step: int, steps_per_epoch: int) -> float:
    """The weight of the soft targets on its way up, by steps of the optimiser (sections 4.1 and 5.5)."""
    ramp = settings.itc.alpha_ramp_epochs * steps_per_epoch
    return settings.itc.alpha * min(1.0, step / ramp) if ramp else settings.itc.alpha


def trained_rows(image_id: Tensor, settings: PretrainingSettings) -> Tensor:
    """Rows of the corpus that are trained on: all but the held-out ones and other rows of their images."""
    held_out = torch.from_numpy(held_out_rows(len(image_id), settings.scio.held_out, settings.seed))
    return torch.nonzero(~torch.isin(image_id, image_id[held_out]))[:, 0]


class KlipObjective:
    """Implements `klip.training.engine.Objective`."""

    def __init__(
        self, module: Pretrainer, images: Images, texts: Texts, settings: PretrainingSettings, world: World
    ) -> None:
        self._module = module
        self._images = images
        self._settings = settings
        self._world = world
        self._texts = texts
        self._segment_dropout = 0.0
        self._expected: str | None = None
        self.batch_size = settings.batch_size_per_device
        self._rows = trained_rows(images.image_id, settings)
        self.batches_per_epoch = batches_per_epoch(len(self._rows), self.batch_size, world.size)

    @property
    def module(self) -> Pretrainer:
        """The model, its twins and the queue."""
        return self._module

    @property
    def texts(self) -> Texts:
        """What this stage is trained on."""
        return self._texts

    def begin_stage(self, texts: Texts, *, segment_dropout: float) -> None:
        """Takes the texts of a stage; refused where a checkpoint from inside it was made with others."""
        if self._expected is not None and self._expected != texts.digest:
            raise CheckError(
                "the texts of this stage are not those that its checkpoint was trained with",
                where=f"version {texts.version}",
                way_out="restore the store of the run folder, or start anew in another --out folder",
            )
        self._expected = None
        self._texts = texts
        self._segment_dropout = segment_dropout

    def batches(self, epoch: int, first: int) -> Iterator[_Rows]:
        """Images and texts of each batch of this process."""
        batches = epoch_batches(
            len(self._rows),
            self.batch_size,
            seed=self._settings.seed,
            epoch=epoch,
            first=first,
            rank=self._world.rank,
            processes=self._world.size,
        )
        pinned = self._world.device.type == "cuda"
        for chosen in batches:
            index = self._rows[chosen]
            pixels = torch.from_numpy(self._images.pixels[index.numpy()])
            texts = self._texts
            yield _Rows(
                pixels=pixels.pin_memory() if pinned else pixels,
                tokens=texts.tokens.rows(index).trimmed(),
                mirrored=None if texts.mirrored is None else texts.mirrored.rows(index).trimmed(),
                image_id=self._images.image_id[index],
                text_hash=texts.text_hash[index],
                noise=texts.noise[index],
            )

    def loss(self, module: nn.Module, batch: _Rows, position: Position) -> dict[str, Tensor]:
        """The losses of section 4 for one batch, in one forward."""
        device = self._world.device
        pairs = self._pairs(batch, position)
        alpha = alpha_at(self._settings, position.step, position.steps_per_epoch)
        context = StepContext(alpha=alpha, generator=position.generator("losses", device))
        values: dict[str, Tensor] = module(pairs, context)
        temperature = self._module.online.temperature.detach()
        return {**values, "tau": temperature, "alpha": torch.tensor(alpha, device=device)}

    def after_step(self, position: Position) -> None:  # noqa: ARG002  # twins move alike at every step
        """The twins follow."""
        self._module.follow()

    def state(self) -> dict[str, Any]:
        """The texts that this place was trained with."""
        return {"text_version": self._texts.version, "texts": self._texts.digest}

    def load_state(self, state: dict[str, Any]) -> None:
        """What the stage that goes on must be trained with."""
        self._expected = str(state["texts"])

    def forget_stage(self) -> None:
        """The checkpoint lies at the end of a stage, so the next one may have other texts."""
        self._expected = None

    def _pairs(self, batch: _Rows, position: Position) -> PairBatch:
        device, settings = self._world.device, self._settings
        generator = position.generator("images", device)
        images = augment(batch.pixels.to(device, non_blocking=True), generator, settings.image.aug)
        pad = self._module.online.specials.pad
        tokens = batch.tokens
        if batch.mirrored is not None:
            images, tokens = flipped(images, tokens, batch.mirrored, position, pad)
        if self._segment_dropout:
            # Before the device: shorter texts make narrower batches, and asking a GPU for a width would wait for it.
            tokens = drop_segments(tokens, self._segment_dropout, position.generator("segments"), pad).trimmed()
        return PairBatch(
            images=normalise(images, self._images.mean, self._images.std),
            tokens=tokens,
            image_id=batch.image_id,
            text_hash=batch.text_hash,
            noise=batch.noise,
        ).to(device)
