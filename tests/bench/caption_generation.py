"""Writing captions: ours against `generate` of transformers with the same weights, and the same texts out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from klip.generate import KlipWriter, Writing, forbidden_tokens, write
from klip.model.klip import KLIP
from klip.model.text_stack import NORM_EPS
from klip.settings import SIZES, PretrainingSettings
from klip.tokens.vocabulary import Specials
from tasks.language.tokens import unread
from tests.bench.interleave import Timing, interleaved

IMAGES = 16
PIECES = 2000
SPECIALS = Specials(0, 1, 2, 3, 4, 5, PIECES - 2, PIECES - 1)
PROMPT = (41, 42, 43, 44)
FEWEST, LONGEST = 5, 100
"""Section 8."""
STOPS = 9.0
"""How likely it is to stop; found by trying."""
_PEER = "transformers"
Texts = list[tuple[int, ...]]


class Case:
    """What a tiny model that has learnt nothing looks at, and the two that write of it."""

    def __init__(self, images: int = IMAGES, *, seed: int = 0) -> None:
        settings = PretrainingSettings.model_validate({**SIZES["tiny"], "seed": seed})
        self.model = KLIP(settings, PIECES, SPECIALS).eval()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            # So that it prefers some pieces to others, writes another one at each place, and ends most texts in time.
            for weight in (self.model.language_head.dense.weight, self.model.text.words.weight):
                weight.normal_(std=0.3, generator=generator)
            self.model.text.positions.weight.normal_(std=0.5, generator=generator)
            self.model.language_head.bias[SPECIALS.sep] = STOPS
        side = settings.image.size
        self.images = torch.randn(images, 3, side, side, generator=generator)
        self.never = forbidden_tokens(SPECIALS, PIECES, stop=SPECIALS.sep)
        self.prefix = torch.tensor([[SPECIALS.dec, *PROMPT]] * images)
        self.peer = same_decoder(self.model)

    @torch.inference_mode()
    def seen(self) -> tuple[Tensor, Tensor]:
        """Fused states of the question for a whole text, and the image's tokens."""
        memory = self.model.encode_image(self.images).memory
        fused = self.model.fused(unread(len(self.images), SPECIALS), self.model.visual_memory(memory))
        return fused, memory

    @torch.inference_mode()
    def ours(self, fused: Tensor, image: Tensor, beams: int) -> Texts:
        """From the same states on."""
        memory = self.model.decoder_memory(fused, None, self.model.visual_memory(image))
        how = Writing(most=LONGEST, fewest=FEWEST, beams=beams, no_repeat=0)
        mask = torch.ones_like(self.prefix, dtype=torch.bool)
        found = write(KlipWriter(self.model, memory), self.prefix, mask, stop=SPECIALS.sep, how=how, banned=self.never)
        return [best[0].ids for best in found]

    @torch.inference_mode()
    def theirs(self, fused: Tensor, image: Tensor, beams: int) -> Texts:
        """The library's generation, with its cache and its beam search."""
        from transformers import DynamicCache, EncoderDecoderCache

        states = torch.cat([fused, image], dim=1)
        never = [[int(piece)] for piece in self.never.nonzero().flatten()]
        found = self.peer.generate(
            input_ids=self.prefix,
            attention_mask=torch.ones_like(self.prefix),
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], dtype=torch.int64),
            num_beams=beams,
            do_sample=False,
            max_new_tokens=LONGEST,
            min_new_tokens=FEWEST,
            bad_words_ids=never,
            eos_token_id=SPECIALS.sep,
            pad_token_id=SPECIALS.pad,
            use_cache=True,
            past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
            **({"length_penalty": 1.0, "early_stopping": False} if beams > 1 else {}),
        )
        texts = [row[self.prefix.shape[1] :].tolist() for row in found]
        return [tuple(text[: text.index(SPECIALS.sep)] if SPECIALS.sep in text else text) for text in texts]


def same_decoder(model: KLIP) -> Any:
    """The decoder of the model as the library's BERT with cross-attention, weight by weight."""
    from transformers import BertConfig, BertLMHeadModel

    settings = model.settings.model
    config = BertConfig(
        vocab_size=model.vocabulary_size,
        hidden_size=settings.text_width,
        num_hidden_layers=settings.text_layers,
        num_attention_heads=settings.text_heads,
        intermediate_size=settings.text_ffn,
        max_position_embeddings=settings.positions,
        layer_norm_eps=NORM_EPS,
        is_decoder=True,
        add_cross_attention=True,
        tie_word_embeddings=True,
    )
    peer: Any = BertLMHeadModel(config)
    missing, unexpected = peer.load_state_dict(_renamed(model), strict=False)
    odd = [*unexpected, *(name for name in missing if not name.endswith(("position_ids", "decoder.weight")))]
    assert not odd, odd
    peer.tie_weights()
    return peer.eval()


def _renamed(model: KLIP) -> dict[str, Tensor]:
    """Names and divisions of the library; its segment embedding adds nothing."""
    own = model.state_dict()
    width = model.settings.model.text_width
    names = {
        "text.words.weight": "bert.embeddings.word_embeddings.weight",
        "text.positions.weight": "bert.embeddings.position_embeddings.weight",
        "text.norm.weight": "bert.embeddings.LayerNorm.weight",
        "text.norm.bias": "bert.embeddings.LayerNorm.bias",
        "language_head.dense.weight": "cls.predictions.transform.dense.weight",
        "language_head.dense.bias": "cls.predictions.transform.dense.bias",
        "language_head.norm.weight": "cls.predictions.transform.LayerNorm.weight",
        "language_head.norm.bias": "cls.predictions.transform.LayerNorm.bias",
        "language_head.bias": "cls.predictions.bias",
    }
    parts = {
        "self_dec.out": "attention.output.dense",
        "self_dec.norm": "attention.output.LayerNorm",
        "cross.query": "crossattention.self.query",
        "cross.out": "crossattention.output.dense",
        "cross.norm": "crossattention.output.LayerNorm",
        "ffn.up": "intermediate.dense",
        "ffn.down": "output.dense",
        "ffn.norm": "output.LayerNorm",
    }
    state = {theirs: own[ours] for ours, theirs in names.items()}
    state["cls.predictions.decoder.bias"] = own["language_head.bias"]
    state["bert.embeddings.token_type_embeddings.weight"] = torch.zeros(2, width)
    for layer in range(model.settings.model.text_layers):
        here, there = f"text.layers.{layer}", f"bert.encoder.layer.{layer}"
        for kind in ("weight", "bias"):
            for ours, theirs in parts.items():
                state[f"{there}.{theirs}.{kind}"] = own[f"{here}.{ours}.{kind}"]
            for name, part in zip(("query", "key", "value"), own[f"{here}.self_dec.qkv.{kind}"].chunk(3), strict=True):
                state[f"{there}.attention.self.{name}.{kind}"] = part
            for name, part in zip(("key", "value"), own[f"{here}.cross.kv.{kind}"].chunk(2), strict=True):
                state[f"{there}.crossattention.self.{name}.{kind}"] = part
    return state


def caption_generation(turns: int, *, beams: int) -> dict[str, Timing]:
    """Captions of 16 images from what the decoder looks at, tiny model, 5 to 100 tokens."""
    torch.set_num_threads(1)
    case = Case()
    fused, image = case.seen()
    works = {"ours": case.ours, _PEER: case.theirs}
    return interleaved({name: partial(work, fused, image, beams) for name, work in works.items()}, turns=turns)


def beam_search(turns: int) -> dict[str, Timing]:
    """Captions of 16 images with 3 beams, 5 to 100 tokens, tiny model, from the states that the decoder looks at."""
    return caption_generation(turns, beams=3)


def greedy(turns: int) -> dict[str, Timing]:
    """The same, with the most likely token at each step."""
    return caption_generation(turns, beams=1)


CAPTION_MEASUREMENTS: dict[str, tuple[Callable[[int], dict[str, Timing]], str]] = {
    "caption-beams": (beam_search, _PEER),
    "caption-greedy": (greedy, _PEER),
}
"""Name to the measurement and its peer."""
