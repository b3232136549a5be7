"""Reads the paper's printed results: every number as the paper prints it, by stable names.

Numbers are `Decimal`, so that 57.70 stays 57.70 and comparisons with a tolerance of 0.01 are exact.
"""

from __future__ import annotations

import csv
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import NamedTuple

from foundation.errors import UsageError
from foundation.names import unknown_name

_FOLDER = Path(__file__).resolve().parent
_TABLES = range(1, 9)

_TOLERANCES = {4: Decimal("0.01"), 6: Decimal("0.01"), 7: Decimal("1.0"), 8: Decimal("0.01")}
"""Errata, section C: Table 4 mixes cutting and rounding, Table 7 cuts to whole numbers."""

_WITH_BOXES, _WITH_MASKS = "vqa_targets", "vqa_landform"
_CELLS = {
    "retrieval": ("retrieval", "rs_captions"),
    "caption": ("caption", "rs_captions"),
    **{name: (name, _WITH_BOXES) for name in ("vqa_target_count", "vqa_target_rec", "vqa_target_pos")},
    **{name: (name, _WITH_MASKS) for name in ("vqa_main_land", "vqa_all_land", "vqa_reg_land")},
}
"""Data set in `columns.csv` to the task and the data set of our cells, where the paper names no data set."""

_PROPOSED = ("fusar_klip", "ViT-Base")
"""The model of the last rows of Tables 7 and 8; both repeat its row of Table 6 (errata, section C)."""


class Column(NamedTuple):
    """One result column of the paper."""

    column: str
    """Name in the CSV file, e.g. `fusar_air_top1`."""
    paper_header: str
    """Header as printed, levels separated by ` / `."""
    task_id: str
    """Of our cells."""
    dataset_id: str
    """Of our cells; what the paper builds from several data sets has a name of ours."""
    metric_id: str
    unit: str
    note: str
    """What to mind about the header."""


class PaperModel(NamedTuple):
    """One model of the paper."""

    model_id: str
    names: tuple[str, ...]
    """Spellings in the paper."""
    kind: str
    notes: str


class ReportedRow(NamedTuple):
    """One model in one result table."""

    model_id: str
    name: str
    """As that table spells it."""
    backbone: str
    """`other` for the models of Table 7 that state none."""


def reported_table(number: int) -> list[dict[str, str]]:
    """The rows of one table of the paper, every cell as printed."""
    if number not in _TABLES:
        raise UsageError(f"no reported table {number}", way_out="tables 1 to 8 are reported")
    return [dict(row) for row in _rows(f"table{number}")]


def columns(number: int) -> list[Column]:
    """The result columns of Table 4, 6, 7 or 8 in the paper's order."""
    tolerance(number)
    return list(_columns(number))


def reported_models() -> list[PaperModel]:
    """Every model of the paper's result tables."""
    return [
        PaperModel(row["model_id"], tuple(row["paper_names"].split(";")), row["kind"], row["notes"])
        for row in _rows("models")
    ]


def paper_model(name: str) -> str:
    """The stable model id of a name as the paper spells it."""
    for model in reported_models():
        if name in model.names:
            return model.model_id
    raise unknown_name(
        "model of the paper",
        name,
        [name for model in reported_models() for name in model.names],
        see="results/reported/models.csv",
    )


def reported_rows(table: int) -> list[ReportedRow]:
    """The models of Table 4, 6, 7 or 8 in the paper's order; Table 8 repeats one model under ablation."""
    tolerance(table)
    rows = []
    for (model_id, backbone), row in _by_model(table).items():
        rows.append(ReportedRow(model_id, row.get("model", "FUSAR-KLIP"), backbone or "other"))
    return rows


def reported_value(table: int, model_id: str, backbone: str, column: str) -> Decimal | None:
    """The printed number of a model, or None where that table has none for it.

    Table 7 states no backbone: it is ignored for the general models, and FUSAR-KLIP counts as ViT-Base there,
    as in Table 8, whose last row is the only one that is a model of `models.csv`.
    """
    if column not in {known.column for known in columns(table)}:
        raise unknown_name(
            f"column of Table {table}", column, [known.column for known in columns(table)], see="columns.csv"
        )
    row = _by_model(table).get((model_id, backbone)) or _by_model(table).get((model_id, ""))
    if row is None:
        known_ids = [model.model_id for model in reported_models()]
        if model_id not in known_ids:
            raise unknown_name("model of the paper", model_id, known_ids, see="results/reported/models.csv")
        return None
    return Decimal(row[column])


def tolerance(table: int) -> Decimal:
    """How far a printed number may lie from the exact one."""
    if table not in _TOLERANCES:
        raise UsageError(f"Table {table} has no results", way_out="Tables 4, 6, 7 and 8 have")
    return _TOLERANCES[table]


def is_underlined(table: int, model_id: str, backbone: str, column: str) -> bool:
    """Whether the paper underlines this number as second best; four of its marks are wrong (errata, section A)."""
    return (table, model_id, backbone, column) in _underlined()


@cache
def _columns(number: int) -> tuple[Column, ...]:
    found = [row for row in _rows("columns") if row["table"] == f"table{number}"]
    if [row["column"] for row in found] != ["vqa_*"]:
        return tuple(_column(row) for row in found)
    # Tables 7 and 8 repeat the six question columns of Table 6 in their own unit.
    unit, note = found[0]["unit"], found[0]["note"]
    return tuple(column._replace(unit=unit, note=note) for column in _columns(6) if column.column.startswith("vqa_"))


def _column(row: dict[str, str]) -> Column:
    task, dataset = _CELLS.get(row["dataset_id"], (row["task_id"], row["dataset_id"]))
    return Column(**{field: row[field] for field in Column._fields} | {"task_id": task, "dataset_id": dataset})


@cache
def _rows(name: str) -> tuple[dict[str, str], ...]:
    with (_FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return tuple(csv.DictReader(stream))


@cache
def _by_model(table: int) -> dict[tuple[str, str], dict[str, str]]:
    rows = _rows(f"table{table}")
    if table == 8:
        return {_PROPOSED: rows[-1]}
    if table == 7:
        named = {(paper_model(row["model"]), ""): row for row in rows}
        named[_PROPOSED] = named.pop((_PROPOSED[0], ""))
        return named
    return {(paper_model(row["model"]), row["backbone"]): row for row in rows}


@cache
def _underlined() -> frozenset[tuple[int, str, str, str]]:
    return frozenset(
        (int(row["table"].removeprefix("table")), paper_model(row["model"]), row["backbone"], row["column"])
        for row in _rows("underlined")
    )
