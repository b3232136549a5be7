"""Tables and JSON on standard output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def print_rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with its columns aligned."""
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]
    for row in [heads, *rows]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def print_json(data: Any) -> None:
    """Anything as JSON; what JSON does not know becomes text."""
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str))
