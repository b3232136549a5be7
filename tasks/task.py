"""What every task has in common, as the harness and the leaderboard see it. Importing this never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict

from foundation.progress import Progress, silent
from results.record import Baselines, Metric
from tasks.datasets.records import DatasetIndex
from tasks.splits import Split

if TYPE_CHECKING:
    import torch

    from adapters.interface import LoadedModel

Part = Literal["train", "test"]

Twin = Literal["none", "shuffled_labels", "noise_images"]
"""Sanity twins: what is destroyed on purpose; either must bring every model down to chance."""

Row = dict[str, Any]
"""What a model says of one test item, or what is true of it; fit for JSON."""


class TaskData(Protocol):
    """A data set prepared for a task."""

    @property
    def index(self) -> DatasetIndex:
        """What was read."""

    @property
    def split(self) -> Split:
        """The images of both parts as they are really used, in hash order."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in label order."""

    @property
    def dropped_classes(self) -> tuple[str, ...]:
        """Classes that the split rule left out."""

    @property
    def cut(self) -> bool:
        """A limit left images out."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the numbers should know of the data."""

    def counts(self, part: Part) -> tuple[int, ...]:
        """Images, boxes or labelled pixels per class, whatever the task learns from."""


@dataclass(frozen=True)
class Outcome:
    """What a fitted model says of the test images, and how the fitting went."""

    predictions: list[Row]
    losses: list[float]
    parameters: int
    precision: str
    earlier_seconds: float
    resumed_from_epoch: int | None
    warnings: list[str]


class Scored(TypedDict):
    """What predictions are worth; the first metric is the headline."""

    metrics: dict[str, Metric]
    baselines: Baselines
    details: dict[str, Any]
    warnings: list[str]


class Build(Protocol):
    """From an index to the two parts of a task."""

    def __call__(
        self, index: DatasetIndex, settings: Any, *, ratio: tuple[int, int] = (4, 1), limit: int | None = None
    ) -> Any:
        """The task's data, a `TaskData`."""


class FitAndPredict(Protocol):
    """Learns from the training part and answers for the test part."""

    def __call__(
        self,
        loaded: LoadedModel,
        data: Any,
        settings: Any,
        *,
        seed: int,
        twin: Twin = "none",
        device: torch.device | None = None,
        checkpoint: Path | None = None,
        key: str = "",
        progress: Progress = silent,
    ) -> Outcome:
        """Resumes from `checkpoint` where it is one of the same `key`."""


class Score(Protocol):
    """A pure function of stored predictions and truth: the only place where numbers are made."""

    def __call__(self, predictions: Sequence[Row], truth: Row) -> Scored:
        """Refuses predictions that do not answer for exactly the test items."""
