"""Decisions as a function of numbers: signs, ties, limits, the guard, and that no torch is needed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from klip.scio.decide import (
    Candidates,
    Numbers,
    Rule,
    candidates,
    differences,
    random_control,
    rule_of,
    standardised,
)
from klip.scio.guard import guard
from klip.settings import ScioSettings

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FREE = Rule(min_keep=1, max_noise_frac=1.0)
"""Limits that do not matter."""


def numbers_of(d_itc: Floats, d_itm: Floats, present: Flags | None = None) -> Numbers:
    there = np.ones(d_itc.shape, dtype=np.bool_) if present is None else present
    field = np.broadcast_to(np.arange(8), d_itc.shape).copy()
    return Numbers(there, field, np.asarray(d_itc, dtype=np.float64), np.asarray(d_itm, dtype=np.float64))


def row(*values: float) -> Floats:
    """One text; segments that are not named are as good as can be."""
    return np.array([[*values, *[9.0] * (8 - len(values))]])


def matches(*values: float) -> Floats:
    return np.array([[*values, *[-9.0] * (8 - len(values))]])


@pytest.mark.parametrize(
    ("d_itc", "d_itm", "noise"),
    [
        (-0.1, 0.1, True),  # without it contrast loses less and the match is better
        (0.1, -0.1, False),  # the other way round: C1's trap
        (-0.1, -0.1, False),
        (0.1, 0.1, False),
        (0.0, 0.1, False),  # a tie is not noise
        (-0.1, 0.0, False),
        (0.0, 0.0, False),
        (np.nan, 0.1, False),
        (-0.1, np.nan, False),
    ],
)
def test_noise_is_what_both_tests_are_better_without(d_itc: float, d_itm: float, noise: bool) -> None:
    found = candidates(numbers_of(row(d_itc), matches(d_itm)), FREE)
    assert found.noise[0].tolist() == [noise] + [False] * 7


def test_a_difference_is_the_text_without_the_segment_less_the_full_text() -> None:
    scores = np.arange(18, dtype=np.float64).reshape(2, 9) ** 2
    assert np.array_equal(differences(scores)[1], scores[1, 1:] - scores[1, 0])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_with_flipped_signs_nothing_that_was_noise_is_noise(data: st.DataObject) -> None:
    values = hnp.arrays(np.float64, (5, 8), elements=st.floats(-5, 5).map(lambda v: round(v, 3)))
    d_itc, d_itm = data.draw(values), data.draw(values)
    found = candidates(numbers_of(d_itc, d_itm), FREE)
    flipped = candidates(numbers_of(-d_itc, -d_itm), FREE)
    assert not (found.noise & flipped.noise).any()
    assert np.array_equal(candidates(numbers_of(d_itc, d_itm), Rule()).noise & ~found.noise, np.zeros((5, 8), bool))


def test_margins_are_strict() -> None:
    numbers = numbers_of(row(-0.5, -0.6), matches(0.5, 0.6))
    assert candidates(numbers, Rule(itc_margin=0.5, min_keep=1)).noise[0].tolist()[:2] == [False, True]
    assert candidates(numbers, Rule(itm_margin=0.5, min_keep=1)).noise[0].tolist()[:2] == [False, True]


def test_each_test_alone_is_an_option() -> None:
    numbers = numbers_of(row(-1, 1, -1), matches(1, 1, -1))
    assert candidates(numbers, Rule(tests="itc", min_keep=1)).noise[0].tolist()[:3] == [True, False, True]
    assert candidates(numbers, Rule(tests="itm", min_keep=1)).noise[0].tolist()[:3] == [True, True, False]
    assert candidates(numbers, Rule(tests="both", min_keep=1)).noise[0].tolist()[:3] == [True, False, False]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_limits_keep_the_strongest_evidence_and_leave_enough_of_the_text(data: st.DataObject) -> None:
    present = data.draw(hnp.arrays(np.bool_, (6, 8)))
    d_itm = data.draw(hnp.arrays(np.float64, (6, 8), elements=st.floats(0.1, 5)))
    rule = Rule(min_keep=data.draw(st.integers(1, 8)), max_noise_frac=data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])))
    found = candidates(numbers_of(-np.ones((6, 8)), d_itm, present), rule).noise
    assert not (found & ~present).any()
    for n in range(6):
        flagged, count = int(found[n].sum()), int(present[n].sum())
        allowed = max(0, min(count - rule.min_keep, int(rule.max_noise_frac * count)))
        assert flagged == allowed  # every segment is suspicious, so as many go as may
        kept = present[n] & ~found[n]
        if flagged and kept.any():
            assert d_itm[n][found[n]].min() >= d_itm[n][kept].max()


def test_a_text_of_nothing_but_noise_keeps_three_segments() -> None:
    assert candidates(numbers_of(-np.ones((1, 8)), np.ones((1, 8))), Rule(max_noise_frac=1.0)).noise.sum() == 5
    few = np.array([[True, True, True, False, False, False, False, False]])
    assert candidates(numbers_of(-np.ones((1, 8)), np.ones((1, 8)), few), Rule()).noise.sum() == 0


def test_segments_that_are_not_there_or_have_no_number_are_never_noise() -> None:
    present = np.array([[True, False, True, *[True] * 5]])
    numbers = numbers_of(row(-1, -1, np.inf), matches(1, 1, 1), present)
    found = candidates(numbers, Rule(min_keep=1))
    assert found.noise[0].tolist()[:3] == [True, False, False]
    assert numbers.error[0].tolist()[:3] == [False, False, True]


def test_zscore_flags_the_asked_share_and_compares_fields_with_their_like() -> None:
    rng = np.random.default_rng(0)
    d_itc, d_itm = rng.normal(size=(500, 8)), rng.normal(size=(500, 8))
    wrong = rng.random((500, 8)) < 0.2
    d_itc[wrong] -= 4
    d_itm[wrong] += 4
    shift = np.arange(8) * 10.0  # every field contributes differently, which must not matter
    numbers = numbers_of(d_itc + shift, d_itm - shift)
    found = candidates(numbers, Rule(kind="zscore", noise_rate=0.2, min_keep=1, max_noise_frac=1.0)).noise
    assert found.sum() == round(0.2 * 4000)
    assert found[wrong].mean() > 0.95
    assert np.array_equal(
        found, candidates(numbers_of(d_itc, d_itm), FREE.__class__(kind="zscore", min_keep=1, max_noise_frac=1.0)).noise
    )


def test_a_field_without_spread_says_nothing() -> None:
    numbers = numbers_of(np.full((4, 8), -2.0), np.full((4, 8), 2.0))
    assert not standardised(numbers.d_itc, numbers).any()


def test_the_random_control_takes_as_many_of_every_field_and_keeps_the_limits() -> None:
    rng = np.random.default_rng(1)
    present = rng.random((400, 8)) < 0.9
    present[:, :4] = True
    numbers = numbers_of(rng.normal(size=(400, 8)), rng.normal(size=(400, 8)), present)
    rule = Rule()
    noise = candidates(numbers, rule).noise
    drawn = random_control(noise, numbers, rule, seed=3)
    assert np.array_equal(drawn.sum(axis=0), noise.sum(axis=0))
    assert not (drawn & ~present).any()
    assert ((present & ~drawn).sum(axis=1) >= np.minimum(3, present.sum(axis=1))).all()
    assert (drawn.sum(axis=1) <= 0.5 * present.sum(axis=1)).all()
    assert 0.1 < (drawn & noise).sum() / noise.sum() < 0.5  # by lot, not by the scores
    assert np.array_equal(drawn, random_control(noise, numbers, rule, seed=3))
    assert not np.array_equal(drawn, random_control(noise, numbers, rule, seed=4))


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_after_the_guard_a_text_matches_better_without_its_noise_or_has_none(data: st.DataObject) -> None:
    noise = data.draw(hnp.arrays(np.bool_, (5, 8)))
    evidence = np.where(noise, data.draw(hnp.arrays(np.float64, (5, 8), elements=st.floats(0, 5))), -np.inf)
    full = data.draw(hnp.arrays(np.float64, 5, elements=st.floats(-3, 3)))
    seed = data.draw(st.integers(0, 99))

    def match_without(rows: NDArray[np.int64], drop: Flags) -> Floats:
        return np.array([_made_up(seed, int(r), d) for r, d in zip(rows, drop, strict=True)])

    found = guard(Candidates(noise, evidence), full, Rule(), match_without)
    assert not (found.noise & ~noise).any()
    assert np.array_equal(found.readmitted, noise & ~found.noise)
    for n in range(5):
        if found.noise[n].any():
            assert _made_up(seed, n, found.noise[n]) > full[n]
        kept, gone = evidence[n][found.noise[n]], evidence[n][found.readmitted[n]]
        if len(kept) and len(gone):
            assert gone.max() <= kept.min()  # the weakest evidence is re-admitted first


def _made_up(seed: int, row: int, drop: Flags) -> float:
    return float(np.random.default_rng([seed, row, int(np.packbits(drop)[0])]).normal())


def test_a_set_is_taken_or_left_whole_in_algorithm_1_and_not_tested_at_all_segment_by_segment() -> None:
    noise = np.array([[True, True, False, *[False] * 5]])
    found = Candidates(noise, np.where(noise, 1.0, -np.inf))

    def no_better(rows: NDArray[np.int64], drop: Flags) -> Floats:
        return np.full(len(rows), -1.0)

    full = np.zeros(1)
    assert guard(found, full, Rule(confirm="set"), no_better).noise.sum() == 0
    assert guard(found, full, Rule(confirm="set"), no_better).tried[0] == 1
    assert guard(found, full, Rule(confirm="both"), no_better).tried[0] == 2
    assert guard(found, full, Rule(confirm="segment"), no_better).noise.sum() == 2


def test_in_algorithm_1_contrast_alone_picks_the_segments_of_the_set() -> None:
    numbers = numbers_of(row(-1, -1, 1), matches(1, -1, 1))
    assert candidates(numbers, Rule(confirm="set", min_keep=1)).noise[0].tolist()[:3] == [True, True, False]


def test_a_set_that_nobody_scored_is_undecided_and_keeps_what_the_rule_flagged() -> None:
    noise = np.array([[True, True, *[False] * 6]])
    found = guard(
        Candidates(noise, np.where(noise, 1.0, -np.inf)),
        np.zeros(1),
        Rule(),
        lambda rows, _: np.full(len(rows), np.nan),
    )
    assert found.undecided[0] and found.noise.sum() == 2


def test_the_rule_is_what_the_settings_say() -> None:
    rule = rule_of(ScioSettings(rule="zscore", itc_margin=0.1, itm_margin=0.2, confirm="set", min_keep=4, tests="itm"))
    assert rule == Rule("zscore", 0.1, 0.2, "itm", "set", 0.2, 4, 0.5)
    assert rule.needs_all_matches and rule.guarded
    assert not Rule().needs_all_matches and not Rule(confirm="segment").guarded


def test_decisions_and_reports_need_no_torch() -> None:
    program = (
        "import sys, klip.scio.decide, klip.scio.guard, klip.scio.decisions, klip.scio.audit_log, klip.scio.report\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
