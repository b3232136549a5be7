"""Mirrored images with texts that say so: `image.flip=text_aware` (section 2.5).

Left and right change places, east and west stay: they are facts of the map and not of the image.
"""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import Tensor

from klip.text import SegmentedText
from klip.tokens.batch import TokenBatch, joined
from klip.training.position import Position

_SIDES = re.compile(r"\b(left|right)(?=\b|most\b|wards?\b|hand\b)", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left"}


def mirrored(text: SegmentedText) -> SegmentedText:
    """What the text of the mirrored image says."""
    segments = tuple(replace(segment, value=_SIDES.sub(_exchanged, segment.value)) for segment in text.segments)
    return replace(text, segments=segments)


def flipped(
    images: Tensor, tokens: TokenBatch, other: TokenBatch, position: Position, pad: int
) -> tuple[Tensor, TokenBatch]:
    """Half of the images mirrored, with the texts that go with them; which ones is a matter of the position."""
    chosen = torch.rand(len(images), generator=position.generator("flip")) < 0.5
    count = len(images)
    both = joined([tokens, other], pad)
    where = chosen.to(images.device)[:, None, None]
    return torch.where(where, images.flip(-1), images), both.rows(torch.arange(count) + count * chosen)


def _exchanged(match: re.Match[str]) -> str:
    found = match[1]
    other = _OTHER[found.lower()]
    if found.isupper():
        return other.upper()
    return other.capitalize() if found[0].isupper() else other
