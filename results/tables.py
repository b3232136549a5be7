"""The paper's result tables with our rows in them: what stands where, which mark it bears, and why a place is empty.

This module decides; `results.render` writes. A table holds only what records say, the paper's printed numbers and
the reasons, never a time or a path, so the same records give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from results.compare import NOTE, Verdict, difference, judge, reported_number
from results.excuses import Excuses
from results.means import mean_remarks
from results.record import Failure, Record
from results.reported import Column, columns, reported_rows, tolerance
from results.rows import Summary, TableRow, column_records, rounded, summarise
from results.text_sides import text_side_remarks

Mark = Literal["", "best", "second"]

GROUPS = ("ViT-Base", "ViT-Large", "mini", "control", "other")
"""Comparison groups in the order of their rows; the first two are the paper's."""

TITLES = {
    4: "Table 4: vision tasks",
    6: "Table 6: retrieval, captioning and visual question answering",
    8: "Table 8: what the texts of pre-training are worth",
}
_TASK_HEADERS = {"retrieval": "Retrieval", "caption": "Captioning", "vqa": "VQA"}
_MAJORITIES = {
    "detection": "The majority row of detection is a threshold detector, fitted on the training part.",
    "segmentation": "The majority row of segmentation is the most common training class everywhere.",
    "retrieval": "The majority row of retrieval repeats chance, which is exact: nothing there is most common.",
    "caption": "The majority row of captioning is the most frequent training caption for every image.",
    "vqa": "The majority row of VQA is the most common training answer, for Reg Land of each quarter; "
    "question only is the best answer from the question alone, without any image.",
}
"""What stands in the row of majorities where it is no answer of the most common kind (section 11.8)."""
_WITHOUT_CHANCE = {"caption": "captions have no chance level"}
_DIRECTIONS = (
    "TXT: an image ranks texts; IMG: a text ranks images. The paper's prose says the opposite, its numbers do not "
    "(errata, section B)."
)
_QUESTION_ONLY = "accuracy_question_only"
_BESIDE = (
    ("accuracy", "accuracy_other_image", "with the image of another question"),
    ("accuracy", "accuracy_balanced", "on test questions balanced by answer"),
    ("accuracy", "accuracy_strict", "lists in another order or with repeats count as wrong"),
    ("r_mean", "r_mean_eq", "an equal text counts as right"),
    ("spice", "tuple_f1", "tuple F1, which is not SPICE"),
)
"""Metric of a column, a further one of the same records that a reader should see beside it, and what it is."""
_HASH_DIGITS = 12


Printed = Callable[[TableRow, Column], Decimal | None]
"""The paper's number for a row and a column, or None where it prints none."""


class TableColumn(NamedTuple):
    """A column with its headers from the outermost to the innermost."""

    column: Column
    headers: tuple[str, ...]
    synthetic: bool
    """The numbers of ours come from the synthetic world."""
    filled: bool
    """It was run: a number of ours stands in it, or the reason why it is undefined."""


class TableCell(NamedTuple):
    """One place of the table: our number, the paper's, and what to know about them."""

    value: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    seeds: tuple[int, ...] = ()
    mark: Mark = ""
    reported: Decimal | None = None
    reported_mark: Mark = ""
    verdict: Verdict | Literal[""] = ""
    """Empty where the paper has no number."""
    difference: float | None = None
    reason: str = ""
    """Why there is no value, or what to mind about it."""
    note: int | None = None
    """Number of the footnote that gives the reason."""


class TableLine(NamedTuple):
    """A row of the table."""

    row: TableRow
    kind: Literal["model", "baseline"]
    cells: tuple[TableCell, ...]


class Beside(NamedTuple):
    """Further numbers of one model: a control or another way of counting, too many for columns of their own."""

    row: TableRow
    column: TableColumn
    metric: str
    """Which of the records' metrics."""
    about: str
    """What it is, in words."""
    cell: TableCell


class Table(NamedTuple):
    """A whole table, ready to be written in any form."""

    number: int
    title: str
    banner: str
    """A warning that must stand above the table; empty if there is none."""
    columns: tuple[TableColumn, ...]
    lines: tuple[TableLine, ...]
    """Models group by group, then chance and majority."""
    footnotes: tuple[str, ...]
    """Reasons; the first is number 1."""
    remarks: tuple[str, ...]
    """What holds for the whole table: how to read it, and what each data set was run with."""
    provenance: tuple[tuple[str, str, str, str], ...]
    """Profile, settings hash, data hash, split hash of each column; empty strings without records."""
    beside: tuple[Beside, ...] = ()
    """By kind, model and column."""

    @property
    def cells(self) -> tuple[tuple[TableCell, ...], ...]:
        """The places, line by line."""
        return tuple(line.cells for line in self.lines)

    def filled(self) -> Table:
        """The same table without the columns that nothing of ours was run for."""
        keep = [place for place, column in enumerate(self.columns) if column.filled]
        lines, footnotes = _numbered(
            [line._replace(cells=tuple(line.cells[place] for place in keep)) for line in self.lines]
        )
        return self._replace(
            columns=tuple(self.columns[place] for place in keep),
            lines=tuple(lines),
            footnotes=tuple(footnotes),
            provenance=tuple(self.provenance[place] for place in keep),
            beside=tuple(entry for entry in self.beside if entry.column.filled),
        )


def build_table(
    number: int,
    rows: Sequence[TableRow],
    records: Sequence[Record],
    *,
    failures: Sequence[Failure] = (),
    unbuilt: Mapping[str, str] | None = None,
) -> Table:
    """Table 4 or 6 (or the question columns of Table 7) from records, with every row of the paper.

    Args:
        number: the paper's number of the table.
        rows: the models that are to have a row; rows of the paper that are not among them are added.
        records: current records; those of other tables or of models without a row are left out.
        failures: why cells have no record.
        unbuilt: task ids that cannot be run at all, each with the reason.
    """
    names = [row.model for row in rows]
    return fill_table(number, _ordered(number, rows), records, names=names, failures=failures, unbuilt=unbuilt)


def fill_table(
    number: int,
    rows: Sequence[TableRow],
    records: Sequence[Record],
    *,
    names: Sequence[str],
    failures: Sequence[Failure] = (),
    unbuilt: Mapping[str, str] | None = None,
    printed: Printed | None = None,
) -> Table:
    """The columns of one of the paper's tables with exactly these rows, in this order.

    Args:
        number: the paper's number of the table.
        rows: what stands in it.
        records: current records; those of models that `names` lacks are left out.
        names: models whose records may stand in it.
        failures: why cells have no record.
        unbuilt: task ids that cannot be run at all, each with the reason.
        printed: the paper's number for a row and a column, where not that of the row's paper model.
    """
    known = columns(number)
    found = [column_records(column, records, names) for column in known]
    excuses = Excuses(failures, unbuilt or {})
    printed = printed or (lambda row, column: reported_number(number, row, column))
    grid = [
        _marked(
            [
                _cell(row, column, group.get(row.model), excuses, printed(row, column), tolerance(number))
                for row in rows
            ],
            rows,
        )
        for column, group in zip(known, found, strict=True)
    ]
    lines = [TableLine(row, "model", tuple(cells[place] for cells in grid)) for place, row in enumerate(rows)]
    numbered, footnotes = _numbered([*lines, *_baselines(known, found)])
    shown = tuple(
        TableColumn(
            column,
            _headers(column),
            synthetic=any(record.data.synthetic for group in groups.values() for record in group),
            filled=bool(groups),
        )
        for column, groups in zip(known, found, strict=True)
    )
    return Table(
        number=number,
        title=TITLES.get(number, f"Table {number}"),
        banner=_banner(found),
        columns=shown,
        lines=tuple(numbered),
        footnotes=tuple(footnotes),
        remarks=tuple(_remarks(number, numbered, found, records, names)),
        provenance=tuple(_provenance(groups) for groups in found),
        beside=tuple(_beside(rows, shown, found)),
    )


def beside_words(table: Table) -> list[str]:
    """What stands beside a table, in a sentence for each kind and model."""
    sentences: dict[tuple[str, str, str], list[str]] = {}
    for entry in table.beside:
        cell = entry.cell
        shown = "-" if cell.value is None else str(rounded(cell.value))
        spread = "" if cell.std is None else f" ± {rounded(cell.std)}"
        why = f" ({cell.reason})" if cell.reason else ""
        words = f"{entry.column.headers[-1]} {shown}{spread}{why}"
        sentences.setdefault((entry.about, entry.row.name, entry.row.backbone), []).append(words)
    return [
        f"{name} ({backbone}), {about}: {', '.join(words)}." for (about, name, backbone), words in sentences.items()
    ]


def marks(values: Sequence[float | Decimal | None]) -> list[Mark]:
    """Best and second best of one group as printed, ties included; every metric of the paper grows with quality."""
    printed = [None if value is None else rounded(value) for value in values]
    levels = sorted({value for value in printed if value is not None}, reverse=True)
    names: dict[Decimal, Mark] = dict(zip(levels, ("best", "second"), strict=False))
    return ["" if value is None else names.get(value, "") for value in printed]


def _ordered(number: int, rows: Sequence[TableRow]) -> list[TableRow]:
    """Group by group, in each the paper's rows in its order and then the others in theirs."""
    printed = reported_rows(number)
    places = {(line.model_id, line.backbone): place for place, line in enumerate(printed)}
    present = {(row.paper_model, row.backbone) for row in rows}
    added = [
        TableRow(line.model_id, line.name, line.backbone, line.model_id, "not run")
        for line in printed
        if (line.model_id, line.backbone) not in present
    ]
    groups = {name: place for place, name in enumerate(GROUPS)}

    def order(row: TableRow) -> tuple[int, str, int]:
        group = groups.get(row.backbone, len(groups))
        beyond = row.backbone if group == len(groups) else ""
        return group, beyond, places.get((row.paper_model or "", row.backbone), len(places))

    return sorted([*rows, *added], key=order)


def _cell(
    row: TableRow,
    column: Column,
    records: Sequence[Record] | None,
    excuses: Excuses,
    reported: Decimal | None,
    margin: Decimal,
) -> TableCell:
    if not records:
        verdict: Verdict | Literal[""] = "not_run" if reported is not None else ""
        return TableCell(reported=reported, verdict=verdict, reason=excuses.missing(row, column))
    summary = summarise(column, records)
    # Synthetic data and the mini profile are told by the banner and the remarks; the rest needs its footnote.
    untold = [text for text in summary.obstacles if text not in ("synthetic data", "profile mini")]
    minded = [
        summary.reason,
        f"not comparable with the paper: {', '.join(untold)}" if untold else "",
        excuses.incomplete(row, column, records),
    ]
    return _number(summary)._replace(
        reported=reported,
        verdict="" if reported is None else judge(summary, reported, margin)[0],
        difference=None if reported is None else difference(summary.value, reported),
        reason="; ".join(text for text in minded if text),
    )


def _number(summary: Summary) -> TableCell:
    return TableCell(
        value=summary.value,
        std=summary.std,
        low=summary.low,
        high=summary.high,
        n=summary.n,
        seeds=summary.seeds,
        reason=summary.reason,
    )


def _beside(
    rows: Sequence[TableRow], shown: Sequence[TableColumn], found: Sequence[Mapping[str, list[Record]]]
) -> Iterable[Beside]:
    for of, metric, about in _BESIDE:
        for row in rows:
            for column, groups in zip(shown, found, strict=True):
                records = [record for record in groups.get(row.model, ()) if metric in record.metrics]
                if records and column.column.metric_id == of:
                    summary = summarise(column.column._replace(metric_id=metric), records)
                    yield Beside(row, column, metric, about, _number(summary))


def _marked(cells: list[TableCell], rows: Sequence[TableRow]) -> list[TableCell]:
    """Marks ours among ours and the paper's among the paper's, each within its comparison group."""
    result = list(cells)
    for backbone in {row.backbone for row in rows}:
        places = [place for place, row in enumerate(rows) if row.backbone == backbone]
        ours = marks([cells[place].value for place in places])
        # Two rows of ours may stand beside the same number of the paper; a tie with itself changes no mark.
        printed = marks([cells[place].reported for place in places])
        for place, mark, reported_mark in zip(places, ours, printed, strict=True):
            result[place] = result[place]._replace(mark=mark, reported_mark=reported_mark)
    return result


def _baselines(known: Sequence[Column], found: Sequence[Mapping[str, list[Record]]]) -> list[TableLine]:
    """What costs nothing; the row of questions without images only where there are such."""
    together = [[record for group in groups.values() for record in group] for groups in found]
    names = ["chance", "majority"]
    if any(_QUESTION_ONLY in record.metrics for records in together for record in records):
        names.append("question only")
    return [
        TableLine(
            TableRow(name, name, "baseline"),
            "baseline",
            tuple(_baseline(name, column, records) for column, records in zip(known, together, strict=True)),
        )
        for name in names
    ]


def _baseline(name: str, column: Column, records: Sequence[Record]) -> TableCell:
    if name == "question only" and column.metric_id != "accuracy":
        return TableCell()  # nothing is asked here
    if not records:
        return TableCell(reason="not run")
    if name == "chance" and column.task_id in _WITHOUT_CHANCE:
        return TableCell(reason=_WITHOUT_CHANCE[column.task_id])
    values = [value for record in records if (value := _costless(name, column, record)) is not None]
    if not values:
        own = {metric.reason for record in records if (metric := record.metrics.get(column.metric_id)) is not None}
        undefined = own.pop() if len(own) == 1 else ""
        return TableCell(reason=f"null: {undefined or f'the records state no {name} value'}")
    low, high = min(values), max(values)
    # The test items are the same in the whole column, and so must the baselines be.
    reason = "" if rounded(low) == rounded(high) else f"from {rounded(low)} to {rounded(high)} over the records"
    return TableCell(value=values[0] if low == high else math.fsum(values) / len(values), reason=reason)


def _costless(name: str, column: Column, record: Record) -> float | None:
    if name == "question only":
        metric = record.metrics.get(_QUESTION_ONLY)
        return metric.value if metric is not None else None
    baselines = record.baselines.chance if name == "chance" else record.baselines.majority
    return baselines.get(column.metric_id)


def _numbered(lines: Sequence[TableLine]) -> tuple[list[TableLine], list[str]]:
    """Gives each different reason a number, in reading order."""
    footnotes: dict[str, int] = {}
    numbered = []
    for line in lines:
        cells = []
        for cell in line.cells:
            note = footnotes.setdefault(cell.reason, len(footnotes) + 1) if cell.reason else None
            cells.append(cell._replace(note=note))
        numbered.append(line._replace(cells=tuple(cells)))
    return numbered, list(footnotes)


def _headers(column: Column) -> tuple[str, ...]:
    parts = tuple(column.paper_header.split(" / "))
    return parts if len(parts) > 1 else (_TASK_HEADERS.get(_kind(column.task_id), column.task_id), *parts)


def _kind(task: str) -> str:
    """The six tasks of questions are one kind."""
    return task.partition("_")[0]


def _banner(found: Sequence[Mapping[str, list[Record]]]) -> str:
    worlds = {
        record.data.world or "sarworld"
        for groups in found
        for group in groups.values()
        for record in group
        if record.data.synthetic
    }
    if not worlds:
        return ""
    return f"SYNTHETIC DATA († {', '.join(sorted(worlds))}): not comparable with the paper"


def _provenance(groups: Mapping[str, list[Record]]) -> tuple[str, str, str, str]:
    for group in groups.values():
        for record in group:
            data = record.data
            return record.cell.profile, record.common_settings_hash, data.data_hash, data.split_hash
    return "", "", "", ""


def _remarks(
    number: int,
    lines: Sequence[TableLine],
    found: Sequence[Mapping[str, list[Record]]],
    records: Sequence[Record],
    names: Sequence[str],
) -> list[str]:
    remarks = [
        "In square brackets the paper's printed number. " + NOTE,
        "Over several seeds: mean ± sample standard deviation (number of seeds). "
        "95 % intervals of every number are in the CSV form of this table.",
    ]
    verdicts = [cell.verdict for line in lines for cell in line.cells if cell.verdict]
    counts = [f"{name.replace('_', ' ')} {verdicts.count(name)}" for name in dict.fromkeys(sorted(verdicts))]
    if set(verdicts) - {"not_run", "not_comparable"}:
        remarks.append(f"Against the paper, with a tolerance of {tolerance(number)}: {', '.join(counts)}.")
    seen = set()
    for column, groups in zip(columns(number), found, strict=True):
        group = [record for records_of_model in groups.values() for record in records_of_model]
        place = f"{column.task_id}/{column.dataset_id}"
        if group and place not in seen:
            seen.add(place)
            profile, settings, data, split = (text[:_HASH_DIGITS] for text in _provenance(groups))
            seeds = ", ".join(str(seed) for seed in sorted({record.cell.seed for record in group}))
            remarks.append(
                f"{place}: profile {profile}, settings {settings}, data {data}, split {split}, seeds {seeds}."
            )
            warnings = dict.fromkeys(warning for record in group for warning in record.warnings)
            remarks.extend(f"{place}: {warning}." for warning in warnings)
    filled = {_kind(task) for task, _ in (place.split("/") for place in seen)}
    if "retrieval" in filled:
        remarks.append(_DIRECTIONS)
    remarks.extend(text for task, text in _MAJORITIES.items() if task in filled)
    asked = [place for place, column in enumerate(columns(number)) if _kind(column.task_id) == "vqa"]
    remarks.extend(mean_remarks(lines, asked, "six VQA tasks"))
    remarks.extend(text_side_remarks(found))
    strangers = sorted({record.cell.model for record in records} - set(names))
    if strangers:
        remarks.append(f"Records of models without a row are left out: {', '.join(strangers)}.")
    return remarks
