"""MoCo v3: the loss is the InfoNCE that a loop computes, slow copies follow a cosine, gradients stay on one side."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from klip.unimodal.moco_v3 import contrast, momentum_at
from klip.unimodal.settings import settings_of
from tests.klip.structured_images import learnt, seeded, small_module, structured


def by_hand(queries: Tensor, keys: Tensor, temperature: float) -> float:
    """2 T times the mean InfoNCE, pair by pair."""
    losses = []
    for i, query in enumerate(queries):
        cosines = [float(F.cosine_similarity(query, key, dim=0)) / temperature for key in keys]
        losses.append(math.log(sum(math.exp(value) for value in cosines)) - cosines[i])
    return 2 * temperature * sum(losses) / len(losses)


def test_the_contrast_is_the_loop_over_all_pairs() -> None:
    queries, keys = torch.randn(6, 8, generator=seeded()), torch.randn(6, 8, generator=seeded(1))
    assert float(contrast(queries, keys, 0.2)[0]) == pytest.approx(by_hand(queries, keys, 0.2), rel=1e-5)


def test_both_views_ask_and_answer() -> None:
    module = small_module("moco-v3")
    views = module.views_of(torch.from_numpy(structured(8)), seeded())
    module.train()
    found = float(module(views, seeded())["loss"].detach())
    inputs = [module.input_of(one) for one in views]
    with torch.no_grad():
        queries = [module.predictor(module.projector(module.encoder(one).pooled)) for one in inputs]
        keys = [module.slow_projector(module.slow_encoder(one).pooled) for one in inputs]
    expected = by_hand(queries[0], keys[1], 0.2) + by_hand(queries[1], keys[0], 0.2)
    assert found == pytest.approx(expected, rel=1e-4)


def test_momentum_rises_to_one_along_a_cosine() -> None:
    assert momentum_at(0, 100, 0.99) == pytest.approx(0.99)
    assert momentum_at(50, 100, 0.99) == pytest.approx(0.995)
    assert momentum_at(100, 100, 0.99) == pytest.approx(1.0)
    rising = [momentum_at(step, 100, 0.99) for step in range(101)]
    assert rising == sorted(rising)


def test_slow_copies_follow_as_the_formula_says() -> None:
    module = small_module("moco-v3")
    slow = dict(module.slow_encoder.named_parameters())["blocks.0.attn.qkv.weight"].clone()
    online = module.encoder.blocks[0].attn.qkv.weight
    with torch.no_grad():
        online.add_(1.0)
    for step in range(1, 4):
        slow = momentum_at(step - 1, 10, 0.99) * slow + (1 - momentum_at(step - 1, 10, 0.99)) * online
        module.follow(step, 10)
    torch.testing.assert_close(module.slow_encoder.blocks[0].attn.qkv.weight, slow.detach())


def test_no_gradient_reaches_the_slow_side_or_the_patch_projection() -> None:
    module = small_module("moco-v3")
    module(module.views_of(torch.from_numpy(structured(4)), seeded()), seeded())["loss"].backward()
    without = {name for name, parameter in module.named_parameters() if parameter.grad is None}
    silent = ("slow_", "encoder.patch_embed", "encoder.pos_embed")
    assert without == {name for name, _ in module.named_parameters() if name.startswith(silent)}
    assert not any(parameter.requires_grad for name, parameter in module.named_parameters() if name in without)


def test_keys_get_no_gradient_even_where_they_have_one() -> None:
    queries = torch.randn(4, 8, requires_grad=True)
    keys = torch.randn(4, 8, requires_grad=True)
    contrast(queries, keys, 0.2)[0].backward()  # type: ignore[no-untyped-call]
    assert queries.grad is not None and keys.grad is None


def test_the_patch_projection_may_learn_if_asked_to() -> None:
    module = small_module("moco-v3", "moco.freeze_patches=false")
    assert module.encoder.patch_embed.proj.weight.requires_grad


def test_it_learns_to_tell_images_apart() -> None:
    module = small_module("moco-v3", "views.scale=[0.6, 1.0]", "views.solarise=[0.0, 0.0]")
    losses = learnt(module, structured(64), 120, rate=1e-3, batch=32)
    chance = 2 * 2 * 0.2 * math.log(32)  # all keys alike, both directions
    assert sum(losses[-10:]) / 10 < 0.75 * chance


def test_the_base_geometry_is_that_of_the_specification() -> None:
    settings = settings_of("moco-v3")
    assert (settings.moco.hidden, settings.moco.out, settings.moco.temperature) == (4096, 256, 0.2)
    assert (settings.optim.rate, settings.optim.weight_decay, settings.optim.warmup) == (1.5e-4, 0.1, 40 / 300)
    assert settings.views.scale == (0.08, 1.0) and settings.views.blur == (1.0, 0.1)
