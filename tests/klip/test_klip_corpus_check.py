"""What a look at a corpus counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klip.corpus_check import Lengths, check_corpus, count_words, word_lengths
from klip.text import TARGET_FIELDS, TERRAIN_FIELDS, parse_record


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def target(image_id: str, **values: str) -> dict[str, str]:
    return {"id": image_id, **dict.fromkeys(TARGET_FIELDS, "one"), **values}


def terrain(image_id: str, **values: str) -> dict[str, str]:
    return {"id": image_id, **dict.fromkeys(TERRAIN_FIELDS, "one"), **values}


def test_records_gaps_and_lengths_are_counted_per_domain(tmp_path: Path) -> None:
    report = check_corpus(
        write(
            tmp_path / "corpus.jsonl",
            target("a"),
            target("b", Size=""),
            target("c", Size="", Count="three aircraft in a row"),
            target("d", Region="by the sea"),
            terrain("e", Water="a wide river"),
        )
    )
    assert report.records == {"target": 4, "terrain": 1}
    assert report.missing["target"] == {**dict.fromkeys(TARGET_FIELDS, 0.0), "Size": 0.5}
    assert report.lengths["target"] == Lengths(p50=8, p95=11, p99=11, longest=11)
    assert report.lengths["terrain"] == Lengths(10, 10, 10, 10)
    assert report.duplicates == ()
    assert report.damaged == ()


def test_equal_texts_are_grouped_and_different_ones_are_not(tmp_path: Path) -> None:
    report = check_corpus(
        write(
            tmp_path / "corpus.jsonl",
            target("a"),
            target("b", Count="two"),
            target("c"),
            terrain("d"),
            target("e", Count="two"),
            target("f", Count="one two", Location=""),
        )
    )
    assert report.duplicates == (("a", "c"), ("b", "e"))


def test_damaged_records_are_collected_and_the_others_still_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "corpus.jsonl", target("a"), {"id": "b", "Colour": "grey"}, target("c"), target("a"))
    report = check_corpus(path)
    assert report.records == {"target": 2}
    assert [error.where for error in report.damaged] == [f"{path}:2", f"{path}:4"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("three aircraft", 2),
        ("L-shaped, 3.5 m; wide.", 4),
        ("the ship's bow", 3),
        ("...", 0),
        ("snake_case", 2),
        ("Gebäude 机场", 2),
    ],
)
def test_words_are_letters_and_digits_and_not_punctuation(value: str, words: int) -> None:
    assert count_words(parse_record({"id": "a", "Count": value})) == words


@given(st.lists(st.integers(0, 500), min_size=1, max_size=300))
def test_percentiles_are_those_of_numpy_by_nearest_rank(counts: list[int]) -> None:
    p50, p95, p99 = np.percentile(counts, [50, 95, 99], method="inverted_cdf")
    assert word_lengths(counts) == (p50, p95, p99, max(counts))
