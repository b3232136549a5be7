"""Level 2 of the ladder: the small encoder of the catalogue, trained from scratch on the tasks that can be trained.

The settings are those of the mini profile with more epochs and larger images: the ladder asks what there is to be
learnt, the profile what ten minutes allow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from tasks.catalog import TASKS
from tasks.protocol import task_settings
from tasks.registry import get_task
from tests.bench.ladder.rungs import Twin, parts

EPOCHS = {"classification": 40, "detection": 36, "segmentation": 6}
SIDES = {"classification": 64, "detection": 128, "segmentation": 64}
"""Targets of the default world are a twelfth of their scene, chips 128 pixels: less says too little."""


class Trained(NamedTuple):
    """What a network reached, and what the record of a run would print below it."""

    value: float
    majority: float
    losses: tuple[float, float]


def tiny_vit(world: Path, task: str, dataset: str, twin: Twin = "none", *, seed: int = 0) -> Trained:
    """The headline metric of a task on a data set of the world, learnt from scratch."""
    from adapters.load import load
    from adapters.registry import catalog

    settings = longer(task)
    parts_of = get_task(task)
    data = parts_of.build(parts(world, dataset).index, settings)
    loaded = load(catalog()["random-mini"], image_size=settings.input_size, seed=seed)
    outcome = parts_of.fit_and_predict(loaded, data, settings, seed=seed, twin=twin)  # type: ignore[arg-type]
    found = parts_of.score(outcome.predictions, parts_of.truth_of(data))
    name = TASKS[task].metrics[0]
    value = found["metrics"][name].value
    majority = found["baselines"].majority[name]
    assert value is not None and majority is not None
    return Trained(value, majority, (outcome.losses[0], outcome.losses[-1]))


def longer(task: str) -> Any:
    """The mini profile with the epochs of the ladder."""
    settings: Any = task_settings("mini", task, "mini")
    training = settings.training.model_copy(update={"epochs": EPOCHS[task]})
    settings = settings.model_copy(update={"training": training})
    return settings.resized(SIDES[task])
