"""The KLIP model: a ViT, a BERT stack in three modes, two projections, a matching head, a language head (section 2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adapters.card import Architecture
from adapters.encoder import PlainViT, build_vit
from adapters.interface import Encoder
from foundation.seeds import derive_seed
from klip.model.precision import at_least_single
from klip.model.text_stack import (
    DROPOUT,
    NORM_EPS,
    CrossAttention,
    DecoderCache,
    Memory,
    TextStack,
    spread_by_width,
    start_as_bert,
)
from klip.tokens.batch import CLS, TokenBatch

if TYPE_CHECKING:
    from klip.settings import PretrainingSettings
    from klip.tokens.vocabulary import Specials

VISION_EPS = 1e-6  # section 2.1


class ImageState(NamedTuple):
    """What the image tower says."""

    memory: Tensor
    """[B, N, width of the text]: the visual tokens, the class token first, as cross-attention takes them."""
    features: Tensor
    """fp32 [B, e] of unit length."""


class LanguageHead(nn.Module):
    """Linear, GELU and norm; then the word embeddings and a bias (section 2.2)."""

    def __init__(self, width: int, vocabulary_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def forward(self, hidden: Tensor, words: Tensor) -> Tensor:
        """Logits [..., V]; `words` is the table of word embeddings, which is tied."""
        return F.linear(self.norm(F.gelu(self.dense(hidden))), words, self.bias)


class RecomputedBlocks(nn.Sequential):
    """Blocks of which the last keep nothing for the backward pass and are run again in it (section 7.6)."""

    def __init__(self, blocks: Iterable[nn.Module], *, last: int) -> None:
        super().__init__(*blocks)
        self.last = last

    def forward(self, states: Tensor) -> Tensor:
        """The states after all blocks."""
        for n, block in enumerate(self):
            again = self.training and torch.is_grad_enabled() and n >= len(self) - self.last
            states = checkpoint(block, states, use_reentrant=False) if again else block(states)
        return states


class KLIP(nn.Module):
    """Both towers and the heads; without momentum twins and queue, which only training needs."""

    def __init__(
        self,
        settings: PretrainingSettings,
        vocabulary_size: int,
        specials: Specials,
        *,
        dropout: float | None = None,
        tower: Encoder | None = None,
    ) -> None:
        """`tower` is an encoder of any make that takes the place of the ViT of the settings; it keeps its values."""
        super().__init__()
        model = settings.model
        self.settings = settings
        self.specials = specials
        self.vocabulary_size = vocabulary_size
        device = torch.get_default_device()
        with torch.device("meta"):  # no time and no random numbers for values that are overwritten anyway
            self.text = TextStack(model, vocabulary_size, dropout=DROPOUT if dropout is None else dropout)
            width = model.vision_width if tower is None else tower.width
            other = width != model.text_width
            self.vis_to_txt = nn.Linear(width, model.text_width) if other else nn.Identity()
            self.vision_proj = nn.Linear(width, model.embed_dim)
            self.text_proj = nn.Linear(model.text_width, model.embed_dim)
            self.itm_head = nn.Linear(model.text_width, 2)
            self.language_head = LanguageHead(model.text_width, vocabulary_size)
        self.text.recompute = settings.text.grad_ckpt
        self.vision: Encoder = vision_tower(settings) if tower is None else tower
        self.temperature = nn.Parameter(torch.tensor(settings.itc.tau_init))
        if device.type != "meta":  # on which a model is counted, not run
            for part in self._started_here():
                part.to_empty(device="cpu")
            self._initialise(settings.seed, own_tower=tower is None)
            self.to(device)

    def encode_image(self, images: Tensor) -> ImageState:
        """Visual tokens and feature of images [B, 3, S, S]."""
        found = self.vision(images)
        tokens = torch.cat([found.pooled[:, None], found.tokens], dim=1)
        return ImageState(self.vis_to_txt(tokens), _unit(self.vision_proj(found.pooled)))

    def encode_text(self, tokens: TokenBatch) -> Tensor:
        """Feature of each text: fp32 [B, e] of unit length; the image has no say in it."""
        return self.text_feature(self.text.text(tokens.ids, tokens.mask))

    def text_feature(self, states: Tensor) -> Tensor:
        """The feature from states of mode `text`."""
        return _unit(self.text_proj(states[:, 0]))

    def visual_memory(self, memory: Tensor) -> Memory:
        """Keys and values of the visual tokens, projected once per layer and image."""
        return self.text.project(memory)

    def fused(
        self,
        tokens: TokenBatch,
        memory: Memory,
        index: Tensor | None = None,
        *,
        first_only: bool = False,
        rounds: int = 0,
    ) -> Tensor:
        """States [n, L, d] of texts read with row `index` of the memory, after `rounds` of all its rows.

        [CLS] becomes [ENC]; with `albef` it stays, since the first half of the layers is mode `text` itself.
        """
        ids = self._to_be_fused(tokens)
        return self.text.fused(ids, tokens.mask, memory, index, first_only=first_only, rounds=rounds)

    def read_ahead(self, tokens: TokenBatch) -> Tensor:
        """States [n, L, d] of texts that will be matched with many images: as far as no image has a say."""
        return self.text.read_ahead(self._to_be_fused(tokens), tokens.mask)

    def itm_ahead(self, states: Tensor, mask: Tensor, memory: Memory, *, rounds: int) -> Tensor:
        """`itm_logits` from what was read ahead, `rounds` texts for each row of the memory."""
        return self.itm_from(self.text.fused_ahead(states, mask, memory, rounds=rounds))

    def itm_logits(self, tokens: TokenBatch, memory: Memory, index: Tensor | None = None, *, rounds: int = 0) -> Tensor:
        """[n, 2]: mismatch and match."""
        return self.itm_from(self.fused(tokens, memory, index, first_only=True, rounds=rounds))

    def itm_from(self, states: Tensor) -> Tensor:
        """The matching head on fused states, in fp32 (section 6.2)."""
        with torch.autocast(states.device.type, enabled=False):
            logits: Tensor = self.itm_head(at_least_single(states[:, 0]))
        return logits

    def match_score(self, tokens: TokenBatch, memory: Memory, index: Tensor | None = None) -> Tensor:
        """fp32 [n]: logit of match less logit of mismatch (contradiction C2: probabilities saturate, this does not)."""
        logits = self.itm_logits(tokens, memory, index).float()
        return logits[:, 1] - logits[:, 0]

    def decoder_memory(
        self, fused: Tensor | None, mask: Tensor | None, memory: Memory, index: Tensor | None = None
    ) -> Memory:
        """What the decoder looks at, one row per text (section 2.4): fused states, visual tokens, or both."""
        visual = memory if index is None else memory.rows(index)
        if self.settings.model.decoder_memory == "image" or fused is None:
            return visual
        own = self.text.project(fused, mask)
        return own if self.settings.model.decoder_memory == "fused" else own.beside(visual)

    def decode(
        self,
        ids: Tensor,
        memory: Memory,
        index: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: DecoderCache | None = None,
        tree: Tensor | None = None,
    ) -> Tensor:
        """Hidden states [n, L, d] of the decoder; `TextStack.decode` explains the arguments."""
        return self.text.decode(ids, memory, index, mask=mask, positions=positions, cache=cache, tree=tree)

    def lm_logits(self, hidden: Tensor) -> Tensor:
        """Logits over the vocabulary."""
        logits: Tensor = self.language_head(hidden, self.text.words.weight)
        return logits

    def clamp_temperature(self) -> None:
        """Back into its range, in place; before every forward (section 4.1)."""
        low, high = self.settings.itc.tau_clamp
        with torch.no_grad():
            self.temperature.clamp_(low, high)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.temperature.device

    def _to_be_fused(self, tokens: TokenBatch) -> Tensor:
        if self.text.first_cross:
            return tokens.ids
        return tokens.ids.masked_fill(tokens.kind == CLS, self.specials.enc)

    def _initialise(self, seed: int, *, own_tower: bool) -> None:
        generator = torch.Generator().manual_seed(derive_seed("klip", seed))
        for part in self._started_here():
            start_as_bert(part, generator)
        spread = self.settings.model.spread
        if spread == "bert":
            return
        wide: tuple[nn.Module, ...] = self._started_here()
        if spread == "images":
            looks = [part for part in self.text.modules() if isinstance(part, CrossAttention)]
            wide = (*looks, self.vis_to_txt, self.vision_proj, self.text_proj)
        for part in (*wide, *([cast(nn.Module, self.vision)] if own_tower else [])):
            spread_by_width(part, generator)

    def _started_here(self) -> tuple[nn.Module, ...]:
        """Everything but the image tower, which starts by the rule of its own room."""
        return (self.text, self.vis_to_txt, self.vision_proj, self.text_proj, self.itm_head, self.language_head)


def vision_tower(settings: PretrainingSettings) -> PlainViT:
    """The plain ViT of the settings, started from the seed (section 2.1)."""
    architecture, size, drop_path = vision_architecture(settings), settings.image.size, settings.model.drop_path
    if torch.get_default_device().type == "meta":
        tower = PlainViT(architecture, image_size=size, drop_path=drop_path)
    else:
        tower = build_vit(architecture, image_size=size, seed=settings.seed, drop_path=drop_path)
    if settings.vision.grad_ckpt:
        tower.blocks = RecomputedBlocks(tower.blocks, last=settings.vision.grad_ckpt)
    return tower


def vision_architecture(settings: PretrainingSettings) -> Architecture:
    """Its geometry as a card states it."""
    model = settings.model
    return Architecture(
        kind="vit",
        width=model.vision_width,
        depth=model.vision_depth,
        heads=model.vision_heads,
        patch=settings.image.patch,
        activation="gelu",
        norm_eps=VISION_EPS,
        image_size=settings.image.size,
    )


def _unit(projected: Tensor) -> Tensor:
    return F.normalize(at_least_single(projected), dim=-1)
