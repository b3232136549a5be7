"""What costs nothing: the most common answer, and what guessing is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import CellError, CheckError
from tasks.baselines.majority import (
    MajorityAnswers,
    answer_chance,
    largest_class,
    most_common,
    one_class_everywhere,
    same_caption,
    segmentation_chance,
)
from tasks.metrics.segmentation import IGNORE, Confusion, score


def test_the_most_common_answer_is_given_to_each_kind_of_question() -> None:
    kinds = [("reg", "top-left"), ("reg", "top-left"), ("reg", "top-right"), "count", "count", "count"]
    answers = MajorityAnswers(kinds, ["water", "water", "road", "2", "2", "1"])
    assert answers.predict(["count", ("reg", "top-right"), ("reg", "top-left")]) == ["2", "road", "water"]


def test_a_kind_never_seen_gets_the_most_common_answer_of_all() -> None:
    assert MajorityAnswers(["a", "a", "b"], ["x", "x", "y"]).predict(["c"]) == ["x"]


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1), st.randoms(use_true_random=False))
def test_equally_common_answers_are_settled_by_the_alphabet(answers: list[str], shuffler: object) -> None:
    found = most_common(answers)
    assert answers.count(found) == max(map(answers.count, answers))
    assert found == min(a for a in answers if answers.count(a) == answers.count(found))
    assert most_common(answers[::-1]) == found


def test_without_training_answers_there_is_no_majority() -> None:
    with pytest.raises(CellError):
        MajorityAnswers([], [])
    with pytest.raises(CheckError):
        MajorityAnswers(["a"], [])


def test_every_image_gets_the_most_frequent_training_caption() -> None:
    assert same_caption([["a ship", "one ship"], ["a ship"]], 3) == ["a ship"] * 3


def test_one_class_everywhere_is_worth_its_share_and_that_over_the_classes() -> None:
    mask = np.array([[0, 0, 0, 1, 1, 2, 2, 2, 2, IGNORE]], dtype=np.uint8)
    assert largest_class([mask], 3) == 2
    metrics = score(one_class_everywhere([mask], 2, 3), ["a", "b", "c"], intervals=False).metrics
    assert metrics["oa"].value == pytest.approx(100 * 4 / 9)
    assert metrics["miou"].value == pytest.approx(100 * 4 / 9 / 3)


def test_the_largest_class_leaves_ignored_pixels_out() -> None:
    mask = np.full((4, 4), IGNORE, np.uint8)
    mask[0, 0] = 1
    assert largest_class([mask, mask], 2) == 1


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_guessing_every_pixel_comes_to_the_formula(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, (300, 300), p=rng.dirichlet(np.full(classes, 3.0))).astype(np.uint8)
    confusion = Confusion(classes)
    confusion.update(labels, rng.integers(0, classes, labels.shape))
    metrics = score(confusion, [str(label) for label in range(classes)], intervals=False).metrics
    expected = segmentation_chance(confusion.matrix)
    assert expected["oa"] == pytest.approx(100 / classes)
    assert [metrics[name].value for name in ("oa", "miou")] == pytest.approx(list(expected.values()), abs=1)


def test_guessing_nothing_is_undefined() -> None:
    assert segmentation_chance(np.zeros((3, 3), np.int64)) == {"oa": None, "miou": None}


@pytest.mark.parametrize(
    ("task", "chance"),
    [
        ("vqa_target_count", 100 / 9),
        ("vqa_target_rec", 100 / 7),
        ("vqa_target_pos", 100 / 511),
        ("vqa_main_land", 25),
        ("vqa_all_land", 100 / 15),
        ("vqa_reg_land", 25),
    ],
)
def test_guessing_answers_is_worth_one_of_the_answer_space(task: str, chance: float) -> None:
    assert answer_chance(task, largest_count=8, types=7) == pytest.approx(chance)


@pytest.mark.parametrize("task", ["vqa_target_count", "vqa_target_rec", "vqa_other"])
def test_an_unknown_answer_space_is_refused(task: str) -> None:
    with pytest.raises(CheckError, match=task):
        answer_chance(task)
