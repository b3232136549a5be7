"""Segments as tokens, and the budget that every text of a store keeps (sections 3.2 and 3.4).

A text that is cut behind the model's back makes screening worthless: removing a segment would pull hidden ones into
view. So values are cut once, when the store is built, and whoever meets a text over the budget later refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from foundation.errors import CheckError
from klip.text import SegmentedText
from klip.tokens.vocabulary import Vocabulary

_AROUND = 2
"""[CLS] and [SEP]."""


class SlotTokens(NamedTuple):
    """One segment."""

    label: tuple[int, ...]
    """The name of the field and its colon."""
    value: tuple[int, ...]

    @property
    def length(self) -> int:
        """Positions that it takes, its [SEG] included."""
        return len(self.label) + len(self.value) + 1


TextTokens = tuple[SlotTokens | None, ...]
"""The eight segments of a text; None where there is none."""


class Cut(NamedTuple):
    """A value that was too long."""

    slot: int
    before: int
    """Tokens of the value."""
    after: int


class Budgeted(NamedTuple):
    """A text within the budget, and what it lost."""

    tokens: TextTokens
    cuts: tuple[Cut, ...]


def tokenise(text: SegmentedText, vocabulary: Vocabulary) -> TextTokens:
    """The segments one by one; a value of which nothing is left (control characters) is no segment."""
    return next(tokenise_all([text], vocabulary))


def tokenise_all(texts: Sequence[SegmentedText], vocabulary: Vocabulary) -> Iterator[TextTokens]:
    """`tokenise` of many texts; a value that occurs often is encoded once."""
    present = [segment for text in texts for segment in text.segments if segment.present]
    distinct = list(
        dict.fromkeys([*(f"{segment.field}:" for segment in present), *(segment.value for segment in present)])
    )
    pieces = dict(zip(distinct, vocabulary.encode_all(distinct), strict=True))
    for text in texts:
        yield tuple(
            SlotTokens(pieces[f"{segment.field}:"], pieces[segment.value])
            if segment.present and pieces[segment.value]
            else None
            for segment in text.segments
        )


def length(tokens: TextTokens) -> int:
    """Tokens of a text, [CLS] and [SEP] included."""
    return _AROUND + sum(segment.length for segment in tokens if segment is not None)


def fits(tokens: TextTokens, max_len: int, max_seg_len: int) -> bool:
    """Whether a text keeps the budget."""
    longest = max((len(segment.value) for segment in tokens if segment is not None), default=0)
    return longest <= max_seg_len and length(tokens) <= max_len


def require_fit(tokens: Iterable[TextTokens], max_len: int, max_seg_len: int, where: Callable[[int], str]) -> None:
    """Refuses the first text over the budget; `where` names the text of a row."""
    for row, text in enumerate(tokens):
        if not fits(text, max_len, max_seg_len):
            longest = max(len(segment.value) for segment in text if segment is not None)
            raise CheckError(
                f"a text of {length(text)} tokens (longest value {longest}) is over the budget of {max_len} "
                f"(value {max_seg_len})",
                where=where(row),
                way_out="shorten the value, or build a store with larger text.max_len and text.max_seg_len",
            )


def within_budget(
    tokens: TextTokens, max_len: int, max_seg_len: int, continues: Callable[[int], bool] | None = None
) -> Budgeted:
    """Values cut to `max_seg_len` tokens, then the longest ones shortened in turn until the text takes `max_len`.

    Args:
        tokens: A text of any length.
        max_len: Tokens of the whole text, [CLS], labels, [SEG]s and [SEP] included.
        max_seg_len: Tokens of a value.
        continues: Whether a piece goes on with a word; where it is given, values end with a whole word unless that
            would leave nothing.
    """
    values = [segment.value if segment is not None else () for segment in tokens]
    kept = [_word_end(value, max_seg_len, continues) if len(value) > max_seg_len else len(value) for value in values]
    excess = length(tokens) - sum(map(len, values)) + sum(kept) - max_len
    while excess > 0:
        slot = max(range(len(kept)), key=kept.__getitem__)  # the first of the longest
        if kept[slot] <= 1:
            raise CheckError(
                f"a text takes more than {max_len} tokens with no more than one for each value: "
                f"labels and specials alone take {length(tokens) - sum(map(len, values))}",
                way_out="raise text.max_len, or take a vocabulary that has the labels as pieces",
            )
        shorter = _word_end(values[slot], kept[slot] - 1, continues)
        excess -= kept[slot] - shorter
        kept[slot] = shorter
    cuts = tuple(
        Cut(slot, len(value), count)
        for slot, (value, count) in enumerate(zip(values, kept, strict=True))
        if count < len(value)
    )
    fitted = tuple(
        segment if segment is None else SlotTokens(segment.label, segment.value[:count])
        for segment, count in zip(tokens, kept, strict=True)
    )
    return Budgeted(fitted, cuts)


def _word_end(value: tuple[int, ...], count: int, continues: Callable[[int], bool] | None) -> int:
    """The largest number of tokens up to `count` after which a word ends; `count` where the first word is longer."""
    if continues is None:
        return count
    return next((end for end in range(count, 0, -1) if not continues(value[end])), count)
