"""What fine-tunings of all tasks share: order, preparation ahead, the optimiser, and what is told of the training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.progress import Progress, silent
from foundation.seeds import derive_seed
from tasks.input_path import InputPath
from tasks.lookahead import lookahead
from tasks.optimiser import build_optimiser
from tasks.protocol.settings import TaskSettings
from tasks.task import Outcome, Row
from tasks.training import accumulate, resolve_precision, train
from tasks.under_heads import UnderHeads

Model = TypeVar("Model", bound=UnderHeads)
Settings = TypeVar("Settings", bound=TaskSettings)
Batch = TypeVar("Batch")
Chosen = NDArray[np.int64]
"""Numbers of training items."""


class FineTuning(ABC, Generic[Model, Settings, Batch]):
    """A task as the training loop wants it."""

    def __init__(
        self,
        model: Model,
        to_input: InputPath,
        settings: Settings,
        items: int,
        *,
        seed: int,
        device: torch.device,
        per_epoch: int | None = None,
    ) -> None:
        """Of `items` training items an epoch takes `per_epoch`, drawn anew, or all of them."""
        self.model = model
        self.to_input = to_input
        self.settings = settings
        self.items = items
        self.per_epoch = items if per_epoch is None else min(items, per_epoch)
        self.seed = seed
        self.device = device
        self.plan = accumulate(self.per_epoch, settings.training)
        # On a GPU the next steps are prepared meanwhile; on the CPU they would only compete.
        self.threads = 4 if device.type == "cuda" else 0

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps per epoch."""
        return len(self.plan)

    def batches(self, epoch: int) -> Iterator[list[Batch]]:
        """Every item of the epoch once, in an order and disturbed in ways that hang on seed and epoch alone."""
        order = np.random.default_rng(derive_seed("order", self.seed, epoch)).permutation(self.items)[: self.per_epoch]
        for micros in lookahead(partial(self._prepared, epoch, order), self.plan, threads=self.threads):
            yield [self.placed(batch) for batch in micros]

    @abstractmethod
    def prepared(self, epoch: int, chosen: Chosen) -> Batch:
        """One micro-batch, on the CPU; called from several threads."""

    @abstractmethod
    def placed(self, batch: Batch) -> Batch:
        """The batch on the device."""

    @abstractmethod
    def loss(self, micro: Batch) -> Tensor:
        """Mean loss over the micro-batch."""

    def after_step(self) -> None:
        """What follows a step of the optimiser."""

    def generators(self, epoch: int, chosen: Chosen) -> list[np.random.Generator]:
        """For each item a generator of its own, whatever batch it is in."""
        return [np.random.default_rng(derive_seed("augment", self.seed, epoch, index)) for index in chosen]

    def _prepared(self, epoch: int, order: Chosen, step: list[tuple[int, int]]) -> list[Batch]:
        return [self.prepared(epoch, order[low:high]) for low, high in step]


def fine_tune(
    task: FineTuning[Any, Any, Any],
    answers: Callable[[str], list[Row]],
    *,
    checkpoint: Path | None = None,
    key: str = "",
    progress: Progress = silent,
    remarks: Sequence[str] = (),
) -> Outcome:
    """Trains a task and asks the trained network.

    Args:
        task: The task; its network is trained in place.
        answers: Gives the rows of the test part in a number format.
        checkpoint: Where to resume from, if it is of the same key, and what is written after every epoch.
        key: What the checkpoint belongs to.
        progress: Is told of every step.
        remarks: What else is to be warned of.
    """
    model, settings = task.model, task.settings.training
    optimiser = build_optimiser(
        model,
        settings.optimiser,
        layer_id=model.layer_id,
        layer_count=model.layer_count,
        positions=model.no_weight_decay(),
    )
    history = train(
        task,
        optimiser,
        settings,
        seed=task.seed,
        device=task.device,
        checkpoint=checkpoint,
        key=key,
        progress=progress,
    )
    precision = resolve_precision(settings.precision, task.device)
    return Outcome(
        predictions=answers(precision),
        losses=history.losses,
        parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        precision=precision,
        earlier_seconds=history.earlier_seconds,
        resumed_from_epoch=history.resumed_from_epoch,
        warnings=[*history.warnings, *remarks],
    )


def preparing(progress: Progress) -> Progress:
    """Told of what comes before the training, which is not yet part of the work that is counted."""

    def told(done: int, total: int, note: str = "") -> None:
        progress(0, 1, f"{note} {done} of {total}")

    return told
