"""Stored predictions as their scorers want them, whoever wrote them: what is not as it should be is refused by name."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import Any, TypeGuard

from foundation.errors import CheckError


def answers_by_image(predictions: Sequence[object], asked: Collection[str], field: str) -> dict[str, Any]:
    """What each row says of its image; there must be exactly one row for each image that was asked about.

    Args:
        predictions: the rows as they were stored.
        asked: the test images.
        field: under which name a row holds its answer.
    """
    answers: dict[str, Any] = {}
    for number, row in enumerate(predictions):
        where = f"line {number + 1} of the predictions"
        way_out = f'one line per test image: {{"image_id": ..., "{field}": ...}}'
        if not isinstance(row, dict):
            raise CheckError(f"a row is no object but {type(row).__name__}", where=where, way_out=way_out)
        missing = [name for name in ("image_id", field) if name not in row]
        if missing:
            raise CheckError(f"a row lacks {' and '.join(missing)}", where=where, way_out=way_out)
        image = row["image_id"]
        if not isinstance(image, str):
            raise CheckError(f"an image_id is no text but {type(image).__name__}", where=where, way_out=way_out)
        if image in answers:
            raise CheckError(f"an image is answered twice: {image}", where=where, way_out="one line per test image")
        answers[image] = row[field]
    odd = sorted(set(answers) ^ set(asked))
    if odd:
        raise CheckError(
            f"predictions and truth name different images, {len(odd)} in all, e.g. {odd[0]}",
            way_out="predict exactly the test images of the truth file",
        )
    return answers


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a number that a float can hold; neither truth values nor integers of a thousand digits are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) <= sys.float_info.max
