"""Where things are kept that can be made again: synthetic worlds, indices of data sets, decoded images, hashes."""

from __future__ import annotations

import os
from pathlib import Path

from foundation.errors import BenchError
from foundation.files import read_json, write_json
from foundation.hashing import hash_file, hash_value

VARIABLE = "FUSAR_KLIP_CACHE"


def cache_root() -> Path:
    """The folder named by FUSAR_KLIP_CACHE, else the user's cache folder."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "fusar-klip-bench"


def cached_file_hash(path: Path) -> str:
    """The hash of a large file, taken again only when its size or modification time changes."""
    status = path.stat()
    state = [str(path.resolve()), status.st_size, status.st_mtime_ns]
    note = cache_root() / "hashes" / f"{hash_value(state)[:24]}.json"
    if note.exists():
        try:
            return str(read_json(note)["sha256"])
        except (BenchError, KeyError, TypeError):
            note.unlink(missing_ok=True)
    digest = hash_file(path)
    write_json(note, {"path": state[0], "sha256": digest})
    return digest
