"""Hard negatives of image-text matching: who is drawn, how often, and who never (sections 4.2 and 13.1)."""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from foundation.errors import UsageError
from klip.losses.matching import Negatives, draw_negatives, matching_loss, negative_weights
from tests.klip.toy_pairs import context, pairs, small_pretrainer


def one_by_one(weights: Tensor, draws: Tensor) -> list[int | None]:
    """The reference: each row by itself, walking along its cumulated weights."""
    found: list[int | None] = []
    for row, draw in zip(weights.double().tolist(), draws.tolist(), strict=True):
        edges = list(itertools.accumulate(row))
        if edges[-1] == 0:
            found.append(None)
            continue
        possible = [n for n, weight in enumerate(row) if weight > 0]
        found.append(min(bisect.bisect_right(edges, draw * edges[-1]), possible[-1]))
    return found


def drawn(weights: Tensor, draws: Tensor) -> list[int | None]:
    negatives = draw_negatives(weights, draws)
    pairs = zip(negatives.partner.tolist(), negatives.valid.tolist(), strict=True)
    return [partner if valid else None for partner, valid in pairs]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 9), st.integers(0, 10**6), st.floats(0, 1))
def test_all_rows_at_once_draw_what_rows_one_by_one_draw(count: int, seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    similarity = 5 * torch.randn(count, count, generator=generator)
    same = (torch.rand(count, count, generator=generator) < share) | torch.eye(count, dtype=torch.bool)
    weights = negative_weights(similarity, same)
    draws = torch.rand(count, generator=generator)
    draws[0] = 1 - 2**-24  # the largest number that torch.rand gives
    found = drawn(weights, draws)
    assert found == one_by_one(weights, draws)
    for row, partner in enumerate(found):
        assert partner is None if same[row].all() else partner is not None and not same[row, partner]


def test_frequencies_are_those_of_the_weights() -> None:
    generator = torch.Generator().manual_seed(4)
    same = torch.eye(6, dtype=torch.bool)
    same[0, 3] = True
    weights = negative_weights(2 * torch.randn(6, 6, generator=generator), same)
    rounds = 4000
    draws = torch.rand(6 * rounds, generator=generator)
    found = draw_negatives(weights.repeat(rounds, 1), draws).partner.view(rounds, 6)
    for row in range(6):
        counts = torch.bincount(found[:, row], minlength=6)
        possible = weights[row] > 0
        assert counts[~possible].sum() == 0
        expected = weights[row, possible].double()
        assert chisquare(counts[possible].numpy(), (expected / expected.sum() * rounds).numpy()).pvalue > 1e-3


def test_weights_are_softmax_and_a_floor() -> None:
    similarity = torch.tensor([[0.0, 200.0, 0.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]], requires_grad=True)
    weights = negative_weights(similarity, torch.eye(3, dtype=torch.bool))
    assert not weights.requires_grad
    assert weights.diagonal().eq(0).all()
    assert weights[0].tolist() == pytest.approx([0, 1.0001, 1e-4], abs=1e-7)


def test_without_hardness_all_but_the_own_are_as_likely_and_half_of_it_takes_the_root_of_the_odds() -> None:
    similarity, own = torch.tensor([[0.0, 2.0, 6.0]]), torch.tensor([[True, False, False]])
    assert negative_weights(similarity, own, hardness=0.0)[0].tolist() == pytest.approx([0, 1 / 3 + 1e-4, 1 / 3 + 1e-4])
    odds = [(weights[0, 2] - 1e-4) / (weights[0, 1] - 1e-4) for weights in _of_hardness(similarity, own, 0.5, 1.0)]
    assert odds[0] ** 2 == pytest.approx(float(odds[1]), rel=1e-3)
    assert odds[1] == pytest.approx(math.exp(4), rel=1e-3)


def _of_hardness(similarity: Tensor, own: Tensor, *values: float) -> list[Tensor]:
    return [negative_weights(similarity.double(), own, hardness=value) for value in values]


def test_a_row_of_duplicates_has_no_negative_and_no_part_in_the_loss() -> None:
    same = torch.eye(3, dtype=torch.bool)
    same[1] = True
    valid = draw_negatives(negative_weights(torch.zeros(3, 3), same), torch.rand(3)).valid
    assert valid.tolist() == [True, False, True]
    logits = torch.randn(9, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = matching_loss(logits, valid, torch.tensor([True, True, False]))
    rows = [0, 1, 2, 3, 5, 6, 7]
    labels = torch.tensor([1, 1, 1, 0, 0, 0, 0])
    torch.testing.assert_close(loss, F.cross_entropy(logits[rows], labels))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[[4, 8]].eq(0).all()


def test_one_image_alone_cannot_be_mismatched() -> None:
    with pytest.raises(UsageError, match="another image"):
        draw_negatives(torch.zeros(1, 1), torch.zeros(1))
    with pytest.raises(UsageError, match="batch has one"):
        small_pretrainer()(pairs(1), context())


def test_a_batch_of_copies_of_one_image_trains_on_matches_alone() -> None:
    batch = replace(pairs(4), image_id=torch.zeros(4, dtype=torch.int64))
    report = small_pretrainer()(batch, context())
    assert report["loss"].isfinite()
    report["loss"].backward()


def test_equal_texts_of_different_images_are_never_drawn() -> None:
    pretrainer = small_pretrainer()
    batch = replace(pairs(6), text_hash=torch.tensor([1, 1, 1, 2, 2, 2]))
    original = draw_negatives
    partners: list[Tensor] = []

    def spy(weights: Tensor, draw: Tensor) -> Negatives:
        negatives = original(weights, draw)
        partners.append(negatives.partner)
        return negatives

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("klip.model.pretrainer.draw_negatives", spy)
        for seed in range(20):
            pretrainer(batch, context(seed=seed))
    found = torch.stack(partners)
    assert found[:, :3].ge(3).all()
    assert found[:, 3:].lt(3).all()
