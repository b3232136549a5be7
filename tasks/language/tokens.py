"""Plain texts as KLIP reads and writes them: `[CLS] pieces [SEP]` to read, `[DEC] prompt pieces [SEP]` to write."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from klip.losses.corrupt import FULL, Corrupted
from klip.tokens.batch import CLS, OUTSIDE, PAD, SEP, VALUE, TokenBatch
from klip.tokens.vocabulary import Specials, Vocabulary

Pieces = tuple[int, ...]
_AROUND = 2
"""[CLS] or [DEC] before a text, [SEP] behind it."""


def encode(texts: Sequence[str], vocabulary: Vocabulary, max_tokens: int) -> list[Pieces]:
    """The pieces of texts of at most so many tokens, the marks around them included (Table 5); the rest is cut."""
    room = max_tokens - _AROUND
    return [pieces[:room] for pieces in vocabulary.encode_all([" ".join(text.split()) for text in texts])]


def cut_remarks(texts: Sequence[str], vocabulary: Vocabulary, max_tokens: int, what: str) -> list[str]:
    """Says which share of the texts is longer than that; nothing where none is."""
    lengths = [len(pieces) + _AROUND for pieces in vocabulary.encode_all(list(texts))]
    long = sum(length > max_tokens for length in lengths)
    return [f"{long / len(lengths):.1%} of the {what} are longer than {max_tokens} tokens and are cut"] if long else []


def reading(texts: Sequence[Pieces], specials: Specials) -> TokenBatch:
    """Texts to be read, one per row."""
    return _rows(texts, specials, first=specials.cls)


def unread(count: int, specials: Specials) -> TokenBatch:
    """What is read where everything is to be written: `[CLS] [MASK] [SEP]`, KLIP's question for a whole text."""
    return _rows([(specials.mask,)] * count, specials, first=specials.cls)


def writing(texts: Sequence[Pieces], read: TokenBatch, specials: Specials, prompt: Pieces = ()) -> Corrupted:
    """Texts to be written after what was read; the prompt is given, so it carries no loss.

    Args:
        texts: What is to be written, one per row of `read`.
        read: What the fusion encoder sees beside the image.
        specials: Of the vocabulary.
        prompt: Stands before every text.
    """
    decoder = _rows([(*prompt, *text) for text in texts], specials, first=specials.dec)
    targets = decoder.mask.clone()
    targets[:, : 1 + len(prompt)] = False
    mode = torch.full((len(texts),), FULL, dtype=torch.int64)
    return Corrupted(encoder=read, decoder=decoder, gold=decoder.ids, targets=targets, mode=mode)


def _rows(texts: Sequence[Pieces], specials: Specials, *, first: int) -> TokenBatch:
    width = max((len(text) for text in texts), default=0) + _AROUND
    ids = torch.full((len(texts), width), specials.pad, dtype=torch.int64)
    slot = torch.full((len(texts), width), OUTSIDE, dtype=torch.int8)
    kind = torch.full((len(texts), width), PAD, dtype=torch.int8)
    for row, text in enumerate(texts):
        end = len(text) + 1
        ids[row, : end + 1] = torch.tensor([first, *text, specials.sep])
        slot[row, 1:end] = 0
        kind[row, 0], kind[row, 1:end], kind[row, end] = CLS, VALUE, SEP
    return TokenBatch(ids, slot, kind)
