"""Tables from records: never trains, never opens a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from adapters.card import ModelCard
from adapters.registry import catalog, weight_state
from foundation.errors import MissingError, UsageError
from foundation.files import write_bytes
from harness.ablation_rows import has_records, stored_table
from harness.plan import Plan, State
from harness.readings import Reading, places, readings
from harness.request import RunRequest
from results.record import Failure, Record
from results.render import to_csv, to_latex, to_markdown
from results.rows import TableRow
from results.store import Store
from results.tables import Table, build_table
from tasks.catalog import TASKS

TABLE_OF_GROUP = {"vision": 4, "language": 6}
"""The paper's table with the columns of a group of tasks."""
REPORTED = (4, 6, 8)
"""Tables that are made from stored records."""


class Written(NamedTuple):
    """A table and the files it was written to."""

    table: Table
    files: tuple[Path, ...]


def table_rows(
    number: int, cards: Mapping[str, ModelCard], weights_root: Path | None, records: Sequence[Record]
) -> list[TableRow]:
    """The rows of a table: the paper's models, those that can run here, and those that only the records know."""
    recorded = {record.cell.model: record for record in records}
    rows = []
    for card in cards.values():
        state = weight_state(card, weights_root)
        if number in card.tables or card.id in recorded or state.state == "ready":
            reason = "" if state.state == "ready" else state.reason
            rows.append(TableRow(card.id, card.name, card.backbone, card.paper_model, reason))
    for model in sorted(set(recorded) - set(cards)):
        provenance = recorded[model].model
        rows.append(TableRow(model, provenance.name, provenance.backbone))
    return rows


def current_readings(store: Store, *, profile: str | None) -> list[Reading]:
    """The newest whole record per cell, of one profile; what was read or split in another way comes apart."""
    found = readings(store, profile)
    profiles = sorted({stored.record.cell.profile for reading in found for stored in reading.records})
    if len(profiles) > 1:
        raise UsageError(
            f"the runs folder holds records of several profiles: {', '.join(profiles)}",
            where=str(store.root),
            way_out=f"choose one: --profile {profiles[0]}",
        )
    if not profiles:
        wanted = f" of profile {profile}" if profile else ""
        raise MissingError(
            f"no finished cell{wanted} in the runs folder", where=str(store.root), way_out="run one: harness run"
        )
    return found


def default_table(store: Store, profile: str | None) -> tuple[int, list[int]]:
    """The table to show where none is named: the first with numbers; and the others that have some."""
    groups = {
        TASKS[stored.record.cell.task].group for reading in readings(store, profile) for stored in reading.records
    }
    numbers = sorted(TABLE_OF_GROUP[group] for group in groups)
    if has_records(store, profile):
        numbers.append(8)
    return (numbers[0], numbers[1:]) if numbers else (TABLE_OF_GROUP["vision"], [])


class Stored(NamedTuple):
    """A table of stored records and what its files are to be called."""

    table: Table
    name: str


def stored_tables(store: Store, number: int, *, profile: str | None, weights_root: Path | None) -> list[Stored]:
    """A table of everything that is stored; data sets read in other ways as well get tables of their own behind it."""
    if number == 8:
        made = stored_table(store, profile)
        return [Stored(made, f"table8-{next(name for name, *_ in made.provenance if name)}")]
    usual, *others = current_readings(store, profile=profile)
    profile = usual.records[0].record.cell.profile
    name = f"table{number}-{profile}"
    failures = [failure for failure in store.failures() if failure.cell.profile == profile]
    tables = []
    for reading in (usual, *others):
        records = [stored.record for stored in reading.records]
        rows = table_rows(number, catalog(), weights_root, records)
        table = build_table(number, rows, records, failures=failures, unbuilt=_unbuilt())
        tables.append(Stored(table, name + reading.suffix))
    remarks = [
        f"{', '.join(places(other.records))}: also with {other.label}, in {extra.name}"
        for other, extra in zip(others, tables[1:], strict=True)
    ]
    main, *extras = tables
    return [
        main._replace(table=main.table._replace(remarks=(*main.table.remarks, *remarks))),
        *(
            extra._replace(table=extra.table.filled()._replace(title=f"{extra.table.title}, {other.label}"))
            for other, extra in zip(others, extras, strict=True)
        ),
    ]


def run_table(plan: Plan, records: Sequence[Record], failures: Sequence[Failure], store: Store, number: int) -> Table:
    """A table of the cells of a plan, and beside them the stored ones that were made under the same conditions."""
    conditions = {(record.cell.task, record.cell.dataset): _conditions(record) for record in records}
    planned = {record.cell for record in records}
    whole = plan.request.limit is None and plan.request.twin == "none" and not plan.request.own_split
    whole = whole and not plan.request.by_hand
    candidates = store.whole_records(plan.request.profile, plan.request.implementation) if whole else store.records()
    stored = [found.record for found in candidates if found.record.cell not in planned]
    if whole:
        # Columns that this run did not touch keep what is stored, as long as it is of the same kind of data.
        synthetic = {record.data.world for record in records}
        for record in sorted(stored, key=lambda record: record.execution.finished if record.execution else ""):
            if record.data.world in synthetic and (record.cell.task, record.cell.dataset) not in planned_columns(plan):
                conditions[record.cell.task, record.cell.dataset] = _conditions(record)
    others = [
        record for record in stored if conditions.get((record.cell.task, record.cell.dataset)) == _conditions(record)
    ]
    cards = catalog() | {card.id: card for card in plan.cards}
    together = [*records, *others]
    rows = table_rows(number, cards, plan.request.weights_root, together)
    return build_table(number, rows, together, failures=failures, unbuilt=_unbuilt())


def planned_columns(plan: Plan) -> set[tuple[str, str]]:
    """(task, data set) of every cell of a plan."""
    return {(cell.cell.task, cell.cell.dataset) for cell in plan.cells}


def table_name(number: int, request: RunRequest) -> str:
    """The name of a run's table; what was limited, split, set or destroyed on purpose never replaces the real one."""
    limit = f"-limit{request.limit}" if request.limit is not None else ""
    twin = f"-{request.twin}" if request.twin != "none" else ""
    others = f"-{request.implementation}" if request.implementation != "own" else ""
    split = "-own-split" if request.own_split else ""
    by_hand = "-by-hand" if request.by_hand else ""
    return f"table{number}-{request.profile}{limit}{split}{by_hand}{twin}{others}"


def _conditions(record: Record) -> tuple[str, ...]:
    """What must be equal for two records to stand in one column (settings per backbone are seen to by the table)."""
    data = record.data
    return (
        record.cell.task,
        record.cell.dataset,
        record.cell.profile,
        record.common_settings_hash,
        data.data_hash,
        data.split_hash,
        data.twin,
        record.precision,
        record.code.numerics,
        record.code.scoring,
        record.implementation,
    )


def write_table(table: Table, store: Store, name: str) -> Written:
    """Writes a table in all its forms."""
    forms = {"md": to_markdown(table), "csv": to_csv(table), "tex": to_latex(table)}
    files = []
    with store.shared("reports"):
        for suffix, text in forms.items():
            path = store.root / "reports" / f"{name}.{suffix}"
            write_bytes(path, text.encode())
            files.append(path)
    return Written(table, tuple(files))


def table_numbers(plan: Plan) -> list[int]:
    """The tables that the finished cells of a plan belong to."""
    groups = {TASKS[cell.cell.task].group for cell in plan.cells if cell.state is State.DONE}
    return sorted({TABLE_OF_GROUP[group] for group in groups})


def _unbuilt() -> dict[str, str]:
    return {task.id: "task not built yet" for task in TASKS.values() if not task.built}
