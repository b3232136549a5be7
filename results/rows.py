"""From records to the value of one place in a table: grouping, refusal of mixtures, summary over seeds.

What may stand in one column is decided here and nowhere else, so that tables and comparison cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from foundation.errors import CheckError
from results.record import Metric, Record
from results.reported import Column
from results.statistics import over_seeds

_WAYS_OUT = {
    "profiles": "make one table per profile",
    "scoring code": "score the stored predictions again; nothing needs to be trained",
    "ways of computing": "score all models again on one machine",
}

_UNBOUNDED = frozenset({"cider"})
"""Metrics that the paper prints among percentages though they are 100 times a scale of 0 to 10 (section 11.4)."""


class TableRow(NamedTuple):
    """A model that is to have a row."""

    model: str
    """Model id, as in the records."""
    name: str
    """Printed name."""
    backbone: str
    """Comparison group: ViT-Base, ViT-Large, mini, control or other."""
    paper_model: str | None = None
    """Its id in `reported/models.csv`, where the paper has it."""
    state: str = ""
    """Why it cannot run here, e.g. `weights missing: ...`; empty if it can."""


class Summary(NamedTuple):
    """One metric of one model over its seeds."""

    value: float | None
    """Mean over the seeds that have a value."""
    std: float | None
    """Sample standard deviation over seeds; None for one seed."""
    low: float | None
    high: float | None
    """Hull of the seeds' intervals: covers the test items and the seeds, and is rather too wide than too narrow."""
    n: int
    """Test items."""
    seeds: tuple[int, ...]
    """Seeds that have a value."""
    reason: str
    """Why there is no value, or what to mind about it."""
    obstacles: tuple[str, ...]
    """Why the value must not be compared with the paper's; empty if it may."""


def rounded(value: float | Decimal, places: int = 2) -> Decimal:
    """Half up, from the shortest decimal that names the number: what a reader of record.json would do by hand."""
    exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    result = exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
    return abs(result) if result == 0 else result


def column_records(column: Column, records: Iterable[Record], models: Iterable[str]) -> dict[str, list[Record]]:
    """The records of each of `models` that belong in `column`, by seed; refuses what must not stand together."""
    wanted = set(models)
    found: dict[str, list[Record]] = {}
    for record in records:
        cell = record.cell
        if cell.task == column.task_id and cell.dataset == column.dataset_id and cell.model in wanted:
            found.setdefault(cell.model, []).append(record)
    for group in found.values():
        group.sort(key=lambda record: record.cell.seed)
    _refuse_mixture(column, [record for group in found.values() for record in group])
    _refuse_repetition(column, found)
    return found


def summarise(column: Column, records: Sequence[Record]) -> Summary:
    """Mean, spread and interval of one metric over the seeds of one model; `records` has at least one."""
    metrics = [(record.cell.seed, _metric(record, column)) for record in records]
    defined = [(seed, metric, metric.value) for seed, metric in metrics if metric.value is not None]
    reasons: dict[str, list[int]] = {}
    for seed, metric in metrics:
        if metric.reason:
            text = f"null: {metric.reason}" if metric.value is None else metric.reason
            reasons.setdefault(text, []).append(seed)
    reason = "; ".join(
        text if len(seeds) == len(metrics) else f"{text} (seed {', '.join(map(str, seeds))})"
        for text, seeds in reasons.items()
    )
    barred = tuple(dict.fromkeys(text for record in records for text in obstacles(record, column)))
    n = max(metric.n for _, metric in metrics)
    if not defined:
        return Summary(None, None, None, None, n, (), reason, barred)
    over = over_seeds([value for _, _, value in defined])
    ends = [(metric.low, metric.high) for _, metric, _ in defined]
    lows = [low for low, _ in ends if low is not None]
    highs = [high for _, high in ends if high is not None]
    whole = len(lows) == len(defined)  # a hull with a seed left out would pretend to cover it
    return Summary(
        value=over.mean,
        std=over.std,
        low=min(lows) if whole else None,
        high=max(highs) if whole else None,
        n=n,
        seeds=tuple(seed for seed, _, _ in defined),
        reason=reason,
        obstacles=barred,
    )


def obstacles(record: Record, column: Column) -> list[str]:
    """Why this record's number must not be compared with the paper's; empty if it may."""
    found = []
    if record.data.synthetic:
        found.append("synthetic data")
    if record.cell.profile == "mini":
        found.append("profile mini")
    if record.data.limit is not None:
        found.append(f"limited to {record.data.limit} images")
    if record.data.twin != "none":
        found.append(record.data.twin.replace("_", " "))
    if record.model.weights_kind == "random":
        found.append("random weights")
    found.extend(record.deviations)
    if variant := _metric(record, column).variant:
        found.append(variant)
    return found


def _metric(record: Record, column: Column) -> Metric:
    metric = record.metrics.get(column.metric_id)
    if metric is None:
        return Metric(value=None, reason=f"the record has no metric {column.metric_id!r}")
    bounded = column.unit.startswith("percent") and column.metric_id not in _UNBOUNDED
    if metric.value is not None and bounded and metric.unit != "percent":
        raise CheckError(
            f"column {column.paper_header!r} is in percent, the record in unit {metric.unit!r}",
            where=f"{record.cell} {column.metric_id}",
            way_out="score the cell again with a metric in percent",
        )
    return metric


def _traits(record: Record, column: Column) -> dict[str, str]:
    return {
        "profiles": record.cell.profile,
        "settings": record.common_settings_hash,
        "data": record.data.data_hash,
        "splits": record.data.split_hash,
        "twins": record.data.twin,
        "number formats": record.precision,
        "code": record.code.numerics,
        "scoring code": record.code.scoring,
        "implementations": record.implementation,
        "ways of computing": _metric(record, column).variant,
    }


def _refuse_mixture(column: Column, records: Sequence[Record]) -> None:
    traits = [_traits(record, column) for record in records]
    for trait in traits[0] if traits else ():
        _refuse(column, trait, [(found[trait], record) for found, record in zip(traits, records, strict=True)])
    # Backbones may have settings of their own (rates per layer, say), but then all of a backbone have the same.
    for backbone in sorted({record.model.backbone for record in records}):
        same = [(record.settings_hash, record) for record in records if record.model.backbone == backbone]
        _refuse(column, f"settings of {backbone}", same)


def _refuse(column: Column, trait: str, found: Sequence[tuple[str, Record]]) -> None:
    groups: dict[str, list[str]] = {}
    for value, record in found:
        groups.setdefault(value, []).append(record.cell.model)
    if len(groups) > 1:
        raise CheckError(
            f"column {column.paper_header!r} would mix {trait}: "
            + " against ".join(
                f"{value[:12] or 'the default'} ({', '.join(sorted(set(models)))})"
                for value, models in sorted(groups.items())
            ),
            where=f"{column.task_id}/{column.dataset_id}",
            way_out=_WAYS_OUT.get(trait, "run the models of one group again as the other was run"),
        )


def _refuse_repetition(column: Column, found: dict[str, list[Record]]) -> None:
    for model, group in found.items():
        weights = [(f"{record.model.weights_hash} {record.model.load_mode}", record) for record in group]
        _refuse(column, f"weights of {model}", weights)
        seeds = [record.cell.seed for record in group]
        if len(set(seeds)) < len(seeds):
            raise CheckError(
                f"column {column.paper_header!r} would count one seed of {model} twice",
                where=f"{column.task_id}/{column.dataset_id}, keys {', '.join(record.key[:12] for record in group)}",
                way_out="leave out the records that the store marks as superseded",
            )
