"""Two processes joined by gloo hold the same, and together they do what one process does with twice the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from klip.training.distributed import single
from klip.training.log import read_log
from tests.klip.toy_corpus import write_toy_corpus
from tests.klip.toy_training import ToyObjective
from tests.klip.two_processes import one_step, start_both

pytestmark = pytest.mark.slow  # two processes that load torch


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left behind; a hang ends as a failure."""
    folder = tmp_path_factory.mktemp("two")
    write_toy_corpus(folder / "corpus", 47, wrong=0.2)
    start_both(folder, "gradients", "trainings", "different_queues", "pretrainings")
    return folder


def test_contrast_and_matching_over_two_processes_are_one_process_with_twice_the_batch(left: Path) -> None:
    two, one = torch.load(left / "two.pt", weights_only=True), one_step(single())
    assert two.keys() == one.keys()
    assert len(one) > 40
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-5)


def test_uneven_last_batches_do_not_hang_and_both_hold_the_same_weights(left: Path) -> None:
    first, second = (torch.load(left / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(value, second["module"][name]) for name, value in first["module"].items())
    assert len(first["losses"]) == len(second["losses"]) == 3 * (71 // 8)
    assert first["losses"] != second["losses"], "they see different images"


def test_the_processes_divide_what_one_process_sees() -> None:
    from dataclasses import replace

    whole = list(ToyObjective(batch_size=8).batches(2, 0))
    parts = [list(ToyObjective(replace(single(), rank=rank, size=2), batch_size=4).batches(2, 0)) for rank in (0, 1)]
    assert [torch.cat(both).tolist() for both in zip(*parts, strict=True)] == [batch.tolist() for batch in whole]


def test_a_pre_training_with_all_its_passes_keeps_queues_that_were_compared_at_every_step(left: Path) -> None:
    lines = read_log(left / "klip")
    assert [line["event"] for line in lines if "event" in line] == [
        "screen_001",
        "screen_002",
        "rewritten screen_002",
        "screen_003",
    ]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 1 + 3 * (43 // 8)))
