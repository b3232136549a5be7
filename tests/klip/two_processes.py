"""What two processes do together; run as a program by each of them, as torchrun would start it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from klip.losses.matching import Negatives
from klip.model import pretrainer as pretrainer_module
from klip.model.pretrainer import PairBatch, Pretrainer
from klip.training.distributed import World, join_world, require_equal
from tests.klip.toy_pairs import context, pairs, small_pretrainer
from tests.klip.toy_training import ToyObjective, toy_training

PAIRS = 8
ROOT = Path(__file__).resolve().parents[2]
DRAWS = torch.rand(2, PAIRS, generator=torch.Generator().manual_seed(7))


def start_both(folder: Path, *work: str, seconds: float = 400) -> None:
    """Runs functions of this file in two processes joined by gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder), *work],
            cwd=ROOT,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [child.communicate(timeout=seconds)[1] for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0, 0], "\n".join(said)


def everywhere_matching() -> Pretrainer:
    """Keys and negatives of all processes, no queue, no dropout: then two processes are one with a double batch."""
    changes: dict[str, Any] = {"itc": {"gather": True}, "itm": {"negative_all_rank": True}}
    return small_pretrainer(loss={"lambda": [1, 1, 0]}, queue={"size": 0}, **changes)


def part(batch: PairBatch, rank: int, processes: int) -> PairBatch:
    """The pairs of one process."""
    count = len(batch) // processes
    rows = torch.arange(rank * count, (rank + 1) * count)
    others = (tensor[rows] for tensor in (batch.image_id, batch.text_hash, batch.noise))
    return PairBatch(batch.images[rows], batch.tokens.rows(rows), *others)


@contextmanager
def fixed_draws(rank: int, processes: int) -> Iterator[None]:
    """The same negatives for a pair wherever it is trained."""
    original: Callable[[Tensor, Tensor], Negatives] = vars(pretrainer_module)["draw_negatives"]
    calls = 0

    def draw(weights: Tensor, drawn: Tensor) -> Negatives:
        nonlocal calls
        count = PAIRS // processes
        calls += 1
        return original(weights, DRAWS[(calls - 1) % 2, rank * count : rank * count + len(drawn)])

    vars(pretrainer_module)["draw_negatives"] = draw
    try:
        yield
    finally:
        vars(pretrainer_module)["draw_negatives"] = original


def one_step(world: World) -> dict[str, Tensor]:
    """Losses (mean over processes) and gradients of one batch."""
    module = everywhere_matching()
    wrapped = world.wrap(module)
    with fixed_draws(world.rank, world.size):
        losses = wrapped(part(pairs(PAIRS, seed=3), world.rank, world.size), context(alpha=0.4))
    losses["loss"].backward()
    found = {f"loss.{name}": losses[name].detach() for name in ("loss", "itc", "itm")}
    if world.size > 1:
        for value in found.values():
            torch.distributed.all_reduce(value)
            value /= world.size
    gradients = {name: value.grad for name, value in module.named_parameters() if value.grad is not None}
    return found | gradients


def gradients(world: World, folder: Path) -> None:
    if world.first:
        torch.save(one_step(world), folder / "two.pt")
    else:
        one_step(world)


def trainings(world: World, folder: Path) -> None:
    """A training whose last batches are uneven, in one run folder, and what both hold at its end."""
    objective = ToyObjective(world, items=71, batch_size=4)
    toy_training(folder / "run", objective)
    state = {name: value for name, value in objective.module.state_dict().items() if name not in ("seen", "pointer")}
    torch.save({"module": state, "losses": objective.losses}, folder / f"rank{world.rank}.pt")


def pretrainings(world: World, folder: Path) -> None:
    """All stages of a pre-training, with queues compared at every step."""
    from klip.pretrain import run
    from klip.pretrain.prepare import Source
    from tests.klip.pretraining import small_settings

    settings = small_settings("debug.queue_check_every=1", "batch_size_per_device=4")
    source = Source(folder / "corpus", vocabulary_size=200)
    run.pretrain(run.Request(source, settings, folder / "klip", world=world))


def different_queues(world: World, _folder: Path) -> None:
    """Two processes that do not hold the same."""
    from foundation.errors import CellError

    require_equal({"same": torch.ones(3)}, "queues")
    try:
        require_equal({"same": torch.ones(3), "vision": torch.ones(3) + 1e-7 * world.rank}, "queues")
    except CellError as error:
        assert error.what.endswith("queues: vision"), error.what
    else:
        raise AssertionError("a difference went unnoticed")


if __name__ == "__main__":
    joined = join_world("cpu")
    for name in sys.argv[2:]:
        globals()[name](joined, Path(sys.argv[1]))
    joined.leave()
