"""The linear classifier over simple features: signal is found, shuffled labels give chance, odd cases hold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from foundation.errors import CellError
from tasks.baselines.features import LOWEST, LinearClassifier, Standardiser, classify

Image = NDArray[np.uint8]

CLASSES = 3


def chips(first: int, count: int) -> tuple[list[Image], list[int]]:
    """Speckle of three spreads."""
    images, labels = [], []
    for number in range(count):
        rng = np.random.default_rng(first + number)
        labels.append(number % CLASSES)
        values = 60 * rng.gamma((1.0, 1.6, 2.6)[labels[-1]], size=(24, 24)) / (1.0, 1.6, 2.6)[labels[-1]]
        images.append(np.clip(values, 0, 255).astype(np.uint8))
    return images, labels


def test_textures_are_told_apart_and_shuffled_labels_are_worth_chance() -> None:
    (train, labels), (test, truth) = chips(0, 90), chips(1000, 60)
    right = classify(train, labels, test, CLASSES).argmax(axis=1) == truth
    assert right.mean() > 0.7
    shuffled = np.random.default_rng(0).permutation(labels).tolist()
    chance = classify(train, shuffled, test, CLASSES).argmax(axis=1) == truth
    assert abs(chance.mean() - 1 / 3) < 3 * (2 / 9 / 60) ** 0.5


def test_scores_are_logarithms_of_probabilities() -> None:
    (train, labels), (test, _) = chips(0, 30), chips(1000, 9)
    scores = classify(train, labels, test, CLASSES)
    assert np.exp(scores).sum(axis=1) == pytest.approx(np.ones(9))
    assert np.array_equal(scores, classify(train, labels, test, CLASSES))


def test_a_class_without_training_images_gets_the_lowest_score() -> None:
    features = np.random.default_rng(0).normal(size=(10, 4))
    scores = LinearClassifier(features, [0, 2] * 5, 3).scores(features)
    assert (scores[:, 1] == LOWEST).all() and (scores[:, [0, 2]] > LOWEST).all()


def test_one_class_alone_is_always_the_answer() -> None:
    features = np.random.default_rng(0).normal(size=(5, 4))
    assert (LinearClassifier(features, [1] * 5, 3).scores(features).argmax(axis=1) == 1).all()


def test_no_test_images_give_no_scores_and_no_training_images_are_refused() -> None:
    features = np.random.default_rng(0).normal(size=(6, 4))
    assert LinearClassifier(features, [0, 1] * 3, 2).scores(features[:0]).shape == (0, 2)
    with pytest.raises(CellError):
        LinearClassifier(features[:0], [], 2)


def test_a_feature_that_never_changes_becomes_zero() -> None:
    features = np.array([[1.0, 1e6], [3.0, 1e6]])
    assert Standardiser(features)(np.array([[2.0, 5.0]])).tolist() == [[0.0, 0.0]]
