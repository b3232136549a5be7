"""What is said of a file that cannot be read."""

from __future__ import annotations

from pathlib import Path

from foundation.errors import CellError


def unreadable(path: Path, detail: object) -> CellError:
    """The error for a file that is damaged or no checkpoint at all."""
    said = str(detail).strip().partition("\n")[0].partition(". ")[0] or type(detail).__name__
    return CellError(
        "not a readable checkpoint: truncated, damaged, or another kind of file",
        where=f"{path} ({path.stat().st_size} bytes; {said})",
        way_out="fetch the file again and compare its size and checksum with the published ones",
    )
