"""Means over the columns of one kind, as sentences for the foot of a table (section 11.5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from results.rows import rounded

if TYPE_CHECKING:
    from results.tables import TableLine


def mean_remarks(lines: Sequence[TableLine], places: Sequence[int], what: str) -> list[str]:
    """The unweighted mean of these columns for every row that has a number in each; no sentence where none has.

    Args:
        lines: rows of a table.
        places: columns, by their place.
        what: what is averaged, e.g. "six tasks".
    """
    found = []
    for line in lines:
        values = [value for place in places if (value := line.cells[place].value) is not None]
        if values and len(values) == len(places):
            found.append(f"{line.row.name} {rounded(math.fsum(values) / len(values))}")
    return [f"Mean of the {what}: {', '.join(found)}."] if found else []
