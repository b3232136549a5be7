"""Why a place of a table has no number, or not all the seeds that it could have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from results.record import Failure, Record
from results.reported import Column
from results.rows import TableRow


class Excuses:
    """Knows why a cell has no record."""

    def __init__(self, failures: Iterable[Failure], unbuilt: Mapping[str, str]) -> None:
        self._unbuilt = unbuilt
        self._failed: dict[tuple[str, str, str], list[Failure]] = {}
        for failure in failures:
            cell = failure.cell
            self._failed.setdefault((cell.model, cell.task, cell.dataset), []).append(failure)

    def missing(self, row: TableRow, column: Column) -> str:
        """Why there is no record at all."""
        failed = self._failed.get((row.model, column.task_id, column.dataset_id))
        if failed:
            return f"failed: {failed[-1].what}"
        return self._unbuilt.get(column.task_id) or row.state or "not run"

    def incomplete(self, row: TableRow, column: Column, records: Sequence[Record]) -> str:
        """Which seeds failed although others have records."""
        done = {record.cell for record in records}
        profiles = {cell.profile for cell in done}
        failed = self._failed.get((row.model, column.task_id, column.dataset_id), ())
        return "; ".join(
            f"seed {failure.cell.seed} failed: {failure.what}"
            for failure in failed
            if failure.cell.profile in profiles and failure.cell not in done
        )
