"""Every number that a decision rests on, one record a line (section 6.9 of the KLIP specification, no torch).

A pass has a folder with one file per kind of record and process:

    scores.rank0.jsonl     the scores of the full text and its versions, one record per image
    guard.rank0.jsonl      the matching score of a text without a set of segments, one record per set that was tried
    rebuilt.rank0.jsonl    what was written into each gap, and how it was judged, one record per image with noise
    decisions.jsonl        what follows from the first two: one record per image, written whole at the end
    readiness.json         what the model was asked before the pass
    skipped.json           why it was not made, where `scio.strict` forbade it
    record.json            what commands did by hand

The first line of a file is a header that says with what it was made. Lines are only ever appended, so a killed process
leaves at most one torn line, which the next one drops; it refuses to go on under another header. Files hold no times,
but for `record.json`: the same pass gives the same bytes, however often it was interrupted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from foundation.errors import CheckError, MissingError, storage_error
from foundation.files import canonical_json, read_json, write_bytes

AUDIT = "audit"
Kind = Literal["scores", "guard", "rebuilt"]
Record = dict[str, Any]

SKIPPED = "skipped.json"

_FREE = ("rank", "world")  # how the work was divided changes no number
_SHOWN = 8


def pass_folder(folder: Path, pass_id: str) -> Path:
    """Where the log of a pass lies in a run folder."""
    if not pass_id or pass_id.startswith(".") or "/" in pass_id:
        raise CheckError(f"a pass cannot be called {pass_id!r}", way_out="use letters, digits and hyphens")
    return folder / AUDIT / pass_id


def passes(folder: Path) -> list[str]:
    """The passes of a run folder by name, finished or not."""
    return sorted(path.name for path in (folder / AUDIT).glob("*") if path.is_dir())


def skipped(place: Path) -> Record | None:
    """Why a pass was not made, and None where it was: strict settings may have been dropped since."""
    path = place / SKIPPED
    if not path.is_file() or read_kind(place, "scores"):
        return None
    return dict(read_json(path))


class AuditLog:
    """One file that is being written; opening it again goes on where it ends."""

    def __init__(self, place: Path, kind: Kind, header: Mapping[str, Any], *, rank: int = 0) -> None:
        self.place, self.kind = place, kind
        self.path = place / f"{kind}.rank{rank}.jsonl"
        self.header = dict(header)
        _require_same(shards(place, kind), self.header)
        _drop_torn_line(self.path)
        self._stream: IO[bytes] = _opened(self.path)
        if self._stream.tell() == 0:
            self.append([{"header": self.header | {"rank": rank}}])

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Adds records and has them on disk when it returns."""
        try:
            self._stream.write(b"".join(canonical_json(record) + b"\n" for record in records))
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise storage_error(error, self.path) from error

    def everything(self) -> list[Record]:
        """The records of all processes so far."""
        return read_kind(self.place, self.kind)

    def close(self) -> None:
        """Closes the file; whatever was appended is on disk already."""
        self._stream.close()

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def shards(place: Path, kind: Kind) -> list[Path]:
    """The files of a kind, one per process."""
    return sorted(place.glob(f"{kind}.rank*.jsonl"))


def read_kind(place: Path, kind: Kind) -> list[Record]:
    """All records of a kind, without headers; what a process has not finished writing is not there."""
    return [record for path in shards(place, kind) for record in lines(path) if "header" not in record]


def header_of(place: Path, kind: Kind) -> Record:
    """With what the records of a kind were made."""
    for path in shards(place, kind):
        for record in lines(path):
            return dict(record["header"])
    raise MissingError(
        f"no {kind} of such a pass",
        where=str(place),
        way_out="screen first: `klip scio screen`, see `klip scio --help`",
    )


def lines(path: Path) -> Iterator[Record]:
    """The whole lines of a file; only the last one may be torn."""
    data = path.read_bytes()
    whole, _, _ = data.rpartition(b"\n")
    for number, line in enumerate(whole.split(b"\n") if whole else (), start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise CheckError(
                f"damaged record: {error}",
                where=f"{path}:{number}",
                way_out="delete the folder of the pass and screen again; texts and weights are not touched by that",
            ) from error
        yield record


def write_whole(path: Path, header: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> None:
    """A file that is made at once."""
    write_bytes(path, b"".join(canonical_json(record) + b"\n" for record in ({"header": dict(header)}, *records)))


def plain(value: float) -> float | None:
    """A score as it is logged: the shortest number that is this fp32 value; None where there is none."""
    import numpy as np

    return float(str(np.float32(value))) if np.isfinite(value) else None


def _require_same(paths: Sequence[Path], header: Mapping[str, Any]) -> None:
    for path in paths:
        first = next(lines(path), None)
        if first is None:
            continue
        before = first.get("header", {})
        names = sorted({*before, *header} - set(_FREE))
        differing = [
            f"{name}: {before.get(name)!r} -> {header.get(name)!r}"
            for name in names
            if before.get(name) != header.get(name)
        ]
        if differing:
            raise CheckError(
                f"this pass was begun with something else ({len(differing)} differ)\n    "
                + "\n    ".join(differing[:_SHOWN]),
                where=str(path),
                way_out="go on with what it was begun with, or give the pass another name; a finished pass can be "
                "decided again with other margins: `klip scio report --set scio.itc_margin=0.1`",
            )


def _drop_torn_line(path: Path) -> None:
    """Cuts off what a killed process left after the last whole line."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as stream:
            stream.truncate(whole)


def _opened(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
    except OSError as error:
        raise storage_error(error, path) from error
    stream.seek(0, os.SEEK_END)
    return stream
