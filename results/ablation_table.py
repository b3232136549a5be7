"""Table 8: one model pre-trained on the same images with other texts, and what its answers to questions are worth."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from results.record import Failure, Record
from results.reported import Column, reported_table
from results.rows import TableRow
from results.tables import Table, TableCell, fill_table

NUMBER = 8
_TWO_SIDED_95 = 1.959963984540054
_ERRORS = 2.0
"""How many standard errors an order may be missed by (section 14.5)."""


class AblationRow(NamedTuple):
    """One row."""

    model: str
    """Model id, as in the records."""
    name: str
    """Printed name."""
    printed: tuple[str, str, str] | None = None
    """The row of the paper's table: texts of pre-training, whether screened, whether rebuilt. None: it has none."""
    state: str = ""
    """Why there is no such model; empty if there is or could be."""


class Order(NamedTuple):
    """Rows that are expected to come out from the best to the worst; those without any number are passed over."""

    models: tuple[str, ...]
    about: str


def ablation_table(
    rows: Sequence[AblationRow],
    records: Sequence[Record],
    *,
    failures: Sequence[Failure] = (),
    orders: Sequence[Order] = (),
    remarks: Sequence[str] = (),
) -> Table:
    """Table 8 from records; the paper's numbers stand beside the rows that it has.

    Args:
        rows: in their order.
        records: of the models of these rows; the settings, data and code of a column must be the same.
        failures: why cells have no record.
        orders: what is expected of the rows; the remarks say where it came out so.
        remarks: how the models were made.
    """
    names = [row.model for row in rows]
    groups = {record.cell.model: record.model.backbone for record in records}
    group = next((groups[name] for name in names if name in groups), "mini")
    shown = [TableRow(row.model, row.name, groups.get(row.model, group), state=row.state) for row in rows]
    places = {row.model: row.printed for row in rows}
    table = fill_table(
        NUMBER,
        shown,
        [record for record in records if record.cell.model in names],
        names=names,
        failures=failures,
        printed=lambda row, column: _printed(places.get(row.model), column),
    )
    told = [*remarks, *_same_towers(rows, records), *(text for order in orders for text in _came_out(table, order))]
    return table._replace(remarks=(*told, *table.remarks))


def _printed(place: tuple[str, str, str] | None, column: Column) -> Decimal | None:
    if place is None:
        return None
    for row in reported_table(NUMBER):
        if (row["pretrain_dataset"], row["screen_filter"], row["refine"]) == place:
            return Decimal(row[column.column])
    return None


def _same_towers(rows: Sequence[AblationRow], records: Sequence[Record]) -> list[str]:
    """Rows whose trainings did the same: a screening that finds nothing, proposals of which none is accepted."""
    towers = {record.cell.model: record.model.weights_hash for record in records}
    alike: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if (tower := towers.get(row.model)) is not None:
            alike[tower].append(row.name)
    return [
        f"The same image tower, value by value: {' and '.join(names)}." for names in alike.values() if len(names) > 1
    ]


def _came_out(table: Table, order: Order) -> list[str]:
    lines = {line.row.model: line for line in table.lines}
    models = [model for model in order.models if any(cell.value is not None for cell in lines[model].cells)]
    if len(models) < 2:
        return []
    names = [lines[model].row.name for model in models]
    held, asked = [], []
    for place, column in enumerate(table.columns):
        cells = [lines[model].cells[place] for model in models]
        if all(cell.value is not None for cell in cells):
            asked.append(column.headers[-1])
            if all(_not_below(one, other) for one, other in pairwise(cells)):
                held.append(column.headers[-1])
    if not asked:
        return []
    where = ", ".join(held) or "none"
    return [f"{order.about} ({' >= '.join(names)}, within two standard errors): {where} of {', '.join(asked)}."]


def _not_below(one: TableCell, other: TableCell) -> bool:
    assert one.value is not None and other.value is not None
    error = math.hypot(_standard_error(one), _standard_error(other))
    return one.value >= other.value - _ERRORS * error


def _standard_error(cell: TableCell) -> float:
    """From the 95 % interval over the test items, which over several seeds is the hull of theirs."""
    if cell.low is None or cell.high is None:
        return 0.0
    return (cell.high - cell.low) / (2 * _TWO_SIDED_95)
