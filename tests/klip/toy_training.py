"""A small objective with everything that a checkpoint must bring back, and processes that are killed while they train.

Run as a program it trains in processes of its own, each killed at a step of the optimiser, until one comes to the end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from klip.training.distributed import World, single
from klip.training.engine import Training, TrainingPlan, train
from klip.training.optimiser import OptimiserPlan
from klip.training.order import batches_per_epoch, epoch_batches
from klip.training.position import Position
from klip.training.schedule import EpochDecay

ITEMS, EPOCHS = 70, 3


class Remembering(nn.Module):
    """Weights with dropout, a twin that follows, and a ring of what was seen."""

    seen: Tensor
    pointer: Tensor

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        first = nn.Linear(6, 12)
        self.net = nn.Sequential(first, nn.Tanh(), nn.Dropout(0.2), nn.Linear(12, 1))
        for parameter in self.net.parameters():
            parameter.data.normal_(std=0.3, generator=generator)
        self.twin = nn.Parameter(first.weight.detach().clone(), requires_grad=False)
        self.register_buffer("seen", torch.zeros(11))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: Tensor, wanted: Tensor, noise: Tensor) -> Tensor:
        found = self.net(inputs + noise)[:, 0]
        places = (self.pointer + torch.arange(len(found))) % len(self.seen)
        loss: Tensor = ((found - wanted) ** 2).mean() + 0.01 * (found.mean() - self.seen.clone().mean()) ** 2
        self.seen[places] = found.detach().float()
        self.pointer += len(found)
        return loss


class ToyObjective:
    """Implements `klip.training.engine.Objective`."""

    def __init__(self, world: World | None = None, *, items: int = ITEMS, batch_size: int = 8) -> None:
        self.world = world or single()
        self.module = Remembering()
        generator = torch.Generator().manual_seed(1)
        self.inputs = torch.randn(items, 6, generator=generator)
        self.wanted = self.inputs.sum(1)
        self.batch_size = batch_size
        self.batches_per_epoch = batches_per_epoch(items, batch_size, self.world.size)
        self.after: list[Position] = []
        self.losses: list[float] = []
        self.before_step: Callable[[Position], None] = lambda _position: None
        self.extra: dict[str, Any] = {"version": 0}

    def batches(self, epoch: int, first: int) -> Iterator[Tensor]:
        return epoch_batches(
            len(self.inputs),
            self.batch_size,
            seed=5,
            epoch=epoch,
            first=first,
            rank=self.world.rank,
            processes=self.world.size,
        )

    def loss(self, module: nn.Module, batch: Tensor, position: Position) -> dict[str, Tensor]:
        self.before_step(position)
        noise = 0.1 * torch.randn(len(batch), 6, generator=position.generator("noise"))
        loss = module(self.inputs[batch], self.wanted[batch], noise)
        self.losses.append(float(loss.detach()))
        return {"loss": loss, "half": loss.detach() / 2}

    def after_step(self, position: Position) -> None:
        self.after.append(position)
        self.module.twin.data.lerp_(self.module.net[0].weight.data, 0.1)  # type: ignore[arg-type]

    def state(self) -> dict[str, Any]:
        return self.extra

    def load_state(self, state: dict[str, Any]) -> None:
        self.extra = state


def toy_plan(**changes: Any) -> TrainingPlan:
    """A plan that saves after every step, so that a kill costs nothing but itself."""
    values: dict[str, Any] = {
        "configuration": {"optim.lr": 0.01, "log_every": 3},
        "seed": 9,
        "epochs": EPOCHS,
        "schedule": EpochDecay(peak=0.01, warmup_rate=1e-4, warmup_steps=5, decay=0.9, floor=1e-5),
        "optimiser": OptimiserPlan(weight_decay=0.05, clip_norm=1.0),
        "log_every": 3,
        "save_minutes": 1e-9,
        "tensorboard": False,
    }
    return TrainingPlan(**(values | changes))


def toy_training(folder: Path, objective: ToyObjective | None = None, **changes: Any) -> Training:
    """Trains the toy to its end."""
    objective = objective or ToyObjective()
    return train(objective, toy_plan(**changes), folder, objective.world)


def kill_at(step: int) -> Callable[[Position], None]:
    """What an objective does before its step: dies without a word at one of them."""

    def die(position: Position) -> None:
        if position.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def in_process(work: Callable[[], object]) -> int:
    """Runs `work` in a forked process and gives its exit code or minus the signal that ended it."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path, kills: Sequence[int], save_minutes: float) -> None:
    """One process after the other, each killed at its step, the last one not."""
    import torch._dynamo  # seconds that every process would take by itself: an optimiser imports it

    assert torch._dynamo
    for step in kills:
        objective_kill = kill_at(step)

        def work(die: Callable[[Position], None] = objective_kill) -> None:
            objective = ToyObjective()
            objective.before_step = die
            toy_training(folder, objective, save_minutes=save_minutes)

        assert in_process(work) == -signal.SIGKILL, step
    assert in_process(lambda: toy_training(folder, save_minutes=save_minutes)) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(step) for step in sys.argv[3:]], float(sys.argv[2]))
