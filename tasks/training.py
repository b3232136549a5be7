"""The one training loop of all tasks.

Contract: what a task brings is a model, its loss and its batches per epoch; what it gets is the trained model in place
and the loss per epoch. Every epoch starts from a seed of its own and every rate is a function of the position, so a
checkpoint holds weights, optimiser and history and nothing else, and a resumed run continues bit for bit on the CPU.

Trade-offs: the unit of loss at a kill is one epoch (epochs are short where that matters); dropout streams differ
between devices, so equality across devices is not promised.
"""

from __future__ import annotations

import copy
import io
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from foundation.errors import CellError
from foundation.files import write_bytes
from foundation.hashing import hash_bytes
from foundation.progress import Progress, silent
from foundation.seeds import derive_seed
from tasks.optimiser import set_rate
from tasks.protocol.settings import TrainingSettings
from tasks.schedule import rate_at


class MicroBatch(Protocol):
    """One forward pass worth of items."""

    def __len__(self) -> int:
        """How many items; weighs its loss in the accumulated gradient."""


class Trainable(Protocol):
    """What a task hands to the loop."""

    @property
    def model(self) -> nn.Module:
        """The network to train."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps per epoch."""

    def batches(self, epoch: int) -> Iterable[Sequence[Any]]:
        """Per optimiser step the micro-batches it accumulates; a pure function of the epoch."""

    def loss(self, micro: Any) -> Tensor:
        """Mean loss over the micro-batch."""

    def after_step(self) -> None:
        """What follows a step of the optimiser: momentum twins, say."""


@dataclass
class History:
    """What the loop reports."""

    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    earlier_seconds: float = 0.0
    resumed_from_epoch: int | None = None
    warnings: list[str] = field(default_factory=list)


def resolve_precision(precision: str, device: torch.device) -> str:
    """The number format in force: `auto` is bf16 on a GPU that has it and fp32 elsewhere."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The mixed-precision context of a precision name."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


def train(
    task: Trainable,
    optimiser: torch.optim.Optimizer,
    settings: TrainingSettings,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Path | None = None,
    key: str = "",
    progress: Progress = silent,
) -> History:
    """Trains to the last epoch, from the checkpoint where there is one of the same key."""
    precision = resolve_precision(settings.precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    history = History()
    first = _restore(checkpoint, key, task.model, optimiser, scaler, history) if checkpoint else 0
    total = settings.epochs * task.steps_per_epoch
    for epoch in range(first, settings.epochs):
        started = time.perf_counter()
        torch.manual_seed(derive_seed("epoch", seed, epoch))
        task.model.train()
        step_losses: list[Tensor] = []
        for step, micros in enumerate(task.batches(epoch)):
            set_rate(optimiser, _rate(settings, epoch, step, task.steps_per_epoch))
            step_losses.append(_step(task, optimiser, scaler, micros, settings, autocast(device, precision)))
            task.after_step()
            progress(epoch * task.steps_per_epoch + step + 1, total, f"epoch {epoch + 1}/{settings.epochs}")
        mean_loss = float(torch.stack(step_losses).double().mean())
        if not math.isfinite(mean_loss):
            raise CellError(
                f"the loss is no longer finite ({mean_loss})",
                where=f"epoch {epoch + 1} of {settings.epochs}",
                way_out="look for broken images or weights; a lower rate needs another profile",
            )
        history.losses.append(mean_loss)
        history.seconds += time.perf_counter() - started
        if checkpoint is not None and epoch + 1 < settings.epochs:
            _save(checkpoint, key, epoch + 1, task.model, optimiser, scaler, history)
    return history


def accumulate(items: int, settings: TrainingSettings) -> list[list[tuple[int, int]]]:
    """Per optimiser step the (first, last + 1) of its micro-batches; the last step may be smaller.

    One item that is left over joins the micro-batch before it: batch norm has no variance of a single item, and such a
    remainder is a matter of the number of images alone.
    """
    steps = []
    for start in range(0, items, settings.batch):
        end = min(start + settings.batch, items)
        steps.append([(low, min(low + settings.micro_batch, end)) for low in range(start, end, settings.micro_batch)])
    if settings.micro_batch > 1:
        for step in steps:
            if len(step) > 1:
                _join_single(step)
        if len(steps) > 1 and steps[-1] == [(items - 1, items)]:
            steps[-2].extend(steps.pop())
            _join_single(steps[-1])
    return steps


def _join_single(step: list[tuple[int, int]]) -> None:
    low, high = step[-1]
    if high - low == 1:
        step[-2:] = [(step[-2][0], high)]


def _rate(settings: TrainingSettings, epoch: int, step: int, steps: int) -> float:
    return rate_at(
        settings.schedule, peak=settings.optimiser.rate, epochs=settings.epochs, position=epoch + step / steps
    )


def _step(
    task: Trainable,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    micros: Sequence[MicroBatch],
    settings: TrainingSettings,
    context: AbstractContextManager[Any],
) -> Tensor:
    optimiser.zero_grad(set_to_none=True)
    items = sum(len(micro) for micro in micros)
    total = torch.zeros((), dtype=torch.float32)
    for micro in micros:
        with context:
            loss = task.loss(micro) * (len(micro) / items)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        total = total.to(loss.device) + loss.detach().float()
    if settings.gradient_clip is not None:
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(task.model.parameters(), settings.gradient_clip)
    scaler.step(optimiser)
    scaler.update()
    return total


def _save(
    path: Path,
    key: str,
    epoch: int,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    history: History,
) -> None:
    state = {
        "key": key,
        "epoch": epoch,
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scaler": scaler.state_dict(),
        "losses": history.losses,
        "seconds": history.seconds,
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    # torch does not verify checksums when it reads, so a flipped bit would go unnoticed: the file starts with its hash.
    data = buffer.getvalue()
    write_bytes(path, hash_bytes(data).encode() + b"\n" + data)


def _restore(
    path: Path,
    key: str,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    history: History,
) -> int:
    """The epoch to go on with. A damaged or foreign checkpoint costs the epochs it held, never the run."""
    if not path.exists():
        return 0
    parts: tuple[Any, ...] = (model, optimiser, scaler)
    initial = [copy.deepcopy(part.state_dict()) for part in parts]
    try:
        digest, _, data = path.read_bytes().partition(b"\n")
        if hash_bytes(data).encode() != digest:
            raise ValueError("the file is damaged")
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if state["key"] != key:
            raise ValueError("it belongs to other settings")
        epoch, losses, seconds = int(state["epoch"]), list(state["losses"]), float(state["seconds"])
        for part, name in zip(parts, ("model", "optimiser", "scaler"), strict=True):
            part.load_state_dict(state[name])
    except Exception as error:  # torch.load raises everything from EOFError to RuntimeError
        for part, content in zip(parts, initial, strict=True):
            part.load_state_dict(content)
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        history.warnings.append(f"checkpoint not used, training started over: {reason}")
        path.unlink(missing_ok=True)
        return 0
    history.losses, history.seconds, history.resumed_from_epoch = losses, seconds, epoch
    history.earlier_seconds = seconds
    return epoch
