"""The learning rate: against PyTorch's schedulers, closed forms, and its values at the ends."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, PolynomialLR

from tasks.protocol import task_settings
from tasks.protocol.settings import ScheduleSettings
from tasks.schedule import rate_at


def _followed(scheduler: Any, steps: int, peak: float = 0.01, **options: Any) -> list[float]:
    """The rates that a scheduler of PyTorch sets, one per step."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    following: LRScheduler = scheduler(optimiser, **options)
    rates = []
    for _ in range(steps):
        rates.append(float(optimiser.param_groups[0]["lr"]))
        optimiser.step()
        following.step()
    return rates


def _rates(schedule: ScheduleSettings, epochs: int, per_epoch: int = 1, peak: float = 0.01) -> list[float]:
    return [
        rate_at(schedule, peak=peak, epochs=epochs, position=step / per_epoch) for step in range(epochs * per_epoch)
    ]


def test_cosine_is_pytorch_s() -> None:
    schedule = ScheduleSettings(kind="cosine", step="iteration", floor=1e-5)
    theirs = _followed(CosineAnnealingLR, 12 * 7, T_max=12 * 7, eta_min=1e-5)
    assert _rates(schedule, 12, 7) == pytest.approx(theirs, rel=1e-6)


def test_polynomial_is_pytorch_s() -> None:
    schedule = ScheduleSettings(kind="poly", step="iteration", power=0.9)
    theirs = _followed(PolynomialLR, 10 * 6, total_iters=60, power=0.9)
    assert _rates(schedule, 10, 6) == pytest.approx(theirs, rel=1e-6)


def test_multistep_is_pytorch_s() -> None:
    schedule = ScheduleSettings(kind="multistep", step="epoch", milestones=(24, 33), gamma=0.1)
    assert _rates(schedule, 36) == pytest.approx(_followed(MultiStepLR, 36, milestones=[24, 33], gamma=0.1))


def test_a_warm_up_by_epochs_reaches_the_whole_rate_in_its_last_epoch() -> None:
    """The values that mmengine's LinearLR(0.001, by_epoch=True, begin=0, end=5) gives, whose settings these are."""
    schedule = task_settings("paper", "detection").training.schedule
    rates = _rates(schedule, 36, peak=1.0)
    assert rates[:6] == pytest.approx([0.001, 0.25075, 0.5005, 0.75025, 1.0, 1.0])


def test_the_warm_up_is_pytorch_s() -> None:
    schedule = ScheduleSettings(kind="constant", step="iteration", warmup_epochs=3, warmup_factor=1e-4)
    theirs = _followed(LinearLR, 10 * 5, start_factor=1e-4, total_iters=15)
    assert _rates(schedule, 10, 5) == pytest.approx(theirs, rel=1e-6)


def test_classification_of_the_paper() -> None:
    training = task_settings("paper", "classification").training

    def rate(epoch: float) -> float:
        return rate_at(training.schedule, peak=0.003, epochs=100, position=epoch)

    assert rate(0) == pytest.approx(0.003 * 1e-4)
    assert rate(15) == pytest.approx(0.003 * (1 + 1e-4) / 2)
    assert rate(30 - 1e-9) == pytest.approx(0.003, rel=1e-6)
    assert rate(30) == 0.003
    assert rate(65) == pytest.approx(0.0015)  # halfway through the other 70 epochs
    assert rate(100) == pytest.approx(0, abs=1e-15)
    assert rate(30.5) < rate(30), "set per iteration"


def test_detection_of_the_paper() -> None:
    training = task_settings("paper", "detection").training
    rates = _rates(training.schedule, 36, 2, peak=1e-4)[::2]
    warmup = [1e-4 * (0.001 + 0.999 * epoch / 4) for epoch in range(5)]
    assert rates == pytest.approx([*warmup, *[1e-4] * 19, *[1e-5] * 9, *[1e-6] * 3])
    assert rate_at(training.schedule, peak=1e-4, epochs=36, position=23.99) == 1e-4, "set per epoch"


def test_segmentation_of_the_paper() -> None:
    schedule = task_settings("paper", "segmentation").training.schedule
    for share in (0.0, 0.25, 0.5, 0.99, 1.0):
        expected = 1e-4 + (1e-3 - 1e-4) * (1 - share) ** 0.9
        assert rate_at(schedule, peak=1e-3, epochs=100, position=100 * share) == pytest.approx(expected)


@pytest.mark.parametrize("task", ["retrieval", "caption", "vqa"])
def test_language_tasks_fall_per_epoch_towards_zero(task: str) -> None:
    training = task_settings("paper", task).training
    peak = training.optimiser.rate
    expected = [peak * (1 + math.cos(math.pi * epoch / 12)) / 2 for epoch in range(12)]
    assert _rates(training.schedule, 12, 1, peak) == pytest.approx(expected)
    assert rate_at(training.schedule, peak=peak, epochs=12, position=3.9) == pytest.approx(expected[3])


KINDS = st.sampled_from(["cosine", "poly", "constant", "multistep"])


@given(KINDS, st.sampled_from(["iteration", "epoch"]), st.integers(2, 50), st.data())
def test_the_rate_rises_to_the_peak_and_never_again(kind: Any, step: Any, epochs: int, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, epochs - 2))  # the milestone lies one epoch before the end
    schedule = ScheduleSettings(
        kind=kind,
        step=step,
        warmup_epochs=warmup,
        warmup_factor=data.draw(st.floats(1e-4, 1)),
        milestones=(epochs - 1,) if kind == "multistep" else (),
        power=0.9,
        floor=1e-4,
    )
    rates = _rates(schedule, epochs, 4)
    rising, falling = rates[: 4 * warmup + 1], rates[4 * warmup :]
    assert all(a <= b * (1 + 1e-12) for a, b in pairwise(rising))
    assert all(a >= b for a, b in pairwise(falling))
    assert all(0 < rate <= 0.01 * (1 + 1e-12) for rate in rates)
    if kind != "multistep":
        assert rates[4 * warmup] == pytest.approx(0.01)
