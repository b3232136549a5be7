"""Small KLIP models and made-up pairs for them: eight segments of random pieces, images of noise."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from klip.model.klip import KLIP
from klip.model.pretrainer import PairBatch, Pretrainer, StepContext
from klip.settings import SLOTS, PretrainingSettings
from klip.tokens.batch import TokenBatch, pack
from klip.tokens.layout import SlotTokens, TextTokens
from klip.tokens.vocabulary import Specials

VOCABULARY = 60
SPECIALS = Specials(pad=0, unk=1, cls=2, sep=3, mask=4, seg=5, dec=VOCABULARY - 2, enc=VOCABULARY - 1)
FIRST_WORD = 20  # labels have their pieces below, values above

_SMALL: dict[str, dict[str, Any]] = {
    "model": {
        "size": "tiny",
        "embed_dim": 8,
        "vision_width": 16,
        "vision_depth": 2,
        "vision_heads": 2,
        "text_width": 16,
        "text_layers": 2,
        "text_heads": 2,
        "text_ffn": 32,
        "positions": 96,
    },
    "image": {"size": 16, "patch": 8},
    "text": {"max_len": 96},
    "queue": {"size": 12},
}


def small_settings(**changes: Mapping[str, Any]) -> PretrainingSettings:
    """Two layers of width 16 and whatever a test changes, group by group."""
    data = {group: {**_SMALL.get(group, {}), **changes.get(group, {})} for group in {*_SMALL, *changes}}
    return PretrainingSettings.model_validate(data)


def small_model(*, dropout: float = 0.0, spread: float = 6.0, **changes: Mapping[str, Any]) -> KLIP:
    """A model in evaluation mode with weights large enough that every input matters."""
    model = KLIP(small_settings(**changes), VOCABULARY, SPECIALS, dropout=dropout)
    widen(model, spread)
    return model.eval()


def small_pretrainer(*, dropout: float = 0.0, spread: float = 6.0, **changes: Mapping[str, Any]) -> Pretrainer:
    """All that is trained or remembered, in training mode."""
    pretrainer = Pretrainer(small_settings(**changes), VOCABULARY, SPECIALS, dropout=dropout)
    for model in (pretrainer.online, pretrainer.twin.model):
        widen(model, spread)
    return pretrainer.train()


@torch.no_grad()
def widen(model: torch.nn.Module, factor: float) -> None:
    """Larger matrices: with those of the start, attention is nearly uniform and hides what it looks at."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.mul_(factor)


def random_text(rng: random.Random, *, missing: float = 0.2, longest: int = 6) -> TextTokens:
    """Eight segments, some missing, at least two present."""
    kept = set(rng.sample(range(SLOTS), 2)) | {n for n in range(SLOTS) if rng.random() >= missing}
    return tuple(_segment(rng, n, longest) if n in kept else None for n in range(SLOTS))


def random_texts(count: int, seed: int = 0, **options: Any) -> list[TextTokens]:
    """Different texts of different lengths."""
    rng = random.Random(seed)
    return [random_text(rng, **options) for _ in range(count)]


def tokens_of(texts: Sequence[TextTokens], width: int | None = None) -> TokenBatch:
    """The texts as tensors."""
    return pack(texts, SPECIALS, width)


def pairs(count: int = 6, seed: int = 0, **replaced: Any) -> PairBatch:
    """A batch whose images, ids and texts all differ, without noise."""
    generator = torch.Generator().manual_seed(seed)
    values: dict[str, Any] = {
        "images": torch.randn(count, 3, 16, 16, generator=generator),
        "tokens": tokens_of(random_texts(count, seed)),
        "image_id": torch.arange(count) + 100 * seed,
        "text_hash": torch.arange(count) + 1000 + 100 * seed,
        "noise": torch.zeros(count, SLOTS, dtype=torch.bool),
    }
    return PairBatch(**(values | replaced))


def context(alpha: float = 0.4, seed: int = 0) -> StepContext:
    """The draws of one step."""
    return StepContext(alpha=alpha, generator=torch.Generator().manual_seed(seed))


def _segment(rng: random.Random, slot: int, longest: int) -> SlotTokens:
    label = tuple(6 + slot for _ in range(1 + slot % 2))
    value = tuple(rng.randrange(FIRST_WORD, VOCABULARY - 2) for _ in range(rng.randint(1, longest)))
    return SlotTokens(label, value)
