"""Our numbers against the paper's, with a verdict for each (section 11.7 of the task specification).

A verdict speaks of the printed number alone. Data, seeds and the choice of the epoch differ between the paper
and any other run (errata, section H), so `outside` is an observation and no accusation.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from results.record import Record
from results.reported import Column, columns, reported_value, tolerance
from results.rows import Summary, TableRow, column_records, summarise

Verdict = Literal["reproduced", "outside", "not_comparable", "not_run"]

NOTE = "Data, seeds and the choice of the epoch differ from the paper's; read a difference with its interval."
"""Belongs under everything that prints differences."""


class Comparison(NamedTuple):
    """One number of ours beside the paper's."""

    table: int
    column: Column
    model: str
    """Our model id."""
    paper_model: str
    backbone: str
    ours: float | None
    reported: Decimal
    difference: float | None
    """Ours minus the paper's."""
    low: float | None
    high: float | None
    verdict: Verdict
    reason: str
    """Why it is not comparable, or what to mind."""


def compare(records: Sequence[Record], rows: Sequence[TableRow], tables: Sequence[int] = (4, 6)) -> list[Comparison]:
    """Joins records with the paper's numbers by table, column, paper model and backbone.

    Every row with a paper model gives one comparison for each number that the paper prints for it. Mixtures that
    no table would take are refused here as well.
    """
    found = []
    models = [row.model for row in rows if row.paper_model]
    for table in tables:
        for column in columns(table):
            grouped = column_records(column, records, models)
            for row in rows:
                reported = reported_number(table, row, column)
                if row.paper_model and reported is not None:
                    group = grouped.get(row.model)
                    summary = summarise(column, group) if group else None
                    found.append(_comparison(table, column, row, summary, reported))
    return found


def reported_number(table: int, row: TableRow, column: Column) -> Decimal | None:
    """The paper's number for a row of ours, where it prints one."""
    if row.paper_model is None:
        return None
    return reported_value(table, row.paper_model, row.backbone, column.column)


def judge(summary: Summary | None, reported: Decimal, margin: Decimal) -> tuple[Verdict, str]:
    """Reproduced: the printed number lies within our interval widened by the margin of its rounding."""
    if summary is None:
        return "not_run", ""
    if summary.value is None:
        return "not_comparable", summary.reason
    if summary.obstacles:
        return "not_comparable", "; ".join(summary.obstacles)
    low = _exact(summary.value if summary.low is None else summary.low)
    high = _exact(summary.value if summary.high is None else summary.high)
    inside = low - margin <= reported <= high + margin
    return ("reproduced" if inside else "outside"), summary.reason


def difference(ours: float | None, reported: Decimal) -> float | None:
    """Ours minus the paper's, exact in the decimals that are printed."""
    return None if ours is None else float(_exact(ours) - reported)


def _comparison(table: int, column: Column, row: TableRow, summary: Summary | None, reported: Decimal) -> Comparison:
    verdict, reason = judge(summary, reported, tolerance(table))
    ours = summary.value if summary else None
    return Comparison(
        table=table,
        column=column,
        model=row.model,
        paper_model=row.paper_model or "",
        backbone=row.backbone,
        ours=ours,
        reported=reported,
        difference=difference(ours, reported),
        low=summary.low if summary else None,
        high=summary.high if summary else None,
        verdict=verdict,
        reason=reason if summary else row.state or "not run",
    )


def _exact(value: float) -> Decimal:
    return Decimal(repr(float(value)))
