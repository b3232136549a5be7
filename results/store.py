"""Where records live: one folder per cell and key, whole or absent.

    <root>/cells/<profile>/<dataset>/<model>/seed-<n>-<first 12 digits of the key>/
        record.json       what the cell found; written last, so its presence means that the cell is finished
        execution.json    when, where, how long
        predictions.jsonl raw answers, written by the task before the record
        failure.json      why there is no record
        checkpoint.pt     training state of an unfinished cell
        lock              held by the process that works on the cell

Accepted trade-off: a writer that is killed between `execution.json` and `record.json` of a cell that already had
a record leaves the old record with the new times. The numbers of one key are the same, so nothing is wrong but
the clock.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from foundation.errors import CheckError, storage_error
from foundation.files import TEMPORARY_PREFIX, exclusive, write_json
from foundation.hashing import hash_bytes
from results.record import BY_HAND, SCHEMA_VERSION, CellId, DataProvenance, Execution, Failure, Record

RECORD = "record.json"
EXECUTION = "execution.json"
PREDICTIONS = "predictions.jsonl"
FAILURE = "failure.json"
CHECKPOINT = "checkpoint.pt"
LOCK = "lock"
SHARED = ("splits", "reports")
"""Folders that several cells or runs write to; their lock lies in the folder itself."""

OWN_SPLIT = frozenset({"split_sha256", "group_near_duplicates"})
"""Choices of a data set that say: not the usual split, but that of a file or of groups that were found."""

_PLAIN = frozenset(string.ascii_lowercase + string.digits + "._-")
_LONGEST = 120
_Model = TypeVar("_Model", bound=BaseModel)


def has_own_split(data: DataProvenance) -> bool:
    """Whether the data set, or one that it is composed of (`fusar_map.split_sha256`), was split by a file or groups."""
    return any(name.rpartition(".")[2] in OWN_SPLIT for name in data.choices)


def truth_folder(data: DataProvenance) -> str:
    """How the folder of every truth of this data and split starts, relative to the root."""
    return f"splits/{data.dataset}-{data.data_hash[:8]}-{data.split_hash[:8]}"


def truth_name(data: DataProvenance, sha256: str) -> str:
    """Where a truth of this data and split lies: a name nobody can choose, and a file that nothing overwrites.

    The content is part of the name because the same data can be written differently: masks are compressed by a
    library, and the threshold detector beside which boxes are scored is fitted by others.
    """
    return f"{truth_folder(data)}-{sha256[:8]}/truth.json"


class StoredRecord(NamedTuple):
    """A record and where it lies."""

    record: Record
    folder: Path
    superseded: bool
    """A newer record of the same cell exists, with other settings, data or code."""


def folder_name(name: str) -> str:
    """A file name for any name: readable, safe on every file system, different for different names.

    What is not a lower-case letter, digit, dot, dash or underscore becomes `=` and two hex digits per byte; so
    does a leading dot. Long names keep their head and end in a hash.
    """
    if not name:
        return "="
    pieces = [
        character if character in _PLAIN and (position or character != ".") else _escaped(character)
        for position, character in enumerate(name)
    ]
    safe = "".join(pieces)
    return safe if len(safe) <= _LONGEST else f"{safe[: _LONGEST // 2]}=s{hash_bytes(name.encode())}"


class Store:
    """The records under one root folder.

    Writers of one cell hold `lock` for the time of their work; readers need nothing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._cells = root / "cells"

    def folder(self, cell: CellId, key: str) -> Path:
        """Where the files of this attempt at a cell belong; nothing is created."""
        place = self._cells / folder_name(cell.profile) / folder_name(cell.dataset) / folder_name(cell.model)
        return place / f"seed-{cell.seed}-{folder_name(key[:12])}"

    def lock(self, cell: CellId, key: str, *, wait: bool = True) -> AbstractContextManager[bool]:
        """Holds the cell for the time of the block; yields False if another process does and `wait` is off."""
        return exclusive(self.folder(cell, key) / LOCK, wait=wait)

    def shared(self, part: str) -> AbstractContextManager[bool]:
        """Holds a folder that many cells write to (`splits`, `reports`) for the time of a write."""
        return exclusive(self.root / part / LOCK)

    def write(self, record: Record) -> Path:
        """Commits a finished cell, then removes its failure and checkpoint; returns the folder."""
        folder = self.folder(record.cell, record.key)
        if record.execution is not None:
            write_json(folder / EXECUTION, record.execution.model_dump(mode="json"))
        write_json(folder / RECORD, record.model_dump(mode="json", exclude={"execution"}))
        _remove(folder / FAILURE)
        _remove(folder / CHECKPOINT)
        return folder

    def read(self, cell: CellId, key: str) -> Record | None:
        """The record of this cell with this key, or None; a damaged one is an error with its way out."""
        folder = self.folder(cell, key)
        record = _read_record(folder)
        if record is None:
            return None
        if record.cell != cell or record.key != key:
            raise CheckError(
                f"holds the record of {record.cell} with key {record.key[:12]}, not of {cell} with key {key[:12]}",
                where=str(folder / RECORD),
                way_out="delete the folder and run again; files may have been moved by hand",
            )
        return record

    def write_failure(self, failure: Failure) -> Path:
        """Notes why a cell has no record; its checkpoint stays, so that it can go on."""
        folder = self.folder(failure.cell, failure.key)
        write_json(folder / FAILURE, failure.model_dump(mode="json"))
        return folder

    def read_failure(self, cell: CellId, key: str) -> Failure | None:
        """The failure of this cell with this key; a finished record outdates it."""
        folder = self.folder(cell, key)
        if (folder / RECORD).exists():
            return None
        return _read(folder / FAILURE, Failure)

    def records(self) -> list[StoredRecord]:
        """Every readable record, by cell and within a cell from new to old; see `problems` for the others."""
        found: list[tuple[float, Record, Path]] = []
        for folder in self._folders():
            record = _or_none(_read_record, folder)
            if record is not None:
                found.append((_age(record, folder), record, folder))
        found.sort(key=lambda entry: (*_order(entry[1].cell), -entry[0], entry[1].key))
        seen: set[CellId] = set()
        stored = []
        for _, record, folder in found:
            stored.append(StoredRecord(record, folder, superseded=record.cell in seen))
            seen.add(record.cell)
        return stored

    def whole_records(
        self,
        profile: str | None = None,
        implementation: str = "own",
        *,
        apart: Callable[[Record], Hashable] = lambda _: None,
    ) -> list[StoredRecord]:
        """The newest record per cell that is fit for the real table, by cell.

        All the data under the usual split, no sanity twin, and no setting by hand.

        Args:
            profile: Of this profile only.
            implementation: Of this implementation only.
            apart: Records of a cell that differ in this do not replace each other.
        """
        chosen: dict[tuple[CellId, Hashable], StoredRecord] = {}
        for stored in self.records():  # from new to old within a cell
            data, cell = stored.record.data, stored.record.cell
            if not stored.record.implementation.startswith(implementation):
                continue
            if data.limit is not None or data.twin != "none" or has_own_split(data):
                continue
            if any(text.endswith(BY_HAND) for text in stored.record.deviations):
                continue
            if profile in (None, cell.profile):
                chosen.setdefault((cell, apart(stored.record)), stored)
        return list(chosen.values())

    def failures(self) -> list[Failure]:
        """Every readable failure that no record of the same attempt outdates, by cell."""
        found = []
        for folder in self._folders():
            if not (folder / RECORD).exists():
                failure = _or_none(lambda place: _read(place / FAILURE, Failure), folder)
                if failure is not None:
                    found.append(failure)
        return sorted(found, key=lambda failure: (*_order(failure.cell), failure.key))

    def problems(self) -> list[CheckError]:
        """What lies in the store and cannot be read, with the way out for each."""
        found = []
        for folder in self._folders():
            for name, kind in ((RECORD, Record), (EXECUTION, Execution), (FAILURE, Failure)):
                try:
                    _read(folder / name, kind)
                except CheckError as error:
                    found.append(error)
        return found

    def clean(self) -> int:
        """Removes what killed writers left behind, except in cells that are being worked on; returns how many."""
        removed = 0
        stale: dict[Path, list[Path]] = {}
        for path in self._cells.rglob(f"{TEMPORARY_PREFIX}*"):
            stale.setdefault(path.parent, []).append(path)
        for part in SHARED:
            if left := list((self.root / part).rglob(f"{TEMPORARY_PREFIX}*")):
                stale[self.root / part] = left
        for folder, paths in sorted(stale.items()):
            with exclusive(folder / LOCK, wait=False) as held:
                for path in paths if held else ():
                    _remove(path)
                    removed += 1
        return removed

    def _folders(self) -> Iterator[Path]:
        yield from sorted(path for path in self._cells.glob("*/*/*/seed-*") if path.is_dir())


def _escaped(character: str) -> str:
    return "".join(f"={byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))


def _order(cell: CellId) -> tuple[str, str, str, str, int]:
    return cell.task, cell.dataset, cell.model, cell.profile, cell.seed


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error


def _age(record: Record, folder: Path) -> float:
    if record.execution is not None:
        try:
            finished = datetime.fromisoformat(record.execution.finished)
        except ValueError:
            pass
        else:
            return (finished if finished.tzinfo else finished.replace(tzinfo=UTC)).timestamp()
    try:
        return (folder / RECORD).stat().st_mtime
    except OSError:  # removed since it was read
        return 0.0


def _read_record(folder: Path) -> Record | None:
    record = _read(folder / RECORD, Record)
    if record is None:
        return None
    # The numbers stand without the clock: a damaged execution.json is a problem to list, not a lost record.
    execution = _or_none(lambda place: _read(place / EXECUTION, Execution), folder)
    return record.model_copy(update={"execution": execution})


def _or_none(read: Callable[[Path], _Model | None], folder: Path) -> _Model | None:
    try:
        return read(folder)
    except CheckError:
        return None


def _read(path: Path, kind: type[_Model]) -> _Model | None:
    """One file as `kind`; None where there is none, an error that names the file where it is damaged."""
    way_out = "delete the file and run again; the cell is computed anew"
    try:
        data: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckError(f"cannot be read: {error.strerror}", where=str(path), way_out="look at the path") from error
    except ValueError as error:
        raise CheckError(f"damaged, not valid JSON: {error}", where=str(path), way_out=way_out) from error
    version = data.get("schema_version", 0) if isinstance(data, dict) else 0
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise CheckError(
            f"written by a newer version: schema {version}, this version reads up to {SCHEMA_VERSION}",
            where=str(path),
            way_out="update this package, or give another --out folder",
        )
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise CheckError(
            f"damaged, does not fit the schema: {place}: {first['msg']}", where=str(path), way_out=way_out
        ) from error
