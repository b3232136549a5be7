"""Segments as tokens, and the budget: checked against an implementation that takes one token at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import CheckError
from klip.text import TARGET_FIELDS, Segment, SegmentedText, layout
from klip.tokens.layout import (
    SlotTokens,
    TextTokens,
    fits,
    length,
    require_fit,
    tokenise,
    tokenise_all,
    within_budget,
)
from klip.tokens.vocabulary import Vocabulary

LABEL = (7, 8)
LENGTHS = st.lists(st.none() | st.integers(1, 30), min_size=8, max_size=8)


def tokens_of(lengths: list[int | None]) -> TextTokens:
    """Values of consecutive numbers; every third piece begins a word."""
    return tuple(None if n is None else SlotTokens(LABEL, tuple(range(n))) for n in lengths)


def inside(row: int) -> bool:
    return row % 3 != 0


def text(*values: str) -> SegmentedText:
    given = [*values, *[""] * (8 - len(values))]
    segments = [
        Segment(field, value) if value else Segment(field, "", "missing")
        for field, value in zip(TARGET_FIELDS, given, strict=True)
    ]
    return SegmentedText("a", "target", tuple(segments))


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.train(["Count: three ships; at sea", "Location: upper left. pier", "Feature: hulls"] * 2, 200)


def one_at_a_time(lengths: list[int | None], max_len: int, max_seg_len: int) -> list[int | None]:
    """The rule of section 3.4 in its plainest form."""
    left = [None if n is None else min(n, max_seg_len) for n in lengths]
    while 2 + sum(len(LABEL) + 1 + n for n in left if n is not None) > max_len:
        longest = max(n for n in left if n is not None)
        left[left.index(longest)] = longest - 1
    return left


def test_segments_are_tokenised_one_by_one(vocabulary: Vocabulary) -> None:
    given = text("three; ships.", "", "hulls: three")
    found = tokenise(given, vocabulary)
    assert [slot is not None for slot in found] == [True, False, True, *[False] * 5]
    kept = [slot for slot in found if slot is not None]
    stated = [(entry.label.lower(), entry.value) for entry in layout(given)]
    assert [(vocabulary.decode(slot.label), vocabulary.decode(slot.value)) for slot in kept] == stated


def test_the_length_counts_what_stands_around_the_segments(vocabulary: Vocabulary) -> None:
    assert length(tokens_of([None] * 8)) == 2
    assert length(tokens_of([5, None, 1, *[None] * 5])) == 2 + (2 + 5 + 1) + (2 + 1 + 1)
    one = tokenise(text("three ships"), vocabulary)[0]
    assert one is not None
    assert length(tokenise(text("three ships"), vocabulary)) == 2 + len(one.label) + len(one.value) + 1


def test_a_value_without_any_piece_is_no_segment(vocabulary: Vocabulary) -> None:
    assert tokenise(text("\u200b\u0007"), vocabulary) == (None,) * 8


def test_many_texts_at_once_are_the_same_as_one_by_one(vocabulary: Vocabulary) -> None:
    texts = [text("three ships"), text("three ships", "upper left"), text("", "three ships")]
    assert list(tokenise_all(texts, vocabulary)) == [tokenise(one, vocabulary) for one in texts]


def test_dropped_segments_leave_no_token(vocabulary: Vocabulary) -> None:
    whole = text("three ships", "upper left")
    dropped = SegmentedText("a", "target", (Segment("Count", "three ships", "dropped"), *whole.segments[1:]))
    assert tokenise(dropped, vocabulary) == (None, *tokenise(whole, vocabulary)[1:])


@given(lengths=LENGTHS, max_len=st.integers(40, 120), max_seg_len=st.integers(1, 25))
def test_cutting_agrees_with_one_token_at_a_time(lengths: list[int | None], max_len: int, max_seg_len: int) -> None:
    given = tokens_of(lengths)
    found = within_budget(given, max_len, max_seg_len)
    kept = [None if slot is None else len(slot.value) for slot in found.tokens]
    assert kept == one_at_a_time(lengths, max_len, max_seg_len)


@given(
    lengths=LENGTHS,
    max_len=st.integers(40, 120),
    max_seg_len=st.integers(1, 25),
    words=st.booleans(),
)
def test_a_cut_text_keeps_the_budget_and_the_beginning_of_every_value(
    lengths: list[int | None], max_len: int, max_seg_len: int, words: bool
) -> None:
    given = tokens_of(lengths)
    found = within_budget(given, max_len, max_seg_len, inside if words else None)
    assert fits(found.tokens, max_len, max_seg_len)
    for slot, (before, after) in enumerate(zip(given, found.tokens, strict=True)):
        assert (before is None) == (after is None)
        if before is None or after is None:
            continue
        count = len(after.value)
        assert after.label == before.label
        assert after.value == before.value[:count]
        assert count >= 1
        cuts = [cut for cut in found.cuts if cut.slot == slot]
        assert [(cut.before, cut.after) for cut in cuts] == (
            [(len(before.value), count)] if count < len(before.value) else []
        )
        if words and cuts:
            assert count < 3 or not inside(before.value[count])
    assert within_budget(found.tokens, max_len, max_seg_len).cuts == ()


def test_a_text_that_fits_is_left_alone() -> None:
    given = tokens_of([10, 5, None, 3, *[None] * 4])
    assert within_budget(given, length(given), 10) == (given, ())


def test_the_longest_values_are_shortened_in_turn() -> None:
    given = tokens_of([10, 12, 3, *[None] * 5])
    cut = within_budget(given, length(given) - 7, 48).tokens
    assert [None if slot is None else len(slot.value) for slot in cut][:3] == [7, 8, 3]


def test_values_end_with_a_whole_word() -> None:
    given = tokens_of([10, *[None] * 7])
    assert within_budget(given, 100, 8, inside).cuts == ((0, 10, 6),)
    assert within_budget(given, 100, 2, inside).cuts == ((0, 10, 2),)  # its first word is longer than that


def test_a_budget_without_room_for_values_is_refused() -> None:
    with pytest.raises(CheckError, match="labels and specials alone take 26"):
        within_budget(tokens_of([5] * 8), 30, 48)


def test_a_text_over_the_budget_is_named() -> None:
    short, long = tokens_of([3, *[None] * 7]), tokens_of([20, *[None] * 7])
    require_fit([short], 10, 48, str)
    with pytest.raises(CheckError, match="25 tokens") as caught:
        require_fit([short, long], 20, 48, lambda row: f"row {row}")
    assert caught.value.where == "row 1"
    with pytest.raises(CheckError, match="longest value 20"):
        require_fit([long], 160, 19, str)
