"""A tiny fine-tuning of every kind: the last part of the check of a model.

The conformance suite of the adapters knows no task; what a task does with an encoder is tried here, by the code that
runs the real cells, on a few tiny images that anything which sees can learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adapters.conformance.report import Unmet
from harness.cell import fitting_size
from harness.trial_data import tiny_chips, tiny_scenes, tiny_tiles
from tasks.catalog import COMPOSED

if TYPE_CHECKING:
    from adapters.card import ModelCard
    from tasks.datasets.records import DatasetIndex

EPOCHS = 6
QUICK_EPOCHS = 2
BATCH = 8
_SHIPS = "fusar_ship_sense"
LEAST_FALL = 0.01
"""Share by which the loss must fall; a head on features that say nothing stays within a thousandth."""


class Trial(NamedTuple):
    """What the trial of a task is given."""

    card: ModelCard
    weights_root: Path | None
    quick: bool


@dataclass(frozen=True)
class TinyTask:
    """Trains with the settings of the mini profile: the loss stays finite and falls, all images are answered."""

    task: str
    dataset: str
    root: Callable[[], Path]

    def __call__(self, trial: Trial) -> str:
        """What was seen; raises `Unmet` where something is wrong."""
        from adapters.load import load
        from tasks.protocol import task_settings
        from tasks.registry import get_task

        task = get_task(self.task)
        settings: Any = task_settings("mini", self.task, trial.card.backbone)
        patch = trial.card.architecture.patch if trial.card.architecture is not None else 0
        epochs = QUICK_EPOCHS if trial.quick else EPOCHS
        constant = {"kind": "constant", "milestones": (), "warmup_epochs": 1.0}
        schedule = settings.training.schedule.model_copy(update=constant)
        update = {"epochs": epochs, "batch": BATCH, "micro_batch": BATCH, "schedule": schedule}
        settings = settings.model_copy(update={"training": settings.training.model_copy(update=update)})
        settings = settings.resized(fitting_size(settings.input_size, patch))
        loaded = load(trial.card, image_size=settings.input_size, seed=0, weights_root=trial.weights_root)
        data = task.build(self._index(), settings)
        outcome = task.fit_and_predict(loaded, data, settings, seed=0)
        answers = len(outcome.predictions)
        unanswered = sum(not all(map(_is_finite, _numbers(row))) for row in outcome.predictions)
        if unanswered:
            raise Unmet(
                expected=f"finite answers for all {answers} test images",
                seen=f"none for {unanswered}",
                change="look for values that overflow after training; normalise inside the network",
            )
        if not loaded.trainable:
            return f"a classifier on its features answers {answers} images"
        first, last = outcome.losses[0], outcome.losses[-1]
        if not trial.quick and not last < (1 - LEAST_FALL) * first:
            raise Unmet(
                expected=f"a training loss that falls by {LEAST_FALL:.0%} in {epochs} epochs on "
                f"{len(data.split.train)} images",
                seen=f"from {first:.3f} to {last:.3f}",
                change="check the gradients, the scale of the features (a final norm), and the layer ids",
            )
        return (
            f"loss from {first:.3f} to {last:.3f} in {epochs} epochs at {settings.input_size} x {settings.input_size}"
        )

    def _index(self) -> DatasetIndex:
        from tasks.datasets import DataSource, read_index
        from tasks.datasets.composed import Part, compose

        root = self.root()
        if self.dataset not in COMPOSED:
            return read_index(DataSource(self.dataset, root))
        return compose(self.dataset, root.parent, [Part(DataSource(_SHIPS, root))])


TRIALS: dict[str, Callable[[Trial], str]] = {
    tiny.task: tiny
    for tiny in (
        TinyTask("classification", "sar_acd", tiny_chips),
        TinyTask("detection", _SHIPS, tiny_scenes),
        TinyTask("segmentation", "fusar_map", tiny_tiles),
        TinyTask("retrieval", "rs_captions", tiny_scenes),
        TinyTask("caption", "rs_captions", tiny_scenes),
        TinyTask("vqa_target_count", "vqa_targets", tiny_scenes),
    )
}
"""Task -> its trial. One for each way of learning: all questions are learnt in the same way."""


def _numbers(value: Any) -> Iterator[Any]:
    """Every number of an answer, and every None."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner)
    elif not isinstance(value, str):
        yield value


def _is_finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)
