"""A judge that cannot err on the toy world: it reads the true words from the image and counts them in the text.

It stands in for the model where a test asks about SCIO and not about learning.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from klip.model.klip import ImageState
from klip.settings import PretrainingSettings
from klip.text import TARGET_FIELDS
from klip.tokens.batch import TokenBatch
from klip.tokens.vocabulary import Vocabulary
from tests.bench.toy_world import words

TAU = 0.2


class Oracle(nn.Module):
    """What SCIO asks of a model, answered from the words; `sign` -1 says the opposite of everything."""

    def __init__(self, settings: PretrainingSettings, vocabulary: Vocabulary, *, sign: int = 1) -> None:
        super().__init__()
        self.settings, self.specials, self.vocabulary_size = settings, vocabulary.specials, vocabulary.size
        self.sign = sign
        self.temperature = nn.Parameter(torch.tensor(TAU))
        named = [vocabulary.pieces.index(word) for field in TARGET_FIELDS for word in words(field)]
        self.register_buffer("counted", torch.zeros(vocabulary.size))
        self.get_buffer("counted")[named] = 1.0
        self.text = SimpleNamespace(text=self._bag)
        self.looked = 0
        self.eval()

    @property
    def device(self) -> torch.device:
        return self.temperature.device

    def encode_image(self, images: Tensor) -> ImageState:
        """The first pixels say which words are true."""
        self.looked += len(images)
        true = (images[:, 0].flatten(1)[:, : self.vocabulary_size] > 0).float()
        return ImageState(true[:, None], F.normalize(true, dim=1))

    def visual_memory(self, memory: Tensor) -> Tensor:
        return memory

    def text_feature(self, states: Tensor) -> Tensor:
        return self.sign * F.normalize(states[:, 0], dim=1)

    def fused(self, tokens: TokenBatch, memory: Tensor, index: Tensor, *, first_only: bool) -> Tensor:  # noqa: ARG002
        return self._bag(tokens.ids, tokens.mask) * (2 * memory[index] - 1)

    def itm_from(self, states: Tensor) -> Tensor:
        score = self.sign * states[:, 0].sum(dim=1)
        return torch.stack([torch.zeros_like(score), score], dim=1)

    def match_score(self, tokens: TokenBatch, memory: Tensor, index: Tensor) -> Tensor:
        logits = self.itm_from(self.fused(tokens, memory, index, first_only=True))
        return logits[:, 1] - logits[:, 0]

    def _bag(self, ids: Tensor, mask: Tensor) -> Tensor:
        bag = torch.zeros(len(ids), self.vocabulary_size).scatter_add_(1, ids, mask.float())
        return (bag * self.get_buffer("counted"))[:, None]


def pictures_of(world: Any, size: int) -> Any:
    """Images [N, S, S] whose first pixels are bright where a word of the vocabulary is true."""
    import numpy as np

    pieces = world.store.vocabulary.pieces
    pixels = np.zeros((len(world.truth), size * size), dtype=np.uint8)
    for row, values in enumerate(world.truth):
        for field, value in zip(TARGET_FIELDS, values, strict=True):
            pixels[row, pieces.index(words(field)[value])] = 255
    return pixels.reshape(len(pixels), size, size)
