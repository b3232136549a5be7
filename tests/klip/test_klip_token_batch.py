"""Operations on whole segments, against the same done to one text after the other in plain Python."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import CheckError
from klip.settings import SLOTS
from klip.tokens.batch import CLS, LABEL, PAD, SEG, SEP, VALUE, TokenBatch, collapsed, joined, without
from klip.tokens.layout import SlotTokens, TextTokens
from tests.klip.toy_pairs import SPECIALS, random_texts, tokens_of

Row = list[tuple[int, int, int]]
"""(id, slot, kind) of every token of a text."""

_labels = st.lists(st.integers(6, 57), max_size=3).map(tuple)
_values = st.lists(st.integers(6, 57), min_size=1, max_size=4).map(tuple)  # without a value there is no segment
_segments = st.one_of(st.none(), st.builds(SlotTokens, label=_labels, value=_values))
_texts = st.lists(st.tuples(*[_segments] * SLOTS), min_size=0, max_size=5)
_choices = st.lists(st.integers(0, 2**SLOTS - 1), min_size=5, max_size=5)


def rows(tokens: TokenBatch) -> list[Row]:
    found = []
    for ids, slots, kinds in zip(tokens.ids.tolist(), tokens.slot.tolist(), tokens.kind.tolist(), strict=True):
        row = list(zip(ids, slots, kinds, strict=True))
        length = sum(kind != PAD for kind in kinds)
        assert all(entry == (SPECIALS.pad, -1, PAD) for entry in row[length:])  # tokens in front, the rest is padding
        found.append(row[:length])
    return found


def written(text: TextTokens) -> Row:
    row = [(SPECIALS.cls, -1, CLS)]
    for n, segment in enumerate(text):
        if segment is not None:
            row += [(token, n, LABEL) for token in segment.label]
            row += [(token, n, VALUE) for token in segment.value]
            row += [(SPECIALS.seg, n, SEG)]
    return [*row, (SPECIALS.sep, -1, SEP)]


def flags(choices: list[int], count: int) -> torch.Tensor:
    bits = [[number >> n & 1 for n in range(SLOTS)] for number in choices[:count]]
    return torch.tensor(bits, dtype=torch.bool).view(-1, SLOTS)


@settings(max_examples=50, deadline=None)
@given(_texts)
def test_packed_texts_read_back_token_by_token(texts: list[TextTokens]) -> None:
    tokens = tokens_of(texts)
    assert rows(tokens) == [written(text) for text in texts]
    assert tokens.present.tolist() == [[segment is not None for segment in text] for text in texts]
    assert tokens.lengths.tolist() == [len(written(text)) for text in texts]


@settings(max_examples=50, deadline=None)
@given(_texts, _choices, st.integers(0, 3))
def test_without_equals_texts_that_never_had_the_segments(
    texts: list[TextTokens], choices: list[int], padding: int
) -> None:
    drop = flags(choices, len(texts))
    tokens = tokens_of(texts)
    found = without(tokens.padded(tokens.width + padding, SPECIALS.pad), drop, SPECIALS.pad)
    left = [
        tuple(None if gone else segment for segment, gone in zip(text, lost, strict=True))
        for text, lost in zip(texts, drop.tolist(), strict=True)
    ]
    assert rows(found) == [written(text) for text in left]


@settings(max_examples=50, deadline=None)
@given(_texts, _choices, st.booleans())
def test_collapsed_equals_texts_with_one_mask_for_the_value(
    texts: list[TextTokens], choices: list[int], keep_label: bool
) -> None:
    chosen = flags(choices, len(texts))
    found = collapsed(tokens_of(texts), chosen, SPECIALS, keep_label=keep_label)
    mask = (SPECIALS.mask,)

    def shrunk(segment: SlotTokens | None, gap: bool) -> SlotTokens | None:
        if segment is None or not gap:
            return segment
        return SlotTokens(segment.label if keep_label else (), mask)

    wanted = [
        tuple(shrunk(segment, gap) for segment, gap in zip(text, gaps, strict=True))
        for text, gaps in zip(texts, chosen.tolist(), strict=True)
    ]
    assert rows(found) == [written(text) for text in wanted]


@settings(max_examples=40, deadline=None)
@given(_texts, st.integers(0, 2**30))
def test_kept_moves_any_positions_to_the_front_in_order(texts: list[TextTokens], seed: int) -> None:
    tokens = tokens_of(texts)
    keep = tokens.mask & (torch.rand(tokens.ids.shape, generator=torch.Generator().manual_seed(seed)) < 0.5)
    found = rows(tokens.kept(keep, SPECIALS.pad))
    wanted = [
        [entry for entry, stays in zip(row, kept, strict=False) if stays]
        for row, kept in zip(rows(tokens), keep.tolist(), strict=True)
    ]
    assert found == wanted


def test_texts_of_several_batches_stand_one_after_the_other() -> None:
    first, second = random_texts(3, 1), random_texts(2, 2, longest=12)
    both = joined([tokens_of(first), tokens_of(second)], SPECIALS.pad)
    assert rows(both) == [written(text) for text in first + second]
    picked = both.rows(torch.tensor([4, 0, 4])).trimmed()
    assert rows(picked) == [written(text) for text in (second[1], first[0], second[1])]
    assert picked.width == max(len(written(second[1])), len(written(first[0])))


def test_no_texts_at_all_are_a_batch_too() -> None:
    empty = tokens_of([])
    none = torch.zeros(0, SLOTS, dtype=torch.bool)
    assert len(empty) == 0
    for batch in (
        empty,
        tokens_of([], 7),
        without(tokens_of([], 7), none, SPECIALS.pad),
        collapsed(tokens_of([], 7), none, SPECIALS, keep_label=True),
        empty.trimmed(),
        empty.padded(5, SPECIALS.pad),
    ):
        assert len(batch) == 0
        assert batch.present.shape == (0, SLOTS)
        assert batch.kept(batch.mask, SPECIALS.pad).ids.shape == batch.ids.shape


def test_a_text_beyond_the_width_is_refused() -> None:
    with pytest.raises(CheckError, match="tokens, 5 are allowed"):
        tokens_of(random_texts(1), 5)
