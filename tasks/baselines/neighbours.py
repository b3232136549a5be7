"""Captioning and retrieval by the nearest training images in the simple features.

A test image is taken to look like its nearest training images, and what is written about those is what is known of
it. Nothing else joins image and text, so with noise for images, or texts shuffled over the training images, both
tasks fall to chance.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CheckError
from tasks.baselines.features import Standardiser

Array = NDArray[np.float64]

NEIGHBOURS = 5
"""Training images that speak for a test image in retrieval."""
_TOKEN = re.compile(r"\w+(?:[-/']\w+)*")


class Nearest(NamedTuple):
    """The training images next to each test image, the nearest first."""

    indices: NDArray[np.int64]
    distances: Array


def nearest(train: Array, test: Array, k: int) -> Nearest:
    """The k training rows nearest to each test row, in standardised features; equal distances by row number."""
    scale = Standardiser(train)
    a, b = scale(test), scale(train)
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
    # Rounded, so that equally near rows stay in their order on every machine.
    distances = np.round(np.sqrt(np.clip(squares, 0, None)), 6)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return Nearest(order, np.take_along_axis(distances, order, axis=1))


def captions(train: Array, train_captions: Sequence[Sequence[str]], test: Array) -> list[str]:
    """For each test image the caption of the nearest training image that has most in common with its other captions.

    Args:
        train: features of the training images.
        train_captions: at least one caption of each.
        test: features of the test images.
    """
    _check(train, train_captions)
    typical: dict[int, str] = {}
    chosen = nearest(train, test, 1).indices[:, 0].tolist() if len(test) else []
    for index in chosen:
        if index not in typical:
            own = list(train_captions[index])
            alike = TokenF1([own]).scores(own, own).mean(axis=1)
            typical[index] = own[int(np.round(alike, 9).argmax())]
    return [typical[index] for index in chosen]


def retrieval_scores(
    train: Array,
    train_captions: Sequence[Sequence[str]],
    test: Array,
    texts: Sequence[str],
    *,
    k: int = NEIGHBOURS,
) -> Array:
    """How well each text goes with each test image [images, texts].

    The mean over the k nearest training images of how much the text has in common with the closest of their captions.
    Words count by how few training images have them, so the fixed words of a template count little.

    Args:
        train: features of the training images.
        train_captions: at least one caption of each.
        test: features of the test images.
        texts: all test captions.
        k: training images that speak for a test image.
    """
    _check(train, train_captions)
    if not len(test) or not texts:
        return np.zeros((len(test), len(texts)))
    flat = [text for own in train_captions for text in own]
    similar = TokenF1(train_captions).scores(flat, texts)
    starts = np.cumsum([0, *(len(own) for own in train_captions)])[:-1]
    by_image = np.maximum.reduceat(similar, starts, axis=0)
    scores: Array = by_image[nearest(train, test, k).indices].mean(axis=1)
    return scores


class TokenF1:
    """What two texts have in common, 0 to 1: twice the shared tokens over all tokens, each with its weight.

    A token weighs the logarithm of the share of images that have it, so one that all have weighs (almost) nothing.
    The second occurrence of a word in a text is a token of its own.
    """

    def __init__(self, captions_by_image: Sequence[Sequence[str]]) -> None:
        held = Counter(token for own in captions_by_image for token in {t for text in own for t in tokens(text)})
        self._held = held
        self._images = len(captions_by_image)

    def weight(self, token: tuple[str, int]) -> float:
        """At least a little, so that equal texts score 1 whatever they hold."""
        return float(np.log((1 + self._images) / (1 + self._held.get(token, 0)))) + 0.01

    def scores(self, first: Sequence[str], second: Sequence[str]) -> Array:
        """[first, second]; texts without words have nothing in common with any."""
        bags = [[set(tokens(text)) for text in texts] for texts in (first, second)]
        vocabulary = {token: column for column, token in enumerate(sorted(set().union(*bags[0], *bags[1])))}
        weights = np.sqrt([self.weight(token) for token in vocabulary])
        a, b = (_incidence(own, vocabulary) * weights for own in bags)
        both = a @ b.T
        total = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)
        scores: Array = np.round(2 * both / np.where(total > 0, total, 1.0), 12)
        return scores


def tokens(text: str) -> list[tuple[str, int]]:
    """Words in lower case, each with how often it has stood before."""
    seen: Counter[str] = Counter()
    numbered = []
    for word in _TOKEN.findall(text.lower()):
        numbered.append((word, seen[word]))
        seen[word] += 1
    return numbered


def _incidence(bags: Sequence[set[tuple[str, int]]], vocabulary: dict[tuple[str, int], int]) -> Array:
    matrix = np.zeros((len(bags), len(vocabulary)))
    for row, bag in enumerate(bags):
        matrix[row, [vocabulary[token] for token in bag]] = 1.0
    return matrix


def _check(train: Array, train_captions: Sequence[Sequence[str]]) -> None:
    if len(train) != len(train_captions) or not all(train_captions):
        raise CheckError(
            f"{len(train)} training images with captions for {sum(map(bool, train_captions))}",
            way_out="give at least one caption per training image",
        )
