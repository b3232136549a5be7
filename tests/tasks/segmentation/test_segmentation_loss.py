"""The loss in few products is the cross entropy of interpolated logits, value and gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from adapters.interface import Grid
from tasks.datasets.records import IGNORE
from tasks.segmentation.loss import class_shares, likeliest, mask_cross_entropy, upsampled

CPU = torch.device("cpu")


def _reference(logits: Tensor, masks: np.ndarray, side: int) -> Tensor:
    fine = interpolate(logits.permute(0, 3, 1, 2), size=(side, side), mode="bilinear", align_corners=False)
    return cross_entropy(fine, torch.from_numpy(masks.astype(np.int64)), ignore_index=IGNORE)


def _own(logits: Tensor, masks: np.ndarray, side: int) -> Tensor:
    grid = Grid(*logits.shape[1:3])
    shares = class_shares(masks, logits.shape[3], grid, CPU).to(logits.dtype)
    ignoring = (masks == IGNORE).any()
    return mask_cross_entropy(logits, shares, torch.from_numpy(masks != IGNORE) if ignoring else None, side)


def _gradient(loss: Tensor, logits: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, logits)
    return found


def _case(
    number: int, grid: Grid, classes: int, side: int, ignored: float, spread: float = 1.0
) -> tuple[Tensor, np.ndarray]:
    rng = np.random.default_rng(number)
    masks = rng.integers(0, classes, (3, side, side), dtype=np.uint8)
    masks[rng.random(masks.shape) < ignored] = IGNORE
    logits = torch.from_numpy(rng.normal(0, spread, (3, *grid, classes)).astype(np.float32))
    return logits.requires_grad_(), masks


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 7),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.01, 0.6]),
    st.sampled_from([0.1, 1.0, 30.0]),
)
def test_value_and_gradient_are_those_of_interpolation_and_cross_entropy(
    number: int, rows: int, columns: int, classes: int, side: int, ignored: float, spread: float
) -> None:
    logits, masks = _case(number, Grid(rows, columns), classes, side, ignored, spread)
    if (masks == IGNORE).all():
        return
    expected = _gradient(_reference(logits, masks, side), logits)
    loss = _own(logits, masks, side)
    assert float(loss.detach()) == pytest.approx(
        float(_reference(logits, masks, side).detach()), rel=1e-5, abs=1e-5 * spread
    )
    assert torch.allclose(_gradient(loss, logits), expected, atol=1e-6, rtol=1e-4)


def test_logits_that_are_far_apart_do_not_overflow() -> None:
    logits, masks = _case(0, Grid(4, 4), 5, 32, 0.1, spread=1e4)
    loss = _own(logits, masks, 32)
    assert float(loss.detach()) == pytest.approx(float(_reference(logits, masks, 32).detach()), rel=1e-5)
    assert _gradient(loss, logits).isfinite().all()


def test_without_a_labelled_pixel_loss_and_gradient_are_zero() -> None:
    logits, masks = _case(0, Grid(2, 2), 3, 8, 1.0)
    loss = _own(logits, masks, 8)
    assert float(loss.detach()) == 0.0
    assert not _gradient(loss, logits).any()


def test_the_mean_is_over_labelled_pixels_of_the_whole_batch() -> None:
    logits, masks = _case(1, Grid(2, 2), 3, 8, 0.0)
    masks[0] = IGNORE
    with torch.no_grad():
        assert float(_own(logits, masks, 8)) == pytest.approx(float(_own(logits[1:], masks[1:], 8)), rel=1e-5)


def test_an_ignored_pixel_moves_nothing() -> None:
    logits, masks = _case(2, Grid(8, 8), 3, 8, 0.0)
    masks[:, 5, 5] = IGNORE  # with a patch per pixel, nothing but this pixel looks at this patch
    gradient = _gradient(_own(logits, masks, 8), logits)
    assert not gradient[:, 5, 5].any() and gradient[:, 4, 4].any()


def test_shares_are_the_weights_of_each_class_around_a_patch() -> None:
    masks = np.zeros((1, 8, 8), dtype=np.uint8)
    masks[:, :, 4:], masks[:, 6:] = 1, IGNORE
    shares = class_shares(masks, 2, Grid(2, 2), CPU)
    assert shares.sum() == pytest.approx(6 * 8)  # labelled pixels
    one_hot = torch.from_numpy((masks[:, None] == np.arange(2)[None, :, None, None]).astype(np.float32))
    for row in range(2):
        for column in range(2):
            lit = torch.zeros(1, 1, 2, 2)
            lit[0, 0, row, column] = 1
            weights = interpolate(lit, size=(8, 8), mode="bilinear", align_corners=False)[0, 0]
            assert torch.allclose(shares[0, row, column], (one_hot[0] * weights).sum(dim=(1, 2)))


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_the_likeliest_class_is_the_first_with_the_largest_value(number: int, classes: int) -> None:
    maps = torch.from_numpy(np.random.default_rng(number).integers(0, 3, (classes, 2, 5, 4)).astype(np.float32))
    assert np.array_equal(likeliest(maps).numpy(), maps.numpy().argmax(axis=0))


def test_upsampling_is_bilinear() -> None:
    logits = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    expected = interpolate(logits.permute(0, 3, 1, 2), size=(16, 16), mode="bilinear", align_corners=False)
    assert torch.allclose(upsampled(logits, 16), expected.transpose(0, 1), atol=1e-6)


def test_the_loss_stays_in_single_precision_under_mixed_precision() -> None:
    logits, masks = _case(3, Grid(4, 4), 4, 16, 0.1)
    plain = _own(logits, masks, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = _own(logits.bfloat16().float(), masks, 16)
        assert mixed.dtype == torch.float32
    assert float(mixed.detach()) == pytest.approx(float(plain.detach()), rel=1e-3)


def test_tensors_made_while_predicting_can_be_trained_with() -> None:
    with torch.inference_mode():
        upsampled(torch.zeros(1, 3, 7, 2), 29)
    logits, masks = _case(4, Grid(3, 7), 2, 29, 0.0)
    assert _gradient(_own(logits, masks, 29), logits).any()
