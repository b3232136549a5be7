"""What pages are made of: records with their answers, and data sets with their truth and perhaps their pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from foundation.hashing import hash_value
from results.figures.selection import ImageOf
from results.record import Record
from results.rows import TableRow
from results.store import folder_name


@dataclass(frozen=True)
class CellSource:
    """One finished cell."""

    record: Record
    row: TableRow
    answers: Callable[[], Sequence[dict[str, Any]]]
    """Reads the predictions; called only when the page has to be drawn."""

    @property
    def folder(self) -> str:
        """Where its page lies below the reports; other keys of the same cell replace it."""
        cell = self.record.cell
        parts = (cell.profile, cell.task, cell.dataset, cell.model)
        return str(PurePosixPath("cells", *map(folder_name, parts), f"seed-{cell.seed}"))

    @cached_property
    def state(self) -> str:
        """Hash of everything the record says but the clock, and of the row it stands in."""
        return hash_value([self.record.model_dump(mode="json", exclude={"execution"}), list(self.row)])


@dataclass(frozen=True)
class DatasetSource:
    """The test part of a data set, as one truth file names it."""

    name: str
    """Unique for data and split."""
    state: str
    """Hash of the truth."""
    truth: Callable[[], dict[str, Any]]
    image_of: ImageOf
    missing: str = ""
    """Why the images are not here; empty if they are."""


def source_name(record: Record) -> str:
    """The data and split of a record in one name: the folder of its truth."""
    return PurePosixPath(record.truth.name).parent.name or record.cell.dataset
