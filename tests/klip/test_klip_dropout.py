"""Our own dropout on the CPU: probability, scale, gradient, reproducibility; attention with it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from klip.model.dropout import attention, dropout


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_elements_are_dropped_with_the_probability_and_the_mean_stays(probability: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    count = 400_000
    found = dropout(torch.ones(count, dtype=dtype), probability, True)
    zero = (found == 0).double().mean().item()
    assert zero == pytest.approx(probability, abs=4 * math.sqrt(probability * (1 - probability) / count))
    kept = found[found != 0]
    assert kept.dtype == dtype
    rounding = torch.finfo(dtype).eps
    assert float(kept.min()) == float(kept.max()) == pytest.approx(1 / (1 - probability), rel=2e-4 + rounding)


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(1)
    dropped = (dropout(torch.ones(400_000), 0.3, True) == 0).double()
    for distance in (1, 2, 3, 4, 8):
        joint = (dropped[:-distance] * dropped[distance:]).mean()
        assert float(joint) == pytest.approx(0.09, abs=0.003)


@pytest.mark.parametrize("shape", [(0,), (1,), (3,), (5, 7), (2, 0, 3), (4, 3, 5), ()])
def test_any_shape(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    states = torch.randn(shape)
    found = dropout(states, 0.5, True)
    assert found.shape == states.shape
    scaled = torch.isclose(found, 2 * states) | (found == 0)
    assert bool(scaled.all())


def test_the_gradient_passes_where_the_value_did() -> None:
    torch.manual_seed(0)
    states = torch.randn(1000, requires_grad=True)
    found = dropout(states, 0.25, True)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert states.grad is not None
    torch.testing.assert_close(states.grad * states.detach(), found.detach())


def test_draws_follow_the_global_seed() -> None:
    states = torch.ones(1001)
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append((dropout(states, 0.1, True), dropout(states, 0.1, True)))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert not torch.equal(found[0][0], found[0][1])
    assert not torch.equal(found[0][0], found[2][0])


def test_outside_of_training_nothing_happens() -> None:
    states = torch.ones(9)
    before = torch.get_rng_state()
    assert dropout(states, 0.5, False) is states
    assert dropout(states, 0.0, True) is states
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_without_dropout_equals_the_fused_kernel_and_with_it_does_so_on_average(masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 4, generator=generator) for _ in range(3))
    mask = torch.rand(2, 1, 5, 5, generator=generator) < 0.6 if masked else None
    if mask is not None:
        mask = mask | torch.eye(5, dtype=torch.bool)
    exact = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    assert torch.equal(attention(query, key, value, mask, 0.0), exact)
    torch.testing.assert_close(attention(query, key, value, mask, 1e-9), exact)  # below the grain: nothing is dropped
    torch.manual_seed(0)
    many = torch.stack([attention(query, key, value, mask, 0.2) for _ in range(4000)])
    error = many.std(0) / math.sqrt(4000)
    assert float(((many.mean(0) - exact) / (error + 1e-6)).abs().max()) < 5
