"""The loop itself: accumulation, precision, skipped steps, logs, and losses that are no numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import CellError, UsageError
from klip.training.distributed import join_world, single
from klip.training.engine import Training, resolve_precision, train
from klip.training.log import read_log
from klip.training.optimiser import OptimiserPlan
from klip.training.position import Position
from tests.klip.toy_training import ToyObjective, toy_plan, toy_training


def test_four_small_batches_are_one_step_and_the_twin_follows_once(tmp_path: Path) -> None:
    accumulated = ToyObjective(items=64, batch_size=4)
    toy_training(tmp_path, accumulated, accumulate=4, epochs=2)
    assert [position.step for position in accumulated.after] == list(range(1, 9))
    assert len(accumulated.losses) == 32


class Plain(ToyObjective):
    """Without anything that depends on how images are divided into batches."""

    def loss(self, module: nn.Module, batch: Tensor, position: Position) -> dict[str, Tensor]:  # noqa: ARG002
        module.eval()
        net: nn.Module = self.module.net
        return {"loss": ((net(self.inputs[batch])[:, 0] - self.wanted[batch]) ** 2).mean()}


def test_four_times_b_gives_the_weights_of_one_times_four_b(tmp_path: Path) -> None:
    many, one = Plain(items=64, batch_size=4), Plain(items=64, batch_size=16)
    toy_training(tmp_path / "many", many, accumulate=4, epochs=2)
    toy_training(tmp_path / "one", one, epochs=2)
    for name, value in one.module.state_dict().items():
        torch.testing.assert_close(many.module.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_the_last_step_of_an_epoch_may_have_fewer_batches(tmp_path: Path) -> None:
    objective = ToyObjective(items=20, batch_size=4)
    training = toy_training(tmp_path, objective, accumulate=3, epochs=2)
    assert training.place.step == 4
    assert [(position.epoch, position.batch) for position in objective.after] == [(0, 2), (0, 4), (1, 2), (1, 4)]


class Overflowing(ToyObjective):
    """A loss that fp16 cannot hold at two of its batches."""

    def loss(self, module: nn.Module, batch: Tensor, position: Position) -> dict[str, Tensor]:
        values = super().loss(module, batch, position)
        factor = float("inf") if position.epoch == 0 and position.batch in (2, 5) else 1.0
        return {**values, "loss": values["loss"] * factor}


def test_a_step_that_fp16_skips_advances_nothing(tmp_path: Path) -> None:
    objective = Overflowing()
    states: list[dict[str, Any]] = []

    def note(position: Position) -> None:
        if position.epoch == 0 and position.batch in (2, 3):
            states.append({name: value.clone() for name, value in objective.module.state_dict().items()})

    objective.before_step = note
    training = train(objective, toy_plan(epochs=1, precision="fp16"), tmp_path, objective.world)
    before, after = states
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    # The scale of the loss is found by overflows too, so there may be more than the two that are planted.
    assert 0 < training.place.step <= objective.batches_per_epoch - 2
    assert [position.step for position in objective.after] == list(range(1, training.place.step + 1))
    assert int(objective.module.pointer) == 8 * training.place.step
    assert all(line["loss"] < 100 for line in read_log(tmp_path))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_keeps_single_precision_weights(tmp_path: Path, precision: str) -> None:
    objective = ToyObjective()
    toy_training(tmp_path, objective, precision=precision)
    assert {value.dtype for value in objective.module.net.parameters()} == {torch.float32}
    assert sum(objective.losses[-8:]) < sum(objective.losses[:8])


def test_the_precision_left_open_is_that_of_the_device() -> None:
    assert resolve_precision("auto", torch.device("cpu")) == "fp32"
    assert resolve_precision("auto", torch.device("cuda")) == "bf16"
    assert resolve_precision("fp16", torch.device("cpu")) == "fp16"


class Exploding(ToyObjective):
    def loss(self, module: nn.Module, batch: Tensor, position: Position) -> dict[str, Tensor]:
        values = super().loss(module, batch, position)
        return {**values, "loss": values["loss"] * (float("nan") if position.step == 4 else 1.0)}


def test_a_loss_that_is_no_number_ends_the_training_before_anything_is_saved(tmp_path: Path) -> None:
    objective = Exploding()
    with pytest.raises(CellError, match="no longer finite"):
        train(objective, toy_plan(), tmp_path, objective.world)
    again = Training(ToyObjective(), toy_plan(), tmp_path, single())
    assert again.place.step <= 4
    assert all(bool(torch.isfinite(value).all()) for value in again.objective.module.parameters())


def test_the_schedule_begins_anew_with_a_stage_only_where_it_is_asked_to(tmp_path: Path) -> None:
    rates = []
    for restart in (False, True):
        objective = ToyObjective()
        training = Training(objective, toy_plan(epochs=2, log_every=1), tmp_path / str(restart), single())
        training.run(range(1))
        training.run(range(1, 2), restart_schedule=restart)
        rates.append([line["rate"] for line in read_log(tmp_path / str(restart))])
    assert rates[0][:8] == rates[1][:8] == rates[1][8:]
    assert rates[0][8:] == [pytest.approx(0.009)] * 8


def test_clipping_is_logged_by_the_norm_before_it(tmp_path: Path) -> None:
    toy_training(tmp_path, optimiser=OptimiserPlan(weight_decay=0.0, clip_norm=1e-3), log_every=1, epochs=1)
    assert all(line["gradient_norm"] > 1e-2 for line in read_log(tmp_path))


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    toy_training(tmp_path, tensorboard=True, epochs=1)
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    lines = read_log(tmp_path)
    assert [(event.step, event.value) for event in board.Scalars("loss")] == [
        (line["step"], pytest.approx(line["loss"])) for line in lines
    ]


def test_progress_counts_batches_and_names_speed_and_loss(tmp_path: Path) -> None:
    said: list[tuple[int, int, str]] = []
    objective = ToyObjective()
    train(
        objective,
        toy_plan(),
        tmp_path,
        objective.world,
        progress=lambda done, total, note="": said.append((done, total, note)),
    )
    assert [entry[:2] for entry in said] == [(done, 24) for done in range(1, 25)]
    assert said[-1][2].startswith("training, epoch 3/3, loss ")
    assert said[-1][2].endswith(" images/s")


def test_the_log_is_one_json_object_a_line(tmp_path: Path) -> None:
    toy_training(tmp_path)
    for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines():
        assert {"step", "epoch", "loss", "half", "rate", "images_per_second"} <= json.loads(line).keys()


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown device"):
        join_world("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no GPU"):
            join_world("cuda")
