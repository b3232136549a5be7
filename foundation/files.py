"""Files that are either whole or absent: write to a temporary, flush to disk, rename.

A reader never sees half a file, whatever kills the writer. The price is one fsync per file and per
folder; records are few, so this is paid gladly.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from foundation.errors import BenchError, UsageError, storage_error

TEMPORARY_PREFIX = ".partial-"


def canonical_json(value: Any) -> bytes:
    """One spelling for one value: sorted keys, no blanks, no NaN. What hashes are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def pretty_json(value: Any) -> bytes:
    """The spelling for files that people read: sorted keys, indented, ends with a newline."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_atomic(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Lets `fill` write into a temporary beside `path`, then renames it into place."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            fill(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise storage_error(error, path) from error
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` whole or not at all."""
    write_atomic(path, lambda stream: stream.write(data))


def write_json(path: Path, value: Any) -> None:
    """Writes a readable, canonical JSON file whole or not at all."""
    write_bytes(path, pretty_json(value))


def read_json(path: Path) -> Any:
    """Reads a JSON file; a damaged one is named together with what to do about it."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise BenchError(f"cannot read: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise BenchError(
            f"not valid JSON: {error}", where=str(path), way_out="delete the file and run again"
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_writable(folder: Path) -> None:
    """Refuses a folder that cannot be written to, before any work is done for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=TEMPORARY_PREFIX, dir=folder):
            pass
    except OSError as error:
        problem = storage_error(error, folder)
        raise UsageError(problem.what, where=problem.where, way_out=problem.way_out) from error


@contextmanager
def exclusive(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds an advisory lock for the time of the block; yields False when it is taken and `wait` is off.

    The lock belongs to the open file, so a killed holder releases it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
    except OSError as error:
        raise storage_error(error, path) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
