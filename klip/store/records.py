"""What a line of a store's files holds: a whole text in version 0, one changed segment in a later version."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from foundation.errors import CheckError
from foundation.files import canonical_json
from klip.settings import SLOTS
from klip.text import Segment, SegmentedText, Status


class Change(NamedTuple):
    """One segment of one image as a new version has it."""

    image_id: str
    slot: int
    status: Status
    value: str | None = None
    """The new value; None keeps the one of the parent version."""


def base_line(text: SegmentedText) -> bytes:
    """A text of version 0; the id is the path of the image."""
    slots = [{"field": entry.field, "value": entry.value, "status": entry.status} for entry in text.segments]
    record = {"id": text.image_id, "path": text.image_id, "domain": text.domain, "slots": slots}
    return canonical_json(record) + b"\n"


def text_of(line: bytes) -> SegmentedText:
    """The text of a line of version 0."""
    record = json.loads(line)
    segments = tuple(Segment(entry["field"], entry["value"], entry["status"]) for entry in record["slots"])
    return SegmentedText(record["id"], record["domain"], segments)


def overlay_line(change: Change, pass_id: str) -> bytes:
    """A changed segment."""
    record: dict[str, Any] = {**change._asdict(), "pass_id": pass_id}
    return canonical_json(record) + b"\n"


def change_of(line: bytes) -> Change:
    """The change of a line of an overlay."""
    record = json.loads(line)
    return Change(record["image_id"], record["slot"], record["status"], record["value"])


def changed(text: SegmentedText, changes: Iterable[Change]) -> SegmentedText:
    """The text with some of its segments replaced; refused where a change makes no sense."""
    segments = list(text.segments)
    for change in changes:
        if not 0 <= change.slot < SLOTS:
            raise CheckError(
                f"no segment {change.slot}; a text has {SLOTS}", where=text.image_id, way_out=f"give 0 to {SLOTS - 1}"
            )
        old = segments[change.slot]
        if old.status == "missing" or change.status == "missing":
            raise CheckError(
                f"segment {old.field} was never given, so no version can change it"
                if old.status == "missing"
                else f"segment {old.field} was given, so no version can call it missing",
                where=text.image_id,
                way_out="change segments that version 0 has, and drop with the status dropped",
            )
        value = old.value if change.value is None else change.value.strip()
        segments[change.slot] = Segment(old.field, value, change.status)
    return SegmentedText(text.image_id, text.domain, tuple(segments))
