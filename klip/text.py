"""The text of an image: eight segments, never one string (section 3 of the KLIP specification).

A value may hold `;`, `.` or `:` itself, so a text that was joined could not be divided again. Whatever works on texts
(tokeniser, screening, reconstruction) takes the segments one by one; `layout` is the only order in which they stand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple

from foundation.errors import CheckError, MissingError

Domain = Literal["target", "terrain"]
Status = Literal["ok", "missing", "noise", "replaced", "dropped"]

TARGET_FIELDS = ("Count", "Location", "Feature", "Size", "Category", "Distribution", "Region", "Environment")
"""Fields of images with aircraft or ships, in the paper's order (section 3.1)."""

TERRAIN_FIELDS = ("Terrain", "Functionality", "Location", "Layout", "Boundary", "Building", "Road", "Water")
"""Fields of images of landforms, in the paper's order (section 3.1)."""

FIELDS: dict[Domain, tuple[str, ...]] = {"target": TARGET_FIELDS, "terrain": TERRAIN_FIELDS}

SPELLINGS: dict[Domain, dict[str, str]] = {
    "target": {field: field for field in TARGET_FIELDS},
    # The authors' public sample names three fields otherwise (section 12 of the task specification).
    "terrain": {
        **{field: field for field in TERRAIN_FIELDS},
        "Distribution": "Location",
        "Buildings": "Building",
        "Roads": "Road",
    },
}
"""Accepted spelling to field name."""

STATUSES: tuple[Status, ...] = ("ok", "missing", "noise", "replaced", "dropped")

_ABSENT = ("missing", "dropped")
_WHOLE = "one JSON object a line: an id and the eight fields of its domain"


@dataclass(frozen=True, slots=True)
class Segment:
    """One of the eight statements about an image."""

    field: str
    value: str
    status: Status = "ok"

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise CheckError(f"{self.field}: no such status: {self.status!r}", way_out=f"use {', '.join(STATUSES)}")
        if self.status not in _ABSENT and not self.value.strip():
            raise CheckError(f"{self.field}: status {self.status!r} without a value", way_out="use the status missing")
        if self.status == "missing" and self.value:
            raise CheckError(f"{self.field}: missing, but has a value", way_out="use the status ok")

    @property
    def present(self) -> bool:
        """Whether it is part of the text that a model reads; noise is, until it is dropped or replaced."""
        return self.status not in _ABSENT


@dataclass(frozen=True, slots=True)
class SegmentedText:
    """The eight segments of one image, in the order of its domain."""

    image_id: str
    domain: Domain
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        names = tuple(segment.field for segment in self.segments)
        if names != FIELDS[self.domain]:
            raise CheckError(
                f"the segments of a {self.domain} text are not the eight of its domain: {', '.join(names)}",
                where=self.image_id,
                way_out=f"give them in the order {', '.join(FIELDS[self.domain])}",
            )


class LayoutEntry(NamedTuple):
    """A segment as the tokeniser takes it: label and value apart, so that label tokens can be told from the others."""

    label: str
    """Field name with its colon."""
    value: str


def layout(text: SegmentedText) -> list[LayoutEntry]:
    """The token layout of section 3.2 before tokenising.

    The caller puts [CLS] before the first entry, [SEG] after every entry and [SEP] at the end. Segments that are
    missing or dropped leave no trace.
    """
    return [LayoutEntry(f"{segment.field}:", segment.value) for segment in text.segments if segment.present]


def corpus_strings(texts: Iterable[SegmentedText]) -> Iterator[str]:
    """Labels and values of many texts: what a vocabulary is trained on."""
    for text in texts:
        for entry in layout(text):
            yield from entry


def read_corpus(path: Path) -> Iterator[SegmentedText]:
    """The texts of a JSON-lines file in its order; the first damaged record is an error with file and line."""
    for entry in scan_corpus(path):
        if isinstance(entry, CheckError):
            raise entry
        yield entry


def scan_corpus(path: Path) -> Iterator[SegmentedText | CheckError]:
    """Like `read_corpus`, but gives the error in place of each damaged record and goes on."""
    if not path.is_file():
        raise MissingError("no such corpus file", where=str(path), way_out=f"give a file of {_WHOLE}")
    first_line: dict[str, int] = {}
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")  # the byte order mark that some editors write
            if not line.strip():
                continue
            try:
                text = parse_line(line)
                before = first_line.setdefault(text.image_id, number)
                if before != number:
                    raise CheckError(
                        f"id {text.image_id!r} occurs twice, first in line {before}",
                        way_out="keep one record per image",
                    )
            except CheckError as error:
                yield CheckError(error.what, where=f"{path}:{number}", way_out=error.way_out)
            else:
                yield text


def parse_line(line: bytes) -> SegmentedText:
    """One line of a corpus file."""
    return parse_record(_decoded(line))


def parse_record(data: Any) -> SegmentedText:
    """One record as plain data; a field that is absent or empty counts as missing."""
    if not isinstance(data, dict):
        raise CheckError(f"not a record but {_kind(data)}", way_out=f"write {_WHOLE}")
    if "id" not in data:
        raise CheckError("the record has no id", way_out='add "id" with the id of the image')
    image_id = data["id"]
    if not isinstance(image_id, str) or not image_id.strip():
        raise CheckError(f"the id must be text that is not empty, not {image_id!r}", way_out='write "id": "..."')
    given = {name: value for name, value in data.items() if name != "id"}
    for name, value in given.items():
        if not isinstance(value, str):
            raise CheckError(f"{name} is {_kind(value)}, not text", way_out='write text, or "" where nothing is known')
    domain = _domain(given)
    values: dict[str, str] = {}
    for name, value in given.items():
        field = SPELLINGS[domain][name]
        if field in values:
            raise CheckError(
                f"field {field} is given twice, under two spellings, so there are nine", way_out="keep one of the two"
            )
        values[field] = value.strip()
    segments = tuple(
        Segment(field, value, "ok") if (value := values.get(field, "")) else Segment(field, "", "missing")
        for field in FIELDS[domain]
    )
    return SegmentedText(image_id, domain, segments)


def _domain(given: dict[str, str]) -> Domain:
    """The domain whose fields these are; some names belong to both, so all of them are asked."""
    fitting = [domain for domain in FIELDS if set(given) <= set(SPELLINGS[domain])]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise CheckError(
            f"cannot tell a target from a terrain text by {', '.join(given) or 'no field at all'}",
            way_out="give all eight fields, empty where nothing is known",
        )
    known = sorted({name for spellings in SPELLINGS.values() for name in spellings})
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise CheckError(
                f"unknown field: {name!r}",
                way_out=f"{hint}target fields: {', '.join(TARGET_FIELDS)}; terrain fields: {', '.join(TERRAIN_FIELDS)}",
            )
    likely = max(FIELDS, key=lambda domain: len(set(given) & set(SPELLINGS[domain])))
    foreign = [name for name in given if name not in SPELLINGS[likely]]
    raise CheckError(
        f"fields of both domains in one record: a {likely} text has no {', '.join(foreign)}",
        way_out="keep the eight fields of one domain",
    )


def _decoded(line: bytes) -> Any:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise CheckError(f"not UTF-8 at byte {error.start + 1}", way_out="save the file as UTF-8") from error
    try:
        data = json.loads(text, object_pairs_hook=_without_repetition)
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise CheckError("holds half of a surrogate pair", way_out="write the character itself") from error
    except (ValueError, RecursionError) as error:
        raise CheckError(f"not valid JSON: {error}", way_out=f"write {_WHOLE}") from error
    return data


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise CheckError(f"field {twice} is given twice", way_out="keep one of the two")
    return data


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
