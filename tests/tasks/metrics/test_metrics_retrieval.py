"""Recall at k of section 11.3: by hand, by brute force, by library, and by what must not change it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from foundation.errors import CheckError
from tasks.metrics.retrieval import AT, chance_recall, normalised_text, owned, ranks, recall, score

FloatArray = NDArray[np.float64]
NAN, INF = math.nan, math.inf
COLUMNS = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10")


def _values(
    i2t: FloatArray, t2i: FloatArray, owners: Sequence[int], texts: Sequence[str] | None = None
) -> dict[str, float | None]:
    found = score(i2t, t2i, np.array(owners, dtype=np.int64), texts, intervals=False)
    return {name: metric.value for name, metric in found.metrics.items()}


def _brute_rank(scores: Sequence[float], right: Sequence[bool]) -> float:
    """The best place over the positives, one comparison after the other."""
    best = INF
    for j, positive in enumerate(right):
        if not positive or math.isnan(scores[j]) or scores[j] == -INF:
            continue
        ahead = 0
        for k, other in enumerate(right):
            if not other and (math.isnan(scores[k]) or scores[k] >= scores[j]):
                ahead += 1
        best = min(best, ahead)
    return best


def _random_case(seed: int, ties: bool) -> tuple[FloatArray, FloatArray, list[int], list[str]]:
    rng = np.random.default_rng(seed)
    images = int(rng.integers(2, 15))
    owners = sorted([*range(images), *rng.integers(0, images, int(rng.integers(0, 40))).tolist()])
    i2t, t2i = rng.normal(size=(images, len(owners))), rng.normal(size=(len(owners), images))
    if ties:
        i2t, t2i = np.round(i2t), np.round(t2i)
    texts = [f"text {number}" for number in rng.integers(0, 6, len(owners))]
    return i2t, t2i, owners, texts


def test_two_images_with_ten_captions_show_which_direction_is_which() -> None:
    # Section 15, item 6: each image finds a caption of its own first, six of ten captions find their image.
    owners = [0] * 5 + [1] * 5
    i2t = np.array([[9, 8, 7, 1, 1, 2, 2, 2, 2, 2], [5, 5, 5, 5, 5, 9, 8, 7, 2, 2]], dtype=float)
    t2i = np.array([[1, 0]] * 3 + [[0, 1]] * 2 + [[0, 1]] * 3 + [[1, 0]] * 2, dtype=float)
    found = _values(i2t, t2i, owners)
    assert found["i2t_r1"] == 100.0
    assert found["t2i_r1"] == 60.0


def test_one_matrix_can_serve_both_directions() -> None:
    owners = [0] * 5 + [1] * 5
    similar = np.array([[9, 8, 7, 1, 1, 2, 2, 2, 3, 3], [5, 5, 5, 5, 5, 9, 8, 7, 2, 2]], dtype=float)
    found = _values(similar, similar.T, owners)
    assert (found["i2t_r1"], found["t2i_r1"]) == (100.0, 60.0)


@pytest.mark.parametrize(
    ("scores", "right", "rank"),
    [
        ([3, 2, 1], [1, 0, 0], 0),
        ([3, 2, 1], [0, 0, 1], 2),
        ([3, 3, 1], [1, 0, 0], 1),  # a tie goes against the model
        ([3, 3, 1], [1, 1, 0], 0),  # but not one between positives
        ([2, 2, 2], [0, 1, 0], 2),
        ([1, 2, 3], [1, 1, 0], 1),  # the best-placed positive counts
        ([NAN, 2, 3], [1, 0, 0], INF),
        ([-INF, 2, 3], [1, 0, 0], INF),
        ([-INF, -INF, -INF], [1, 0, 0], INF),
        ([NAN, 2, 3], [1, 1, 0], 1),  # the other positive is still found
        ([1, -INF, -INF], [1, 0, 0], 0),  # what was not retrieved stands in nobody's way
        ([1, NAN, 0], [1, 0, 0], 1),  # what is not a number might be anything
        ([INF, INF, 0], [1, 0, 0], 1),
    ],
)
def test_ranks_by_hand(scores: list[float], right: list[int], rank: float) -> None:
    assert ranks(np.array([scores], dtype=float), np.array([right], dtype=bool)).tolist() == [rank]


tied_scores = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 7)),
    elements=st.sampled_from([0.0, 1.0, 2.0, INF, -INF, NAN]),
)


@settings(deadline=None)
@given(tied_scores, st.data())
def test_ranks_are_those_of_a_loop(scores: FloatArray, data: st.DataObject) -> None:
    right = data.draw(hnp.arrays(np.bool_, scores.shape))
    right[:, 0] |= ~right.any(axis=1)
    assert ranks(scores, right).tolist() == [_brute_rank(s, r) for s, r in zip(scores, right, strict=True)]


@pytest.mark.parametrize("seed", range(20))
def test_recalls_are_those_of_a_loop_over_queries(seed: int) -> None:
    i2t, t2i, owners, texts = _random_case(seed, ties=bool(seed % 2))
    images = len(i2t)
    found = _values(i2t, t2i, owners, texts)
    for ending in ("", "_eq"):

        def right(image: int, caption: int, same_text: bool = ending != "") -> bool:
            twins = [c for c, owner in enumerate(owners) if owner == image and texts[c] == texts[caption]]
            return bool(twins) if same_text else owners[caption] == image

        forward = [_brute_rank(i2t[i], [right(i, c) for c in range(len(owners))]) for i in range(images)]
        backward = [_brute_rank(t2i[c], [right(i, c) for i in range(images)]) for c in range(len(owners))]
        for way, placed, gallery in (("i2t", forward, len(owners)), ("t2i", backward, images)):
            for k in AT:
                share = 100.0 * sum(rank < k for rank in placed) / len(placed) if k <= gallery else 100.0
                assert found[f"{way}_r{k}{ending}"] == pytest.approx(share)


@pytest.mark.parametrize("seed", range(100))
def test_single_positives_agree_with_the_library(seed: int) -> None:
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.retrieval import retrieval_recall

    rng = np.random.default_rng(seed)
    n = int(rng.integers(10, 20))
    scores = rng.normal(size=(n, n)) + 2 * np.eye(n) * rng.uniform(0, 1)
    placed = ranks(scores, np.eye(n, dtype=bool))
    for k in AT:
        rows = [
            # exp: torchmetrics 1.9 counts no candidate with a score of zero or below as retrieved.
            float(retrieval_recall(torch.tensor(np.exp(row)), torch.arange(n) == query, top_k=k))
            for query, row in enumerate(scores)
        ]
        assert recall(placed, k, n) == pytest.approx(100 * sum(rows) / n)


def test_a_perfect_model_has_a_hundred_everywhere_and_its_opposite_nothing() -> None:
    owners = np.repeat(np.arange(12), 5)
    perfect = (owners[None, :] == np.arange(12)[:, None]).astype(float)
    assert set(_values(perfect, perfect.T, owners.tolist()).values()) == {100.0}
    assert set(_values(-perfect, -perfect.T, owners.tolist()).values()) == {0.0}


def test_constant_scores_find_nothing() -> None:
    owners = np.repeat(np.arange(12), 5)
    assert set(_values(np.ones((12, 60)), np.ones((60, 12)), owners.tolist()).values()) == {0.0}


@pytest.mark.parametrize("seed", range(10))
def test_recall_grows_with_k(seed: int) -> None:
    i2t, t2i, owners, texts = _random_case(seed, ties=True)
    found = _values(i2t, t2i, owners, texts)
    for ending in ("", "_eq"):
        for way in ("i2t", "t2i"):
            column = [found[f"{way}_r{k}{ending}"] or 0.0 for k in AT]
            assert column == sorted(column)


@pytest.mark.parametrize("seed", range(10))
def test_the_mean_is_that_of_the_six_and_equal_texts_only_help(seed: int) -> None:
    i2t, t2i, owners, texts = _random_case(seed, ties=False)
    found = _values(i2t, t2i, owners, texts)
    for ending in ("", "_eq"):
        six = [found[f"{name}{ending}"] or 0.0 for name in COLUMNS]
        assert found[f"r_mean{ending}"] == pytest.approx(sum(six) / 6)
    assert all((found[f"{name}_eq"] or 0.0) >= (found[name] or 0.0) for name in COLUMNS)


@pytest.mark.parametrize("seed", range(10))
def test_neither_the_order_of_images_nor_of_captions_nor_the_scale_of_scores_matters(seed: int) -> None:
    i2t, t2i, owners, texts = _random_case(seed, ties=True)
    rng = np.random.default_rng(seed)
    image, caption = rng.permutation(len(i2t)), rng.permutation(len(owners))
    place = np.argsort(image)
    moved = _values(
        3 * i2t[image][:, caption] - 7,
        3 * t2i[caption][:, image] - 7,
        [int(place[owners[c]]) for c in caption],
        [texts[c] for c in caption],
    )
    assert moved == pytest.approx(_values(i2t, t2i, owners, texts))


def test_more_places_than_candidates_are_a_hundred_by_definition_and_flagged() -> None:
    owners = np.repeat(np.arange(3), 2)
    found = score(np.zeros((3, 6)), np.zeros((6, 3)), owners)
    assert [found.metrics[name].value for name in COLUMNS] == [0.0, 100.0, 100.0, 0.0, 100.0, 100.0]
    assert found.metrics["i2t_r5"].reason == "", "five of six candidates: found by counting"
    assert found.metrics["i2t_r10"].reason == "6 candidates: 100 by definition"
    assert found.metrics["t2i_r5"].reason == "3 candidates: 100 by definition"
    assert "100 by definition" in found.metrics["r_mean"].reason
    assert found.baselines.chance["i2t_r10"] == 100.0


def test_what_is_not_retrieved_is_found_only_beyond_the_whole_gallery() -> None:
    owners = np.arange(5)
    found = score(np.full((5, 5), NAN), np.full((5, 5), NAN), owners).metrics
    assert [found[name].value for name in COLUMNS] == [0.0, 0.0, 100.0, 0.0, 0.0, 100.0]
    mean = found["r_mean"]
    assert mean.value == pytest.approx(100 / 3)
    assert mean.low == mean.high == pytest.approx(100 / 3), "what is so by definition is so in every resample"


def test_chance_for_161_images_with_five_captions_is_that_of_the_specification() -> None:
    owners = np.repeat(np.arange(161), 5)
    chance = score(np.zeros((161, 805)), np.zeros((805, 161)), owners, intervals=False).baselines.chance
    assert [f"{chance[name]:.2f}" for name in COLUMNS] == ["0.62", "3.07", "6.07", "0.62", "3.11", "6.21"]
    assert f"{chance['r_mean']:.2f}" == "3.28"


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_chance_is_the_mean_over_all_orders(k: int) -> None:
    positives = np.array([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]], dtype=bool)
    scores = np.array(list(permutations(range(5))), dtype=float)
    expected = [recall(ranks(scores, np.tile(row, (120, 1))), k, 5) or 0.0 for row in positives]
    assert chance_recall(positives, k) == pytest.approx(sum(expected) / 3)


def test_equal_texts_are_equal_whatever_case_spaces_and_stops_they_have() -> None:
    owners = np.array([0, 0, 1, 2])
    right = owned(owners, 3, ["Two ships.", "one ship", "two  ships", "TWO SHIPS!"])
    assert right.tolist() == [[True, True, True, True], [True, False, True, True], [True, False, True, True]]
    assert owned(owners, 3).tolist() == [
        [True, True, False, False],
        [False, False, True, False],
        [False, False, False, True],
    ]
    assert normalised_text(" A320/321: two, in the top-left.\n") == "a320 321 two in the top left"


def test_scores_that_are_no_numbers_are_counted_and_warned_about() -> None:
    similar = np.array([[NAN, 1.0], [0.0, 1.0]])
    found = score(similar, np.eye(2), np.array([0, 1]))
    assert found.metrics["i2t_r1"].value == 50.0
    assert found.warnings == ("1 of 8 scores are NaN and count against the model",)


def test_what_a_second_stage_did_not_look_at_is_not_found() -> None:
    # Image 1 finds its caption among its candidates; that of image 0 is not one of them.
    i2t = np.array([[-INF, 0.3, 0.1], [0.5, 0.9, -INF], [-INF, 0.2, 0.9]])
    assert ranks(i2t, np.eye(3, dtype=bool)).tolist() == [INF, 0.0, 0.0]


def test_intervals_hold_the_value_and_are_the_same_every_time() -> None:
    i2t, t2i, owners, texts = _random_case(3, ties=False)
    first = score(i2t, t2i, np.array(owners), texts).metrics
    assert first == score(i2t, t2i, np.array(owners), texts).metrics
    for metric in first.values():
        if metric.interval:
            assert metric.low is not None and metric.high is not None and metric.value is not None
            assert metric.low <= metric.value <= metric.high
    assert first["r_mean"].interval == "bootstrap(1000)"


def test_captions_of_one_image_are_drawn_together() -> None:
    # All five captions of an image succeed or fail, so 500 captions tell no more than 100 images.
    owners = np.repeat(np.arange(100), 5)
    found = np.eye(100)[:, owners] * np.where(np.arange(100) < 50, 1, -1)[:, None]
    metric = score(found, found.T, owners).metrics["t2i_r1"]
    assert metric.value == 50.0 and metric.low is not None and metric.high is not None
    assert 15 < metric.high - metric.low < 25, "about 4 * sqrt(0.25 / 100), not 4 * sqrt(0.25 / 500)"


def test_without_images_there_is_a_reason_and_no_number() -> None:
    found = score(np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0, dtype=np.int64))
    assert {metric.value for metric in found.metrics.values()} == {None}
    assert {metric.reason for metric in found.metrics.values()} == {"no test images"}
    assert set(found.baselines.chance.values()) == {None}


@pytest.mark.parametrize(
    ("i2t", "t2i", "owners", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 3)), [0, 0, 1], "shape"),
        (np.zeros((2, 3)), np.zeros((3, 2)), [0, 1], "shape"),
        (np.zeros((2, 3)), np.zeros((3, 2)), [0, 1, 2], "belongs to image 2"),
        (np.zeros((2, 3)), np.zeros((3, 2)), [0, 0, 0], "query 1 has no right answer"),
    ],
)
def test_scores_that_do_not_fit_are_refused(i2t: FloatArray, t2i: FloatArray, owners: list[int], message: str) -> None:
    with pytest.raises(CheckError, match=message):
        score(i2t, t2i, np.array(owners))


def test_texts_must_be_as_many_as_captions() -> None:
    with pytest.raises(CheckError, match="1 texts for 2 captions"):
        owned(np.array([0, 1]), 2, ["a"])


def test_half_precision_and_whole_numbers_are_scores_too() -> None:
    similar: NDArray[Any] = np.array([[2, 1], [3, 1]])
    for kind in (np.int64, np.float16, np.float32):
        assert ranks(similar.astype(kind), np.eye(2, dtype=bool)).tolist() == [0.0, 1.0]
