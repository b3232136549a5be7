"""The network of a language task: any encoder under KLIP's text side, and what trains the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adapters.interface import Encoder, LoadedModel
from klip.losses.corrupt import Corrupted
from klip.model.early_count import EarlyCount
from klip.model.klip import KLIP
from klip.model.pretrainer import Asked, PairBatch, Pretrainer, StepContext
from klip.settings import PretrainingSettings, preset
from klip.tokens.vocabulary import Vocabulary
from tasks.language.start import TextStart
from tasks.protocol.settings import LanguageSettings, VqaSettings
from tasks.under_heads import UnderHeads

_QUEUE_TIMES_PAIRS = 4  # section 7: the queue holds at most four times the training pairs


@dataclass(frozen=True, slots=True)
class WritingBatch(PairBatch):
    """Images and texts as for comparing, and what is to be written of each image."""

    question: Corrupted

    def to(self, device: torch.device | str) -> WritingBatch:
        """The batch on a device."""
        asked = self.question
        moved = Corrupted(
            asked.encoder.to(device),
            asked.decoder.to(device),
            *(part.to(device, non_blocking=True) for part in (asked.gold, asked.targets, asked.mode)),
        )
        pairs = PairBatch.to(self, device)
        return WritingBatch(pairs.images, pairs.tokens, pairs.image_id, pairs.text_hash, pairs.noise, moved)


class Trainer(Pretrainer):
    """KLIP's step; what is written is what the batch asks for."""

    def asked(self, pairs: PairBatch, context: StepContext) -> Asked:
        """The question of the batch; nothing is drawn."""
        if not isinstance(pairs, WritingBatch):
            return Pretrainer.asked(self, pairs, context)
        return Asked(pairs.question, EarlyCount(pairs.question.targets))


class LanguageNetwork(UnderHeads):
    """An encoder with a text side, its twins and its queue."""

    encoder_path: ClassVar[str] = "trainer.online.vision"

    def __init__(self, trainer: Trainer, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.trainer = trainer
        self.vocabulary = vocabulary

    @property
    def klip(self) -> KLIP:
        """What answers."""
        return self.trainer.online

    def forward(self, pairs: PairBatch, context: StepContext) -> Tensor:
        """The loss."""
        loss: Tensor = self.trainer(pairs, context)["loss"]
        return loss


def language_network(
    loaded: LoadedModel, settings: LanguageSettings, start: TextStart, *, pairs: int, seed: int
) -> LanguageNetwork:
    """The network of one cell, started.

    Args:
        loaded: Whose encoder.
        settings: Of the task.
        start: Vocabulary and values of the text side.
        pairs: Training pairs, which bound the queue.
        seed: Of what starts at random.
    """
    encoder = loaded.encoder
    assert isinstance(encoder, Encoder)
    whole = klip_settings(settings, start, seed=seed)
    vocabulary = start.vocabulary
    model = KLIP(whole, vocabulary.size, vocabulary.specials, dropout=settings.text.dropout, tower=encoder)
    start.fill(model)
    batch = settings.training.micro_batch
    queue = min(settings.comparing.queue, _QUEUE_TIMES_PAIRS * pairs // batch * batch)
    trainer = Trainer(whole, vocabulary.size, vocabulary.specials, queue_size=queue, online=model)
    return LanguageNetwork(trainer, vocabulary)


def klip_settings(settings: LanguageSettings, start: TextStart, *, seed: int) -> PretrainingSettings:
    """KLIP's settings with those of the task in their place; the image tower's are not used."""
    base = preset("paper", "tiny")
    text, comparing = settings.text, settings.comparing
    sides = {
        "text_width": text.width,
        "text_layers": text.layers,
        "text_heads": text.heads,
        "text_ffn": text.hidden,
        "positions": text.positions,
        "embed_dim": comparing.embedding,
        # What nothing fills starts as in pre-training: narrow models need a wide start where they look at images.
        "spread": "bert" if settings.init_text == "bert" else "images",
    }
    if start.model is not None:
        sides |= {name: getattr(start.model, name) for name in (*sides, "fusion", "decoder_memory")}
    if isinstance(settings, VqaSettings) and sides.get("decoder_memory") == "image":
        sides["decoder_memory"] = "fused"  # as BLIP does: a decoder that sees the image alone never hears the question
    changes = {
        "model": {**base.model.model_dump(), **sides},
        "text": {**base.text.model_dump(), "max_len": min(base.text.max_len, sides["positions"])},
        "loss": {"lambda": tuple(float(name in settings.losses) for name in ("itc", "itm", "lm"))},
        "itc": {
            "alpha": comparing.alpha,
            "alpha_ramp_epochs": comparing.rise_epochs,
            "tau_init": comparing.temperature,
            "tau_clamp": comparing.temperature_range,
        },
        "itm": {**base.itm.model_dump(), "hardness": comparing.hardness},
        "queue": {"size": comparing.queue, "same_id": "positive"},
        "ema": {"m": comparing.momentum},
        "batch_size_per_device": max(2, settings.training.micro_batch),
        "scio": {"enabled": False},
        "seed": seed,
    }
    return PretrainingSettings.model_validate({**base.model_dump(by_alias=True), **changes})
