"""Pre-training of KLIP from a corpus to the last version of its texts, resumable at every point (sections 6.1 and 7).

What is done already is found where it lies: epochs in the newest checkpoint, scores in the audit log of their pass,
versions in the store. So a run that was killed goes through its time line from the front and skips what is there.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from foundation.errors import CheckError, UsageError
from foundation.hashing import hash_value
from foundation.progress import Progress, silent
from klip.machine import machine
from klip.model.pretrainer import Pretrainer
from klip.model.queue import effective_size
from klip.pretrain.objective import KlipObjective, Texts, trained_rows
from klip.pretrain.prepare import Prepared, Source, prepare
from klip.pretrain.timeline import Rewrite, Screen, Train, stage_ends, timeline
from klip.run_record import RunRecord
from klip.settings import PretrainingSettings, as_data, flat
from klip.training.checkpoint import latest, module_digest
from klip.training.distributed import World, join_world
from klip.training.engine import StoppedError, Training, TrainingPlan, run_folder
from klip.training.log import read_log
from klip.training.optimiser import OptimiserPlan
from klip.training.schedule import EpochDecay, scaled_rate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from klip.scio.score import Bank

KIND = "klip"
"""What the checkpoints of a pre-training call themselves."""


@dataclass(frozen=True)
class Request:
    """One pre-training."""

    source: Source
    settings: PretrainingSettings
    out: Path
    device: str = "auto"
    world: World | None = None
    """Processes that were joined already."""
    say: Callable[[str], None] = field(default=lambda _line: None)
    """Told what is planned and what was found, in lines."""
    progress: Progress = silent


@dataclass
class _Run:
    """What the steps of a time line share."""

    request: Request
    world: World
    prepared: Prepared
    objective: KlipObjective
    training: Training
    record: RunRecord
    versions: dict[int, int] = field(default_factory=lambda: {0: 0})
    """Version of the time line to version of the store."""

    @property
    def settings(self) -> PretrainingSettings:
        return self.request.settings


def pretrain(request: Request) -> dict[str, Any]:
    """Trains to the end, from wherever the run folder stands; gives the summary that `run.json` holds."""
    _require_offered(request.settings)
    world = request.world or join_world(request.device)
    with run_folder(request.out, world):
        prepared = prepare(request.source, request.out, request.settings, world, request.progress)
        run = _begin(request, world, prepared)
        try:
            for step in timeline(request.settings):
                _do(run, step)
                run.record.save()
        finally:
            run.training.close()
            run.record.save()
        summary = _summary(run)
        run.record.save(status="finished", summary=summary)
        world.barrier()
        return summary


def plan_of(settings: PretrainingSettings, prepared: Prepared, world: World, batches_per_epoch: int) -> TrainingPlan:
    """How the loop trains KLIP under these settings."""
    optim = settings.optim
    steps = -(-batches_per_epoch // optim.accumulate)
    peak = scaled_rate(optim.lr, optim.lr_scale, settings.batch_size_per_device * world.size * optim.accumulate)
    vocabulary = prepared.store.vocabulary
    data = {"corpus": prepared.corpus.digest, "vocabulary": vocabulary.digest, "images": len(prepared.corpus)}
    return TrainingPlan(
        configuration={**dict(flat(settings)), **data},
        seed=settings.seed,
        epochs=settings.epochs,
        schedule=EpochDecay(
            peak=peak,
            warmup_rate=optim.warmup_lr,
            # Section 7.2: `auto` is 3000 steps, but no more than an epoch.
            warmup_steps=min(3000, steps) if optim.warmup_steps == "auto" else optim.warmup_steps,
            decay=optim.decay,
            floor=optim.min_lr,
        ),
        optimiser=OptimiserPlan(weight_decay=optim.wd, exclude=optim.wd_exclude, clip_norm=optim.clip_norm),
        accumulate=optim.accumulate,
        precision=settings.precision,
        about={
            "kind": KIND,
            "settings": as_data(settings),
            "pieces": list(vocabulary.pieces),
            "mean": list(prepared.images.mean),
            "std": list(prepared.images.std),
            **data,
        },
        log_every=settings.log_every,
        save_minutes=settings.save_minutes,
        checkpoints=settings.checkpoints,
        kept_epochs=stage_ends(settings),
        tensorboard=settings.tensorboard,
        check_every=settings.debug.queue_check_every if world.size > 1 else 0,
    )


def _begin(request: Request, world: World, prepared: Prepared) -> _Run:
    settings, vocabulary = request.settings, prepared.store.vocabulary
    batch = settings.batch_size_per_device * world.size
    images = len(trained_rows(prepared.images.image_id, settings))
    queue = effective_size(settings.queue.size, images, batch)
    module = Pretrainer(settings, vocabulary.size, vocabulary.specials, queue_size=queue)
    texts = prepared.stage_texts(0, None, settings)
    objective = KlipObjective(module, prepared.images, texts, settings, world)
    plan = plan_of(settings, prepared, world, objective.batches_per_epoch)
    training = Training(objective, plan, request.out, world, progress=request.progress)
    record = RunRecord(
        request.out,
        {
            "kind": KIND,
            "status": "running",
            "settings": as_data(settings),
            "corpus": str(request.source.corpus),
            "hashes": {
                "corpus": prepared.corpus.digest,
                "vocabulary": vocabulary.digest,
                "settings": hash_value(as_data(settings)),
            },
            "machine": machine(world.device),
            "processes": world.size,
            "precision": training.precision,
        },
        write=world.first,
    )
    run = _Run(request, world, prepared, objective, training, record)
    if world.first:
        for line in _plan_lines(run, queue):
            request.say(line)
    return run


def _do(run: _Run, step: Train | Screen | Rewrite) -> None:
    place = run.training.place
    if isinstance(step, Train):
        if place.epoch < step.epochs.stop:
            _train(run, step)
    elif isinstance(step, Rewrite):
        # Whether it is due or done, the stages behind it must know the version that it made.
        run.versions[step.version + 1] = _rewrite(run, step)
    elif (place.epoch, place.batch) == (step.epoch, 0):
        with _stoppable(run):
            _screen(run, step)


def _train(run: _Run, step: Train) -> None:
    place, settings = run.training.place, run.settings
    if (place.epoch, place.batch) == (step.epochs.start, 0):
        run.objective.forget_stage()
    drops = step.stage == 1 or settings.text.dropout_stages == "all"
    dropout = settings.text.segment_dropout if drops else 0.0
    run.objective.begin_stage(_stage_texts(run, step), segment_dropout=dropout)
    restart = settings.optim.restart_each_stage and step.opens_stage
    run.training.run(step.epochs, restart_schedule=restart)


def _stage_texts(run: _Run, step: Train) -> Texts:
    """The texts of a stage; noise is what its pass found, less what a version since then has mended."""
    store, version = run.prepared.store, run.versions[step.version]
    noise: NDArray[np.bool_] | None = None
    if step.pool is not None:
        pool = store.pool(step.pool)
        noise = pool.noise.copy()
        if version != pool.version:
            rows = {image_id: row for row, image_id in enumerate(store.ids)}
            for change in store.changes(version):
                if change.status in ("replaced", "dropped"):
                    noise[rows[change.image_id], change.slot] = False
    return run.prepared.stage_texts(version, noise, run.settings)


def _screen(run: _Run, step: Screen) -> None:
    """A pass over all texts, its noise pool, and a line of the log."""
    from klip.scio.passes import screen

    version = run.versions[step.version]
    found = screen(
        run.objective.module.online,
        run.prepared.material(version),
        run.settings,
        run.request.out,
        pass_id=step.pass_id,
        world=run.world,
        queue=_queue_bank(run),
        progress=run.request.progress,
    )
    if run.world.first:
        run.prepared.store.save_pool(step.pass_id, found.noise, version=version)
        run.training.log.event(step.pass_id, run.training.place.step, found.summary)
        run.request.say(_screen_line(step, found.summary))
        for warning in found.warnings:
            run.request.say(f"  warning: {warning}")
    run.world.barrier()


def _rewrite(run: _Run, step: Rewrite) -> int:
    """The version of the store that a rewriting made, which is made now where it is not there."""
    store = run.prepared.store
    for version in store.versions():
        if store.manifest(version).provenance.get("pass_id") == step.pass_id:
            return version
    place = run.training.place
    if (place.epoch, place.batch) != (step.epoch, 0):
        if place.epoch < step.epoch:
            return -1  # not reached yet; nothing behind it runs before it is
        raise CheckError(
            f"the store has lost the version that pass {step.pass_id} made",
            where=str(store.folder),
            way_out="restore the store folder, or start anew in another --out folder",
        )
    with _stoppable(run):
        return _written(run, step)


def _written(run: _Run, step: Rewrite) -> int:
    from klip.scio.reconstruction import reconstruct

    module = run.objective.module
    found = reconstruct(
        module.online,
        run.prepared.material(run.versions[step.version]),
        run.settings,
        run.request.out,
        run.prepared.store,
        pass_id=step.pass_id,
        noise=run.prepared.store.load_pool(step.pass_id),
        world=run.world,
        queue=_queue_bank(run),
        progress=run.request.progress,
    )
    if run.world.first:
        run.training.log.event(f"rewritten {step.pass_id}", run.training.place.step, found.summary)
        words = ", ".join(f"{found.summary[name]} {name}" for name in ("gaps", "replaced", "dropped"))
        run.request.say(f"{step.pass_id}: version {found.version} of the texts ({words})")
    return found.version


def _queue_bank(run: _Run) -> Bank | None:
    """The negatives of `scio.negatives=queue`."""
    from klip.scio.score import bank_of_queue

    return bank_of_queue(run.objective.module.queue) if run.settings.scio.negatives == "queue" else None


@contextmanager
def _stoppable(run: _Run) -> Iterator[None]:
    """SIGTERM inside a pass: what is finished lies in its log, so there is nothing to save."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise StoppedError(
            "stopped by a signal inside a pass over the texts; what is finished is kept",
            where=str(run.request.out),
            way_out="run the same command again to go on",
        )

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _require_offered(settings: PretrainingSettings) -> None:
    if settings.scio.enabled and settings.scio.crossfit > 1:
        raise UsageError(
            "training several models on parts of the corpus (scio.crossfit) is not offered",
            way_out="use scio.crossfit=1; two runs with --texts on halves of the corpus do the same by hand",
        )


def _device_name(world: World) -> str:
    return torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "cpu"


def _plan_lines(run: _Run, queue: int) -> list[str]:
    """What will be done, before it is."""
    settings, training, world = run.settings, run.training, run.world
    online = run.objective.module.online
    trained = sum(parameter.numel() for parameter in online.parameters() if parameter.requires_grad)
    images = len(run.prepared.corpus)
    held_out = images - len(trained_rows(run.prepared.images.image_id, settings))
    lines = [
        f"corpus: {images} images with texts, {held_out} of them held out, "
        f"vocabulary of {run.prepared.store.vocabulary.size} pieces",
        f"model: {settings.model.size}, {trained / 1e6:.1f} M parameters to train, queue of {queue}",
        f"device: {_device_name(world)}, {world.size} process(es), precision {training.precision}",
        f"steps: {training.steps_per_epoch} per epoch, {training.total_steps} in {settings.epochs} epochs, "
        f"{settings.batch_size_per_device * world.size * settings.optim.accumulate} images each",
    ]
    if queue < settings.queue.size:
        lines.append(f"note: the queue is cut from {settings.queue.size} to {queue}, the corpus has no more images")
    lines += [f"note: {warning}" for warning in run.prepared.store.warnings]
    for step in timeline(settings):
        lines.append(f"  {_words(step)}")
    if training.resumed is not None:
        place = training.place
        lines.append(f"going on from epoch {place.epoch + 1}, step {place.step} ({training.resumed.name})")
    return lines


def _words(step: Train | Screen | Rewrite) -> str:
    if isinstance(step, Train):
        stage = f", stage {step.stage}" if step.stage else ""
        noise = "" if step.pool is None else f", noise of {step.pool} left out of infilling"
        first, last = step.epochs.start + 1, step.epochs.stop
        which = f"epochs {first} to {last}" if last > first else f"epoch {first}"
        return f"{which}{stage}: texts of version {step.version}{noise}"
    if isinstance(step, Screen):
        return f"{step.pass_id}: screen version {step.version}{', for the report' if step.closing else ''}"
    return f"{step.pass_id}: {'rebuild' if step.reconstruct else 'drop'} what is noise, as version {step.version + 1}"


def _screen_line(step: Screen, summary: dict[str, Any]) -> str:
    if summary["skipped"]:
        return f"{step.pass_id}: skipped, the model cannot match yet (scio.strict)"
    return (
        f"{step.pass_id}: {summary['noise']} of {summary['segments']} segments are noise "
        f"({summary['flag_rate']:.1%}), in {summary['texts_with_noise']} texts"
    )


def _summary(run: _Run) -> dict[str, Any]:
    """What came out."""
    lines = [line for line in read_log(run.request.out) if "loss" in line]
    store = run.prepared.store
    versions = [
        {"version": version, "segments": store.manifest(version).counts, **_truth(run, version)}
        for version in store.versions()
    ]
    measured = {} if not lines else {name: lines[-1][name] for name in lines[-1] if name not in ("step", "epoch")}
    return {
        "epochs": run.training.place.epoch,
        "steps": run.training.place.step,
        "last": measured,
        "versions": versions,
        "events": [line for line in read_log(run.request.out) if "event" in line],
        "seconds": round(run.record.seconds, 1),
        "checkpoint": module_digest(run.objective.module.online),
        "checkpoint_file": str(latest(run.request.out)),
    }


def _truth(run: _Run, version: int) -> dict[str, Any]:
    truth = run.prepared.store.truth(version)
    return {} if truth is None else {"share_correct": truth.share_correct}
