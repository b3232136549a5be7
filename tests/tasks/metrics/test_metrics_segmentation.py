"""Overall accuracy and mIoU: the cases that the specification settles, a count by hand, and torchmetrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foundation.errors import CheckError
from tasks.metrics.segmentation import IGNORE, Confusion, SegmentationScores, score

Mask = NDArray[np.uint8]


def measured(pairs: list[tuple[Mask, Mask]], classes: int, *, intervals: bool = False) -> SegmentationScores:
    confusion = Confusion(classes)
    for labels, predicted in pairs:
        confusion.update(labels, predicted)
    return score(confusion, [f"class {label}" for label in range(classes)], intervals=intervals)


def random_tiles(seed: int, classes: int, *, every_class: bool = False) -> list[tuple[Mask, Mask]]:
    """Tiles of two sizes whose predictions are right more often than not; some pixels ignored, some classes absent."""
    rng = np.random.default_rng(seed)
    used = np.arange(classes) if every_class else rng.choice(classes, rng.integers(1, classes + 1), replace=False)
    pairs = []
    for _ in range(rng.integers(1, 6)):
        shape = (8, 8) if rng.random() < 0.5 else (5, 12)
        labels = rng.choice(used, shape).astype(np.uint8)
        predicted = np.where(rng.random(shape) < 0.6, labels, rng.choice(used, shape)).astype(np.uint8)
        labels[rng.random(shape) < 0.2] = IGNORE
        pairs.append((labels, predicted))
    return pairs


def by_pixel(pairs: list[tuple[Mask, Mask]], classes: int) -> dict[str, float | None]:
    """The definitions, pixel by pixel."""
    pixels = [
        (int(t), int(p))
        for labels, predicted in pairs
        for t, p in zip(labels.ravel(), predicted.ravel(), strict=True)
        if t != IGNORE
    ]
    if not pixels:
        return dict.fromkeys(("oa", "miou", "mean_accuracy", "fw_iou"))
    ious, recalls, weighted = [], [], 0.0
    for label in range(classes):
        both = sum(t == p == label for t, p in pixels)
        either = sum(label in (t, p) for t, p in pixels)
        own = sum(t == label for t, _ in pixels)
        if either:
            ious.append(both / either)
            weighted += own / len(pixels) * both / either
        if own:
            recalls.append(both / own)
    return {
        "oa": 100 * sum(t == p for t, p in pixels) / len(pixels),
        "miou": 100 * sum(ious) / len(ious),
        "mean_accuracy": 100 * sum(recalls) / len(recalls),
        "fw_iou": 100 * weighted,
    }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_all_metrics_follow_their_definitions(seed: int, classes: int) -> None:
    pairs = random_tiles(seed, classes)
    found = {name: metric.value for name, metric in measured(pairs, classes).metrics.items()}
    assert found == pytest.approx(by_pixel(pairs, classes), abs=1e-9)


def test_torchmetrics_agrees_where_every_class_is_present() -> None:
    import torch
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

    for seed in range(20):
        classes = 2 + seed % 4
        pairs = random_tiles(seed, classes, every_class=True)
        labels = torch.from_numpy(np.concatenate([t.ravel() for t, _ in pairs]).astype(np.int64))
        predicted = torch.from_numpy(np.concatenate([p.ravel() for _, p in pairs]).astype(np.int64))
        scores = measured(pairs, classes)
        iou = MulticlassJaccardIndex(classes, average=None, ignore_index=IGNORE)(predicted, labels)
        oa = MulticlassAccuracy(classes, average="micro", ignore_index=IGNORE)(predicted, labels)
        assert [row.iou for row in scores.per_class.values()] == pytest.approx((100 * iou).tolist(), abs=1e-4)
        assert scores.metrics["oa"].value == pytest.approx(100 * float(oa), abs=1e-4)


def test_a_matrix_reckoned_by_hand() -> None:
    labels = np.array([[0, 0, 0, 1], [1, 1, 2, IGNORE]], dtype=np.uint8)
    predicted = np.array([[0, 0, 1, 1], [1, 2, 2, 0]], dtype=np.uint8)
    scores = measured([(labels, predicted)], 3)
    assert scores.metrics["oa"].value == pytest.approx(100 * 5 / 7)
    assert [row.iou for row in scores.per_class.values()] == pytest.approx([100 * 2 / 3, 50, 50])
    assert (scores.pixels, scores.scored_classes) == (7, 3)
    confusion = Confusion(3)
    confusion.update(labels, predicted)
    assert confusion.matrix.tolist() == [[2, 1, 0], [0, 2, 1], [0, 0, 1]]


def test_true_masks_are_worth_a_hundred() -> None:
    pairs = [(labels, np.where(labels == IGNORE, 0, labels)) for labels, _ in random_tiles(1, 4)]
    assert {metric.value for metric in measured(pairs, 4).metrics.values()} == {100.0}


def test_a_class_neither_labelled_nor_predicted_is_left_out_of_the_mean() -> None:
    labels = np.array([[0, 0, 1, 1]], dtype=np.uint8)
    scores = measured([(labels, labels)], 3)
    assert scores.metrics["miou"].value == 100
    assert scores.metrics["miou"].reason == "1 classes neither labelled nor predicted left out"
    assert scores.per_class["class 2"] == (None, None, 0, 0)
    assert scores.scored_classes == 2


def test_a_class_that_is_predicted_but_never_labelled_counts_as_zero() -> None:
    labels = np.array([[0, 0, 0, 0]], dtype=np.uint8)
    predicted = np.array([[0, 0, 0, 1]], dtype=np.uint8)
    scores = measured([(labels, predicted)], 2)
    assert scores.metrics["miou"].value == pytest.approx(75 / 2)
    assert scores.per_class["class 1"] == (0.0, None, 0, 1)
    assert scores.metrics["mean_accuracy"].value == 75


@pytest.mark.parametrize("pairs", [[], [(np.full((2, 2), IGNORE, np.uint8), np.zeros((2, 2), np.uint8))]])
def test_without_valid_pixels_everything_is_undefined_and_says_why(pairs: list[tuple[Mask, Mask]]) -> None:
    scores = measured(pairs, 2, intervals=True)
    assert {(metric.value, metric.reason) for metric in scores.metrics.values()} == {(None, "no valid pixels")}


def test_under_the_ignore_label_anything_may_be_predicted() -> None:
    labels = np.array([[0, IGNORE]], dtype=np.uint8)
    assert measured([(labels, np.array([[0, 77]], dtype=np.uint8))], 2).metrics["oa"].value == 100


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_only_the_sum_over_tiles_matters(seed: int) -> None:
    pairs = random_tiles(seed, 4)
    whole = [(np.concatenate([t.ravel() for t, _ in pairs]), np.concatenate([p.ravel() for _, p in pairs]))]
    backwards = measured(pairs[::-1], 4)
    for other in (measured(whole, 4), backwards):
        assert other.per_class == measured(pairs, 4).per_class


def test_the_intervals_are_over_tiles() -> None:
    right, wrong = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
    mixed = measured([(right, right), (right, wrong)] * 10, 2, intervals=True).metrics
    for name in ("oa", "miou"):
        low, value, high = mixed[name].low, mixed[name].value, mixed[name].high
        assert low is not None and value is not None and high is not None
        assert low < value < high
    # Twenty tiles that are right or wrong as a whole: the interval of a share of 20, not of 320 pixels.
    assert mixed["oa"].low == pytest.approx(50 - 1.96 * 50 / 20**0.5, abs=6)
    alike = measured([(right, right)] * 5, 2, intervals=True).metrics["oa"]
    assert (alike.low, alike.high) == (100, 100)


@pytest.mark.parametrize(
    ("labels", "predicted"),
    [
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)),
        (np.full((2, 2), 2, np.uint8), np.zeros((2, 2), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.full((2, 2), IGNORE, np.uint8)),
        (np.zeros((2, 2), np.uint8), np.full((2, 2), -1, np.int64)),
    ],
)
def test_masks_that_do_not_fit_are_refused(labels: NDArray[Any], predicted: NDArray[Any]) -> None:
    with pytest.raises(CheckError):
        Confusion(2).update(labels, predicted)


def test_names_and_classes_must_agree() -> None:
    with pytest.raises(CheckError):
        score(Confusion(2), ["one"])
    with pytest.raises(CheckError):
        Confusion(256)
