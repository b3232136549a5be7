"""From ranked candidates to recalls: directions, what was not retrieved, ties, and what is refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foundation.errors import CheckError
from tasks.metrics.retrieval import score as recalls
from tasks.retrieval.score import ceiling, score
from tasks.task import Row, Scored


def _truth(texts: Sequence[Sequence[str]]) -> Row:
    return {
        "test": [
            {
                "image_id": f"image{n}",
                "captions": [{"caption_id": f"image{n}#C{m}", "text": text} for m, text in enumerate(own)],
            }
            for n, own in enumerate(texts)
        ]
    }


def _different(images: int, each: int = 5) -> Row:
    return _truth([[f"text {n} {m}" for m in range(each)] for n in range(images)])


def _rows(truth: Row, i2t: NDArray[np.float64], t2i: NDArray[np.float64] | None = None) -> list[Row]:
    """All candidates of all queries, but those of minus infinity."""
    images = [row["image_id"] for row in truth["test"]]
    captions = [caption["caption_id"] for row in truth["test"] for caption in row["captions"]]
    rows = []
    for way, queries, gallery, matrix in (
        ("i2t", images, captions, i2t),
        ("t2i", captions, images, i2t.T if t2i is None else t2i),
    ):
        for query, scores in zip(queries, matrix, strict=True):
            kept = [(name, value) for name, value in zip(gallery, scores.tolist(), strict=True) if value != -math.inf]
            values = [None if math.isnan(value) else value for _, value in kept]
            rows.append({"way": way, "query": query, "candidates": [name for name, _ in kept], "scores": values})
    return rows


def _value(scored: Scored, name: str) -> float:
    value = scored["metrics"][name].value
    assert value is not None
    return value


def _toy() -> NDArray[np.float64]:
    """Two images and ten captions; two captions of each image are nearer to the other one (section 15.6)."""
    matrix = np.zeros((2, 10))
    for caption in range(10):
        own, wrong = caption // 5, caption % 5 >= 3
        matrix[own, caption], matrix[1 - own, caption] = (0.2, 0.3) if wrong else (0.9, 0.1)
    return matrix


def test_directions_are_not_swapped() -> None:
    truth = _different(2)
    scored = score(_rows(truth, _toy()), truth)
    assert _value(scored, "i2t_r1") == 100 and _value(scored, "t2i_r1") == 60


def test_the_order_of_rows_and_candidates_says_nothing() -> None:
    truth = _different(2)
    rows = _rows(truth, _toy())
    turned = [{**row, "candidates": row["candidates"][::-1], "scores": row["scores"][::-1]} for row in reversed(rows)]
    assert score(turned, truth) == score(rows, truth)


def test_stored_rows_give_the_same_scores_and_the_metrics_of_the_table_come_first() -> None:
    truth = _different(4)
    rows = _rows(truth, np.random.default_rng(0).random((4, 20)))
    scored = score(json.loads(json.dumps(rows)), json.loads(json.dumps(truth)))
    assert scored == score(rows, truth)
    columns = ["i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "r_mean"]
    assert list(scored["metrics"]) == [*columns, *(f"{name}_eq" for name in columns)]
    assert _value(scored, "r_mean") == pytest.approx(np.mean([_value(scored, name) for name in columns[:6]]))


def test_what_is_not_among_the_candidates_is_never_found() -> None:
    truth = _different(12)
    matrix = np.full((12, 60), -np.inf)
    for image in range(12):
        matrix[image, 5 * image : 5 * image + 5] = 1.0
    assert _value(score(_rows(truth, matrix), truth), "i2t_r10") == 100
    matrix[0] = -np.inf
    matrix[0, 5] = 0.1  # one wrong candidate, and nine ranks that nobody holds
    scored = score(_rows(truth, matrix), truth)
    assert _value(scored, "i2t_r10") == pytest.approx(100 * 11 / 12)
    assert _value(scored, "t2i_r1") == pytest.approx(100 * 55 / 60)  # the captions of the first image
    assert scored["details"]["most_candidates"] == {"i2t": 5, "t2i": 2}


def test_a_score_that_is_no_number_counts_against_the_model() -> None:
    truth = _different(2)
    matrix = _toy()
    matrix[0, :5] = np.nan
    scored = score(_rows(truth, matrix), truth)
    assert _value(scored, "i2t_r1") == 50 and _value(scored, "t2i_r1") == 30
    assert "NaN" in scored["warnings"][0]


def test_equal_scores_are_no_answer() -> None:
    truth = _different(3)
    scored = score(_rows(truth, np.ones((3, 15))), truth)
    assert _value(scored, "i2t_r1") == 0 and _value(scored, "t2i_r1") == 0


def test_an_equal_text_is_right_where_equivalence_counts() -> None:
    truth = _truth([["one ship.", "a ship"], ["One  ship", "another\nship"], ["two ships", "Another ship!"]])
    matrix = np.array(
        [
            [0.1, 0.0, 0.9, 0.0, 0.0, 0.0],  # finds its text in the words of the second image
            [0.0, 0.0, 0.0, 0.1, 0.0, 0.9],  # the same, over a line break
            [0.0, 0.0, 0.0, 0.0, 0.9, 0.0],
        ]
    )
    scored = score(_rows(truth, matrix), truth)
    assert _value(scored, "i2t_r1") == pytest.approx(100 / 3) and _value(scored, "i2t_r1_eq") == 100
    assert scored["details"]["different_texts"] == 4


def test_chance_is_exact() -> None:
    truth = _different(161)
    scored = score(_rows(truth, np.zeros((161, 805))), truth)
    chance = scored["baselines"].chance
    # Section 11.3: 0.62/3.07/6.07 and 0.62/3.11/6.21, mean 3.28.
    assert [round(chance[name] or 0, 2) for name in ("i2t_r5", "i2t_r10", "t2i_r5", "t2i_r10", "r_mean")] == [
        3.07,
        6.07,
        3.11,
        6.21,
        3.28,
    ]


def test_an_empty_test_part_has_no_score() -> None:
    scored = score([], _different(0))
    assert scored["metrics"]["r_mean"].value is None and scored["details"]["ceiling"]["r_mean"] is None


def test_a_ceiling_knows_which_texts_are_equal() -> None:
    # Two images share both texts, a third shares one of them and has another to itself.
    owners = np.array([0, 0, 1, 1, 2, 2])
    found = ceiling(["one ship", "it lies left", "One ship.", "It lies left", "one ship", "it lies right"], owners, 3)
    assert found["i2t_r1"] == pytest.approx(100 / 3) and found["i2t_r5"] == 100
    assert found["t2i_r1"] == pytest.approx(100 * (3 * 1 / 3 + 2 * 1 / 2 + 1) / 6) and found["t2i_r5"] == 100
    different = ceiling([f"text {n}" for n in range(10)], np.repeat(np.arange(2), 5), 2)
    assert set(different.values()) == {100.0}


def test_one_who_knows_the_texts_reaches_the_ceiling_on_average() -> None:
    rng = np.random.default_rng(0)
    texts = [[f"text {number}" for number in rng.choice(12, 2, replace=False)] for _ in range(10)]
    flat = [text for own in texts for text in own]
    owners = np.repeat(np.arange(10), 2)
    rarity = np.array([1 / flat.count(text) for text in flat])
    i2t = np.array([[rarity[c] * (text in own) for c, text in enumerate(flat)] for own in texts])
    found: list[dict[str, float]] = []
    for _ in range(200):  # equal images in another order every time
        t2i = (i2t > 0).T + 0.001 * rng.random((len(flat), 10))
        # Equal texts are read alike.
        t2i = t2i[[flat.index(text) for text in flat]]
        metrics = recalls(i2t, t2i, owners, intervals=False).metrics
        found.append({name: metrics[name].value or 0.0 for name in metrics})
    for name, best in ceiling(flat, owners, 10).items():
        assert np.mean([one[name] for one in found]) == pytest.approx(best, abs=1.5), name


def _changed(**fields: Any) -> Callable[[list[Row]], list[Any]]:
    return lambda rows: [{**rows[0], **fields}, *rows[1:]]


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda rows: rows[:-1], "different queries, 1 in all, e.g. t2i image1#C4"),
        (lambda rows: [*rows, rows[0]], "i2t query answered twice: image0"),
        (lambda rows: ["nothing", *rows[1:]], "no object but str"),
        (lambda rows: [{"way": "i2t", "query": "image0"}, *rows[1:]], "lacks candidates and scores"),
        (_changed(way="txt"), "no way 'txt'"),
        (_changed(way=["i2t"]), "no way"),
        (_changed(query=3), "query is no text but int"),
        (_changed(query="image9"), "different queries, 2 in all"),
        (_changed(candidates="image0#C0"), "candidates are no list but str"),
        (_changed(candidates=["image0#C0", "image1"], scores=[1, 1]), "not in the gallery: 'image1'"),
        (_changed(candidates=[["image0#C0"]], scores=[1]), "not in the gallery"),
        (_changed(candidates=["image0#C0", "image0#C0"], scores=[1, 1]), "named twice: image0#C0"),
        (_changed(candidates=["image0#C0"], scores=[1, 2]), "2 scores for 1 candidates"),
        (_changed(candidates=["image0#C0"], scores=1.0), "scores are no list"),
        (_changed(candidates=["image0#C0"], scores=["high"]), "no number: 'high'"),
        (_changed(candidates=["image0#C0"], scores=[True]), "no number: True"),
    ],
)
def test_rows_that_answer_something_else_are_refused(spoil: Callable[[list[Row]], list[Row]], what: str) -> None:
    truth = _different(2)
    with pytest.raises(CheckError, match=re.escape(what)) as caught:
        score(spoil(_rows(truth, _toy())), truth)
    assert caught.value.way_out


@pytest.mark.parametrize(
    ("truth", "what"),
    [
        (_truth([["a"], []]), "no captions"),
        ({"test": [*_different(1)["test"], *_different(1)["test"]]}, "test image occurs twice: image0"),
    ],
)
def test_a_truth_that_cannot_be_scored_is_refused(truth: Row, what: str) -> None:
    with pytest.raises(CheckError, match=what):
        score([], truth)
