"""Evaluation of retrieval: both stages as the task does them against a loop over queries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from klip.model.klip import KLIP
from klip.settings import SIZES, PretrainingSettings
from klip.tokens.vocabulary import Vocabulary
from tasks.builders.captions import Domain, Target, captions
from tasks.builders.geometry import Box, Size
from tasks.language.tokens import Pieces, encode, reading
from tasks.retrieval.ranking import Rankings, look, rank, read
from tests.bench.interleave import Timing, interleaved

IMAGES = 161
CANDIDATES = 128
TOKENS = 35
PIECES = 2000
TYPES = ("A220", "A320/321", "A330", "ARJ21", "Boeing737", "Boeing787", "other")
SIDE = 100

_PEER = "query by query"
Scores = NDArray[np.float32]


class Case:
    """Images and their captions for a tiny model that has learnt nothing."""

    def __init__(self, images: int = IMAGES, *, candidates: int = CANDIDATES) -> None:
        self.candidates = candidates
        written = [text for image in range(images) for text in _captions(image)]
        vocabulary = Vocabulary.train(written, size=PIECES)
        self.captions: list[Pieces] = encode(written, vocabulary, TOKENS)
        settings = PretrainingSettings.model_validate(SIZES["tiny"])
        self.model = KLIP(settings, vocabulary.size, vocabulary.specials).eval()
        rng = np.random.default_rng(0)
        side = settings.image.size
        self.images = rng.integers(0, 256, (images, side, side), dtype=np.uint8)

    def to_input(self, pixels: Tensor) -> Tensor:
        """Grey as the encoder wants it."""
        return ((pixels.float() - 127.5) / 127.5)[:, None].expand(-1, 3, -1, -1)

    def ours(self) -> Rankings:
        """The task's own evaluation."""
        looked = look(self.model, self.to_input, self.images)
        return rank(self.model, looked, read(self.model, self.captions), self.candidates)

    @torch.inference_mode()
    def query_by_query(self) -> tuple[Scores, Scores]:
        """As BLIP's evaluation goes: for each query the candidates as a batch, the image's states once for each.

        Texts are filled up to the longest allowed, and every call projects what it looks at.
        """
        model = self.model
        tokens = reading(self.captions, model.specials).padded(TOKENS, model.specials.pad)
        states, seen, features = [], [], []
        for low in range(0, len(self.images), 32):
            state = model.encode_image(self.to_input(torch.from_numpy(self.images[low : low + 32])))
            states.append(state.memory)
            seen.append(state.features)
        for low in range(0, len(tokens), 256):
            features.append(model.encode_text(tokens.rows(torch.arange(low, min(low + 256, len(tokens))))))
        memory, cosine = torch.cat(states), torch.cat(seen) @ torch.cat(features).T
        i2t, t2i = torch.full_like(cosine, -torch.inf), torch.full_like(cosine.T, -torch.inf)
        for image, row in enumerate(cosine):
            best, texts = row.topk(min(self.candidates, len(row)))
            logits = self._matched(tokens.rows(texts), memory[image].repeat(len(texts), 1, 1))
            i2t[image, texts] = logits + best
        for text, row in enumerate(cosine.T):
            best, images = row.topk(min(self.candidates, len(row)))
            repeated = tokens.rows(torch.full((len(images),), text))
            t2i[text, images] = self._matched(repeated, memory[images]) + best
        return i2t.numpy(), t2i.numpy()

    def _matched(self, tokens: object, memory: Tensor) -> Tensor:
        states = self.model.fused(tokens, self.model.visual_memory(memory))  # type: ignore[arg-type]
        return F.linear(states[:, 0], self.model.itm_head.weight, self.model.itm_head.bias)[:, 1]


def _captions(image: int) -> list[str]:
    """Of one to eight targets, or none in every tenth image; two of three images have no types to tell."""
    rng = np.random.default_rng([7, image])
    count = 0 if image % 10 == 9 else int(rng.integers(1, 9))
    domain: Domain = "ship" if image % 3 == 1 else "aircraft"
    targets = [
        Target(
            Box(float(rng.integers(SIDE - 10)), float(rng.integers(SIDE - 10)), 8, 8),
            str(rng.choice(TYPES)) if image % 3 == 2 else None,
        )
        for _ in range(count)
    ]
    return [caption.text for caption in captions(f"{image}", targets, Size(SIDE, SIDE), domain)]


def retrieval_evaluation(turns: int) -> dict[str, Timing]:
    """Both stages of 161 images and 805 captions (up to 35 tokens), 128 candidates, tiny model."""
    torch.set_num_threads(1)
    case = Case()
    return interleaved({"ours": case.ours, _PEER: case.query_by_query}, turns=turns)


RETRIEVAL_MEASUREMENTS: dict[str, tuple[Callable[[int], dict[str, Timing]], str]] = {
    "retrieval-evaluation": (retrieval_evaluation, _PEER),
}
"""Name to the measurement and its peer."""
