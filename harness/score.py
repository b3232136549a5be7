"""Scores stored predictions again, with the code as it is now, and says what moved."""

from __future__ import annotations

from typing import NamedTuple

from foundation.errors import MissingError
from harness.cell import rescore
from results.record import CellId
from results.store import Store


class Moved(NamedTuple):
    """One metric before and after."""

    cell: CellId
    metric: str
    before: float | None
    after: float | None

    @property
    def same(self) -> bool:
        """True where scoring again gave the very same number."""
        return self.before == self.after


def score_again(store: Store, *, write: bool) -> list[Moved]:
    """Scores every stored cell again; with `write`, records whose metrics moved are replaced."""
    found: list[Moved] = []
    stored_records = store.records()
    if not stored_records:
        raise MissingError("no finished cell to score", where=str(store.root), way_out="run one: harness run")
    for stored in stored_records:
        before = stored.record
        after = rescore(store, before)
        names = [*before.metrics, *(name for name in after.metrics if name not in before.metrics)]
        for name in names:
            old, new = before.metrics.get(name), after.metrics.get(name)
            found.append(Moved(before.cell, name, old.value if old else None, new.value if new else None))
        if write and after != before:
            store.write(after)
    return found
