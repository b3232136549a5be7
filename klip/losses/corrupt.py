"""Texts with gaps, and what is to be written into them (section 4.3 of the KLIP specification).

Training and reconstruction ask the model the same question, so both are built here: a gap is one [MASK] in the place of
a segment's value, and noisy segments are gaps that nobody asks about. A reconstruction that were built otherwise than
the questions of training would lose its quality without a word (trap 14).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from klip.settings import SLOTS
from klip.tokens.batch import CLS, LABEL, PAD, SEG, SEP, VALUE, TokenBatch, collapsed

if TYPE_CHECKING:
    from klip.settings import InfillingSettings
    from klip.tokens.vocabulary import Specials

TOKEN, SEGMENT, FULL = range(3)
"""Modes: single tokens, the value of one segment, the whole text."""

_REPLACED, _RANDOM = 0.8, 0.1  # [B] section 4.3: 80 % [MASK], 10 % random, the rest as it was


class Noise(NamedTuple):
    """Which segments are known to be wrong, and whether the model may see them."""

    segments: Tensor
    """bool [B, 8]."""
    hidden: bool = True
    """Whether they become gaps (`scio.noise_in_mlm=mask`) or stay visible without being asked about (`keep`)."""


@dataclass(frozen=True, slots=True)
class Corrupted:
    """One question per text, and the answer."""

    encoder: TokenBatch
    """What the fusion encoder reads."""
    decoder: TokenBatch
    """The clean text that the decoder writes, noise collapsed; its first token is [DEC]."""
    gold: Tensor
    """int64 [B, L]: the tokens of the clean text; position p is written from position p - 1."""
    targets: Tensor
    """bool [B, L]: positions that count in the loss; never the first."""
    mode: Tensor
    """int64 [B]."""


def corrupt(
    tokens: TokenBatch,
    noise: Noise,
    settings: InfillingSettings,
    specials: Specials,
    vocabulary_size: int,
    generator: torch.Generator,
    *,
    keep_label: bool = True,
) -> Corrupted:
    """Draws a mode and a gap for every text; one without a clean segment has no targets.

    `keep_label` is that of reconstruction (`scio.recon.keep_label`): whether the encoder sees the label of a gap.
    Random replacements come from the whole vocabulary: the few special tokens among thousands harm nothing.
    """
    device = tokens.ids.device
    count = len(tokens)
    mode_draw = torch.rand(count, generator=generator, device=device)
    token_draw = torch.rand(tokens.ids.shape, generator=generator, device=device)
    fate_draw = torch.rand(tokens.ids.shape, generator=generator, device=device)
    random_ids = torch.randint(vocabulary_size, tokens.ids.shape, generator=generator, device=device)
    slot_draw = torch.rand(count, SLOTS, generator=generator, device=device)

    clean, noisy, asked, words = _without_noise(tokens, noise, specials)
    mode = _modes(mode_draw, settings.mode_probs)
    chosen = _chosen_segment(slot_draw, _with_value(clean) & ~noisy)

    single = _some_tokens(words, token_draw, settings.prob) & (mode == TOKEN)[:, None]
    gap = chosen & (mode == SEGMENT)[:, None]
    whole = (mode == FULL)[:, None]
    hollow = clean.of(gap) & ((clean.kind == VALUE) if keep_label else (clean.kind != SEG))
    targets = single | (clean.of(gap) & (clean.kind != LABEL))
    targets = targets | (whole & asked & (clean.kind != CLS))
    targets = targets & words.any(dim=1, keepdim=True)

    encoder = _with_tokens_replaced(clean, single, fate_draw, random_ids, specials)
    encoder = _with_gaps(encoder, hollow, whole, specials)
    return Corrupted(encoder, opened(clean, specials), clean.ids, targets, mode)


def whole_text(tokens: TokenBatch, noise: Noise, specials: Specials) -> Corrupted:
    """Every clean token is asked for, from left to right and without a question: BLIP's language loss."""
    clean, _, asked, words = _without_noise(tokens, noise, specials)
    targets = asked & (clean.kind != CLS) & words.any(dim=1, keepdim=True)
    mode = torch.full((len(tokens),), FULL, device=tokens.ids.device)
    return Corrupted(clean, opened(clean, specials), clean.ids, targets, mode)


def reconstruction_input(
    tokens: TokenBatch, segment: Tensor, noise: Tensor, specials: Specials, *, keep_label: bool = True
) -> tuple[TokenBatch, TokenBatch]:
    """The question of section 6.6 for one segment of each text: what the encoder reads, and the decoder's prefix.

    Args:
        tokens: One row per (text, segment) to be written; the segment must be there, with any value.
        segment: int64 [B], the segment to write.
        noise: bool [B, 8], segments of which nothing may be seen; the one to write is excepted.
        specials: Ids of the special tokens.
        keep_label: Whether the encoder sees the label of the gap.

    Returns:
        The text with the gap, and [DEC] with the clean text before the gap and its label.
    """
    wanted = torch.nn.functional.one_hot(segment, SLOTS).bool()
    clean = collapsed(tokens, noise & ~wanted, specials, keep_label=False)
    encoder = collapsed(clean, wanted, specials, keep_label=keep_label)
    before = (clean.slot >= 0) & (clean.slot < segment[:, None])
    label = clean.of(wanted) & (clean.kind == LABEL)
    prefix = clean.kept((clean.kind == CLS) | before | label, specials.pad)
    return encoder, opened(prefix, specials)


def opened(tokens: TokenBatch, specials: Specials) -> TokenBatch:
    """The text as the decoder takes it: [DEC] in the place of [CLS]."""
    ids = tokens.ids.masked_fill(tokens.kind == CLS, specials.dec)
    return TokenBatch(ids, tokens.slot, tokens.kind)


def caption_question(count: int, specials: Specials, device: torch.device | str = "cpu") -> TokenBatch:
    """[CLS] [MASK] [SEP] for every text: what is asked in full mode."""
    row = torch.tensor([specials.cls, specials.mask, specials.sep], device=device)
    kinds = torch.tensor([CLS, VALUE, SEP], dtype=torch.int8, device=device)
    slots = torch.full((3,), -1, dtype=torch.int8, device=device)
    return TokenBatch(row.expand(count, 3), slots.expand(count, 3), kinds.expand(count, 3))


def _without_noise(tokens: TokenBatch, noise: Noise, specials: Specials) -> tuple[TokenBatch, Tensor, Tensor, Tensor]:
    """The text with its noise collapsed, where that is hidden; its noise; what may be asked for; the words of that."""
    noisy = noise.segments & tokens.present
    clean = collapsed(tokens, noisy, specials, keep_label=False) if noise.hidden else tokens
    asked = (clean.kind != PAD) & ~clean.of(noisy)
    return clean, noisy, asked, asked & ((clean.kind == LABEL) | (clean.kind == VALUE))


def _modes(draw: Tensor, probabilities: tuple[float, float, float]) -> Tensor:
    edges = torch.tensor(probabilities, device=draw.device).cumsum(0)[:2]
    return torch.bucketize(draw, edges, right=True)


def _with_value(tokens: TokenBatch) -> Tensor:
    """Segments that have a token of a value: bool [B, 8]."""
    value = tokens.slot.masked_fill(tokens.kind != VALUE, -1)
    return (value[:, None, :] == torch.arange(SLOTS, device=value.device)[None, :, None]).any(dim=2)


def _chosen_segment(draw: Tensor, eligible: Tensor) -> Tensor:
    """One of the eligible segments, each equally likely, none where there is none: bool [B, 8]."""
    best = draw.masked_fill(~eligible, -1.0).argmax(dim=1)
    return torch.nn.functional.one_hot(best, SLOTS).bool() & eligible


def _some_tokens(words: Tensor, draw: Tensor, probability: float) -> Tensor:
    """Each with the probability, at least one where there are any."""
    lowest = draw.masked_fill(~words, 2.0)
    hit = lowest < probability
    first = torch.nn.functional.one_hot(lowest.argmin(dim=1), words.shape[1]).bool()
    return words & (hit | (first & ~hit.any(dim=1, keepdim=True)))


def _with_tokens_replaced(
    tokens: TokenBatch, single: Tensor, fate: Tensor, random_ids: Tensor, specials: Specials
) -> TokenBatch:
    masked = single & (fate < _REPLACED)
    random = single & (fate >= _REPLACED) & (fate < _REPLACED + _RANDOM)
    ids = torch.where(random, random_ids, tokens.ids.masked_fill(masked, specials.mask))
    return TokenBatch(ids, tokens.slot, tokens.kind)


def _with_gaps(tokens: TokenBatch, hollow: Tensor, whole: Tensor, specials: Specials) -> TokenBatch:
    """One [MASK] for the hollow part of a segment, or for everything between [CLS] and [SEP]."""
    inner = hollow | (whole & (tokens.slot >= 0))
    first = inner & ~torch.nn.functional.pad(inner[:, :-1], (1, 0), value=False)
    changed = TokenBatch(
        tokens.ids.masked_fill(first, specials.mask),
        tokens.slot.masked_fill(first & whole, -1),
        tokens.kind.masked_fill(first, VALUE),
    )
    return changed.kept(tokens.mask & ~(inner & ~first), specials.pad)
