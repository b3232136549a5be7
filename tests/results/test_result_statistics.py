"""Intervals against closed forms, brute force and simulated coverage."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import CheckError
from results.statistics import Z_95, bootstrap, over_seeds, paired_bootstrap, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from results.statistics import IntArray


def _mean(values: NDArray[Any]) -> Callable[[IntArray], float]:
    return lambda index: float(values[index].mean())


counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_wilson_ends_are_where_the_score_test_just_accepts(count: tuple[int, int]) -> None:
    successes, n = count
    share = successes / n
    for end in wilson(successes, n):
        p = end / 100
        # The definition: |share - p| = z sqrt(p (1 - p) / n), solved for p.
        assert math.isclose((share - p) ** 2, Z_95**2 * p * (1 - p) / n, rel_tol=1e-6, abs_tol=1e-9)


@given(counts)
def test_wilson_holds_the_share_and_mirrors(count: tuple[int, int]) -> None:
    successes, n = count
    low, high = wilson(successes, n)
    assert 0 <= low <= 100 * successes / n <= high <= 100
    mirrored = wilson(n - successes, n)
    assert low == pytest.approx(100 - mirrored.high, abs=1e-9)


def test_wilson_without_trials_knows_nothing_and_refuses_nonsense() -> None:
    assert wilson(0, 0) == (0.0, 100.0)
    assert wilson(0, 10).low == 0.0 and wilson(10, 10).high == 100.0
    with pytest.raises(CheckError, match="11 successes of 10"):
        wilson(11, 10)


def test_wilson_of_a_known_case() -> None:
    # 552 of 674 is the 81.90 of Table 4; interval worked out by hand from the formula.
    assert wilson(552, 674) == pytest.approx((78.81, 84.62), abs=0.01)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_wilson_covers_the_truth_in_about_95_of_100_worlds(share: float) -> None:
    n = 200
    chances = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    covered = sum(chance for k, chance in enumerate(chances) if wilson(k, n).low <= 100 * share <= wilson(k, n).high)
    assert 0.93 < covered < 0.975


def test_bootstrap_of_a_mean_agrees_with_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(50, 10, size=400)
    low, high = bootstrap(_mean(values), 400, resamples=2000, seed=1)
    error = values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - Z_95 * error, abs=0.25 * error)
    assert high == pytest.approx(values.mean() + Z_95 * error, abs=0.25 * error)


class _MeanOfMany:
    """A mean that also knows many draws at once."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.asked_for_many = 0

    def __call__(self, chosen: np.ndarray) -> float:
        return float(self.values[chosen].mean())

    def many(self, draws: np.ndarray) -> np.ndarray:
        self.asked_for_many += len(draws)
        return np.asarray(self.values[draws].mean(axis=1))


def test_a_metric_of_many_draws_gives_the_interval_of_the_same_metric_draw_by_draw() -> None:
    metric = _MeanOfMany(np.random.default_rng(3).normal(50.0, 8.0, 37))
    at_once = bootstrap(metric, 37, resamples=450, seed=2)
    one_by_one = bootstrap(lambda chosen: metric(chosen), 37, resamples=450, seed=2)
    assert metric.asked_for_many == 450
    assert at_once == pytest.approx(one_by_one, abs=1e-12)


def test_bootstrap_covers_the_truth_in_about_95_of_100_worlds() -> None:
    generator = np.random.default_rng(7)
    worlds, hits = 200, 0
    for world in range(worlds):
        right = generator.random(120) < 0.7
        low, high = bootstrap(_mean(right), 120, resamples=300, seed=world)
        hits += low <= 0.7 <= high
    assert 0.90 <= hits / worlds <= 0.99


def test_bootstrap_of_two_items_is_the_enumeration_of_all_draws() -> None:
    # Draws (0,0), (0,1), (1,0), (1,1) give means 0, 50, 50, 100: both ends lie in the outer quarters.
    values = np.array([0.0, 100.0])
    assert bootstrap(_mean(values), 2, resamples=500, seed=0) == (0.0, 100.0)


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    values = np.random.default_rng(3).random(50)

    metric = _mean(values)
    assert bootstrap(metric, 50, resamples=50, seed="a") == bootstrap(metric, 50, resamples=50, seed="a")
    assert bootstrap(metric, 50, resamples=50, seed="a") != bootstrap(metric, 50, resamples=50, seed="b")


def test_resamples_without_a_value_do_not_count() -> None:
    def metric(index: IntArray) -> float:
        return math.nan if 0 in index else 5.0

    assert bootstrap(metric, 3, resamples=200, seed=0) == (5.0, 5.0)
    with pytest.raises(CheckError, match="undefined in every resample"):
        bootstrap(lambda _: math.nan, 3, resamples=20, seed=0)
    with pytest.raises(CheckError, match="0 items"):
        bootstrap(lambda _: 1.0, 0, seed=0)


def test_pairing_cancels_what_is_hard_for_both() -> None:
    generator = np.random.default_rng(5)
    hard = generator.normal(0, 30, size=300)
    a, b = hard + 1.0 + generator.normal(0, 1, 300), hard
    found = paired_bootstrap(_mean(a), _mean(b), 300, resamples=500, seed=0)
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx((a - b).mean())
    assert found.low > 0.5, "unpaired, the spread of 30 would hide a difference of 1"
    assert found.p == pytest.approx(2 / 501)


def test_a_model_against_itself_differs_by_nothing() -> None:
    values = np.random.default_rng(1).random(40)

    metric = _mean(values)
    assert paired_bootstrap(metric, metric, 40, resamples=100, seed=0) == (0.0, 0.0, 0.0, 1.0)


def test_swapping_the_models_mirrors_the_difference() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.random(60), generator.random(60)
    ab = paired_bootstrap(_mean(a), _mean(b), 60, resamples=200, seed=0)
    ba = paired_bootstrap(_mean(b), _mean(a), 60, resamples=200, seed=0)
    assert (ab.value, ab.low, ab.high, ab.p) == pytest.approx((-ba.value, -ba.high, -ba.low, ba.p))


def test_without_a_difference_small_p_values_are_rare() -> None:
    generator = np.random.default_rng(11)
    worlds, small = 150, 0
    for world in range(worlds):
        d = generator.normal(0, 1, 80)
        found = paired_bootstrap(_mean(d), _mean(np.zeros(80)), 80, resamples=200, seed=world)
        small += found.p < 0.05
    assert small / worlds < 0.11


@given(st.lists(st.floats(0, 100), min_size=2, max_size=6))
def test_spread_over_seeds_is_the_sample_standard_deviation(values: list[float]) -> None:
    mean, std, n = over_seeds(values)
    assert mean == pytest.approx(statistics.fmean(values))
    assert std == pytest.approx(statistics.stdev(values), abs=1e-9)
    assert n == len(values)


def test_one_seed_has_no_spread_and_none_has_no_mean() -> None:
    assert over_seeds([81.9]) == (81.9, None, 1)
    assert over_seeds([0.1, 0.1, 0.1]).std == 0.0
    with pytest.raises(CheckError):
        over_seeds([])
