"""A tiny fine-tuning on every kind of task that is built: the last part of the check of a model.

The conformance suite of the adapters knows no task; what a task does with an encoder is tried here, by the code that
runs the real cells, on a few dozen tiny chips whose classes a stripe tells apart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from adapters.conformance.report import NotApplicable, Unmet
from foundation.cache import cache_root
from foundation.files import exclusive
from harness.cell import fitting_size
from tasks.catalog import TASKS

if TYPE_CHECKING:
    from adapters.card import ModelCard

CHIPS_PER_CLASS = 5
"""The smallest class that the split keeps."""

CHIP_SIDE = 24
EPOCHS = 6
QUICK_EPOCHS = 2
LEAST_FALL = 0.01
"""Share by which the loss must fall; a head on features that say nothing stays within a thousandth."""

_VERSION = 1


class Trial(NamedTuple):
    """What the trial of a task is given."""

    card: ModelCard
    weights_root: Path | None
    quick: bool


def try_classification(trial: Trial) -> str:
    """Trains on tiny chips with the settings of the mini profile: the loss stays finite and falls, all is answered."""
    from adapters.load import load
    from tasks.classification.data import build
    from tasks.classification.fit import fit_and_predict
    from tasks.datasets import DataSource, read_index
    from tasks.protocol import ClassificationSettings, task_settings

    settings = task_settings("mini", "classification", trial.card.backbone)
    assert isinstance(settings, ClassificationSettings)
    patch = trial.card.architecture.patch if trial.card.architecture is not None else 0
    epochs = QUICK_EPOCHS if trial.quick else EPOCHS
    training = settings.training.model_copy(
        update={
            "epochs": epochs,
            "batch": 8,
            "micro_batch": 8,
            "schedule": settings.training.schedule.model_copy(update={"warmup_epochs": 1}),
        }
    )
    settings = settings.model_copy(
        update={"training": training, "image_size": fitting_size(settings.image_size, patch)}
    )
    loaded = load(trial.card, image_size=settings.image_size, seed=0, weights_root=trial.weights_root)
    data = build(read_index(DataSource("sar_acd", _tiny_chips())))
    outcome = fit_and_predict(loaded, data, settings, seed=0)
    unanswered = sum(None in row["scores"] for row in outcome.predictions)
    if unanswered:
        raise Unmet(
            expected=f"finite scores for all {len(outcome.predictions)} test chips",
            seen=f"none for {unanswered}",
            change="look for values that overflow after training; normalise inside the network",
        )
    if not loaded.trainable:
        return f"a linear classifier on its features answers {len(outcome.predictions)} chips"
    first, last = outcome.losses[0], outcome.losses[-1]
    if not trial.quick and not last < (1 - LEAST_FALL) * first:
        raise Unmet(
            expected=f"a training loss that falls by {LEAST_FALL:.0%} in {epochs} epochs on {len(data.train)} chips",
            seen=f"from {first:.3f} to {last:.3f}",
            change="check the gradients, the scale of the pooled feature (a final norm), and the layer ids",
        )
    return f"loss from {first:.3f} to {last:.3f} in {epochs} epochs at {settings.image_size} x {settings.image_size}"


TRIALS: dict[str, Callable[[Trial], str]] = {"classification": try_classification}
"""Task -> its trial. One line per task that is built."""


def try_task(task: str) -> Callable[[Trial], str]:
    """The trial of a task; where there is none, it says so."""
    if task in TRIALS:
        return TRIALS[task]

    def none_yet(trial: Trial) -> str:  # noqa: ARG001 (the form of every trial)
        raise NotApplicable(f"no trial for {TASKS[task].title} yet")

    none_yet.__doc__ = f"{TASKS[task].title} trains"
    return none_yet


def _tiny_chips() -> Path:
    """Chips in the layout of SAR-ACD, made once and kept in the cache."""
    import numpy as np
    from PIL import Image

    from tasks.datasets.sar_acd import CLASSES

    root = cache_root() / "model_trials" / f"chips-{_VERSION}"
    done = root / "complete"
    with exclusive(root.with_suffix(".lock")):
        if not done.exists():
            rng = np.random.default_rng(0)
            for label, name in enumerate(CLASSES):
                folder = root / "images" / name
                folder.mkdir(parents=True, exist_ok=True)
                for number in range(CHIPS_PER_CLASS):
                    chip = rng.gamma(2.0, 20.0, (CHIP_SIDE, CHIP_SIDE))
                    chip[:, 2 + 3 * label : 5 + 3 * label] += 120
                    Image.fromarray(np.clip(chip, 0, 255).astype(np.uint8)).save(folder / f"{number:03d}.png")
            done.touch()
    return root
