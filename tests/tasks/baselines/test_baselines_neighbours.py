"""Captions and retrieval by nearest images: better than chance where images and texts belong together, else not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from foundation.errors import CheckError
from tasks.baselines.neighbours import TokenF1, captions, nearest, retrieval_scores, tokens

Array = NDArray[np.float64]

NOUNS = ("fishing boat", "tanker", "tug", "ferry", "dredger")
COUNTS = ("one", "two", "three", "four")


def world(seed: int, images: int) -> tuple[Array, list[list[str]]]:
    """Each image has a number and a kind of ships; three of its four features tell them, the fourth tells nothing."""
    rng = np.random.default_rng(seed)
    kinds, counts = rng.integers(len(NOUNS), size=images), rng.integers(len(COUNTS), size=images)
    angle = 2 * np.pi * kinds / len(NOUNS)
    features = np.stack([np.cos(angle), np.sin(angle), counts / 2, rng.normal(size=images) / 4], axis=1)
    features += rng.normal(0, 0.1, features.shape)
    facts = [(COUNTS[count], NOUNS[kind]) for count, kind in zip(counts, kinds, strict=True)]
    return features, [[f"This scene holds {n} {k}.", f"In the image, {n} {k} can be seen."] for n, k in facts]


def first_ranks(scores: Array, texts: list[list[str]]) -> Array:
    """For each image how many of all captions stand before the best of its own; ties count against it."""
    owner = np.repeat(np.arange(len(texts)), [len(own) for own in texts])
    flat = [text for own in texts for text in own]
    ranks = []
    for row, own in enumerate(texts):
        best = scores[row, owner == row].max()
        ranks.append(sum(scores[row, k] >= best and flat[k] not in own for k in range(len(flat))))
    return np.array(ranks)


TRAIN, TRAIN_TEXTS = world(0, 120)
TEST, TEST_TEXTS = world(1, 40)
ALL_TEXTS = [text for own in TEST_TEXTS for text in own]


def recall_at_5(scores: Array) -> float:
    return float((first_ranks(scores, TEST_TEXTS) < 5).mean())


def test_the_texts_of_alike_images_are_found() -> None:
    assert recall_at_5(retrieval_scores(TRAIN, TRAIN_TEXTS, TEST, ALL_TEXTS)) > 0.7


@pytest.mark.parametrize("destroyed", ["texts", "images"])
def test_without_the_bond_between_image_and_text_nothing_is_found(destroyed: str) -> None:
    rng = np.random.default_rng(2)
    train, test = TRAIN, TEST
    texts = TRAIN_TEXTS
    if destroyed == "texts":
        texts = [TRAIN_TEXTS[index] for index in rng.permutation(len(TRAIN_TEXTS))]
    else:
        train, test = rng.normal(size=TRAIN.shape), rng.normal(size=TEST.shape)
    chance = float(np.mean([recall_at_5(rng.random((len(TEST), len(ALL_TEXTS)))) for _ in range(20)]))
    found = recall_at_5(retrieval_scores(train, texts, test, ALL_TEXTS))
    assert abs(found - chance) < 3 * (chance * (1 - chance) / len(TEST)) ** 0.5 + 0.05


def test_the_caption_of_an_alike_image_is_given() -> None:
    def right(found: list[str]) -> float:
        return float(np.mean([text in own for text, own in zip(found, TEST_TEXTS, strict=True)]))

    assert right(captions(TRAIN, TRAIN_TEXTS, TEST)) > 0.6
    mixed = [TRAIN_TEXTS[index] for index in np.random.default_rng(3).permutation(len(TRAIN_TEXTS))]
    assert right(captions(TRAIN, mixed, TEST)) < 0.25  # one of twenty kinds


def test_of_several_captions_the_most_typical_is_given() -> None:
    own = ["a b c d", "a b c e", "a b x y z"]
    assert captions(np.zeros((1, 2)), [own], np.ones((2, 2))) == ["a b c d"] * 2


def test_a_training_image_asked_for_itself_ranks_its_own_texts_first() -> None:
    texts = [["one tanker", "a lonely vessel"], ["two tugs", "some helpers"], ["three ferries", "big boats"]]
    for column in (0, 1):
        scores = retrieval_scores(np.eye(3), texts, np.eye(3), [own[column] for own in texts], k=1)
        assert np.array_equal(scores, np.eye(3))


def test_nearest_are_in_order_and_equals_by_number() -> None:
    train = np.array([[0.0], [2.0], [1.0], [1.0]])
    found = nearest(train, np.array([[1.1]]), 4)
    assert found.indices.tolist() == [[2, 3, 1, 0]]
    assert (np.diff(found.distances) >= 0).all()


def test_a_feature_that_never_changes_is_of_no_consequence() -> None:
    train = np.array([[0.0, 7.0], [1.0, 7.0]])
    assert nearest(train, np.array([[0.9, -1e9]]), 1).indices.tolist() == [[1]]


WORDS = st.lists(st.sampled_from(["one", "two", "ship", "ships", "the", "quay"]), max_size=6).map(" ".join)


@given(WORDS, WORDS, st.lists(st.lists(WORDS, min_size=1, max_size=2), min_size=1, max_size=4))
def test_what_two_texts_have_in_common(first: str, second: str, corpus: list[list[str]]) -> None:
    measure = TokenF1(corpus)
    ((found,),) = measure.scores([first], [second]).tolist()
    ((mirrored,),) = measure.scores([second], [first]).tolist()
    a, b = set(tokens(first)), set(tokens(second))
    total = sum(map(measure.weight, a)) + sum(map(measure.weight, b))
    expected = 2 * sum(map(measure.weight, a & b)) / total if total else 0.0
    assert found == mirrored == pytest.approx(expected, abs=1e-9)
    assert 0 <= found <= 1
    assert (found == 1) == (a == b and bool(a))


def test_words_that_every_image_has_count_little() -> None:
    measure = TokenF1([["the scene holds one tug"], ["the scene holds two tugs"], ["the scene holds one ferry"]])
    shared, kind = measure.scores(["the scene holds three boats"], ["the scene holds four cars", "three boats"])[0]
    assert shared < 0.1 < kind


def test_a_repeated_word_is_a_word_of_its_own() -> None:
    assert tokens("One, one A320/321 top-left!") == [("one", 0), ("one", 1), ("a320/321", 0), ("top-left", 0)]


def test_nothing_to_answer_gives_nothing() -> None:
    nobody = np.zeros((0, TRAIN.shape[1]))
    assert captions(TRAIN, TRAIN_TEXTS, nobody) == []
    assert retrieval_scores(TRAIN, TRAIN_TEXTS, nobody, ["x"]).shape == (0, 1)
    assert retrieval_scores(TRAIN, TRAIN_TEXTS, TEST, []).shape == (len(TEST), 0)


def test_training_images_without_captions_are_refused() -> None:
    with pytest.raises(CheckError):
        captions(TRAIN, TRAIN_TEXTS[:-1], TEST)
    with pytest.raises(CheckError):
        retrieval_scores(TRAIN, [[], *TRAIN_TEXTS[1:]], TEST, ["x"])
