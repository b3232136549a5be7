"""Packs the finished cells of one model into one file; the same cells give the same bytes.

Accepted trade-off: the files are stored, not compressed, because compressed bytes differ between builds of zlib.
When, where and how long a run was is left out: it differs between runs that are otherwise the same.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, NamedTuple

from pydantic import ValidationError

from foundation.errors import CheckError, MissingError, UsageError
from foundation.files import pretty_json, write_atomic
from foundation.hashing import hash_bytes, hash_file
from foundation.names import unknown_name
from leaderboard.submission import (
    LONGEST_TEXT,
    MANIFEST,
    Submission,
    SubmittedCell,
    cell_folder,
    is_expected_name,
    sealed,
)
from results.record import FileReference, Record
from results.store import EXECUTION, PREDICTIONS, RECORD, Store, StoredRecord, folder_name, truth_name
from tasks.datasets.options import is_divided_by_ratio

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first date that a zip file can hold
_UNIX = 3
_READABLE = 0o100644 << 16
_RUN_AGAIN = "delete the cell's folder and run the cell again"


class Packed(NamedTuple):
    """A bundle that was written."""

    submission: Submission
    sha256: str
    size: int


def pack(runs: Path, model: str, target: Path, submitter: str, *, profile: str | None = None, note: str = "") -> Packed:
    """Writes the newest whole record of every cell of a model, with its predictions and truth, to `target`.

    Args:
        runs: the folder that a run was written to.
        model: model id.
        target: the file to write; an older one is replaced.
        submitter: who hands it in.
        profile: needed where the folder holds records of several profiles.
        note: anything a reader should know, in one line.
    """
    for name, text, least in (("submitter", submitter, 1), ("note", note, 0)):
        if not text.isprintable() or not least <= len(text.strip()) <= LONGEST_TEXT:
            raise UsageError(
                f"the {name} must be one printable line of at most {LONGEST_TEXT} characters",
                way_out=f"give another --{name}",
            )
    if target.is_dir():
        raise UsageError("this is a folder", where=str(target), way_out="give --to the name of a file, e.g. mine.zip")
    sources: dict[str, Path] = {}
    cells = [_listed(runs, stored, sources) for stored in whole_records(runs, model, profile)]
    try:
        submission = sealed(Submission(model=model, submitter=submitter.strip(), note=note.strip(), cells=tuple(cells)))
    except ValidationError as error:
        raise UsageError(f"not a possible submission: {error.errors()[0]['msg']}", where=str(runs)) from error
    manifest = pretty_json(submission.model_dump(mode="json"))
    hashes = submission.files()

    def fill(stream: IO[bytes]) -> None:
        with zipfile.ZipFile(stream, "w") as bundle:
            for name in sorted([MANIFEST, *hashes]):
                data = manifest if name == MANIFEST else _checked(sources[name], hashes[name])
                bundle.writestr(_entry(name), data)

    write_atomic(target, fill)
    return Packed(submission, hash_file(target), target.stat().st_size)


def whole_records(runs: Path, model: str, profile: str | None = None) -> list[StoredRecord]:
    """The newest record per cell of a model: all the data, the protocol's split, no sanity twin; ordered by cell."""
    if not runs.is_dir():
        raise MissingError("no such runs folder", where=str(runs), way_out="give the --out folder of harness run")
    store = Store(runs)
    _refuse_damage(store, model, profile)
    stored = store.records()
    mine = [entry for entry in stored if entry.record.cell.model == model]
    failures = [failure for failure in store.failures() if failure.cell.model == model]
    if not mine and not failures:
        known = {entry.record.cell.model for entry in stored} | {f.cell.model for f in store.failures()}
        if known:
            raise unknown_name("model", model, known, see=f"harness report --out {runs}")
    apart = store.whole_records(profile, apart=_is_divided_by_ratio)
    chosen = [entry for entry in apart if entry.record.cell.model == model and not _is_divided_by_ratio(entry.record)]
    profiles = sorted({entry.record.cell.profile for entry in chosen})
    if len(profiles) > 1:
        raise UsageError(
            f"the runs folder holds records of several profiles: {', '.join(profiles)}",
            where=str(runs),
            way_out=f"choose one: --profile {profiles[0]}",
        )
    if not chosen:
        raise MissingError(_why_none(mine, len(failures), profile), where=str(runs), way_out="run them: harness run")
    return chosen


def _is_divided_by_ratio(record: Record) -> bool:
    return is_divided_by_ratio(record.data.choices.items())


def _why_none(mine: list[StoredRecord], failures: int, profile: str | None) -> str:
    asked = f" of profile {profile}" if profile else ""
    reasons = []
    if mine:
        reasons.append(f"{len(mine)} records are limited, sanity twins, of a split of their own or of another profile")
    if failures:
        reasons.append(f"{failures} cells failed")
    return f"no finished cell{asked} to submit" + (f": {', '.join(reasons)}" if reasons else "")


def _refuse_damage(store: Store, model: str, profile: str | None) -> None:
    """A damaged record would silently leave its cell out, or let an older one stand in for it."""
    for problem in store.problems():
        place = Path(problem.where)
        parts = place.relative_to(store.root / "cells").parts
        concerned = parts[2] == folder_name(model) and (profile is None or parts[0] == folder_name(profile))
        if concerned and place.name in (RECORD, EXECUTION):
            raise problem


def _listed(runs: Path, stored: StoredRecord, sources: dict[str, Path]) -> SubmittedCell:
    """The entry of a cell; notes where each of its files lies."""
    record = stored.record
    folder = cell_folder(record.cell, record.key)
    if stored.folder != runs / folder:
        raise CheckError(
            f"holds the record of {record.cell} with key {record.key[:12]}, which belongs elsewhere",
            where=str(stored.folder),
            way_out=f"{_RUN_AGAIN}; files may have been moved by hand",
        )
    _require_usual_names(record, stored.folder)
    data = (stored.folder / RECORD).read_bytes()
    entry = SubmittedCell(
        cell=record.cell,
        key=record.key,
        record=FileReference(name=f"{folder}/{RECORD}", sha256=hash_bytes(data)),
        predictions=FileReference(name=f"{folder}/{PREDICTIONS}", sha256=record.predictions.sha256),
        truth=record.truth,
    )
    for file in (entry.record, entry.predictions, entry.truth):
        if not is_expected_name(file.name):
            raise CheckError(f"no name for a submission: {file.name!r}", where=str(stored.folder), way_out=_RUN_AGAIN)
        sources[file.name] = runs / file.name
        _checked(runs / file.name, file.sha256)
    return entry


def _require_usual_names(record: Record, folder: Path) -> None:
    truth = truth_name(record.data, record.truth.sha256)
    for name, usual in ((record.predictions.name, PREDICTIONS), (record.truth.name, truth)):
        if name != usual:
            raise CheckError(f"the record names {name!r}, not {usual!r}", where=str(folder), way_out=_RUN_AGAIN)


def _checked(path: Path, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckError(f"cannot be read: {error.strerror}", where=str(path), way_out=_RUN_AGAIN) from error
    if hash_bytes(data) != sha256:
        raise CheckError("not the file that the record was made from", where=str(path), way_out=_RUN_AGAIN)
    return data


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=_EARLIEST)
    entry.create_system = _UNIX  # otherwise it would tell on which system it was packed
    entry.external_attr = _READABLE
    entry.compress_type = zipfile.ZIP_STORED
    return entry
