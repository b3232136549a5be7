"""The one exception family: what happened, where, and the way out.

The command line prints these three parts and exits with `exit_code`; a traceback is a bug.
Exit codes: 2 usage, 3 missing data or weights, 4 a cell failed, 5 a check did not hold.
"""

from __future__ import annotations

import errno


class BenchError(Exception):
    """Base of every error that a user can meet."""

    exit_code = 4

    def __init__(self, what: str, *, where: str = "", way_out: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.way_out = way_out

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.way_out:
            lines.append(f"  way out: {self.way_out}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries; keyword-only arguments need help to be rebuilt.
        return (_rebuild, (type(self), self.what, self.where, self.way_out))


def _rebuild(kind: type[BenchError], what: str, where: str, way_out: str) -> BenchError:
    return kind(what, where=where, way_out=way_out)


class UsageError(BenchError):
    """The command or its arguments are wrong."""

    exit_code = 2


class MissingError(BenchError):
    """Data or weights are not where they should be."""

    exit_code = 3


class CellError(BenchError):
    """One cell of the run could not be computed."""

    exit_code = 4


class StorageError(CellError):
    """Writing failed: no space, no permission, a read-only place."""


class CheckError(BenchError):
    """A check that was asked for did not hold."""

    exit_code = 5


_STORAGE_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space or choose another --out folder, then run again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or choose another --out folder"),
    errno.EROFS: ("the file system is read-only", "choose another --out folder"),
    errno.EACCES: ("permission denied", "choose a folder that you may write to"),
    errno.EPERM: ("operation not permitted", "choose a folder that you may write to"),
    errno.EFBIG: ("the file is larger than this system allows", "choose another --out folder"),
}


def storage_error(error: OSError, path: object) -> StorageError:
    """Turns an operating-system error of a write into one that names the way out."""
    reason, way_out = _STORAGE_REASONS.get(error.errno or 0, (error.strerror or str(error), "choose another folder"))
    return StorageError(f"cannot write: {reason}", where=str(path), way_out=way_out)
