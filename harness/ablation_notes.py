"""Which models of an ablation belong together, and how they were made.

Ids and cells are the same for every size, length, corpus and work folder, and a record knows its model by the weights
alone. So an ablation notes the weights of all its models beside the records before it asks them anything. Records that
no note knows are taken together only where there is one way to do so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foundation.errors import CheckError
from foundation.files import read_json, write_json
from foundation.hashing import hash_value
from results.store import Store, StoredRecord

FOLDER = "ablation"
"""Below the root of the records."""
Place = tuple[str, str]
"""Task and data set."""


class Note(BaseModel):
    """What an ablation says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, str] = Field(description="row id to the SHA-256 of its weights; all made alike")
    told: tuple[str, ...] = Field(default=(), description="how the models were made, as the table tells it")
    absent: dict[str, str] = Field(default_factory=dict, description="row id to why there is no such model")


class Ablation(NamedTuple):
    """Records that may stand in one table."""

    records: tuple[StoredRecord, ...]
    note: Note | None
    """None where nothing tells how the models were made."""
    rows: frozenset[str]
    """The models that it has or should have."""

    @property
    def rank(self) -> tuple[int, str]:
        """The table takes the one with the most columns that all rows have, and of several such the newest."""
        columns: dict[Place, set[str]] = defaultdict(set)
        for stored in self.records:
            columns[_place(stored)].add(stored.record.cell.model)
        return sum(self.rows <= asked for asked in columns.values()), max(map(_finished, self.records))


def write_note(store: Store, name: str, note: Note) -> Path:
    """Notes an ablation; the same one again is the same file."""
    data = note.model_dump(mode="json")
    path = store.root / FOLDER / f"{name}-{hash_value(data)[:12]}.json"
    if not path.is_file():
        write_json(path, data)
    return path


def read_notes(store: Store, name: str) -> list[Note]:
    """Every note, in the order of their names; a damaged one is an error with its way out."""
    notes = []
    for path in sorted((store.root / FOLDER).glob(f"{name}-*.json")):
        try:
            notes.append(Note.model_validate(read_json(path)))
        except ValidationError as error:
            raise CheckError(
                f"damaged, is no note of an ablation: {error.errors()[0]['msg']}",
                where=str(path),
                way_out="delete the file and run the ablation again: what is there is not done again",
            ) from error
    return notes


def ablations(records: Sequence[StoredRecord], notes: Sequence[Note]) -> tuple[list[Ablation], list[StoredRecord]]:
    """The records by ablation, the fittest first, and those of which nobody can tell where they belong.

    A model that several ablations share stands in all of them.
    """
    found, rest = [], []
    for world in sorted({stored.record.data.world or "" for stored in records}):
        there = [stored for stored in records if (stored.record.data.world or "") == world]
        for note in notes:
            own = tuple(stored for stored in there if _knows(note, stored))
            if own:
                found.append(Ablation(own, note, frozenset(note.models)))
        unknown = [stored for stored in there if not any(_knows(note, stored) for note in notes)]
        together = list(_together(unknown))
        rows = frozenset(stored.record.cell.model for stored in unknown)
        found += [Ablation(tuple(group), None, rows) for group in together]
        placed = {id(stored) for group in together for stored in group}
        rest += [stored for stored in unknown if id(stored) not in placed]
    return sorted(found, key=lambda one: one.rank, reverse=True), rest


def _knows(note: Note, stored: StoredRecord) -> bool:
    model = stored.record.model
    return model.weights_hash is not None and note.models.get(stored.record.cell.model) == model.weights_hash


def _together(records: Sequence[StoredRecord]) -> Iterator[list[StoredRecord]]:
    """Without a note: all of them if every model has one set of weights, else those that were asked the same.

    Where a model has two sets that were asked the same, nothing says which of them goes with which of another row.
    """
    ways: dict[tuple[str, str | None], list[StoredRecord]] = defaultdict(list)
    for stored in records:
        ways[stored.record.cell.model, stored.record.model.weights_hash].append(stored)
    models = [model for model, _ in ways]
    if len(set(models)) == len(models):
        if records:
            yield list(records)
        return
    asked: dict[frozenset[tuple[str, str, int]], list[tuple[str, str | None]]] = defaultdict(list)
    for way, own in ways.items():
        asked[frozenset((*_place(stored), stored.record.cell.seed) for stored in own)].append(way)
    for alike in asked.values():
        if len({model for model, _ in alike}) == len(alike):
            yield [stored for way in alike for stored in ways[way]]


def _place(stored: StoredRecord) -> Place:
    return stored.record.cell.task, stored.record.cell.dataset


def _finished(stored: StoredRecord) -> str:
    return stored.record.execution.finished if stored.record.execution is not None else ""
