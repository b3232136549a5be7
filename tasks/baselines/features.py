"""Simple features of images, and a linear classifier over them: what the simple predictors share."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.simple_features import SimpleFeatures
from foundation.errors import CellError

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

LOWEST = -1e9
"""Score of a class that the training part lacks."""


def simple_features(images: Sequence[Image]) -> Array:
    """Pixel and texture statistics [N, F] of grey 8-bit images."""
    return SimpleFeatures().features(images)


class Standardiser:
    """Brings each feature to mean 0 and spread 1 over the training part; a constant one becomes 0."""

    def __init__(self, features: Array) -> None:
        if not len(features):
            raise CellError("there are no training images", way_out="raise --limit, or leave it out")
        self.mean = features.mean(axis=0)
        spread = features.std(axis=0)
        self.scale = np.where(spread > 1e-9 * np.maximum(1.0, np.abs(self.mean)), spread, np.inf)

    def __call__(self, features: Array) -> Array:
        """The features on the common scale."""
        scaled: Array = (features - self.mean) / self.scale
        return scaled


class LinearClassifier:
    """Multinomial logistic regression over standardised features.

    The strength of the penalty is that of the linear control of the classification task.
    """

    def __init__(
        self,
        features: Array,
        labels: Sequence[int] | NDArray[np.integer[Any]],
        classes: int,
        *,
        strength: float = 0.1,
        iterations: int = 2000,
        seed: int = 0,
    ) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        self.classes = classes
        self._scale = Standardiser(features)
        present = np.unique(np.asarray(labels, dtype=np.int64))
        self._only = int(present[0]) if len(present) == 1 else None
        self._model = LogisticRegression(C=strength, max_iter=iterations, random_state=seed % 2**32)
        if self._only is None:
            with warnings.catch_warnings():
                # Stopped early it is a fair simple predictor still; and it stops at the same place every time.
                warnings.simplefilter("ignore", ConvergenceWarning)
                self._model.fit(self._scale(features), labels)

    @property
    def parameters(self) -> int:
        """Fitted numbers."""
        return 0 if self._only is not None else int(self._model.coef_.size + self._model.intercept_.size)

    def scores(self, features: Array) -> Array:
        """Logarithms of probabilities [N, classes]."""
        scores = np.full((len(features), self.classes), LOWEST)
        if self._only is not None:
            scores[:, self._only] = 0.0
        elif len(features):
            scores[:, self._model.classes_] = self._model.predict_log_proba(self._scale(features))
        bounded: Array = np.maximum(scores, LOWEST)
        return bounded


def classify(
    train: Sequence[Image], labels: Sequence[int], test: Sequence[Image], classes: int, *, seed: int = 0
) -> Array:
    """Scores [test, classes] of the linear classifier over simple features."""
    model = LinearClassifier(simple_features(train), labels, classes, seed=seed)
    return model.scores(simple_features(test))
