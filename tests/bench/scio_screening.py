"""Screening on the tiny model: all versions of all texts at once against loops over pairs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from klip.model.klip import KLIP
from klip.scio.score import Bank, Scorer
from klip.settings import SIZES, SLOTS, PretrainingSettings
from klip.tokens.batch import TokenBatch, pack
from klip.tokens.layout import SlotTokens, TextTokens
from klip.tokens.vocabulary import Specials
from tests.bench.interleave import Timing, interleaved

IMAGES = 16
VALUE = 9
"""Tokens of a value: with label and [SEG] a text of eight takes 98."""
PIECES = 2000
NEGATIVES = 1023

_PEER = "library, pair by pair"


class Case:
    """Images, texts and negatives for a model of a size."""

    def __init__(self, size: str = "tiny", *, images: int = IMAGES) -> None:
        self.settings = PretrainingSettings.model_validate(SIZES[size])
        self.specials = Specials(0, 1, 2, 3, 4, 5, PIECES - 2, PIECES - 1)
        self.model = KLIP(self.settings, PIECES, self.specials).eval()
        rng = np.random.default_rng(0)
        self.texts: list[TextTokens] = [
            tuple(
                SlotTokens((10 + slot, 9), tuple(rng.integers(30, PIECES - 2, size=VALUE).tolist()))
                for slot in range(SLOTS)
            )
            for _ in range(images)
        ]
        generator = torch.Generator().manual_seed(0)
        side, width = self.settings.image.size, self.settings.model.embed_dim
        self.images = torch.randn(images, 3, side, side, generator=generator)
        features = F.normalize(torch.randn(2, NEGATIVES, width, generator=generator), dim=-1)
        others = torch.arange(images, images + NEGATIVES)
        self.bank = Bank(features[0], features[1], others, others)
        self.image_id = torch.arange(images)

    def tokens(self) -> TokenBatch:
        """The texts as one batch."""
        return pack(self.texts, self.specials)

    @torch.inference_mode()
    def at_once(self, *, every_match: bool, precision: str = "fp32") -> tuple[Tensor, Tensor]:
        """Ours."""
        scorer = Scorer(self.model, self.bank, precision=precision)
        seen = scorer.look(self.images, self.image_id, self.image_id)
        found = scorer.versions(self.tokens(), seen, every_match=every_match)
        return torch.from_numpy(found.itc), torch.from_numpy(found.itm)

    @torch.inference_mode()
    def pair_by_pair(self) -> tuple[Tensor, Tensor]:
        """Every version of every text as a pair of its own, with its image from the start."""
        itc, itm = torch.zeros(len(self.texts), SLOTS + 1), torch.zeros(len(self.texts), SLOTS + 1)
        for row, text in enumerate(self.texts):
            for version in range(SLOTS + 1):
                left = tuple(None if slot == version - 1 else entry for slot, entry in enumerate(text))
                itc[row, version], itm[row, version] = self._pair(self.images[row : row + 1], left)
        return itc, itm

    def _pair(self, image: Tensor, text: TextTokens) -> tuple[Tensor, Tensor]:
        model, tau = self.model, self.model.temperature
        tokens = pack([text], self.specials)
        state = model.encode_image(image)
        feature = model.encode_text(tokens)
        positive = (feature * state.features).sum(dim=1, keepdim=True) / tau
        target = torch.zeros(1, dtype=torch.int64)
        i2t = F.cross_entropy(torch.cat([positive, state.features @ self.bank.text.T / tau], dim=1), target)
        t2i = F.cross_entropy(torch.cat([positive, feature @ self.bank.vision.T / tau], dim=1), target)
        logits = model.itm_logits(tokens, model.visual_memory(state.memory))
        return (i2t + t2i) / 2, logits[0, 1] - logits[0, 0]


class LibraryPeer:
    """A matching model as BLIP offers it, from timm's ViT and the BERT of transformers: one call for contrast, one for
    matching, each from the image on.
    """

    def __init__(self, case: Case) -> None:
        from tests.bench import klip_step

        self.case = case
        self.parts = klip_step._BlipStep(klip_step.TINY_LONG)
        for part in (*self.parts.trained, self.parts.twins):
            part.eval()

    @torch.inference_mode()
    def pair_by_pair(self) -> None:
        """The loop of `Case.pair_by_pair` over calls of the library's kind."""
        for row, text in enumerate(self.case.texts):
            for version in range(SLOTS + 1):
                left = tuple(None if slot == version - 1 else entry for slot, entry in enumerate(text))
                tokens = pack([left], self.case.specials)
                self._contrast(self.case.images[row : row + 1], tokens)
                self._matching(self.case.images[row : row + 1], tokens)

    def _contrast(self, image: Tensor, tokens: TokenBatch) -> Tensor:
        parts, bank = self.parts, self.case.bank
        vision = F.normalize(parts.vision_proj(parts.vision.forward_features(image)[:, 0]), dim=-1)
        states = parts.encoder(tokens.ids, attention_mask=tokens.mask).last_hidden_state
        text = F.normalize(parts.text_proj(states[:, 0]), dim=-1)
        positive = (vision * text).sum(dim=1, keepdim=True) / parts.temperature
        target = torch.zeros(1, dtype=torch.int64)
        i2t = F.cross_entropy(torch.cat([positive, vision @ bank.text.T / parts.temperature], dim=1), target)
        t2i = F.cross_entropy(torch.cat([positive, text @ bank.vision.T / parts.temperature], dim=1), target)
        return (i2t + t2i) / 2

    def _matching(self, image: Tensor, tokens: TokenBatch) -> Tensor:
        parts = self.parts
        found: Tensor = parts.itm_head(parts._fused(tokens.ids, tokens.mask, parts.vision.forward_features(image)))
        return found


def scio_screening(turns: int) -> dict[str, Timing]:
    """Scores of 16 images and the nine versions of their texts (98 tokens) on the tiny model, one thread."""
    return _timed(turns, threads=1)


def scio_screening_two_threads(turns: int) -> dict[str, Timing]:
    """The same with two threads, as the figure of section 6.8 was measured."""
    return _timed(turns, threads=2)


def _timed(turns: int, *, threads: int) -> dict[str, Timing]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    case = Case()
    library = LibraryPeer(case)

    def library_bf16() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            library.pair_by_pair()

    try:
        return interleaved(
            {
                "ours": lambda: case.at_once(every_match=False),
                "ours, bf16": lambda: case.at_once(every_match=False, precision="bf16"),
                "ours, all matched": lambda: case.at_once(every_match=True),
                "our pair by pair": case.pair_by_pair,
                "library in bf16": library_bf16,
                _PEER: library.pair_by_pair,
            },
            turns=turns,
        )
    finally:
        torch.set_num_threads(before)


SCIO_MEASUREMENTS: dict[str, tuple[Callable[[int], dict[str, Timing]], str]] = {
    "scio-screening": (scio_screening, _PEER),
    "scio-screening-two-threads": (scio_screening_two_threads, _PEER),
}
"""Name to the measurement and its peer."""
