"""Texts of several images as tensors: which token belongs to which segment, and how segments leave a text.

The layout of a row is `[CLS] label value [SEG] label value [SEG] ... [SEP] [PAD]*` (section 3.2 of the KLIP
specification). Every operation on whole segments is one boolean mask over the positions followed by `kept`, which moves
what stays to the front: positions are renumbered, nothing is tokenised again, and there is no loop over rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foundation.errors import CheckError
from klip.settings import SLOTS

if TYPE_CHECKING:
    from klip.tokens.layout import TextTokens
    from klip.tokens.vocabulary import Specials

PAD, CLS, SEP, LABEL, VALUE, SEG = range(6)
"""What a position holds."""

OUTSIDE = -1
"""The segment of [CLS], [SEP] and [PAD]."""


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Texts of the same width; shorter ones end in [PAD]."""

    ids: Tensor
    """int64 [B, L]."""
    slot: Tensor
    """int8 [B, L]: the segment, 0 to 7; the [SEG] that ends a segment belongs to it."""
    kind: Tensor
    """int8 [B, L]."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def width(self) -> int:
        """Positions of a row, [PAD] included."""
        return self.ids.shape[1]

    @property
    def mask(self) -> Tensor:
        """Where there is a token: bool [B, L]."""
        return self.kind != PAD

    @property
    def lengths(self) -> Tensor:
        """int64 [B]: tokens of each text."""
        return self.mask.sum(dim=1)

    @property
    def present(self) -> Tensor:
        """Segments that each text has: bool [B, 8]."""
        return (self.slot[:, None, :] == torch.arange(SLOTS, device=self.slot.device)[None, :, None]).any(dim=2)

    def to(self, device: torch.device | str) -> TokenBatch:
        """The batch on a device."""
        return TokenBatch(*(part.to(device, non_blocking=True) for part in (self.ids, self.slot, self.kind)))

    def rows(self, index: Tensor) -> TokenBatch:
        """Some of the texts, in the order of `index`."""
        return TokenBatch(self.ids[index], self.slot[index], self.kind[index])

    def trimmed(self) -> TokenBatch:
        """Without the columns that hold nothing but [PAD]; asks the device for a number."""
        width = int(self.lengths.max()) if len(self) else 0
        return self.cut(width)

    def cut(self, width: int) -> TokenBatch:
        """The first `width` columns."""
        return TokenBatch(self.ids[:, :width], self.slot[:, :width], self.kind[:, :width])

    def padded(self, width: int, pad: int) -> TokenBatch:
        """At least `width` columns wide."""
        missing = width - self.width
        if missing <= 0:
            return self
        fill = torch.nn.functional.pad
        return TokenBatch(
            fill(self.ids, (0, missing), value=pad),
            fill(self.slot, (0, missing), value=OUTSIDE),
            fill(self.kind, (0, missing), value=PAD),
        )

    def of(self, segments: Tensor) -> Tensor:
        """Positions of the segments that `segments` (bool [B, 8]) names: bool [B, L]."""
        inside = self.slot >= 0
        chosen = segments.gather(1, self.slot.clamp(min=0).long())
        return inside & chosen

    def kept(self, keep: Tensor, pad: int) -> TokenBatch:
        """The positions of `keep`, moved to the front in their order; the width stays."""
        order = torch.argsort((~keep).to(torch.int8), dim=1, stable=True)
        empty = torch.arange(self.width, device=keep.device)[None] >= keep.sum(dim=1, keepdim=True)
        return TokenBatch(
            self.ids.gather(1, order).masked_fill(empty, pad),
            self.slot.gather(1, order).masked_fill(empty, OUTSIDE),
            self.kind.gather(1, order).masked_fill(empty, PAD),
        )


def pack(texts: Sequence[TextTokens], specials: Specials, width: int | None = None) -> TokenBatch:
    """Token lists as one batch, as wide as the longest text or `width`."""
    rows = [_row(text, specials) for text in texts]
    longest = max((len(row[0]) for row in rows), default=0)
    if width is not None and longest > width:
        raise CheckError(
            f"a text has {longest} tokens, {width} are allowed", way_out="build the store anew with the same budget"
        )
    width = longest if width is None else width
    ids = torch.full((len(rows), width), specials.pad, dtype=torch.int64)
    slot = torch.full((len(rows), width), OUTSIDE, dtype=torch.int8)
    kind = torch.full((len(rows), width), PAD, dtype=torch.int8)
    for n, (row_ids, row_slot, row_kind) in enumerate(rows):
        length = len(row_ids)
        ids[n, :length] = torch.tensor(row_ids)
        slot[n, :length] = torch.tensor(row_slot, dtype=torch.int8)
        kind[n, :length] = torch.tensor(row_kind, dtype=torch.int8)
    return TokenBatch(ids, slot, kind)


def without(tokens: TokenBatch, drop: Tensor, pad: int) -> TokenBatch:
    """The segments of `drop` (bool [B, 8]) removed whole: label, value and [SEG]."""
    return tokens.kept(tokens.mask & ~tokens.of(drop), pad)


def joined(batches: Sequence[TokenBatch], pad: int) -> TokenBatch:
    """The rows of several batches, one after the other, in the width of the widest."""
    width = max(batch.width for batch in batches)
    wide = [batch.padded(width, pad) for batch in batches]
    return TokenBatch(
        torch.cat([batch.ids for batch in wide]),
        torch.cat([batch.slot for batch in wide]),
        torch.cat([batch.kind for batch in wide]),
    )


def collapsed(tokens: TokenBatch, segments: Tensor, specials: Specials, *, keep_label: bool) -> TokenBatch:
    """The named segments (bool [B, 8]) shrunk to one [MASK] and their [SEG], with the label before it or not."""
    inside = tokens.of(segments) & (tokens.kind != SEG)
    value = tokens.kind == VALUE
    body = inside & value if keep_label else inside
    first = body & ~_shifted(body & _same_slot(tokens))
    ids = tokens.ids.masked_fill(first, specials.mask)
    kind = tokens.kind.masked_fill(first, VALUE)
    changed = TokenBatch(ids, tokens.slot, kind)
    return changed.kept(tokens.mask & ~(body & ~first), specials.pad)


def _same_slot(tokens: TokenBatch) -> Tensor:
    """Where the position after is in the same segment: bool [B, L]."""
    after = torch.nn.functional.pad(tokens.slot[:, 1:], (0, 1), value=OUTSIDE)
    return tokens.slot == after


def _shifted(flags: Tensor) -> Tensor:
    """The flags of the position before."""
    return torch.nn.functional.pad(flags[:, :-1], (1, 0), value=False)


def _row(text: TextTokens, specials: Specials) -> tuple[list[int], list[int], list[int]]:
    ids, slots, kinds = [specials.cls], [OUTSIDE], [CLS]
    for n, segment in enumerate(text):
        if segment is None:
            continue
        ids += [*segment.label, *segment.value, specials.seg]
        slots += [n] * (len(segment.label) + len(segment.value) + 1)
        kinds += [LABEL] * len(segment.label) + [VALUE] * len(segment.value) + [SEG]
    return [*ids, specials.sep], [*slots, OUTSIDE], [*kinds, SEP]
