"""One step with all losses: objectives, gradients, twins and queue (sections 4, 5 and 13)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from klip.losses.infilling import next_token_loss
from klip.losses.matching import matching_loss
from klip.model.momentum import MomentumTwin
from klip.settings import SLOTS
from klip.tokens.batch import VALUE
from tests.klip.toy_pairs import context, pairs, small_model, small_pretrainer

OBJECTIVES = ["infill", "bidir", "lm"]


@pytest.mark.parametrize("fusion", ["blip", "albef"])
@pytest.mark.parametrize("memory", ["fused+image", "image", "fused"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_weight_that_learns_has_a_gradient(fusion: str, memory: str, objective: str) -> None:
    changes: dict[str, Any] = {
        "model": {"fusion": fusion, "decoder_memory": memory, "vision_width": 12},
        "mlm": {"objective": objective},
    }
    pretrainer = small_pretrainer(dropout=0.1, **changes)
    pretrainer(pairs(), context())  # the queue fills
    report = pretrainer(pairs(seed=1), context(seed=1))
    assert report["loss"].isfinite()
    total = report["itc"] + report["itm"] + report["mlm"]
    assert float(total) == pytest.approx(float(report["loss"].detach()), rel=1e-5)
    report["loss"].backward()
    lacking = [name for name, p in pretrainer.named_parameters() if p.requires_grad and p.grad is None]
    # Only what the memory of the decoder leaves out may go without; nothing else.
    assert lacking == []
    assert all(p.grad is None for p in pretrainer.twin.parameters())
    assert not pretrainer.queue.vision.requires_grad


@pytest.mark.parametrize("weights", [(1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.5, 2.0, 3.0)])
def test_losses_that_are_off_train_nothing_and_the_others_are_weighted(weights: tuple[float, float, float]) -> None:
    pretrainer = small_pretrainer(loss={"lambda": weights})
    report = pretrainer(pairs(), context())
    parts = [report.get(name, torch.zeros(())) for name in ("itc", "itm", "mlm")]
    assert [float(part) != 0 for part in parts] == [bool(weight) for weight in weights]
    assert float(sum(w * float(part) for w, part in zip(weights, parts, strict=True))) == pytest.approx(
        float(report["loss"].detach()), rel=1e-5
    )
    report["loss"].backward()
    for name, parameter in pretrainer.online.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_gradients_of_matching_and_infilling_equal_finite_differences() -> None:
    model = small_model(spread=3.0).double()
    batch = pairs(3)
    images = batch.images.double()
    tokens = batch.tokens
    valid = torch.tensor([True, True, False])

    memory = model.encode_image(images).memory.detach().requires_grad_()
    index = torch.tensor([0, 1, 2, 0, 1, 2, 2, 0, 1])
    texts = tokens.rows(torch.tensor([0, 1, 2, 1, 2, 0, 0, 1, 2]))

    def matching(memory: Tensor) -> Tensor:
        return matching_loss(model.itm_logits(texts, model.visual_memory(memory), index), valid, valid)

    assert torch.autograd.gradcheck(matching, (memory,), fast_mode=True)

    def infilling(memory: Tensor) -> Tensor:
        keys = model.visual_memory(memory)
        fused = model.fused(tokens, keys)
        hidden = model.decode(tokens.ids, model.decoder_memory(fused, tokens.mask, keys))
        return next_token_loss(model, hidden, tokens.ids, tokens.mask)

    assert torch.autograd.gradcheck(infilling, (memory,), fast_mode=True)


def test_language_of_blip_reads_every_token_from_the_image_alone() -> None:
    pretrainer = small_pretrainer(mlm={"objective": "lm"})
    batch = pairs(4)
    report = pretrainer(batch, context())
    assert int(report["targets"]) == int(batch.tokens.lengths.sum()) - 4


def test_language_of_blip_neither_asks_for_noise_nor_sees_it() -> None:
    pretrainer = small_pretrainer(mlm={"objective": "lm"}).eval()
    batch = pairs(4)
    noise = torch.zeros(4, SLOTS, dtype=torch.bool)
    noise[:, 2] = True
    noisy = replace(batch, noise=noise)
    of_noise = int((batch.tokens.of(noise) & batch.tokens.mask).sum())
    assert of_noise > 0
    assert int(pretrainer(noisy, context())["targets"]) == int(batch.tokens.lengths.sum()) - 4 - of_noise
    inside = batch.tokens.of(noise) & (batch.tokens.kind == VALUE)
    other = replace(batch.tokens, ids=torch.where(inside, batch.tokens.ids.flip(0).clamp(min=10), batch.tokens.ids))
    assert not torch.equal(other.ids, batch.tokens.ids)
    changed = replace(noisy, tokens=other)
    assert torch.equal(pretrainer(changed, context())["mlm"], pretrainer(noisy, context())["mlm"])
    everything = replace(batch, noise=torch.ones(4, SLOTS, dtype=torch.bool))
    assert int(pretrainer(everything, context())["targets"]) == 0


def test_the_same_draws_give_the_same_step() -> None:
    found = []
    for _ in range(2):
        pretrainer = small_pretrainer(dropout=0.1)
        torch.manual_seed(5)
        report = pretrainer(pairs(), context(seed=2))
        report["loss"].backward()
        found.append((report["loss"].detach(), pretrainer.online.text.words.weight.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])  # type: ignore[arg-type]
    other = small_pretrainer(dropout=0.1)(pairs(), context(seed=3))
    assert other["loss"] != found[0][0]


def test_the_queue_takes_the_twins_features_of_training_steps_alone() -> None:
    pretrainer = small_pretrainer()
    batch = pairs(5)
    vision, text = pretrainer.twin.features(batch.images, batch.tokens)
    pretrainer(batch, context())
    rows = pretrainer.queue.rows()
    for found, expected in zip(rows, (vision, text, batch.image_id, batch.text_hash), strict=True):
        torch.testing.assert_close(found, expected)
    pretrainer.eval()(batch, context())
    assert pretrainer.queue.filled == 5


def test_backward_works_after_the_queue_was_written() -> None:
    pretrainer = small_pretrainer(queue={"size": 4})
    for seed in range(3):
        pretrainer(pairs(6, seed), context(seed=seed))["loss"].backward()


def test_twins_follow_in_closed_form_and_once_per_step_of_the_optimiser() -> None:
    pretrainer = small_pretrainer(ema={"m": 0.9})
    online = dict(pretrainer.online.named_parameters())
    start = {name: parameter.detach().clone() for name, parameter in pretrainer.twin.model.named_parameters()}
    history: dict[str, list[Tensor]] = {name: [] for name in start}
    for step in range(5):
        with torch.no_grad():
            for parameter in online.values():
                parameter.add_(0.1 * (step + 1))
        for _ in range(4):  # micro-batches
            pretrainer(pairs(4, step), context())
        pretrainer.follow()
        for name, values in history.items():
            values.append(online[name].detach().clone())
    for name, parameter in pretrainer.twin.model.named_parameters():
        count = len(history[name])
        expected = 0.9**count * start[name]
        for n, value in enumerate(history[name]):
            expected = expected + 0.1 * 0.9 ** (count - 1 - n) * value
        torch.testing.assert_close(parameter, expected, rtol=1e-5, atol=1e-5, msg=name)


def test_twins_are_copies_without_heads_and_never_learn() -> None:
    model = small_model()
    twin = MomentumTwin(model)
    names = {name for name, _ in twin.model.named_parameters()}
    assert not any(part in name for name in names for part in ("self_dec", "itm_head", "language_head", "temperature"))
    assert {name for name, _ in model.named_parameters()} - names == {
        name
        for name, _ in model.named_parameters()
        if any(part in name for part in ("self_dec", "itm_head", "language_head", "temperature"))
    }
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    assert len(names) == len({id(parameter) for parameter in twin.parameters()})  # nothing moves twice
    batch = pairs(3)
    vision, text = twin.features(batch.images, batch.tokens)
    torch.testing.assert_close(vision, model.encode_image(batch.images).features)
    torch.testing.assert_close(text, model.encode_text(batch.tokens))


def test_twins_have_no_dropout_unless_asked() -> None:
    batch = pairs(3)
    for asked in (False, True):
        pretrainer = small_pretrainer(dropout=0.5, ema={"dropout": asked})
        pretrainer.train()
        first, second = (pretrainer.twin.features(batch.images, batch.tokens)[1] for _ in range(2))
        assert torch.equal(first, second) is not asked
        pretrainer.eval()
        assert not pretrainer.twin.model.training


def test_the_temperature_is_brought_back_before_it_is_used() -> None:
    pretrainer = small_pretrainer()
    with torch.no_grad():
        pretrainer.online.temperature.fill_(-1.0)
    assert pretrainer(pairs(), context())["loss"].isfinite()
    assert pretrainer.online.temperature.item() == pytest.approx(0.001)


def test_a_step_under_half_precision_is_near_that_in_single() -> None:
    losses = []
    for half in (False, True):
        pretrainer = small_pretrainer(spread=2.0)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            report = pretrainer(pairs(), context())
        report["loss"].backward()
        losses.append(float(report["loss"].detach()))
        assert all(p.grad.isfinite().all() for p in pretrainer.parameters() if p.grad is not None)
    assert losses[0] == pytest.approx(losses[1], rel=0.03)


def test_training_learns_the_pairs() -> None:
    pretrainer = small_pretrainer(spread=1.0)
    batch = pairs(8)
    optimiser = torch.optim.AdamW([p for p in pretrainer.parameters() if p.requires_grad], lr=3e-3)
    reports = []
    for step in range(60):
        report = pretrainer(batch, context(alpha=0.0, seed=step))
        optimiser.zero_grad()
        report["loss"].backward()
        optimiser.step()
        pretrainer.follow()
        reports.append({name: float(value.detach()) for name, value in report.items()})
    assert reports[-1]["loss"] < 0.7 * reports[0]["loss"]
    assert reports[-1]["mlm"] < 0.8 * reports[0]["mlm"]
    assert reports[-1]["r1_i2t"] > 0.5


def test_albef_without_matching_and_infilling_leaves_no_gradient_waiting() -> None:
    pretrainer = small_pretrainer(loss={"lambda": [1, 0, 0]}, model={"fusion": "albef"})
    pretrainer(pairs(4), context())["loss"].backward()
    waiting = [name for name, one in pretrainer.online.named_parameters() if one.requires_grad and one.grad is None]
    assert waiting == []
