"""A training that is killed or stopped and goes on is the training that was never stopped, bit for bit on the CPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from foundation.errors import CheckError, UsageError
from klip.training import checkpoint as checkpoints
from klip.training.engine import StoppedError, Training, train
from klip.training.log import TIMES, read_log
from tests.klip import toy_training as toy
from tests.klip.toy_training import ToyObjective, toy_plan, toy_training


def final_state(folder: Path) -> checkpoints.Checkpoint:
    return checkpoints.read(checkpoints.find(folder))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name not in TIMES} for line in read_log(folder)]


def assert_same_training(one: Path, other: Path) -> None:
    a, b = final_state(one), final_state(other)
    assert a.place == b.place
    assert a.module.keys() == b.module.keys()
    assert [name for name in a.module if not torch.equal(a.module[name], b.module[name])] == []
    for key, state in a.optimiser["state"].items():
        assert all(torch.equal(value, b.optimiser["state"][key][name]) for name, value in state.items())
    assert lines(one) == lines(other)


@pytest.mark.parametrize("save_minutes", [1e-9, 60.0])
def test_killed_at_four_steps_it_ends_with_the_same_weights_buffers_and_log(
    tmp_path: Path, save_minutes: float
) -> None:
    # In the first of the runs every step is saved, in the second only ends of epochs are: steps are then done again.
    toy_training(tmp_path / "whole")
    assert [line["step"] for line in lines(tmp_path / "whole")] == [3, 6, 8, 9, 12, 15, 16, 18, 21, 24]
    done = subprocess.run(
        [sys.executable, toy.__file__, str(tmp_path / "killed"), str(save_minutes), "0", "2", "8", "13"],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert_same_training(tmp_path / "whole", tmp_path / "killed")


def test_a_training_that_forgot_its_buffers_would_be_found(tmp_path: Path) -> None:
    toy_training(tmp_path / "whole")
    toy_training(tmp_path / "other", epochs=3, seed=9)
    objective = ToyObjective()
    training = Training(objective, toy_plan(), tmp_path / "planted", objective.world)
    training.run(range(1))
    objective.module.seen.zero_()
    training.run(range(3))
    assert_same_training(tmp_path / "whole", tmp_path / "other")
    with pytest.raises(AssertionError):
        assert_same_training(tmp_path / "whole", tmp_path / "planted")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_at_the_next_step_and_says_how_to_go_on(tmp_path: Path, number: int, code: int) -> None:
    before = signal.getsignal(signal.SIGINT)  # ignored in what a shell started in the background
    toy_training(tmp_path / "whole")
    objective = ToyObjective()
    objective.before_step = lambda position: os.kill(os.getpid(), number) if position.step == 10 else None
    with pytest.raises(StoppedError) as caught:
        toy_training(tmp_path / "stopped", objective, save_minutes=60.0)
    assert caught.value.exit_code == code
    assert "run the same command again" in caught.value.way_out
    assert final_state(tmp_path / "stopped").place.step == 11
    assert signal.getsignal(signal.SIGINT) is before
    resumed = toy_training(tmp_path / "stopped")
    assert resumed.resumed is not None
    assert_same_training(tmp_path / "whole", tmp_path / "stopped")


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    toy_training(tmp_path)
    objective = ToyObjective()
    toy_training(tmp_path, objective)
    assert objective.losses == []


def test_another_configuration_is_refused_with_the_keys_that_differ(tmp_path: Path) -> None:
    toy_training(tmp_path, epochs=1)
    with pytest.raises(UsageError) as caught:
        toy_training(tmp_path, configuration={"optim.lr": 0.02, "image.size": 64, "log_every": 50})
    assert "optim.lr: 0.01 -> 0.02" in caught.value.what
    assert "image.size: 'absent' -> 64" in caught.value.what
    assert "log_every" not in caught.value.what, "how often is logged changes no weight"
    assert "another --out folder" in caught.value.way_out


def test_other_settings_of_log_and_checkpoints_go_on(tmp_path: Path) -> None:
    toy_training(tmp_path, epochs=1)
    toy_training(tmp_path, configuration={"optim.lr": 0.01, "log_every": 50, "save_minutes": 3})
    assert final_state(tmp_path).place.epoch == toy.EPOCHS


def test_the_last_checkpoints_and_the_ends_of_stages_are_kept(tmp_path: Path) -> None:
    toy_training(tmp_path, epochs=6, checkpoints=2, kept_epochs=frozenset({1, 3, 6}))
    assert [path.name for path in checkpoints.existing(tmp_path)] == [
        f"epoch_{epoch:04d}_batch_{batch:07d}.pt" for epoch, batch in ((1, 0), (3, 0), (5, 7), (6, 0))
    ]


def test_what_a_killed_writer_left_is_removed_and_never_read(tmp_path: Path) -> None:
    toy_training(tmp_path, epochs=1)
    torn = tmp_path / "checkpoints" / ".partial-epoch_0009.pt"
    torn.write_bytes(b"half")
    toy_training(tmp_path)
    assert not torn.exists()


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    toy_training(tmp_path, epochs=1)
    path = checkpoints.find(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckError) as caught:
        toy_training(tmp_path)
    assert caught.value.where == str(path)
    assert "delete the file" in caught.value.way_out


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "epoch_0001_batch_0000000.pt"
    path.parent.mkdir()

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "hacked"),))

    torch.save({"format": 1, "x": Evil()}, path)
    with pytest.raises(CheckError):
        checkpoints.read(path)
    assert not (tmp_path / "hacked").exists()


def test_two_trainings_do_not_write_to_one_folder(tmp_path: Path) -> None:
    objective = ToyObjective()
    inner: list[UsageError] = []

    def second(position: Any) -> None:
        if position.step == 0:
            with pytest.raises(UsageError) as caught:
                toy_training(tmp_path)
            inner.append(caught.value)

    objective.before_step = second
    train(objective, toy_plan(epochs=1), tmp_path, objective.world)
    assert "another training writes here" in str(inner[0])
