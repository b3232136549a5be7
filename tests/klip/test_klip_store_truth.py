"""What a synthetic corpus knows about its errors goes into the store, and stays right in later versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.errors import CheckError
from klip.corpus import read_corpus_folder
from klip.settings import TextSettings
from klip.store.text_store import Change, TextStore
from tests.klip.small_corpus import BUDGET, record, small_store, small_vocabulary, write_corpus, write_lines

WRONG = [record(0, Count="nine ships", Size=""), record(1, Location="far right", Region="open sea"), record(2)]
CLEAN = [record(2), record(0, Size=""), record(1), record(7)]
PLANTED: list[dict[str, Any]] = [
    {"image_id": "images/0.png", "field": "Count", "kind": "wrong_count", "true_value": 3},
    {"image_id": "images/1.png", "field": "Location", "kind": "wrong_place"},
    {"image_id": "images/1.png", "field": "Region", "kind": "wrong_place"},
    {"image_id": "images/7.png", "field": "Region", "kind": "vague"},
]


def planted_corpus(folder: Path) -> Path:
    write_corpus(folder, WRONG)
    write_lines(folder / "texts_clean.jsonl", CLEAN)
    write_lines(folder / "planted.jsonl", PLANTED)
    return folder


def built(folder: Path, budget: TextSettings = BUDGET) -> TextStore:
    corpus = read_corpus_folder(folder / "corpus")
    return TextStore.create(folder / "store", corpus, small_vocabulary(corpus), budget)


@pytest.fixture
def store(tmp_path: Path) -> TextStore:
    planted_corpus(tmp_path / "corpus")
    return built(tmp_path)


def test_planted_errors_are_known_by_kind_and_only_of_images_that_are_there(store: TextStore) -> None:
    found = store.planted()
    assert found is not None
    assert {
        kind: [tuple(map(int, place)) for place in zip(*flags.nonzero(), strict=True)] for kind, flags in found.items()
    } == {
        "wrong_count": [(0, 0)],
        "wrong_place": [(1, 1), (1, 6)],
    }


def test_wrong_segments_are_those_that_differ_from_the_clean_text(store: TextStore) -> None:
    truth, planted = store.truth(0), store.planted()
    assert truth is not None
    assert planted is not None
    assert np.array_equal(truth.present & ~truth.correct, np.any(list(planted.values()), axis=0))
    assert int(truth.present.sum()) == int(truth.stated.sum()) == 23
    assert truth.share_correct == truth.share_kept == 20 / 23


def test_dropping_and_mending_wrong_segments_raises_the_share_of_correct_ones(store: TextStore) -> None:
    said = {"checkpoint": "c", "config": "f", "pass_id": "p1"}
    store.publish(
        [
            Change("images/0.png", 0, "replaced", "THREE  ships"),  # as the tokeniser sees it, that is the clean value
            Change("images/1.png", 1, "dropped"),
            Change("images/1.png", 6, "replaced", "beach"),
            Change("images/2.png", 0, "noise"),
        ],
        parent=0,
        provenance=said,
    )
    truth = store.truth(1)
    assert truth is not None
    assert truth.correct[0, 0]
    assert not truth.present[1, 1]
    assert not truth.correct[1, 6]
    assert truth.correct[2, 0]  # flagged, but not yet dropped
    assert truth.share_correct == 21 / 22
    assert truth.share_kept == 21 / 23


def test_dropping_right_segments_does_not_pay(store: TextStore) -> None:
    said = {"checkpoint": "c", "config": "f", "pass_id": "p1"}
    store.publish([Change("images/2.png", slot, "dropped") for slot in range(8)], parent=0, provenance=said)
    truth = store.truth(1)
    assert truth is not None
    assert truth.share_correct == 12 / 15
    assert truth.share_kept == 12 / 23


def test_a_right_value_that_was_cut_stays_right(tmp_path: Path) -> None:
    long = "a long row of cargo ships, tankers and tugs between the northern pier and the breakwater"
    folder = write_corpus(tmp_path / "corpus", [record(0, Feature=long), record(1, Feature="short")])
    write_lines(folder / "texts_clean.jsonl", [record(0, Feature=long), record(1, Feature=long)])
    store = built(tmp_path)
    assert store.texts(0)[0].segments[2].value != long
    truth = store.truth(0)
    assert truth is not None
    assert truth.correct[:, 2].tolist() == [True, False]


def test_without_truth_nothing_is_claimed(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    assert store.truth(0) is None
    assert store.planted() is None


def test_the_truth_of_other_texts_about_the_same_images_is_not_taken(tmp_path: Path) -> None:
    folder = planted_corpus(tmp_path / "corpus")
    template = write_lines(folder / "texts_template.jsonl", [record(0), record(1)])
    corpus = read_corpus_folder(folder, texts=template)
    store = TextStore.create(tmp_path / "store", corpus, small_vocabulary(corpus), BUDGET)
    assert store.truth(0) is None
    assert store.planted() is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("texts_clean.jsonl", [record(0), record(2)], "no clean target text for images/1.png"),
        ("planted.jsonl", [{"image_id": "images/0.png", "kind": "vague"}], "planted errors: 'field'"),
        ("planted.jsonl", [{"image_id": "images/0.png", "kind": "vague", "field": "Colour"}], "planted errors"),
        ("planted.jsonl", ["text"], "planted errors"),
    ],
)
def test_a_truth_that_does_not_belong_to_the_texts_is_refused(
    tmp_path: Path, name: str, content: list[Any], message: str
) -> None:
    write_lines(planted_corpus(tmp_path / "corpus") / name, content)
    with pytest.raises(CheckError, match=message):
        built(tmp_path)
    assert not (tmp_path / "store").exists()
