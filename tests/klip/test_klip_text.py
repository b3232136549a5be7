"""Eight-segment texts: reading, refusing, and the order in which the tokeniser takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BenchError, CheckError, MissingError
from klip.text import (
    FIELDS,
    TARGET_FIELDS,
    TERRAIN_FIELDS,
    Segment,
    SegmentedText,
    layout,
    parse_line,
    parse_record,
    read_corpus,
)

TARGET = {field: f"about {field.lower()}" for field in TARGET_FIELDS}
TERRAIN = {field: f"about {field.lower()}" for field in TERRAIN_FIELDS}


def corpus(folder: Path, *records: Any) -> Path:
    path = folder / "corpus.jsonl"
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def refusal(path: Path) -> CheckError:
    with pytest.raises(CheckError) as caught:
        list(read_corpus(path))
    return caught.value


def test_both_domains_are_told_apart_by_their_fields(tmp_path: Path) -> None:
    texts = list(read_corpus(corpus(tmp_path, {"id": "a", **TARGET}, {"id": "b", **TERRAIN})))
    assert [(text.image_id, text.domain) for text in texts] == [("a", "target"), ("b", "terrain")]
    assert tuple(segment.field for segment in texts[0].segments) == TARGET_FIELDS
    assert [segment.value for segment in texts[1].segments] == list(TERRAIN.values())
    assert {segment.status for text in texts for segment in text.segments} == {"ok"}


def test_the_spelling_of_the_released_sample_means_the_same(tmp_path: Path) -> None:
    renamed = {"Location": "Distribution", "Building": "Buildings", "Road": "Roads"}
    released = {renamed.get(field, field): value for field, value in TERRAIN.items()}
    papers, authors = read_corpus(corpus(tmp_path, {"id": "a", **TERRAIN}, {"id": "b", **released}))
    assert papers.segments == authors.segments


def test_distribution_is_a_field_of_its_own_in_a_target_text() -> None:
    text = parse_record({"id": "a", **TARGET, "Location": "left", "Distribution": "in rows"})
    assert {segment.field: segment.value for segment in text.segments}["Distribution"] == "in rows"
    assert {segment.field: segment.value for segment in text.segments}["Location"] == "left"


def test_the_order_of_the_fields_in_the_file_does_not_matter() -> None:
    backwards = dict(reversed(TARGET.items()))
    assert parse_record({"id": "a", **backwards}) == parse_record({"id": "a", **TARGET})


@pytest.mark.parametrize("empty", ["", "   ", "\t\n"])
def test_an_empty_value_is_a_missing_segment(empty: str) -> None:
    text = parse_record({"id": "a", **TARGET, "Size": empty})
    assert text.segments[3] == Segment("Size", "", "missing")


def test_an_absent_field_is_a_missing_segment() -> None:
    text = parse_record({"id": "a", **{field: value for field, value in TARGET.items() if field != "Count"}})
    assert [segment.status for segment in text.segments] == ["missing", *["ok"] * 7]


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ("{broken", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"id": "a", "Count": "\\ud800"}', "surrogate"),
        ('{"id": "a", "Count": "1", "Count": "2"}', "Count is given twice"),
        (["id"], "not a record but a list"),
        (TARGET, "has no id"),
        ({"id": "", **TARGET}, "the id must be text"),
        ({"id": 7, **TARGET}, "the id must be text"),
        ({"id": "a", **TARGET, "Colour": "grey"}, "unknown field: 'Colour'"),
        ({"id": "a", **TARGET, "Terrain": "hills"}, "fields of both domains"),
        ({"id": "a", **TERRAIN, "Roads": "two"}, "given twice, under two spellings"),
        ({"id": "a", **TARGET, "Count": 3}, "Count is a number, not text"),
        ({"id": "a", **TARGET, "Count": None}, "Count is null, not text"),
        ({"id": "a", **TARGET, "Count": ["3"]}, "Count is a list, not text"),
        ({"id": "a", **TARGET, "Count": True}, "Count is true or false, not text"),
        ({"id": "a", "Location": "left"}, "cannot tell a target from a terrain text"),
        ({"id": "a"}, "cannot tell a target from a terrain text"),
    ],
)
def test_a_damaged_record_is_refused_with_its_line_and_a_way_out(tmp_path: Path, record: Any, what: str) -> None:
    path = corpus(tmp_path, {"id": "whole", **TARGET}, "", record)
    error = refusal(path)
    assert what in error.what
    assert error.where == f"{path}:3"
    assert error.way_out


def test_a_second_record_of_an_image_names_the_line_of_the_first(tmp_path: Path) -> None:
    error = refusal(corpus(tmp_path, {"id": "b", **TARGET}, {"id": "a", **TARGET}, {"id": "b", **TERRAIN}))
    assert error.what == "id 'b' occurs twice, first in line 1"
    assert error.where.endswith(":3")


def test_a_mistyped_field_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(CheckError) as caught:
        parse_record({"id": "a", "Coutn": "three"})
    assert "did you mean Count?" in caught.value.way_out


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(json.dumps({"id": "a", **TARGET}).encode() + b'\n{"id": "caf\xe9"}\n')
    error = refusal(path)
    assert "not UTF-8" in error.what
    assert error.where == f"{path}:2"


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "windows.jsonl"
    lines = [json.dumps({"id": name, **TARGET}) for name in ("a", "b")]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\r\n")
    assert [text.image_id for text in read_corpus(path)] == ["a", "b"]


def test_a_file_that_is_not_there_is_missing_and_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        list(read_corpus(tmp_path / "none.jsonl"))
    assert caught.value.exit_code == 3


def test_records_before_a_damaged_one_are_read_without_waiting_for_it(tmp_path: Path) -> None:
    texts = read_corpus(corpus(tmp_path, {"id": "a", **TARGET}, "{broken"))
    assert next(texts).image_id == "a"


def test_the_layout_leaves_out_missing_and_dropped_segments_and_keeps_noise() -> None:
    segments = tuple(
        {
            "Count": Segment("Count", "", "missing"),
            "Size": Segment("Size", "40 m", "dropped"),
            "Region": Segment("Region", "on the moon", "noise"),
            "Feature": Segment("Feature", "two engines", "replaced"),
        }.get(field, Segment(field, "known"))
        for field in TARGET_FIELDS
    )
    entries = layout(SegmentedText("a", "target", segments))
    assert [entry.label for entry in entries] == [
        "Location:",
        "Feature:",
        "Category:",
        "Distribution:",
        "Region:",
        "Environment:",
    ]
    assert dict(entries)["Region:"] == "on the moon"
    assert dict(entries)["Feature:"] == "two engines"


@given(
    st.sampled_from(["target", "terrain"]),
    st.lists(st.text(alphabet="ab;.: \n[SEG]é", max_size=12), min_size=8, max_size=8),
)
def test_values_survive_whatever_separators_they_hold(domain: Any, values: list[str]) -> None:
    fields = FIELDS[domain]
    text = parse_record({"id": "a", **dict(zip(fields, values, strict=True))})
    kept = [(f"{field}:", value.strip()) for field, value in zip(fields, values, strict=True) if value.strip()]
    assert layout(text) == kept


@given(st.binary(max_size=60))
def test_no_line_of_bytes_ends_in_anything_but_a_bench_error(line: bytes) -> None:
    try:
        parse_line(line)
    except BenchError as error:
        assert error.way_out


@pytest.mark.parametrize(
    ("value", "status"), [("", "ok"), (" ", "noise"), ("", "replaced"), ("text", "missing"), ("text", "unknown")]
)
def test_a_segment_whose_status_does_not_fit_its_value_cannot_be_made(value: str, status: Any) -> None:
    with pytest.raises(CheckError):
        Segment("Count", value, status)


def test_a_text_with_seven_segments_or_another_order_cannot_be_made() -> None:
    segments = tuple(Segment(field, "known") for field in TARGET_FIELDS)
    for wrong in (segments[:7], tuple(reversed(segments))):
        with pytest.raises(CheckError):
            SegmentedText("a", "target", wrong)
