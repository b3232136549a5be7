"""Better predictors score better on the world, and destroyed data bring them down (section 14.8), at the size ci.

So few images prove little for one data set; data sets of a task are taken together, and tasks with a handful of test
items are left to `python -m tests.bench.ladder`, which climbs the larger worlds.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.bench.ladder.climb import climb
from tests.bench.ladder.rungs import TWINS, Rung, Twin

pytestmark = pytest.mark.slow

FEWEST_ITEMS = 12


@pytest.fixture(scope="module")
def ladders(world: Path) -> dict[Twin, list[Rung]]:
    return {twin: climb(world, twin) for twin in TWINS}


def of_task(rungs: list[Rung], task: str) -> list[Rung]:
    return [rung for rung in rungs if rung.task == task]


def pooled(rungs: list[Rung]) -> tuple[float, float, float]:
    """Score, best trivial score and its standard error over all items of a task."""
    items = sum(rung.items for rung in rungs)
    simple = sum(rung.simple * rung.items for rung in rungs) / items
    trivial = sum(rung.trivial * rung.items for rung in rungs) / items
    error = math.sqrt(sum((rung.standard_error * rung.items) ** 2 for rung in rungs)) / items
    return simple, trivial, error


def test_the_ladder_has_all_eleven_tasks(ladders: dict[Twin, list[Rung]]) -> None:
    assert len({rung.task for rung in ladders["none"]}) == 11
    assert len(ladders["none"]) == 16


def test_an_oracle_that_reads_the_truth_reaches_the_ceiling_of_every_task(ladders: dict[Twin, list[Rung]]) -> None:
    for rung in ladders["none"]:
        assert rung.oracle >= min(98.0, rung.ceiling - 1.0), rung
        assert rung.ceiling == 100 or rung.task == "retrieval", rung


@pytest.mark.parametrize("task", ["classification", "vqa_reg_land"])
def test_simple_features_beat_every_trivial_answer_by_three_standard_errors(
    ladders: dict[Twin, list[Rung]], task: str
) -> None:
    simple, trivial, error = pooled(of_task(ladders["none"], task))
    chance = max(rung.chance for rung in of_task(ladders["none"], task))
    assert simple > chance + 3 * error
    assert simple > trivial


def test_a_threshold_detector_finds_targets_and_patch_statistics_tell_covers_apart(
    ladders: dict[Twin, list[Rung]],
) -> None:
    for rung in of_task(ladders["none"], "detection"):
        assert rung.simple > 5, rung
    for rung in of_task(ladders["none"], "segmentation"):
        assert rung.simple > rung.trivial + 10, rung


@pytest.mark.parametrize("twin", [twin for twin in TWINS if twin != "none"])
def test_destroyed_data_bring_simple_features_down_to_what_anyone_can_guess(
    ladders: dict[Twin, list[Rung]], twin: Twin
) -> None:
    """Within three standard errors of the best trivial answer, or below it.

    The threshold detector is not asked after its labels are shuffled: that targets are bright it does not learn.
    """
    for task in {rung.task for rung in ladders[twin]}:
        rungs = of_task(ladders[twin], task)
        if task == "detection":
            assert twin == "shuffled_labels" or all(rung.simple < 2 for rung in rungs)
        elif not rungs[0].binomial:
            assert all(rung.simple < rung.trivial + 8 for rung in rungs), rungs
        elif sum(rung.items for rung in rungs) >= FEWEST_ITEMS:
            simple, trivial, error = pooled(rungs)
            assert simple <= trivial + 3 * error, rungs


def test_the_oracle_is_not_moved_by_what_is_done_to_images_and_training_labels(ladders: dict[Twin, list[Rung]]) -> None:
    told = [[(rung.task, rung.dataset, rung.oracle) for rung in ladders[twin]] for twin in TWINS]
    assert told[0] == told[1] == told[2]
