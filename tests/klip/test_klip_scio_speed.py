"""What the measurement of screening compares is the same work, and the counted operations are those that are done."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from klip.settings import SIZES, SLOTS, PretrainingSettings
from tests.bench.scio_operations import TOKENS, screening_operations
from tests.bench.scio_screening import Case

ATTENTION = 0.15
"""Products of queries and keys, which the counter does not see on a CPU: their share at most."""


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(images=2)


def test_the_measured_works_give_the_same_scores(case: Case) -> None:
    ours, naive = case.at_once(every_match=True), case.pair_by_pair()
    for mine, reference in zip(ours, naive, strict=True):
        torch.testing.assert_close(mine.float(), reference, atol=1e-5, rtol=0)


def test_counted_operations_are_those_of_the_code(case: Case) -> None:
    tokens = int(case.tokens().lengths[0])
    counted = screening_operations(case.settings, tokens, SLOTS).ours
    counter: Any = FlopCounterMode(display=False)
    with counter:
        case.at_once(every_match=True)
    done = counter.get_total_flops() / 2 / len(case.texts)
    assert (1 - ATTENTION) * counted < done < 1.02 * counted


def test_on_base_screening_takes_about_a_third_of_the_operations() -> None:
    base = PretrainingSettings.model_validate(SIZES["base"])
    assert screening_operations(base, TOKENS, 0).ratio > 3.3
    assert screening_operations(base, TOKENS, 2).ratio > 2.8
    few = screening_operations(base, TOKENS, 1.5)
    assert few.two_calls / few.ours > 4
    # Section 6.8 counts 391 and 133 GMAC: versions of the peer as long as the full text, last layers whole.
    assert 360e9 < few.one_by_one < 391e9 and 120e9 < few.ours < 133e9
