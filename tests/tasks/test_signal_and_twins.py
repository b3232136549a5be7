"""The embedded default has real signal, and only signal: what is learnt disappears when labels are shuffled."""

from __future__ import annotations

import math
from typing import Literal

import pytest

from adapters.load import load
from adapters.registry import catalog
from results.record import Metric
from tasks.classification.data import ClassificationData, build, truth_of
from tasks.classification.fit import fit_and_predict
from tasks.classification.score import score
from tasks.datasets import DataSource, read_index
from tasks.protocol import ClassificationSettings, task_settings
from tasks.sarworld.cache import default_world

pytestmark = pytest.mark.slow

DATASETS = ("fusar_air", "fusar_ship", "sar_acd")


def world_data(dataset: str) -> ClassificationData:
    return build(read_index(DataSource(dataset, default_world("mini", datasets=[dataset]) / dataset)))


def measured(
    model: str, data: ClassificationData, twin: Literal["none", "shuffled_labels", "noise_images"] = "none"
) -> tuple[Metric, dict[str, float]]:
    settings = task_settings("mini", "classification", "mini")
    assert isinstance(settings, ClassificationSettings)
    loaded = load(catalog()[model], image_size=settings.image_size, seed=0)
    outcome = fit_and_predict(loaded, data, settings, seed=0, twin=twin)
    found = score(outcome.predictions, truth_of(data))
    baselines = {"chance": found["baselines"].chance["top1"], "majority": found["baselines"].majority["top1"]}
    return found["metrics"]["top1"], {name: value for name, value in baselines.items() if value is not None}


def standard_error(percent: float, n: int) -> float:
    return 100 * math.sqrt(percent / 100 * (1 - percent / 100) / n)


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_small_vit_from_scratch_beats_chance_by_ten_points(dataset: str) -> None:
    metric, trivial = measured("random-mini", world_data(dataset))
    assert metric.value is not None
    assert metric.value >= trivial["chance"] + 10
    assert metric.value >= trivial["majority"] + 5
    assert metric.value < 98, "without headroom a better encoder cannot show"


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("twin", ["shuffled_labels", "noise_images"])
def test_destroyed_data_bring_the_linear_control_down_to_chance(
    dataset: str, twin: Literal["shuffled_labels", "noise_images"]
) -> None:
    """Chance lies between uniform guessing and always the largest class: an uneven set rewards knowing its shares."""
    metric, trivial = measured("simple-features", world_data(dataset), twin)
    assert metric.value is not None
    low, high = sorted(trivial.values())
    assert low - 3 * standard_error(low, metric.n) <= metric.value <= high + 3 * standard_error(high, metric.n)


def test_shuffled_labels_bring_the_vit_down_to_chance() -> None:
    metric, trivial = measured("random-mini", world_data("sar_acd"), "shuffled_labels")
    assert metric.value is not None
    chance = trivial["chance"]
    assert abs(metric.value - chance) <= 3 * standard_error(chance, metric.n)


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_linear_control_is_far_above_chance_and_below_the_ceiling(dataset: str) -> None:
    metric, trivial = measured("simple-features", world_data(dataset))
    assert metric.value is not None
    assert trivial["chance"] + 20 <= metric.value < 98
