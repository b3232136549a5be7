"""Two processes equal one with twice the batch (sections 5.3, 5.4 and 13.2)."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from klip.losses.matching import Negatives, draw_negatives
from klip.model.pretrainer import PairBatch, Pretrainer
from tests.klip.toy_pairs import context, pairs, small_pretrainer

RANKS, EACH = 2, 3
STEPS = 2


def pretrainer_of(fusion: str) -> Pretrainer:
    changes: dict[str, Any] = {
        "model": {"fusion": fusion, "vision_width": 12},
        "itc": {"gather": True},
        "itm": {"negative_all_rank": True},
        "loss": {"lambda": (1.0, 1.0, 0.0)},  # infilling is a mean over each rank's own tokens
        "queue": {"size": 8},
    }
    return small_pretrainer(**changes)


def part(batch: PairBatch, first: int, count: int) -> PairBatch:
    """Some of the pairs, their texts as wide as the longest of them."""
    rows = torch.arange(first, first + count)
    return PairBatch(
        images=batch.images[rows],
        tokens=batch.tokens.rows(rows).trimmed(),
        image_id=batch.image_id[rows],
        text_hash=batch.text_hash[rows],
        noise=batch.noise[rows],
    )


def with_draws_of(first: int, step: int) -> Callable[[Tensor, Tensor], Negatives]:
    """The same lots for a pair, whichever process it is in."""
    draws = torch.rand(2, RANKS * EACH, generator=torch.Generator().manual_seed(step))
    calls = iter(draws)

    def draw(weights: Tensor, unused: Tensor) -> Negatives:
        return draw_negatives(weights, next(calls)[first : first + len(unused)])

    return draw


def run(fusion: str, first: int, count: int) -> dict[str, Any]:
    """Losses and summed gradients of two steps, and the queue after them."""
    pretrainer = pretrainer_of(fusion)
    losses = []
    for step in range(STEPS):
        batch = part(pairs(RANKS * EACH, seed=step + 1), first, count)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("klip.model.pretrainer.draw_negatives", with_draws_of(first, step))
            report = pretrainer(batch, context(seed=step))
        report["loss"].backward()
        losses.append([float(report[name].detach()) for name in ("itc", "itm", "loss")])
    gradients = {name: p.grad for name, p in pretrainer.named_parameters() if p.grad is not None}
    return {"losses": torch.tensor(losses), "gradients": gradients, "queue": pretrainer.queue.state_dict()}


def of_rank(rank: int, fusion: str, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS)
    try:
        found = run(fusion, rank * EACH, EACH)
        torch.save(found, folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("fusion", ["blip", "albef"])
def test_losses_gradients_and_queues_of_two_ranks_are_those_of_one(fusion: str, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=of_rank, args=(rank, fusion, tmp_path)) for rank in range(RANKS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
        assert process.exitcode == 0
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]
    alone = run(fusion, 0, RANKS * EACH)
    losses = torch.stack([rank["losses"] for rank in ranks]).mean(0)
    torch.testing.assert_close(losses, alone["losses"], rtol=1e-5, atol=1e-5)
    for name, expected in alone["gradients"].items():
        mean = torch.stack([rank["gradients"][name] for rank in ranks]).mean(0)  # what data-parallel training takes
        torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-5, msg=name)
    assert not torch.allclose(
        ranks[0]["gradients"]["online.itm_head.weight"], alone["gradients"]["online.itm_head.weight"]
    )
    for name in ("vision", "text", "image_id", "text_hash"):
        assert torch.equal(ranks[0]["queue"][name], ranks[1]["queue"][name])
        torch.testing.assert_close(ranks[0]["queue"][name], alone["queue"][name], rtol=0, atol=1e-6)
    counters = [each["queue"]["_extra_state"] for each in (*ranks, alone)]
    assert counters[0] == counters[1] == counters[2]
