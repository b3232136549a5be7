"""Top-1, Top-3, macro and the baselines of sections 11.1 and 11.8, by hand, by brute force and by library."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from foundation.errors import CheckError
from tasks.classification.score import confusion, ranks, score

NAN = math.nan


def _truth(labels: Sequence[int], classes: int, train: Sequence[int] | None = None) -> dict[str, Any]:
    return {
        "classes": [f"class {label}" for label in range(classes)],
        "train_counts": list(train or [10] * classes),
        "test": [{"image_id": f"i{number}", "label": label} for number, label in enumerate(labels)],
    }


def _predictions(scores: Sequence[Sequence[float | None]]) -> list[dict[str, Any]]:
    return [{"image_id": f"i{number}", "scores": list(row)} for number, row in enumerate(scores)]


def _scored(
    scores: Sequence[Sequence[float | None]], labels: Sequence[int], train: Sequence[int] | None = None
) -> dict[str, Any]:
    return dict(score(_predictions(scores), _truth(labels, len(scores[0]), train)))


def _values(found: Mapping[str, Any]) -> dict[str, float]:
    return {name: metric.value for name, metric in found["metrics"].items()}


def _random_case(seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Tie-free scores of a model that knows something."""
    rng = np.random.default_rng(seed)
    n, classes = int(rng.integers(5, 60)), int(rng.integers(4, 9))
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n)])
    scores = rng.normal(size=(len(labels), classes))
    scores[np.arange(len(labels)), labels] += rng.uniform(0, 2)
    return scores, labels


def test_a_case_by_hand() -> None:
    scores = [[4, 3, 2, 1], [4, 3, 2, 1], [4, 3, 2, 1], [4, 3, 2, 1], [1, 2, 3, 4]]
    found = _scored(scores, [0, 1, 2, 3, 3])
    assert _values(found) == {"top1": 40.0, "top3": 80.0, "macro": (100 + 0 + 0 + 50) / 4}
    assert found["details"]["confusion"] == [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1]]
    assert found["details"]["recall"] == [100.0, 0.0, 0.0, 50.0]
    assert found["warnings"] == []


@pytest.mark.parametrize(
    ("row", "label", "rank"),
    [
        ([5, 1, 1, 1], 0, 0),
        ([5, 5, 1, 1], 0, 1),  # one other class is equal
        ([5, 5, 5, 1], 1, 2),
        ([5, 5, 5, 5], 3, 3),
        ([9, 5, 5, 1], 1, 2),  # one above, one beside
        ([9, 5, 5, 1], 2, 2),
        ([9, 5, 5, 1], 3, 3),
        ([math.inf, math.inf, 0, 0], 0, 1),
        ([NAN, 9, 1, 0], 1, 4),
        ([0, 9, 1, NAN], 1, 4),
    ],
)
def test_ties_count_against_the_model_and_nan_is_no_answer(row: list[float], label: int, rank: int) -> None:
    assert ranks(np.array([row], dtype=float), np.array([label])).tolist() == [rank]


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(2, 6)), elements=st.integers(0, 3)), st.data())
def test_ranks_are_those_of_the_plain_rule(scores: NDArray[np.float64], data: st.DataObject) -> None:
    labels = np.array(
        data.draw(st.lists(st.integers(0, scores.shape[1] - 1), min_size=len(scores), max_size=len(scores)))
    )
    for row, label, rank in zip(scores, labels, ranks(scores, labels), strict=True):
        others = [value for number, value in enumerate(row) if number != label]
        assert rank == sum(value > row[label] for value in others) + sum(value == row[label] for value in others)


@pytest.mark.parametrize("value", [0.0, 1.0, -7.5])
def test_constant_scores_give_nothing_and_not_the_share_of_class_0(value: float) -> None:
    assert _values(_scored([[value] * 5] * 10, [0] * 10)) == {"top1": 0.0, "top3": 0.0, "macro": 0.0}


def test_a_perfect_predictor_gets_everything() -> None:
    labels = [0, 1, 2, 3, 4, 4]
    found = _scored(np.eye(5)[labels].tolist(), labels)
    assert _values(found) == {"top1": 100.0, "top3": 100.0, "macro": 100.0}
    assert all(metric.high == 100.0 for metric in found["metrics"].values())


def test_a_perfectly_wrong_predictor_gets_nothing() -> None:
    labels = [0, 1, 2, 3, 4]
    assert _values(_scored((-np.eye(5)[labels]).tolist(), labels)) == {"top1": 0.0, "top3": 0.0, "macro": 0.0}


@pytest.mark.parametrize("missing", [None, NAN])
def test_answers_without_numbers_are_wrong_and_counted(missing: float | None) -> None:
    found = _scored([[9, 0, 0, missing], [9, 1, 2, 3], [missing] * 4, [9, 1, 2, 3]], [0, 0, 1, 0])
    assert _values(found)["top1"] == 50.0
    assert found["metrics"]["top1"].n == 4, "never dropped"
    assert found["details"]["unanswered"] == 2
    assert np.sum(found["details"]["confusion"]) == 2
    assert "2 of 4" in found["warnings"][0]


@pytest.mark.parametrize("classes", [2, 3])
def test_with_three_classes_or_fewer_top3_is_flagged(classes: int) -> None:
    metric = _scored([[0.0] * classes] * 4, [0, 1, 1, 0])["metrics"]["top3"]
    assert metric.value == 100.0 and f"{classes} classes" in metric.reason
    four = _scored([[3.0, 2, 1, 0]] * 4, [0, 1, 2, 3])["metrics"]["top3"]
    assert four.value == 75.0 and four.reason == ""


def test_macro_is_the_mean_over_classes_that_are_tested() -> None:
    # Class 0: three of four right; class 1: none of one; class 3 is never tested.
    scores = [[9, 0, 0, 0]] * 3 + [[0, 9, 0, 0]] + [[9, 0, 0, 0]] + [[0, 0, 9, 0]]
    found = _scored(scores, [0, 0, 0, 0, 1, 2])
    assert found["metrics"]["macro"].value == pytest.approx((75 + 0 + 100) / 3)
    assert "1 classes without test images" in found["metrics"]["macro"].reason
    assert found["details"]["recall"] == [75.0, 0.0, 100.0, None]


def test_without_test_images_there_is_no_number_but_a_reason() -> None:
    found = score([], _truth([], 4))
    assert {name: metric.value for name, metric in found["metrics"].items()} == dict.fromkeys(("top1", "top3", "macro"))
    assert all(metric.reason for metric in found["metrics"].values())
    assert found["baselines"].majority["top1"] is None and found["baselines"].chance["top1"] == 25.0


@pytest.mark.parametrize("seed", range(100))
def test_tie_free_cases_agree_with_the_libraries(seed: int) -> None:
    import torch
    from sklearn.metrics import balanced_accuracy_score, confusion_matrix, top_k_accuracy_score
    from torchmetrics.classification import MulticlassAccuracy

    scores, labels = _random_case(seed)
    classes = scores.shape[1]
    found = _scored(scores.tolist(), labels.tolist())
    values = _values(found)
    for k in (1, 3):
        theirs = top_k_accuracy_score(labels, scores, k=k, labels=range(classes))
        assert values[f"top{k}"] == pytest.approx(100 * theirs)
        metric = MulticlassAccuracy(num_classes=classes, top_k=k, average="micro")
        assert values[f"top{k}"] == pytest.approx(100 * float(metric(torch.tensor(scores), torch.tensor(labels))))
    macro = MulticlassAccuracy(num_classes=classes, average="macro")(torch.tensor(scores), torch.tensor(labels))
    assert values["macro"] == pytest.approx(100 * float(macro), abs=1e-4)
    assert values["macro"] == pytest.approx(100 * balanced_accuracy_score(labels, scores.argmax(1)))
    assert found["details"]["confusion"] == confusion_matrix(labels, scores.argmax(1), labels=range(classes)).tolist()


def test_the_order_of_libraries_is_there_for_comparison() -> None:
    scores = np.array([[5.0, 5, 1, 1]] * 2)
    assert ranks(scores, np.array([0, 1]), mode="library").tolist() == [0, 1]
    assert ranks(scores, np.array([0, 1])).tolist() == [1, 1]


CASES = st.integers(0, 10_000).map(_random_case)


@given(CASES)
def test_top_k_never_falls_with_k_and_intervals_hold_their_value(
    case: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    scores, labels = case
    found = _scored(scores.tolist(), labels.tolist())
    assert found["metrics"]["top1"].value <= found["metrics"]["top3"].value
    for metric in found["metrics"].values():
        assert 0 <= metric.low <= metric.value <= metric.high <= 100
        assert metric.n == len(labels)
    assert {metric.interval for metric in found["metrics"].values()} == {"wilson", "bootstrap(1000)"}
    placed = ranks(scores, labels)
    shares = [(placed < k).mean() for k in range(scores.shape[1] + 1)]
    assert shares == sorted(shares) and shares[-1] == 1.0


@settings(max_examples=30)
@given(CASES, st.randoms(use_true_random=False))
def test_neither_the_order_of_the_answers_nor_of_the_classes_matters(
    case: tuple[NDArray[np.float64], NDArray[np.int64]], shuffler: random.Random
) -> None:
    scores, labels = case
    classes = scores.shape[1]
    expected = _values(_scored(scores.tolist(), labels.tolist()))
    answers = _predictions(scores.tolist())
    shuffler.shuffle(answers)
    assert _values(score(answers, _truth(labels.tolist(), classes))) == expected
    order = list(range(classes))
    shuffler.shuffle(order)  # order[new] = old
    renamed = [order.index(label) for label in labels]
    assert _values(_scored(scores[:, order].tolist(), renamed)) == pytest.approx(expected)


@settings(max_examples=30)
@given(CASES)
def test_only_the_order_of_scores_counts(case: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    scores, labels = case
    expected = _values(_scored(scores.tolist(), labels.tolist()))
    assert _values(_scored(np.exp(scores).tolist(), labels.tolist())) == expected


def test_scoring_twice_gives_the_same_to_the_last_digit() -> None:
    scores, labels = _random_case(7)
    twice = [_scored(scores.tolist(), labels.tolist()) for _ in range(2)]
    assert twice[0] == twice[1]
    stored = json.loads(json.dumps(_predictions(scores.tolist())))
    assert score(stored, _truth(labels.tolist(), scores.shape[1])) == twice[0]


def test_the_confusion_matrix_leaves_out_what_is_not_answered() -> None:
    matrix, unanswered = confusion(np.array([[1.0, 0], [NAN, 1], [0, 1]]), np.array([1, 0, 1]))
    assert matrix.tolist() == [[0, 0], [1, 1]] and unanswered == 1


# ---- Baselines


def test_baselines_are_chance_and_the_largest_training_classes() -> None:
    # Largest in training: 2, then 0, then 4; tested are six images.
    found = _scored([[0.0] * 5] * 6, [0, 1, 2, 2, 3, 4], train=[20, 5, 30, 5, 10])["baselines"]
    assert found.chance == {"top1": 20.0, "top3": 60.0, "macro": 20.0}
    assert found.majority["top1"] == pytest.approx(100 * 2 / 6)
    assert found.majority["top3"] == pytest.approx(100 * 4 / 6)
    assert found.majority["macro"] == pytest.approx(100 / 5)


def test_equal_training_classes_are_taken_by_index() -> None:
    found = _scored([[0.0] * 5] * 4, [0, 1, 2, 4], train=[7, 7, 7, 7, 7])["baselines"]
    assert found.majority["top1"] == 25.0
    assert found.majority["top3"] == 75.0


def test_a_largest_class_that_is_never_tested_earns_nothing() -> None:
    found = _scored([[0.0] * 4] * 3, [0, 1, 1], train=[1, 1, 1, 50])["baselines"]
    assert found.majority["top1"] == 0.0 and found.majority["macro"] == 0.0


def test_with_three_classes_chance_of_three_is_certain() -> None:
    found = _scored([[0.0] * 3] * 3, [0, 1, 2])["baselines"]
    assert found.chance["top3"] == 100.0 and found.majority["top3"] == 100.0
    assert found.chance["top1"] == pytest.approx(100 / 3)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=5, max_size=5))
def test_the_majority_baseline_is_what_a_model_of_it_would_score(labels: list[int], train: list[int]) -> None:
    order = sorted(range(5), key=lambda label: (-train[label], label))
    answer = [float(-order.index(label)) for label in range(5)]
    found = _scored([answer] * len(labels), labels, train=train)
    assert {name: pytest.approx(value) for name, value in _values(found).items()} == found["baselines"].majority


# ---- Answers that do not fit


def test_a_missing_image_is_refused() -> None:
    with pytest.raises(CheckError, match=r"different images, 1 in all, e\.g\. i1") as caught:
        score(_predictions([[1, 0]]), _truth([0, 1], 2))
    assert caught.value.way_out


def test_an_image_that_was_not_asked_for_is_refused() -> None:
    with pytest.raises(CheckError, match="i2"):
        score(_predictions([[1, 0]] * 3), _truth([0, 1], 2))


def test_an_image_answered_twice_is_refused() -> None:
    with pytest.raises(CheckError, match="twice"):
        score(_predictions([[1, 0]] * 2) + _predictions([[0, 1]]), _truth([0, 1], 2))


@pytest.mark.parametrize("row", [[1.0], [1.0, 0.0, 0.5], []])
def test_a_wrong_number_of_scores_is_refused(row: list[float]) -> None:
    with pytest.raises(CheckError, match=f"i1 has {len(row)} scores for 2 classes"):
        score(_predictions([[1, 0], row]), _truth([0, 1], 2))
