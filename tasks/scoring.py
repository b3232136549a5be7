"""From stored predictions to metrics, whatever the task: what a run, a second look and a leaderboard share."""

from __future__ import annotations

import json
from pathlib import Path

from foundation.errors import CellError
from foundation.hashing import hash_file
from results.record import FileReference, Record
from tasks.registry import get_task


def rescored(record: Record, folder: Path, runs: Path) -> Record:
    """The record with metrics, baselines and details made anew from the files it names.

    Args:
        record: what was found.
        folder: the cell's folder, which holds the predictions.
        runs: the folder that the truth's name is relative to.
    """
    predictions = [json.loads(line) for line in _checked(folder, record.predictions).splitlines()]
    truth = json.loads(_checked(runs, record.truth))
    found = get_task(record.cell.task).score(predictions, truth)
    kept = {name: value for name, value in record.details.items() if name not in found["details"]}
    return record.model_copy(
        update={
            "metrics": found["metrics"],
            "baselines": found["baselines"],
            "details": {**kept, **found["details"]},
            "score_warnings": tuple(found["warnings"]),
        }
    )


def _checked(folder: Path, file: FileReference) -> bytes:
    path = folder / file.name
    if not path.is_file() or hash_file(path) != file.sha256:
        raise CellError(
            "the file is missing or is not the one that the record names",
            where=str(path),
            way_out="delete the cell's folder and run it again",
        )
    return path.read_bytes()
