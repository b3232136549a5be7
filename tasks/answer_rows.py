"""Stored predictions as their scorers want them, whoever wrote them: what is not as it should be is refused by name."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, TypeGuard

from foundation.errors import CheckError


def require_unrepeated(kind: str, names: Sequence[str]) -> None:
    """Refuses a truth that names one thing twice: which of the two is right would not be known."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise CheckError(f"a test {kind} occurs twice: {repeated[0]}", way_out="give every one its own id")


def answers_by_image(predictions: Sequence[object], asked: Collection[str], field: str) -> dict[str, Any]:
    """What each row says of its image; there must be exactly one row for each image that was asked about.

    Args:
        predictions: the rows as they were stored.
        asked: the test images.
        field: under which name a row holds its answer.
    """
    return {image: row[field] for image, row in rows_by_id(predictions, asked, "image_id", field).items()}


def rows_by_id(predictions: Sequence[object], asked: Collection[str], key: str, field: str) -> dict[str, Any]:
    """The row of each image, or of each of whatever `key` names; there must be exactly one for each.

    Args:
        predictions: the rows as they were stored.
        asked: the ids of the test part.
        key: under which name a row holds its id: "image_id".
        field: what every row must hold besides.
    """
    thing = key.removesuffix("_id")
    once = f"one line per test {thing}"
    rows: dict[str, Any] = {}
    for number, row in enumerate(predictions):
        where = f"line {number + 1} of the predictions"
        way_out = f'{once}: {{"{key}": ..., "{field}": ...}}'
        name = object_with(row, (key, field), where, way_out)[key]
        if not isinstance(name, str):
            raise CheckError(f"the {key} is no text but {type(name).__name__}", where=where, way_out=way_out)
        if name in rows:
            raise CheckError(f"one {thing} is answered twice: {name}", where=where, way_out=once)
        rows[name] = row
    odd = sorted(set(rows) ^ set(asked))
    if odd:
        raise CheckError(
            f"predictions and truth name different {thing}s, {len(odd)} in all, e.g. {odd[0]}",
            way_out=f"predict exactly the test {thing}s of the truth file",
        )
    return rows


def object_with(row: object, fields: Sequence[str], where: str, way_out: str) -> dict[str, Any]:
    """The row, if it is an object that has these fields."""
    if not isinstance(row, dict):
        raise CheckError(f"a row is no object but {type(row).__name__}", where=where, way_out=way_out)
    missing = [name for name in fields if name not in row]
    if missing:
        raise CheckError(f"a row lacks {' and '.join(missing)}", where=where, way_out=way_out)
    return row


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a number that a float can hold; neither truth values nor integers of a thousand digits are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) <= sys.float_info.max
