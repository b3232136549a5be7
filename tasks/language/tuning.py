"""Fine-tuning under KLIP's losses: which image and which text stand in a batch is the task's, all else is here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from foundation.hashing import hash_bytes
from foundation.seeds import derive_seed
from klip.losses.corrupt import Corrupted
from klip.model.pretrainer import PairBatch, StepContext
from klip.settings import SLOTS
from klip.tokens.batch import TokenBatch
from tasks.fine_tuning import Chosen, FineTuning
from tasks.input_path import InputPath
from tasks.language.images import Squares, jittered
from tasks.language.network import LanguageNetwork, WritingBatch
from tasks.protocol.settings import LanguageSettings

_HASH_DIGITS = 15
"""Hexadecimal digits of a text's hash that fit a signed 64-bit number."""


class Texts(NamedTuple):
    """What stands beside the images of a batch."""

    compared: TokenBatch
    """For contrast and matching."""
    hashes: Tensor
    """int64 [B]: equal texts are no negatives of each other."""
    question: Corrupted | None = None
    """What is to be written, where something is."""


class Batch(NamedTuple):
    """One micro-batch: 8-bit images and texts, and the seed of what is drawn for it."""

    images: Tensor
    image_id: Tensor
    texts: Texts
    seed: int

    def __len__(self) -> int:
        """Items, not fields."""
        return int(self.image_id.shape[0])


class LanguageTuning(FineTuning[LanguageNetwork, LanguageSettings, Batch]):
    """A language task as the training loop wants it; a subclass says which texts the items of a batch have."""

    def __init__(
        self,
        model: LanguageNetwork,
        to_input: InputPath,
        settings: LanguageSettings,
        images: Squares,
        image_of: Sequence[int],
        *,
        seed: int,
        device: torch.device,
        per_epoch: int | None = None,
    ) -> None:
        """`image_of` names the row of `images` for each training item."""
        items = len(image_of)
        super().__init__(model, to_input, settings, items, seed=seed, device=device, per_epoch=per_epoch)
        self.images = images
        self.image_of = np.asarray(image_of, dtype=np.int64)
        self.position = 0.0
        """Where the training is, in epochs."""

    def batches(self, epoch: int) -> Iterator[list[Batch]]:
        """The micro-batches of each step; `position` goes with them."""
        for step, micros in enumerate(super().batches(epoch)):
            self.position = epoch + step / self.steps_per_epoch
            yield micros

    @property
    def alpha(self) -> float:
        """Weight of the soft targets: rises linearly from 0 over the first epochs (section 7)."""
        comparing = self.settings.comparing
        share = min(1.0, self.position / comparing.rise_epochs) if comparing.rise_epochs else 1.0
        return comparing.alpha * share

    @abstractmethod
    def texts(self, epoch: int, chosen: Chosen) -> Texts:
        """The texts of the chosen items in this epoch."""

    def prepared(self, epoch: int, chosen: Chosen) -> Batch:
        """Images with another intensity and their texts."""
        rows = self.image_of[chosen]
        pixels = jittered(self.images[rows], self.settings.intensity_jitter, self.generators(epoch, chosen))
        seed = derive_seed("step", self.seed, epoch, int(chosen[0]))
        return Batch(pixels, torch.from_numpy(rows), self.texts(epoch, chosen), seed)

    def placed(self, batch: Batch) -> Batch:
        """The images on the device; the rest follows when it is used."""
        images = batch.images.to(self.device)  # `_replace` would count items where it means fields
        return Batch(images, batch.image_id, batch.texts, batch.seed)

    def loss(self, micro: Batch) -> Tensor:
        """The weighted losses of Table 5."""
        generator = torch.Generator(self.device).manual_seed(micro.seed)
        return torch.as_tensor(self.model(self._pairs(micro), StepContext(self.alpha, generator)))

    def after_step(self) -> None:
        """The twins follow."""
        self.model.trainer.follow()

    def _pairs(self, micro: Batch) -> PairBatch:
        images = self.to_input(micro.images)
        compared, hashes, question = micro.texts
        noise = torch.zeros(len(micro), SLOTS, dtype=torch.bool)
        if question is None:
            return PairBatch(images, compared, micro.image_id, hashes, noise).to(self.device)
        return WritingBatch(images, compared, micro.image_id, hashes, noise, question).to(self.device)


def text_hashes(texts: Sequence[str]) -> Tensor:
    """A number for each text, the same for equal ones."""
    return torch.tensor([int(hash_bytes(text.encode())[:_HASH_DIGITS], 16) for text in texts], dtype=torch.int64)
