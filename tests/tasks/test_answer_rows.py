"""Rows that somebody else wrote: whatever is wrong with them, the answer is an error that says what."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import CheckError
from tasks.answer_rows import answers_by_image, is_number
from tasks.registry import get_task
from tasks.segmentation.mask_text import mask_to_text

MASK = mask_to_text(np.zeros((2, 2), dtype=np.uint8))
FIELDS = {"classification": "scores", "detection": "boxes", "segmentation": "mask"}
RIGHT: dict[str, Any] = {"classification": [0.2, 0.8], "detection": [[0, 0, 2, 2, 1, 0.5]], "segmentation": MASK}
TRUTHS: dict[str, list[dict[str, Any]]] = {
    "classification": [{"image_id": name, "label": 1} for name in "ab"],
    "detection": [{"image_id": name, "width": 9, "height": 9, "boxes": [[0, 0, 2, 2, 1, False]]} for name in "ab"],
    "segmentation": [{"image_id": name, "unit": name, "mask": MASK} for name in "ab"],
}
TASKS = list(FIELDS)

rows_of_any_kind = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["image_id", "x"]), inner, max_size=2),
    max_leaves=12,
)


def _truth(task: str) -> dict[str, Any]:
    truth: dict[str, Any] = {"classes": ["x", "y"], "train_counts": [1, 1], "test": TRUTHS[task]}
    if task == "detection":
        truth["threshold"] = [{"image_id": name, "boxes": []} for name in "ab"]
    return truth


def _score(task: str, first: Any) -> Any:
    return get_task(task).score([first, {"image_id": "b", FIELDS[task]: RIGHT[task]}], _truth(task))


@pytest.mark.parametrize("task", TASKS)
def test_rows_as_they_should_be_are_scored(task: str) -> None:
    assert _score(task, {"image_id": "a", FIELDS[task]: RIGHT[task]})["metrics"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a", "no object but str"),
        (None, "no object but NoneType"),
        (["a", []], "no object but list"),
        ({}, "lacks image_id and"),
        ({"image_id": "a"}, "lacks (scores|boxes|mask)"),
        ({"image_id": None}, "lacks"),
        ({"image_id": ["a"], "scores": [], "boxes": [], "mask": ""}, "no text but list"),
        ({"image_id": 1, "scores": [], "boxes": [], "mask": ""}, "no text but int"),
        ({"image_id": "b", "scores": [], "boxes": [], "mask": ""}, "answered twice"),
        ({"image_id": "c", "scores": [], "boxes": [], "mask": ""}, "different images, 2 in all"),
    ],
    ids=repr,
)
def test_a_row_that_is_none_is_refused_by_every_task(task: str, row: Any, said: str) -> None:
    with pytest.raises(CheckError, match=said) as caught:
        _score(task, row)
    assert caught.value.way_out


@pytest.mark.parametrize(
    ("task", "answer", "said"),
    [
        ("classification", None, "no list but NoneType"),
        ("classification", "ab", "no list but str"),
        ("classification", {"x": 1, "y": 2}, "no list but dict"),
        ("classification", [0.5, "0.5"], "no number"),
        ("classification", [0.5, [0.5]], "no number"),
        ("classification", [0.5, True], "no number"),
        ("classification", [0.5, 10**400], "no number"),
        ("detection", None, "no list but NoneType"),
        ("detection", {}, "no list but dict"),
        ("detection", "", "no list but str"),
        ("detection", [None], "not a detection"),
        ("detection", [[0, 0, None, 2, 1, 0.5]], "not a detection"),
        ("detection", [[0, 0, 10**400, 2, 1, 0.5]], "not a detection"),
        ("detection", [[0, 0, 2, 2, True, 0.5]], "not a detection"),
        ("detection", [[0, 0, 2, 2, float("inf"), 0.5]], "not a detection"),
        ("detection", [[0, 0, 2, 2, 1e300, 0.5]], "label 1000"),
        ("segmentation", None, "no text but NoneType"),
        ("segmentation", [1], "no text but list"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_answer_of_another_kind_is_refused(task: str, answer: Any, said: str) -> None:
    with pytest.raises(CheckError, match=said):
        _score(task, {"image_id": "a", FIELDS[task]: answer})


@pytest.mark.parametrize("task", TASKS)
@given(answer=rows_of_any_kind, whole=st.booleans())
def test_nothing_that_can_be_stored_breaks_a_scorer(task: str, answer: Any, whole: bool) -> None:
    stored = json.loads(json.dumps(answer if whole else {"image_id": "a", FIELDS[task]: answer}))
    try:
        _score(task, stored)
    except CheckError:
        return


def test_no_answer_is_not_a_number_and_counts_as_wrong() -> None:
    assert _score("classification", {"image_id": "a", "scores": [None, None]})["metrics"]["top1"].value == 50.0


def test_the_answers_come_back_under_their_images() -> None:
    rows = [{"image_id": "b", "mask": 1, "besides": 3}, {"image_id": "a", "mask": 2}]
    assert answers_by_image(rows, ("a", "b"), "mask") == {"a": 2, "b": 1}
    assert answers_by_image([], (), "mask") == {}


def test_numbers_are_what_a_float_can_hold() -> None:
    assert all(map(is_number, (0, -1.5, float("nan"), float("inf"), 10**300, np.float64(1))))
    assert not any(map(is_number, (True, "1", None, [1], 10**309, -(10**309), 1j)))
