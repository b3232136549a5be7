"""Rates, decay of weights, order of images: section 7 in numbers."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from foundation.errors import UsageError
from klip.training.optimiser import OptimiserPlan, build_optimiser, decayed
from klip.training.order import batches_per_epoch, epoch_batches
from klip.training.position import Position
from klip.training.schedule import Cosine, EpochDecay, scaled_rate

PAPER = EpochDecay(peak=3e-4, warmup_rate=1e-6, warmup_steps=3000, decay=0.9, floor=1e-6)


@pytest.mark.parametrize(("epoch", "rate"), [(12, 8.47e-5), (24, 2.39e-5), (35, 7.51e-6)])
def test_rates_of_section_7_2(epoch: int, rate: float) -> None:
    assert PAPER(10_000, epoch) == pytest.approx(rate, rel=2e-3)


def test_the_warm_up_goes_on_through_the_ends_of_epochs_and_then_steps_down() -> None:
    # 468 steps in an epoch (contradiction C14): the warm-up ends inside epoch 6.
    rates = [PAPER(step, step // 468) for step in range(4000)]
    assert rates[0] == 1e-6
    assert rates[1500] == pytest.approx(1e-6 + (3e-4 - 1e-6) / 2)
    assert all(later > earlier for earlier, later in pairwise(rates[:3000]))
    assert rates[3000] == pytest.approx(3e-4 * 0.9**6)
    assert rates[3000] < rates[2999]


def test_the_decay_ends_at_the_floor() -> None:
    assert PAPER(10**6, 55) == 1e-6
    assert PAPER(10**6, 54) > 1e-6


def test_without_warm_up_the_first_step_has_the_whole_rate() -> None:
    assert EpochDecay(1e-3, 1e-6, 0, 0.9, 0.0)(0, 0) == 1e-3


def test_cosine_is_a_function_of_the_step_alone() -> None:
    schedule = Cosine(peak=1.0, warmup_steps=10, total_steps=110)
    assert [schedule(step, 99) for step in (0, 5, 10, 60, 110, 200)] == pytest.approx([0, 0.5, 1, 0.5, 0, 0])


def test_the_rate_scales_with_the_images_of_a_step_when_asked() -> None:
    assert scaled_rate(3e-4, "none", 256) == 3e-4
    assert scaled_rate(3e-4, "linear", 256) == pytest.approx(3e-4 * 256 / 2400)


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.norm = nn.LayerNorm(3)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
        self.positions = nn.Embedding(7, 4)
        self.words = nn.Embedding(9, 4)
        self.temperature = nn.Parameter(torch.tensor(0.07))
        self.frozen = nn.Parameter(torch.zeros(4, 4), requires_grad=False)


def test_only_matrices_and_words_are_decayed() -> None:
    tower = Tower()
    chosen = [name for name, value in tower.named_parameters() if decayed(name, value)]
    assert chosen == ["frozen", "linear.weight", "words.weight"]
    optimiser = build_optimiser(tower, OptimiserPlan(weight_decay=0.05))
    sizes = {group["weight_decay"]: sum(value.numel() for value in group["params"]) for group in optimiser.param_groups}
    assert sizes == {0.05: 12 + 36, 0.0: 3 + 6 + 4 + 20 + 28 + 1}


def test_blip_decays_everything() -> None:
    (group,) = build_optimiser(Tower(), OptimiserPlan(weight_decay=0.05, exclude="none")).param_groups
    assert group["weight_decay"] == 0.05
    assert len(group["params"]) == 9


def test_tau_tables_and_class_token_of_the_real_model_are_not_decayed() -> None:
    from tests.klip.toy_pairs import small_pretrainer

    online = small_pretrainer().online
    kept = {name for name, value in online.named_parameters() if not decayed(name, value) and value.ndim != 1}
    assert kept == {"vision.cls_token", "vision.pos_embed", "text.positions.weight", "temperature"}


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 3), st.integers(0, 9))
def test_an_epoch_sees_every_image_at_most_once_and_all_processes_as_many(
    items: int, size: int, processes: int, epoch: int
) -> None:
    if items < size * processes:
        with pytest.raises(UsageError, match="do not fill one batch"):
            batches_per_epoch(items, size, processes)
        return
    parts = [
        list(epoch_batches(items, size, seed=1, epoch=epoch, rank=rank, processes=processes))
        for rank in range(processes)
    ]
    assert {len(part) for part in parts} == {items // (size * processes)}
    seen = [row for part in parts for batch in part for row in batch.tolist()]
    assert len(set(seen)) == len(seen) == processes * size * len(parts[0])


def test_an_epoch_can_begin_anywhere_and_the_next_one_has_another_order() -> None:
    whole = [batch.tolist() for batch in epoch_batches(50, 8, seed=1, epoch=2)]
    assert [batch.tolist() for batch in epoch_batches(50, 8, seed=1, epoch=2, first=4)] == whole[4:]
    assert [batch.tolist() for batch in epoch_batches(50, 8, seed=1, epoch=3)] != whole


def test_random_numbers_hang_on_place_process_and_purpose() -> None:
    place = Position(epoch=1, batch=2, step=7, steps_per_epoch=5, total_steps=10, seed=0, rank=0)
    seeds = [
        place.seed_for("a"),
        place.seed_for("b"),
        place._replace(rank=1).seed_for("a"),
        place._replace(batch=3).seed_for("a"),
        place._replace(epoch=2).seed_for("a"),
        place._replace(seed=1).seed_for("a"),
    ]
    assert len(set(seeds)) == len(seeds)
    assert place._replace(step=8).seed_for("a") == seeds[0], (
        "a step that fp16 skipped is no step, but its batch is over"
    )
    assert math.isfinite(torch.randn(1, generator=place.generator("a")).item())
