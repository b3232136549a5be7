"""The parts that the page of every cell has, whatever its task: scores, data, model, settings, training, warnings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from results.compare import NOTE, difference, judge, reported_number
from results.figures.charts import Line, Range, line_chart
from results.figures.figure import Figure
from results.pages.html import Markup, facts, items, join, section, table, tag
from results.record import Metric, Record
from results.reported import Column, columns, tolerance
from results.rows import TableRow, rounded, summarise

_TABLES = (4, 6)
"""Tables of the paper with numbers of cells."""

_MAJORITIES = {
    "detection": "a threshold detector, fitted on the training part",
    "segmentation": "the most common training class everywhere",
    "retrieval": "chance, which is exact: nothing is most common",
    "caption": "the most frequent training caption for every image",
    "vqa": "the most common training answer; accuracy_question_only is the best answer without any image, "
    "accuracy_other_image the model's own with another image in the place of the right one",
}
"""By the kind of task (section 11.8 of the task specification)."""


def number(value: float | None, reason: str = "") -> str:
    """Two decimals, or a dash; the reason stands elsewhere."""
    return str(rounded(value)) if value is not None else ("–" if not reason else f"– ({reason})")


def interval(metric: Metric) -> str:
    """The ends of the 95 % interval, empty without one."""
    if metric.low is None or metric.high is None:
        return ""
    return f"{rounded(metric.low)} to {rounded(metric.high)}"


def scores(record: Record, row: TableRow) -> Markup:
    """Every metric with its interval and baselines, and the paper's number beside it."""
    lines = []
    for name in metric_names([record]):
        metric = record.metrics[name]
        printed = ["", "", ""]
        for table_number, column in _columns_of(record, name):
            reported = reported_number(table_number, row, column)
            if reported is not None:
                summary = summarise(column, [record])
                verdict, why = judge(summary, reported, tolerance(table_number))
                off = difference(summary.value, reported)
                gap = "" if off is None else f"{rounded(off):+}"
                printed = [str(reported), gap, verdict.replace("_", " ") + (f": {why}" if why else "")]
        unit = " %" if metric.unit == "percent" else ""
        lines.append(
            (
                f"{name}{unit}",
                tag("strong", number(metric.value)) if metric.value is not None else number(None, metric.reason),
                interval(metric),
                number(record.baselines.chance.get(name)),
                number(record.baselines.majority.get(name)),
                *printed,
                "; ".join(text for text in (metric.interval, f"n = {metric.n}" if metric.n else "") if text),
                metric.reason if metric.value is not None else "",
            )
        )
    heads = (
        *("metric", "value", "95 % interval", "chance", "majority"),
        *("paper", "difference", "verdict", "interval by", "to mind"),
    )
    kept = [place for place in range(len(heads)) if place < 5 or any(line[place] for line in lines)]
    shown = [[line[place] for place in kept] for line in lines]
    remarks = [NOTE] if any(line[5] for line in lines) else []
    if text := _MAJORITIES.get(record.cell.task.partition("_")[0]):
        remarks.append(f"What stands under majority is {text}.")
    return section(
        "Scores",
        table([heads[place] for place in kept], shown, "Scores on the test part"),
        *(tag("p", remark) for remark in remarks),
    )


def metric_names(records: Sequence[Record]) -> list[str]:
    """The metrics of records of one column of cells: those of the paper's table first, in its order."""
    found = dict.fromkeys(name for record in records for name in record.metrics)
    cell = records[0].cell
    wanted = [
        column.metric_id
        for table_number in _TABLES
        for column in columns(table_number)
        if (column.task_id, column.dataset_id) == (cell.task, cell.dataset)
    ]
    places = {name: place for place, name in enumerate([*wanted, *(f"{name}_eq" for name in wanted)])}
    return sorted(found, key=lambda name: places.get(name, len(places)))


def in_order(names: Iterable[str], classes: Sequence[str]) -> list[str]:
    """Names of classes in the order of their labels, which a stored record does not keep."""
    places = {name: place for place, name in enumerate(classes)}
    return sorted(names, key=lambda name: places.get(name, len(places)))


def warnings(record: Record) -> Markup:
    """What a reader should know, before anything else; nothing if there is nothing."""
    texts = [*record.warnings, *record.score_warnings]
    texts += [f"not as the profile says: {text}" for text in record.deviations]
    return section("To mind", items(texts)) if texts else Markup("")


def provenance(record: Record) -> Markup:
    """Data, split, model, code: everything that makes the number."""
    data, model, code = record.data, record.model, record.code
    counts = [
        (name, data.train_counts[place], data.test_counts[place])
        for place, name in enumerate(data.classes)
        if place < min(len(data.train_counts), len(data.test_counts))
    ]
    data_facts = facts(
        (
            ("data set", data.dataset),
            ("kind", f"synthetic: {data.world}" if data.synthetic else "real"),
            ("images to train with", data.train_items),
            ("images scored", data.test_items),
            ("label map", data.label_map),
            ("limited to", data.limit),
            ("destroyed on purpose", data.twin if data.twin != "none" else ""),
            ("classes dropped", ", ".join(data.dropped_classes)),
            ("exact duplicates across the parts", data.exact_duplicates_across),
            ("near duplicates across the parts", data.near_duplicates_across),
            ("hash of the data", data.data_hash),
            ("hash of the split", data.split_hash),
        ),
        "Data and split",
    )
    bad = [tag("h3", "Files left out"), items(data.bad_files)] if data.bad_files else []
    model_facts = facts(
        (
            ("model", f"{model.name} ({model.model})"),
            ("comparison group", model.backbone),
            ("weights", model.weights_kind),
            ("hash of the weights", model.weights_hash),
            ("load mode", model.load_mode),
            ("trainable parameters", f"{model.parameters:,}".replace(",", " ") if model.parameters else None),
            *(_flat("architecture", model.architecture)),
            *(_flat("input", model.input)),
        ),
        "Model",
    )
    return join(
        (
            section(
                "Data",
                data_facts,
                table(("class", "training part", "test part"), counts, "What each part holds of each class")
                if counts
                else None,
                *bad,
            ),
            section("Model", model_facts, _load_report(model.load_report)),
            section(
                "Settings",
                facts(_flat("", record.settings), f"Settings of profile {record.cell.profile}"),
                facts(
                    (
                        ("number format", record.precision),
                        ("version", code.version),
                        ("commit", code.commit),
                        ("Python", code.python),
                        *sorted(code.dependencies.items()),
                        ("key of this cell", record.key),
                    ),
                    "Code and libraries",
                ),
            ),
        )
    )


def loss_chart(record: Record) -> Figure | None:
    """The training loss per epoch."""
    losses = [float(value) for value in record.details.get("losses", ()) if value is not None]
    if not losses:
        return None
    epochs = list(range(1, len(losses) + 1))
    alt = f"Training loss over {len(losses)} epochs: from {losses[0]:.4g} to {losses[-1]:.4g}."
    top = max(losses)
    return line_chart(
        "losses",
        alt,
        [Line("training loss", epochs, losses)],
        Range(1, max(2, len(losses)), "epoch"),
        Range(min(0.0, *losses), top * 1.05 if top > 0 else 1.0, "loss"),
    )


def _columns_of(record: Record, metric: str) -> Iterator[tuple[int, Column]]:
    for table_number in _TABLES:
        for column in columns(table_number):
            if (column.task_id, column.dataset_id, column.metric_id) == (record.cell.task, record.cell.dataset, metric):
                yield table_number, column


def _load_report(report: dict[str, Any]) -> Markup:
    if not report:
        return tag("p", "No weights were loaded.")
    rows = []
    for name, value in report.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            shown = [str(entry) for entry in value]
            text = f"{len(shown)}" + (f": {', '.join(shown[:8])}" + (" ..." if len(shown) > 8 else "") if shown else "")
        else:
            text = str(value)
        rows.append((name, text))
    return facts(rows, "Loading the weights: what matched and what did not")


def _flat(lead: str, values: dict[str, Any]) -> list[tuple[str, object]]:
    """Nested settings as one list of names with dots."""
    found: list[tuple[str, object]] = []
    for name, value in values.items():
        whole = f"{lead}.{name}" if lead else name
        if isinstance(value, dict):
            found += _flat(whole, value)
        elif value is not None:
            found.append((whole, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)))
    return found
