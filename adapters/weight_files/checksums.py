"""The checksum that is noted beside a file, in the form of sha256sum: `sha256sum -c ckpt.pth.sha256` checks it too.

Where a publisher states no checksum, the first one that was seen is kept: a file that changes later is noticed.
"""

from __future__ import annotations

import re
from pathlib import Path

from foundation.files import write_bytes

ENDING = ".sha256"
_LINE = re.compile(r"^([0-9a-f]{64})[ *]+(.+)$")


def note_file(path: Path) -> Path:
    """Where the checksum of `path` is noted."""
    return path.with_name(path.name + ENDING)


def note(path: Path, sha256: str, origin: str = "") -> None:
    """Notes the checksum, and in a comment where the file came from."""
    comment = f"# {' '.join(origin.split())}\n" if origin else ""
    write_bytes(note_file(path), f"{comment}{sha256}  {path.name}\n".encode())


def noted(path: Path) -> str | None:
    """The noted checksum; None where there is none that can be read."""
    try:
        lines = note_file(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    found = (_LINE.match(line) for line in lines)
    return next((match[1] for match in found if match and match[2] == path.name), None)
