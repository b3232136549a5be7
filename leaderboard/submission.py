"""What a submission says of itself: `submission.json`, the list of its files with their hashes, and the seal over it.

The seal shows that nothing was changed by accident or in passing. It is no signature: whoever changes a file can seal
again, which is why every number is made anew from the predictions, and why a leaderboard brings its own truth.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from foundation.hashing import hash_value
from results.record import CellId, FileReference
from results.store import PREDICTIONS, RECORD, Store

SCHEMA_VERSION = 1
MANIFEST = "submission.json"
LONGEST_TEXT = 500

_PIECE = r"[a-z0-9_=-][a-z0-9._=-]*"
_NAME = re.compile(
    rf"{re.escape(MANIFEST)}"
    rf"|cells/{_PIECE}/{_PIECE}/{_PIECE}/seed-[0-9]+-{_PIECE}/({re.escape(RECORD)}|{re.escape(PREDICTIONS)})"
    rf"|splits/{_PIECE}/truth\.json"
)


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SubmittedCell(_Data):
    """One cell and its files, by their names in the bundle."""

    cell: CellId = Field(description="which cell")
    key: str = Field(description="key of its record")
    record: FileReference = Field(description="the record as the run wrote it")
    predictions: FileReference = Field(description="raw answers")
    truth: FileReference = Field(description="what they are scored against; cells may share it")


class Submission(_Data):
    """The content of `submission.json`."""

    schema_version: int = Field(default=SCHEMA_VERSION, description="version of this schema")
    model: str = Field(min_length=1, max_length=LONGEST_TEXT, description="model id of every cell")
    submitter: str = Field(min_length=1, max_length=LONGEST_TEXT, description="who hands it in")
    note: str = Field(default="", max_length=LONGEST_TEXT, description="anything a reader should know")
    cells: tuple[SubmittedCell, ...] = Field(min_length=1, description="by task, data set and seed")
    seal: str = Field(default="", description="SHA-256 over all other fields, and so over every file's hash")

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        for name, text in (("model", self.model), ("submitter", self.submitter), ("note", self.note)):
            if not text.isprintable():
                raise ValueError(f"{name} must be printable text in one line")
        cells = [entry.cell for entry in self.cells]
        if {cell.model for cell in cells} != {self.model}:
            raise ValueError("every cell must be of the submission's model")
        if len({cell.profile for cell in cells}) > 1:
            raise ValueError("every cell must be of one profile")
        if len(set(cells)) < len(cells):
            raise ValueError("a cell is listed twice")
        return self

    def files(self) -> dict[str, str]:
        """Name to hash of every file but `submission.json`; a name with two hashes keeps the first."""
        found: dict[str, str] = {}
        for entry in self.cells:
            for file in (entry.record, entry.predictions, entry.truth):
                found.setdefault(file.name, file.sha256)
        return found


def seal_of(submission: Submission) -> str:
    """The seal that belongs to a submission, whatever seal it bears."""
    return hash_value(submission.model_dump(mode="json", exclude={"seal"}))


def sealed(submission: Submission) -> Submission:
    """The submission with its seal."""
    return submission.model_copy(update={"seal": seal_of(submission)})


def is_expected_name(name: str) -> bool:
    """Whether a file of this name may be in a bundle: relative, without `..`, of one of the four kinds."""
    return _NAME.fullmatch(name) is not None


def cell_folder(cell: CellId, key: str) -> str:
    """The folder of a cell in a bundle, which is the one in a runs folder."""
    return Store(Path()).folder(cell, key).as_posix()
