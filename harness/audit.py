"""Verifying and auditing data sets: what `harness data verify` and `harness data audit` find out, without printing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from foundation.errors import BenchError, CellError, CheckError, MissingError, UsageError
from foundation.names import unknown_name
from foundation.progress import Progress, silent
from harness.options import machine_share
from harness.request import RunRequest
from harness.sources import data_source
from tasks.catalog import DATASETS, TASKS
from tasks.datasets import DatasetIndex, read_index
from tasks.datasets.division import divide
from tasks.datasets.verify import Verification, verify
from tasks.protocol import load_profile
from tasks.splits import Split

if TYPE_CHECKING:
    from tasks.datasets.audit import Audit


def read(request: RunRequest, dataset: str, progress: Progress = silent) -> DatasetIndex:
    """The data set as a run of this request would read it; a synthetic one is rendered where it is missing."""
    source = data_source(request, dataset, build_world=True, progress=progress)
    assert source is not None  # it was rendered
    return read_index(source, request.data_options(dataset), progress)


class Missing(NamedTuple):
    """A data set that cannot be read."""

    dataset: str
    error: BenchError


def chosen_datasets(name: str) -> list[str]:
    """`all` or one data set."""
    if name == "all":
        return list(DATASETS)
    if name not in DATASETS:
        raise unknown_name("data set", name, ["all", *DATASETS], see="harness data status")
    return [name]


def verify_all(
    datasets: Sequence[str], request: RunRequest, progress: Progress = silent
) -> tuple[list[Verification], list[Missing]]:
    """Examines data sets, to be read with bad files allowed; those that are not there or cannot be listed are named."""
    found, missing = [], []
    for dataset in datasets:
        try:
            index = read(request, dataset, progress)
        except UsageError:
            raise
        except BenchError as error:
            missing.append(Missing(dataset, error))
            continue
        found.append(verify(index, _parts(index, request)))
    return found, missing


def _ratio(request: RunRequest) -> tuple[int, int]:
    return load_profile(request.profile).split.ratio


def _parts(index: DatasetIndex, request: RunRequest) -> Split | BenchError:
    try:
        return divide(index, ratio=_ratio(request))
    except MissingError as error:
        return error


@dataclass(frozen=True)
class Audited:
    """An audit and what a disjoint split would be."""

    index: DatasetIndex
    audit: Audit
    ratio: tuple[int, int]
    """Training to test part, of the profile."""


def audit_dataset(dataset: str, request: RunRequest, progress: Progress = silent) -> Audited:
    """Looks for what the training part has in common with the test part."""
    from tasks.datasets.audit import audit

    index = read(request, dataset, progress)
    ratio = _ratio(request)
    return Audited(index, audit(index, divide(index, ratio=ratio), progress=progress), ratio)


class Emitted(NamedTuple):
    """A disjoint split that was written."""

    files: tuple[Path, ...]
    usual: Split
    split: Split
    units: int
    lacking: tuple[str, ...]
    """Classes that one part alone has."""


def emit_split(audited: Audited, kinds: Sequence[str], path: Path) -> Emitted:
    """Writes a split that no link of these kinds crosses."""
    index, links = audited.index, audited.audit.links
    from tasks.datasets.audit import classes_left_out, disjoint, split_reasons
    from tasks.datasets.split_files import write_split_file

    if path.suffix != ".json":
        raise UsageError(f"not a JSON file: {path.name}", way_out="name it --emit split.json; two lists lie beside it")
    joined, parts = disjoint(index, links, kinds, ratio=audited.ratio)
    reasons = split_reasons(joined, links, kinds)
    files = write_split_file(path, index.dataset, index.data_hash, parts, reasons)
    return Emitted(files, audited.audit.split, parts, reasons["units"], tuple(classes_left_out(index, parts)))


class ScoreDifference(NamedTuple):
    """The headline metric of one model under two splits of one data set."""

    model: str
    task: str
    metric: str
    usual: float
    usual_interval: tuple[float, float] | None
    disjoint: float
    disjoint_interval: tuple[float, float] | None
    difference: float
    """Disjoint minus usual."""
    low: float | None
    high: float | None
    """95 % interval of the difference; the test images are others, so the two are independent."""


class Trial(NamedTuple):
    """How models are run to see what a split makes of their score."""

    models: str
    out: Path
    """A store of its own: records of two splits do not belong into one table."""
    jobs: int
    limit: int | None = None
    weights_root: Path | None = None


def score_differences(
    dataset: str, request: RunRequest, trial: Trial, split_file: Path, *, quiet: bool = False
) -> list[ScoreDifference]:
    """Runs models with the usual split and with the one of a file, on the data of a request and with its profile."""
    usual = _scores(dataset, request, trial, {}, quiet)
    other = _scores(dataset, request, trial, {"split_file": {dataset: str(split_file.resolve())}}, quiet)
    return [
        compared(model, task, usual[model, task], other[model, task]) for model, task in usual if (model, task) in other
    ]


def _scores(
    dataset: str, request: RunRequest, trial: Trial, more: dict[str, dict[str, str]], quiet: bool
) -> dict[tuple[str, str], tuple[str, Any]]:
    """(model, task) to its headline metric."""
    from harness.execute import execute
    from results.store import Store

    jobs, threads = machine_share(trial.jobs, 0, request.profile)
    asked = request.model_copy(
        update={
            "models": trial.models,
            "tasks": dataset,
            "weights_root": trial.weights_root,
            "out": trial.out,
            "data_choices": {**request.data_choices, **more},
            "allow_bad": False,
            "limit": trial.limit,
            "jobs": jobs,
            "threads": threads,
        }
    )
    outcome = execute(asked, quiet=quiet)
    if outcome.failures:
        failure = outcome.failures[0]
        raise CellError(failure.what, where=str(failure.cell), way_out=failure.way_out)
    store = Store(trial.out)
    found = {}
    for planned in outcome.plan.cells:
        record = store.read(planned.cell, planned.key) if planned.key else None
        if record is not None:
            name = next(iter(TASKS[planned.cell.task].metrics))
            found[planned.cell.model, planned.cell.task] = (name, record.metrics[name])
    if not found:
        reason = next((cell.reason for cell in outcome.plan.cells if cell.reason), "no task of it is built")
        raise MissingError(f"{dataset}: nothing can be run: {reason}", way_out="see harness plan")
    return found


def compared(model: str, task: str, usual: tuple[str, Any], other: tuple[str, Any]) -> ScoreDifference:
    """The difference of two independent metrics; its interval squares and adds the distances to their ends."""
    name, first = usual
    second = other[1]
    if first.value is None or second.value is None:
        raise CheckError(
            f"{name} of {model} is undefined: {first.reason or second.reason}", way_out="choose another data set"
        )
    difference = second.value - first.value
    low = high = None
    if first.low is not None and second.low is not None:
        low = difference - math.hypot(second.value - second.low, first.high - first.value)
        high = difference + math.hypot(second.high - second.value, first.value - first.low)
    return ScoreDifference(
        model=model,
        task=task,
        metric=name,
        usual=first.value,
        usual_interval=None if first.low is None else (first.low, first.high),
        disjoint=second.value,
        disjoint_interval=None if second.low is None else (second.low, second.high),
        difference=difference,
        low=low,
        high=high,
    )
