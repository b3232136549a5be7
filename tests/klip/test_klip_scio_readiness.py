"""What a model is asked before it judges texts: hard mismatches as in training (sections 4.2 and 6.10)."""

from __future__ import annotations

import pytest
import torch

from klip.scio.readiness import _hard_texts


@pytest.mark.parametrize(("pairs", "batch"), [(2, 32), (32, 32), (33, 32), (65, 32), (120, 32), (7, 2)])
def test_every_image_is_asked_about_a_text_of_another_one(pairs: int, batch: int) -> None:
    same = torch.eye(pairs, dtype=torch.bool)
    found = _hard_texts(torch.randn(pairs, pairs), same, batch, seed=0)
    assert found.valid.all() and len(found.partner) == pairs
    assert not (found.partner == torch.arange(pairs)).any()


def test_pairs_that_say_the_same_are_no_mismatch() -> None:
    group = torch.arange(40) % 4
    same = group[:, None] == group
    found = _hard_texts(torch.zeros(40, 40), same, 8, seed=1)
    assert not same[torch.arange(40)[found.valid], found.partner[found.valid]].any()
    alone = _hard_texts(torch.zeros(6, 6), torch.ones(6, 6, dtype=torch.bool), 6, seed=1)
    assert not alone.valid.any()


def test_the_most_alike_of_a_batch_is_drawn_and_of_other_batches_none() -> None:
    similarity = torch.zeros(64, 64)
    similarity[:, 5] = 50.0
    whole = _hard_texts(similarity, torch.eye(64, dtype=torch.bool), 64, seed=2)
    assert 59 <= (whole.partner == 5).sum() <= 63, "all but its own, and but for the floor that leaves none impossible"
    parts = _hard_texts(similarity, torch.eye(64, dtype=torch.bool), 16, seed=2)
    assert 13 <= (parts.partner == 5).sum() <= 15
    assert torch.equal(parts.partner, _hard_texts(similarity, torch.eye(64, dtype=torch.bool), 16, seed=2).partner)
