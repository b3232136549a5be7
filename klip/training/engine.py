"""The one training loop of this room.

Contract: an `Objective` brings a module, its batches and its loss; the loop brings it to the end of the epochs that are
asked for, from the newest checkpoint of the folder where there is one of the same configuration. On a CPU a training
that was killed at any step and resumed gives the same weights, buffers and log, bit for bit.

Trade-offs: a checkpoint lies between two steps of the optimiser and never inside one, so SIGTERM waits for the step.
Random numbers are functions of the place, so nothing of them is saved; an objective must draw them from the generators
of its `Position` (dropout is seeded by the loop).
"""

from __future__ import annotations

import copy
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from foundation.errors import BenchError, UsageError
from foundation.files import exclusive
from foundation.progress import Progress, silent
from klip.training import checkpoint as checkpoints
from klip.training.checkpoint import Checkpoint, Place
from klip.training.distributed import World, require_equal
from klip.training.log import Log, Sums
from klip.training.optimiser import OptimiserPlan, build_optimiser, set_rate
from klip.training.position import Position
from klip.training.schedule import Schedule

Precision = Literal["auto", "fp32", "bf16", "fp16"]


class Objective(Protocol):
    """What is trained."""

    @property
    def module(self) -> nn.Module:
        """Everything that is trained or remembered: twins as parameters without gradient, queues as buffers."""

    @property
    def batches_per_epoch(self) -> int:
        """Micro-batches of one process in an epoch, the same in every process."""

    @property
    def batch_size(self) -> int:
        """Images in a micro-batch of one process."""

    def batches(self, epoch: int, first: int) -> Iterator[Any]:
        """The micro-batches of an epoch from number `first` on: a pure function of the epoch."""

    def loss(self, module: nn.Module, batch: Any, position: Position) -> dict[str, Tensor]:
        """Scalars of one micro-batch; the one named `loss` is minimised, all of them are logged.

        `module` is the objective's own as the loop runs it (wrapped where there are several processes): call it once.
        Randomness comes from `position.generator(purpose)`; dropout is already seeded.
        """

    def after_step(self, position: Position) -> None:
        """After a step of the optimiser that was not skipped, e.g. momentum twins; `position.step` counts it."""

    def state(self) -> dict[str, Any]:
        """Plain data to find again in a checkpoint, beside the module."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes it back; raises where it does not fit, e.g. to another version of the texts."""


@dataclass(frozen=True)
class TrainingPlan:
    """How it is trained."""

    configuration: dict[str, Any]
    """Dotted key to plain value; a folder with other values is refused."""
    seed: int
    epochs: int
    schedule: Schedule
    optimiser: OptimiserPlan
    accumulate: int = 1
    """Micro-batches per step of the optimiser; the last step of an epoch may have fewer."""
    precision: Precision = "auto"
    about: dict[str, Any] = field(default_factory=dict)
    """Plain data that tells what is trained, for whoever reads a checkpoint: kind, settings, vocabulary."""
    log_every: int = 10
    save_minutes: float = 15.0
    checkpoints: int = 2
    kept_epochs: frozenset[int] = frozenset()
    """Ends of epochs (counted: 12 is after the twelfth) whose checkpoints stay."""
    tensorboard: bool = True
    check_every: int = 0
    """Steps between two comparisons of the buffers of all processes; 0: never."""


class StoppedError(BenchError):
    """A signal ended the training; everything is saved."""

    exit_code = 143


def resolve_precision(precision: str, device: torch.device) -> str:
    """The number format in force: `auto` is bf16 on a GPU and fp32 on a CPU (section 14)."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" else "fp32"


@contextmanager
def run_folder(folder: Path, world: World) -> Iterator[None]:
    """Holds a run folder: two trainings that write to one would destroy each other's checkpoints."""
    if not world.first:
        yield
        return
    with exclusive(folder / ".lock", wait=False) as mine:
        if not mine:
            raise UsageError("another training writes here", where=str(folder), way_out="give another --out folder")
        yield


class Training:
    """A training in a folder: made from the newest checkpoint where there is one, else from the start."""

    def __init__(
        self, objective: Objective, plan: TrainingPlan, folder: Path, world: World, *, progress: Progress = silent
    ) -> None:
        self.objective = objective
        self.plan = plan
        self.folder = folder
        self.world = world
        self.place = Place()
        self.resumed: Path | None = None
        """The checkpoint that it went on from."""
        self.steps_per_epoch = -(-objective.batches_per_epoch // plan.accumulate)
        self.total_steps = plan.epochs * self.steps_per_epoch
        self._progress = progress if world.first else silent
        self.precision = resolve_precision(plan.precision, world.device)
        objective.module.to(world.device)
        self._optimiser = build_optimiser(objective.module, plan.optimiser)
        self._parameters = [parameter for group in self._optimiser.param_groups for parameter in group["params"]]
        self._scaler = torch.amp.GradScaler(world.device.type, enabled=self.precision == "fp16")
        self._sums = Sums()
        self._configuration = {
            **plan.configuration,
            "processes": world.size,
            "precision": self.precision,
            "accumulate": plan.accumulate,
        }
        self._restore()
        self._wrapped = world.wrap(objective.module)
        self.log = Log(folder if world.first else None, step=self.place.step, tensorboard=plan.tensorboard)
        self._saved_at = self._noted_at = time.monotonic()
        self._noted_images = 0
        self._shown = ""
        self._signal: int | None = None

    def run(self, epochs: range, *, restart_schedule: bool = False) -> None:
        """Trains the epochs of the range that are not behind us yet.

        `restart_schedule` lets warm-up and decay begin anew with the first of them (`optim.restart_each_stage`).
        """
        if restart_schedule and (self.place.epoch, self.place.batch) == (epochs.start, 0):
            self.place.first_epoch, self.place.first_step = self.place.epoch, self.place.step
        self._saved_at = self._noted_at = time.monotonic()
        self._noted_images = 0
        with self._listening():
            while self.place.epoch < epochs.stop:
                self._epoch()

    def close(self) -> None:
        """Ends the log."""
        self.log.close()

    def save(self) -> None:
        """Writes a checkpoint of this place."""
        self._saved_at = time.monotonic()
        pending = self._sums.saved()
        if not self.world.first:
            return
        checkpoints.write(
            self.folder,
            Checkpoint(
                path=self.folder,
                place=self.place,
                configuration=self._configuration,
                about=self.plan.about,
                module=self.objective.module.state_dict(),
                optimiser=self._optimiser.state_dict(),
                scaler=self._scaler.state_dict(),
                objective=self.objective.state(),
                pending=pending,
            ),
        )
        checkpoints.retain(self.folder, self.plan.checkpoints, self.plan.kept_epochs)

    def _restore(self) -> None:
        if self.world.first:
            checkpoints.clean(self.folder)
        self.world.barrier()
        path = checkpoints.latest(self.folder)
        if path is None:
            return
        found = checkpoints.read(path)
        checkpoints.require_same(found.configuration, self._configuration, path)
        self.objective.module.load_state_dict(found.module)
        self._optimiser.load_state_dict(found.optimiser)
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(found.scaler)
        self.objective.load_state(found.objective)
        self._sums = Sums(found.pending)
        self.place = found.place
        self.resumed = path

    def _epoch(self) -> None:
        """The rest of the epoch that we are in."""
        place = self.place
        self.objective.module.train()
        batches = self.objective.batches(place.epoch, place.batch)
        while place.batch < self.objective.batches_per_epoch:
            size = min(self.plan.accumulate, self.objective.batches_per_epoch - place.batch)
            group = [next(batches) for _ in range(size)]
            norm = self._step(group)
            place.batch += size
            self._note(size, norm)
            if place.batch < self.objective.batches_per_epoch:
                self._stop_if_asked()
                if self.world.first and time.monotonic() - self._saved_at > 60 * self.plan.save_minutes:
                    self.save()
        place.epoch, place.batch = place.epoch + 1, 0
        self.save()
        self._stop_if_asked(saved=True)

    def _position(self, offset: int = 0) -> Position:
        place = self.place
        return Position(
            epoch=place.epoch,
            batch=place.batch + offset,
            step=place.step,
            steps_per_epoch=self.steps_per_epoch,
            total_steps=self.total_steps,
            seed=self.plan.seed,
            rank=self.world.rank,
        )

    def _step(self, group: list[Any]) -> Tensor | None:
        """One step of the optimiser; the norm of the gradient where it is known."""
        place, plan = self.place, self.plan
        set_rate(self._optimiser, plan.schedule(place.step - place.first_step, place.epoch - place.first_epoch))
        before = self._remembered() if self._scaler.is_enabled() else {}
        said = []
        for offset, batch in enumerate(group):
            position = self._position(offset)
            torch.manual_seed(position.seed_for("dropout"))
            last = offset == len(group) - 1
            with nullcontext() if last else self.world.unsynchronised(self._wrapped):
                with self._autocast():
                    values = self.objective.loss(self._wrapped, batch, position)
                self._scaler.scale(values["loss"] / len(group)).backward()  # type: ignore[no-untyped-call]
            said.append({name: value.detach() for name, value in values.items()})
        norm = self._apply()
        if norm is not None and self._scaler.is_enabled() and not bool(torch.isfinite(norm)):
            # fp16 overflowed, in every process alike since the gradients are shared: nothing advances.
            self.objective.module.load_state_dict(before, strict=False)
        else:
            for values in said:
                self._sums.add(values)
            place.step += 1
            self.objective.after_step(self._position(len(group) - 1))
        if plan.check_every and place.step % plan.check_every == 0:
            require_equal(dict(self.objective.module.named_buffers()), "queues")
        return norm

    def _apply(self) -> Tensor | None:
        norm = None
        self._scaler.unscale_(self._optimiser)
        if self.plan.optimiser.clip_norm or self._scaler.is_enabled():
            limit = self.plan.optimiser.clip_norm or float("inf")
            norm = nn.utils.clip_grad_norm_(self._parameters, limit, foreach=True)
        elif (self.place.step + 1) % self.plan.log_every == 0:
            gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
            norm = nn.utils.get_total_norm(gradients, foreach=True)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._optimiser.zero_grad(set_to_none=True)
        return norm

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(
            self.world.device.type, dtype=torch.bfloat16 if self.precision == "bf16" else torch.float16
        )

    def _remembered(self) -> dict[str, Any]:
        """What the module remembers beside its parameters: buffers, and counters that are no tensors."""
        module = self.objective.module
        weights = {name for name, _ in module.named_parameters()}
        return {name: copy.deepcopy(value) for name, value in module.state_dict().items() if name not in weights}

    def _note(self, batches: int, norm: Tensor | None) -> None:
        """Log and progress after a step."""
        place, total = self.place, self.objective.batches_per_epoch
        self._noted_images += batches * self.objective.batch_size * self.world.size
        note = f"training, epoch {place.epoch + 1}/{self.plan.epochs}"
        due = place.step % self.plan.log_every == 0 or place.batch == total
        if due and (means := self._sums.means()):
            speed = self._noted_images / max(1e-9, time.monotonic() - self._noted_at)
            self._noted_at, self._noted_images = time.monotonic(), 0
            self._shown = f", loss {means['loss']:.3f}, {speed:.0f} images/s"
            line: dict[str, Any] = {"step": place.step, "epoch": place.epoch, **means}
            line["rate"] = self._optimiser.param_groups[0]["lr"]
            if norm is not None:
                line["gradient_norm"] = float(norm)
            self.log.line({**line, "images_per_second": round(speed, 1)})
            self._sums.clear()
        self._progress(place.epoch * total + place.batch, self.plan.epochs * total, note + self._shown)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """SIGTERM and the first Ctrl-C are answered at the next step."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, _frame: FrameType | None) -> None:
            if self._signal is not None and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._signal = number

        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop_if_asked(self, *, saved: bool = False) -> None:
        # Asking all processes costs a GPU a wait, so several ask only now and then.
        if self.world.size > 1 and self.world.device.type == "cuda" and self.place.step % 10 and not saved:
            return
        if not self.world.any(self._signal is not None):
            return
        if not saved:
            self.save()
        self.world.barrier()
        stopped = StoppedError(
            f"stopped by a signal after step {self.place.step} (epoch {self.place.epoch + 1}); everything is saved",
            where=str(self.folder),
            way_out="run the same command again to go on",
        )
        stopped.exit_code = 130 if self._signal == signal.SIGINT else 143
        raise stopped


def train(
    objective: Objective, plan: TrainingPlan, folder: Path, world: World, *, progress: Progress = silent
) -> Training:
    """A whole training without stages; what is already done in the folder is not done again."""
    with run_folder(folder, world):
        training = Training(objective, plan, folder, world, progress=progress)
        try:
            training.run(range(plan.epochs))
        finally:
            training.close()
        return training
