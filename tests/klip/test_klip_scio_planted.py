"""The acceptance experiment of section 13.4, small: what must hold of SCIO holds after a minute of training."""

from __future__ import annotations

import pytest

from tests.bench.planted_noise import Experiment, Outcome, claims, run_experiment, table, verdicts
from tests.bench.toy_world import Plan

pytestmark = pytest.mark.slow  # trains a model
VALUES = 4
SMALL = Experiment(
    plan=Plan(pairs=1536, values=VALUES, noise=0.3), steps=450, rate=3e-3, batch=48, queue=512, segment_dropout=0.15
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run_experiment(SMALL, tmp_path_factory.mktemp("planted"))


def test_planted_errors_are_found_and_both_tests_together_are_more_precise_than_either(outcome: Outcome) -> None:
    both = outcome.row("both, with the guard")
    assert both.precision >= 0.7 and both.recall >= 0.4
    assert both.precision >= 2.5 * outcome.base_rate
    assert both.precision > outcome.row("ITC sign only").precision + 0.05
    assert both.precision > outcome.row("ITM sign only").precision + 0.05
    assert outcome.auc_d_itm >= 0.7 and outcome.auc_d_itc >= 0.8


def test_a_model_that_was_hardly_trained_is_noticed(outcome: Outcome) -> None:
    assert outcome.early_itm_auc < 0.65


def test_rebuilt_segments_are_mostly_true_and_truer_than_what_was_refused(outcome: Outcome) -> None:
    assert outcome.accepted > 100 and outcome.signs_hold
    assert outcome.accepted_right >= 3 / VALUES
    assert outcome.accepted_right > outcome.refused_right


def test_texts_get_better_and_removal_by_lot_does_not_do_that(outcome: Outcome) -> None:
    assert outcome.correct_after > outcome.correct_before + 0.04
    assert abs(outcome.correct_random - outcome.correct_before) < 0.01


def test_the_table_says_what_holds(outcome: Outcome) -> None:
    assert "both, with the guard" in table(outcome)
    text = verdicts([outcome], VALUES)
    assert text.count("holds ") == sum(held for _, held, _ in claims([outcome], VALUES))
