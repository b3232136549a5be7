"""Computes one cell: data, model, fit, predictions, score, record. Runs in a worker; imports torch only when called."""

from __future__ import annotations

import json
import platform
import resource
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from foundation.errors import CellError, CheckError, MissingError
from foundation.files import pretty_json, write_bytes
from foundation.hashing import hash_bytes
from foundation.progress import Progress, silent
from harness.keys import scoring_hash, settings_hash
from harness.plan import PlannedCell, is_stale, prepare, text_start_of
from harness.provenance import code_provenance
from harness.request import RunRequest
from results.record import DataProvenance, Execution, FileReference, ModelProvenance, Record
from results.store import CHECKPOINT, PREDICTIONS, Store, truth_name
from tasks.datasets.index import duplicates_across
from tasks.protocol import TaskSettings, common_settings, deviations_by_hand
from tasks.registry import Task, get_task
from tasks.scoring import rescored
from tasks.task import Outcome, TaskData

if TYPE_CHECKING:
    import torch

    from adapters.interface import LoadedModel


@dataclass(frozen=True)
class Job:
    """One cell to compute and the circumstances that do not change its numbers."""

    planned: PlannedCell
    request: RunRequest


def compute(job: Job, progress: Progress = silent) -> Record:
    """Computes a cell and commits its record; a cell that another process is computing is refused."""
    store = Store(job.request.out)
    planned = job.planned
    folder = store.folder(planned.cell, planned.key)
    with store.lock(planned.cell, planned.key, wait=False) as held:
        if not held:
            raise BusyError(
                "another process is computing this cell",
                where=str(folder),
                way_out="wait for it, or end it, then run again",
            )
        there = _stored(store, planned)
        if there is not None:
            # Another run finished it meanwhile, or only the scoring code has changed since.
            record = rescore(store, there) if is_stale(there) else there
            if record is not there:
                store.write(record)
            return record
        record = _compute(job, store, folder, progress)
        store.write(record)
        return record


class BusyError(CellError):
    """Somebody else is computing this cell: no failure of the cell."""


def _stored(store: Store, planned: PlannedCell) -> Record | None:
    try:
        return store.read(planned.cell, planned.key)
    except CheckError:  # damaged: it is computed anew
        return None


def rescore(store: Store, record: Record) -> Record:
    """The record as the scoring code of now sees its stored predictions."""
    again = rescored(record, store.folder(record.cell, record.key), store.root)
    code = record.code.model_copy(update={"scoring": scoring_hash(record.cell.task)})
    return again.model_copy(update={"code": code})


def _compute(job: Job, store: Store, folder: Path, progress: Progress) -> Record:
    from adapters.load import load

    planned, request = job.planned, job.request
    assert planned.source is not None and planned.settings is not None
    task = get_task(planned.cell.task, request.implementation)
    started, clock = _now(), time.perf_counter()
    progress(0, 1, "reading data")
    data = prepare(request, task.id, planned.source)
    if data.index.data_hash != planned.key_parts["data"]:
        raise CellError("the data changed while the run was going on", where=str(data.index.root), way_out="run again")
    text_start = _text_start(planned, request)
    settings, deviations = _fitted(planned)
    device = choose_device(request.device)
    progress(0, 1, "loading the model")
    loaded = load(
        planned.card,
        image_size=settings.input_size,
        seed=planned.cell.seed,
        weights_root=request.weights_root,
        dropout=settings.encoder.dropout,
        drop_path=settings.encoder.drop_path,
        mode=planned.load_mode,
    )
    if planned.weights_hash is not None and loaded.weights_hash != planned.weights_hash:
        raise CellError(
            "the weight file changed while the run was going on", where=planned.cell.model, way_out="run again"
        )
    outcome = task.fit_and_predict(
        loaded,
        data,
        settings,
        seed=planned.cell.seed,
        twin=request.twin,
        device=device,
        checkpoint=folder / CHECKPOINT,
        key=f"{planned.key} on {device.type}",  # a checkpoint of another device is another training
        progress=progress,
    )
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in outcome.predictions)
    write_bytes(folder / PREDICTIONS, lines)
    truth = task.truth_of(data)
    provenance = _data_provenance(data, request)
    truth_file = write_truth(store, data, provenance, truth)
    scored = task.score(outcome.predictions, truth)
    return Record(
        key=planned.key,
        key_parts=planned.key_parts,
        cell=planned.cell,
        metrics=scored["metrics"],
        baselines=scored["baselines"],
        details={**scored["details"], "losses": outcome.losses},
        settings=planned.settings.model_dump(mode="json"),
        precision=outcome.precision,
        settings_hash=settings_hash(planned.settings),
        common_settings_hash=settings_hash(common_settings(planned.cell.profile, planned.cell.task, request.by_hand)),
        data=provenance,
        model=_model_provenance(planned, loaded, outcome, text_start),
        code=code_provenance(task.id, task.implementation),
        implementation=_implementation(task),
        predictions=FileReference(name=PREDICTIONS, sha256=hash_bytes(lines)),
        truth=truth_file,
        warnings=_data_warnings(data, provenance.exact_duplicates_across or 0),
        deviations=(*deviations_by_hand(task.id, request.by_hand), *deviations),
        score_warnings=tuple(scored["warnings"]),
        execution=Execution(
            started=started,
            finished=_now(),
            seconds=round(time.perf_counter() - clock + outcome.earlier_seconds, 3),
            resumed_from_epoch=outcome.resumed_from_epoch,
            device=_device_name(device),
            threads=request.threads,
            platform=f"{platform.system()} {platform.machine()}",
            peak_memory_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            notes=tuple(outcome.warnings),
        ),
    )


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of a request; asking for a GPU that is not there is an error."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise MissingError("no GPU is available to torch", way_out="leave --device out, or use --device cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def write_truth(store: Store, data: TaskData, provenance: DataProvenance, truth: dict[str, Any]) -> FileReference:
    """Writes the split lists and the truth once per data set, split and content."""
    content = pretty_json(truth)
    name = truth_name(provenance, hash_bytes(content))
    target = store.root / name
    with store.shared("splits"):
        if not target.exists() or target.read_bytes() != content:
            for part, images in (("train", data.split.train), ("test", data.split.test)):
                write_bytes(target.parent / f"{part}.txt", "".join(f"{image}\n" for image in images).encode())
            write_bytes(target, content)
    return FileReference(name=name, sha256=hash_bytes(content))


def fitting_size(size: int, patch: int) -> int:
    """The largest multiple of the patch that is not above the size (at least one patch)."""
    return size if patch <= 1 else max(patch, size // patch * patch)


def _fitted(planned: PlannedCell) -> tuple[TaskSettings, tuple[str, ...]]:
    settings = planned.settings
    assert settings is not None
    patch = planned.card.architecture.patch if planned.card.architecture else 0
    size = fitting_size(settings.input_size, patch)
    if size == settings.input_size:
        return settings, ()
    note = f"input {size} x {size} instead of {settings.input_size}: the patch is {patch}"
    return settings.resized(size), (note,)


def _data_provenance(data: TaskData, request: RunRequest) -> DataProvenance:
    exact, near = duplicates_across(data.index, data.split.train, data.split.test)
    return DataProvenance(
        dataset=data.index.dataset,
        synthetic=data.index.synthetic,
        world=data.index.world,
        data_hash=data.index.data_hash,
        split_hash=data.split.hash,
        label_map=data.index.label_map,
        choices=dict(data.index.choices),
        limit=request.limit if data.cut else None,
        twin=request.twin,
        classes=data.classes,
        train_items=len(data.split.train),
        test_items=len(data.split.test),
        train_counts=data.counts("train"),
        test_counts=data.counts("test"),
        dropped_classes=data.dropped_classes,
        bad_files=tuple(f"{bad.path}: {bad.reason}" for bad in data.index.bad),
        exact_duplicates_across=exact,
        near_duplicates_across=near,
    )


def _text_start(planned: PlannedCell, request: RunRequest) -> str:
    """What the record says of the start of the text side; empty for a vision task."""
    assert planned.settings is not None
    origin = text_start_of(planned.card, planned.settings, request.weights_root)
    if origin is None:
        return ""
    if origin.digest != planned.key_parts["text_start"]:
        raise CellError(
            "what the text side starts from changed while the run was going on",
            where=planned.cell.model,
            way_out="run again",
        )
    return origin.name


def _model_provenance(planned: PlannedCell, loaded: LoadedModel, outcome: Outcome, text_start: str) -> ModelProvenance:
    card = planned.card
    return ModelProvenance(
        model=card.id,
        name=card.name,
        backbone=card.backbone,
        architecture=card.architecture.model_dump(mode="json") if card.architecture else {},
        input=loaded.contract.model_dump(mode="json"),
        weights_kind=card.weights.kind,
        weights_hash=loaded.weights_hash,
        load_mode=loaded.mode,
        load_report=loaded.report.as_dict(),
        parameters=outcome.parameters,
        text_start=text_start,
    )


def _data_warnings(data: TaskData, exact: int) -> tuple[str, ...]:
    found = []
    if data.index.bad:
        found.append(f"{len(data.index.bad)} unreadable images left out")
    if exact:
        found.append(f"{exact} pairs of identical images across the training and the test part")
    return (*found, *data.warnings)


def _implementation(task: Task) -> str:
    if task.implementation == "own":
        return task.implementation
    from tasks.openmmlab.installation import require_openmmlab

    return str(require_openmmlab())


def _device_name(device: torch.device) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
