"""Beam search against brute force over a vocabulary of five tokens, and each of its rules by itself."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from foundation.errors import UsageError
from foundation.seeds import derive_seed
from klip.generate import Writing, Written, forbidden_tokens, write
from klip.tokens.vocabulary import Specials

VOCABULARY = 5
STOP = 4


@cache
def _made_up(seed: int, text: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed(seed, *text))
    return 2.0 * torch.randn(VOCABULARY, generator=generator, dtype=torch.float64)


class TableWriter:
    """A made-up language: the logits after a text hang on the whole text."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.texts: list[tuple[int, ...]] = []
        self.calls = 0

    def begin(self, prefix: Tensor, mask: Tensor) -> Tensor:
        self.texts = [tuple(row[keep].tolist()) for row, keep in zip(prefix, mask, strict=True)]
        return self._logits()

    def go_on(self, rows: Tensor, tokens: Tensor) -> Tensor:
        self.texts = [(*self.texts[row], token) for row, token in zip(rows.tolist(), tokens.tolist(), strict=True)]
        return self._logits()

    def _logits(self) -> Tensor:
        self.calls += 1
        return torch.stack([self.of(text) for text in self.texts])

    def of(self, text: tuple[int, ...]) -> Tensor:
        return _made_up(self.seed, text)


class Always(TableWriter):
    """The same logits after every text."""

    def __init__(self, logits: Sequence[float]) -> None:
        super().__init__(0)
        self.logits = torch.tensor(logits)

    def of(self, text: tuple[int, ...]) -> Tensor:  # noqa: ARG002
        return self.logits


def brute_force(
    writer: TableWriter, prefix: tuple[int, ...], how: Writing, banned: Sequence[int] = ()
) -> list[Written]:
    """Every text that ends within the length, best first."""
    found = []
    for length in range(how.fewest, how.most):
        for ids in itertools.product(range(VOCABULARY), repeat=length):
            if STOP in ids or set(ids) & set(banned) or _repeats(ids, how.no_repeat):
                continue
            total = sum(
                float(writer.of((*prefix, *ids[:n])).log_softmax(0)[token]) for n, token in enumerate((*ids, STOP))
            )
            found.append(Written(ids, total / (length + 1) ** how.length_power, True))
    return sorted(found, key=lambda text: -text.score)


def _repeats(ids: tuple[int, ...], run: int) -> bool:
    runs = [ids[n : n + run] for n in range(len(ids) - run + 1)]
    return bool(run) and len(set(runs)) < len(runs)


def padded(prefixes: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    width = max(len(prefix) for prefix in prefixes)
    ids = torch.tensor([[*prefix, *[0] * (width - len(prefix))] for prefix in prefixes])
    mask = torch.arange(width)[None] < torch.tensor([len(prefix) for prefix in prefixes])[:, None]
    return ids, mask


def written(
    writer: TableWriter, prefixes: Sequence[tuple[int, ...]], how: Writing, banned: Sequence[int] = ()
) -> list[list[Written]]:
    refused = torch.zeros(VOCABULARY, dtype=torch.bool)
    refused[list(banned)] = True
    return write(writer, *padded(prefixes), stop=STOP, how=how, banned=refused)


LONGEST = 4
EVERY_TEXT = 5 * 4**3
"""As many beams as there are candidates at the last token."""


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    power=st.sampled_from([0.0, 0.6, 1.0, 2.0]),
    fewest=st.integers(0, 2),
    no_repeat=st.sampled_from([0, 1, 2, 3]),
    banned=st.sampled_from([(), (2,), (0, 3)]),
)
def test_with_a_beam_for_every_text_the_best_texts_are_those_of_brute_force(
    seed: int, power: float, fewest: int, no_repeat: int, banned: tuple[int, ...]
) -> None:
    how = Writing(
        most=LONGEST, beams=EVERY_TEXT, fewest=fewest, length_power=power, no_repeat=no_repeat, patience="exact"
    )
    prefixes = [(1,), (2, 2, 0), (3, 1)]
    found = written(TableWriter(seed), prefixes, how, banned)
    for prefix, texts in zip(prefixes, found, strict=True):
        expected = brute_force(TableWriter(seed), prefix, how, banned)[:EVERY_TEXT]
        ended = [text for text in texts if text.ended]
        assert {text.ids for text in ended} == {text.ids for text in expected}
        assert ended[0].ids == expected[0].ids
        assert [text.score for text in ended] == pytest.approx([text.score for text in expected], abs=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_one_beam_is_greedy_writing(seed: int) -> None:
    writer, prefixes = TableWriter(seed), [(0,), (1, 2, 3)]
    found = written(TableWriter(seed), prefixes, Writing(most=7, beams=1, no_repeat=0))
    for prefix, (text,) in zip(prefixes, found, strict=True):
        ids: list[int] = []
        for _ in range(7):
            logits = writer.of((*prefix, *ids)).clone()
            if not ids:
                logits[STOP] = -math.inf
            ids.append(int(logits.argmax()))
            if ids[-1] == STOP:
                break
        ended = ids[-1] == STOP
        assert text.ended == ended
        assert list(text.ids) == (ids[:-1] if ended else ids)


@pytest.mark.parametrize("seed", range(10))
def test_no_few_beams_beat_the_search_of_everything(seed: int) -> None:
    best = written(TableWriter(seed), [(1,)], Writing(most=LONGEST, beams=EVERY_TEXT, patience="exact"))[0][0]
    for beams in (1, 2, 3):
        few = written(TableWriter(seed), [(1,)], Writing(most=LONGEST, beams=beams))[0][0]
        assert not few.ended or few.score <= best.score + 1e-6


@pytest.mark.parametrize("seed", range(10))
def test_neighbours_in_the_batch_and_the_length_of_their_prefixes_change_nothing(seed: int) -> None:
    prefixes = [(1,), (2, 0, 1, 3, 1, 0), (3, 3), (0, 1, 2)]
    how = Writing(most=8, beams=3)
    together = written(TableWriter(seed), prefixes, how)
    alone = [written(TableWriter(seed), [prefix], how)[0] for prefix in prefixes]
    assert together == alone


def test_a_search_ends_as_soon_as_no_live_beam_is_better_than_the_worst_finished_one() -> None:
    class StopsSoon(TableWriter):
        def of(self, text: tuple[int, ...]) -> Tensor:
            return torch.tensor([0.1, 0.0, 0.2, 0.0, 9.0 if len(text) > 2 else 0.0])

    hasty, exact = StopsSoon(0), StopsSoon(0)
    found = written(hasty, [(1,)], Writing(most=40, beams=2))
    same = written(exact, [(1,)], Writing(most=40, beams=2, patience="exact", no_repeat=0))
    assert hasty.calls <= 4 and len(found[0][0].ids) == 2
    assert exact.calls > hasty.calls  # a longer text could still become better
    assert same[0][0].score >= found[0][0].score


def test_a_text_that_never_ends_is_given_up_at_the_longest_length_and_says_so() -> None:
    (texts,) = written(Always([0.0, 1.0, 0.5, 0.3, -math.inf]), [(0,)], Writing(most=6, beams=3, no_repeat=0))
    assert [text.ended for text in texts] == [False] * 3
    assert all(len(text.ids) == 6 for text in texts)
    assert texts[0].ids == (1,) * 6


def test_a_text_that_ended_comes_before_better_ones_that_did_not() -> None:
    (texts,) = written(Always([0.0, 3.0, 0.0, 0.0, 1.5]), [(0,)], Writing(most=3, beams=4, no_repeat=0))
    flags = [text.ended for text in texts]
    assert flags == sorted(flags, reverse=True) and flags[0]


def test_nothing_is_written_where_everything_is_forbidden() -> None:
    refused = torch.tensor([[False] * 5, [True] * 5])
    texts = write(TableWriter(3), *padded([(0,), (1,)]), stop=STOP, how=Writing(most=5), banned=refused)
    assert texts[0] and not texts[1]


def test_no_prefix_gives_no_text() -> None:
    empty = torch.zeros(0, 1, dtype=torch.int64)
    assert write(TableWriter(0), empty, empty.bool(), stop=STOP, how=Writing(most=3)) == []


def test_special_tokens_are_forbidden_but_for_the_one_that_ends_the_text() -> None:
    specials = Specials(pad=0, unk=1, cls=2, sep=3, mask=4, seg=5, dec=8, enc=9)
    banned = forbidden_tokens(specials, 10, stop=specials.seg)
    assert banned.nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 8, 9]


@pytest.mark.parametrize("wrong", [{"beams": 0}, {"most": 1}, {"fewest": 5}, {"no_repeat": -1}])
def test_lengths_that_leave_nothing_to_write_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        Writing(**({"most": 5} | wrong))
