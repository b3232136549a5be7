"""Image-text contrast against open_clip's loss and against its own definition written out (sections 4.1 and 13.1)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from klip.losses.contrast import Keys, Query, contrast

TAU = torch.tensor(0.2, dtype=torch.float64)
BATCH, EARLIER, WIDTH = 5, 7, 6


def unit(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def case(seed: int = 0, *, earlier: int = EARLIER) -> tuple[Query, Keys]:
    """Different images and texts everywhere."""
    parts = [unit(BATCH, WIDTH, seed=10 * seed + n) for n in range(4)]
    ids = torch.arange(BATCH + earlier)
    vision = torch.cat([parts[2], unit(earlier, WIDTH, seed=10 * seed + 4)])
    text = torch.cat([parts[3], unit(earlier, WIDTH, seed=10 * seed + 5)])
    query = Query(parts[0], parts[1], parts[2], parts[3], ids[:BATCH], ids[:BATCH] + 500)
    return query, Keys(vision, text, ids, ids + 500)


def loss(query: Query, keys: Keys, tau: Tensor = TAU, alpha: float = 0.4, **options: Any) -> Tensor:
    return contrast(query, keys, tau, alpha=alpha, batch_keys=BATCH, **options)


def written_out(query: Query, keys: Keys, alpha: float, same_id: str = "mask", group: bool = True) -> float:
    """The formula of section 4.1, one row and one key at a time."""
    total = 0.0
    sides = ((query.vision, query.vision_twin, keys.text), (query.text, query.text_twin, keys.vision))
    for student, teacher, wanted in sides:
        for i in range(BATCH):
            taking_part, positive = [], []
            for j in range(len(wanted)):
                same = bool(query.image_id[i] == keys.image_id[j])
                if same and j >= BATCH and same_id == "mask":
                    continue
                taking_part.append(j)
                positive.append(same or (group and bool(query.text_hash[i] == keys.text_hash[j])))
            chosen = wanted[taking_part]
            hard = torch.tensor(positive, dtype=torch.float64) / sum(positive)
            soft = (chosen @ teacher[i] / TAU).softmax(0)
            target = alpha * soft + (1 - alpha) * hard
            total += float(-(target * (chosen @ student[i] / TAU).log_softmax(0)).sum()) / BATCH / 2
    return total


def test_without_queue_and_teacher_it_is_the_loss_of_open_clip() -> None:
    from open_clip.loss import ClipLoss

    query, _ = case()
    query = query._replace(vision_twin=query.vision, text_twin=query.text)
    keys = Keys(query.vision, query.text, query.image_id, query.text_hash)
    expected = ClipLoss()(query.vision, query.text, 1 / TAU)
    torch.testing.assert_close(loss(query, keys, alpha=0.0), expected, rtol=0, atol=1e-12)


def test_gradient_is_that_of_the_query_side_alone() -> None:
    query, _ = case()
    vision, text = (part.clone().requires_grad_() for part in (query.vision, query.text))
    keys = Keys(vision.detach(), text.detach(), query.image_id, query.text_hash)
    found = torch.autograd.grad(loss(query._replace(vision=vision, text=text), keys, alpha=0.0), (vision, text))
    labels = torch.arange(BATCH)
    detached = F.cross_entropy(vision @ keys.text.T / TAU, labels) + F.cross_entropy(text @ keys.vision.T / TAU, labels)
    expected = torch.autograd.grad(detached / 2, (vision, text))
    both = F.cross_entropy(vision @ text.T / TAU, labels) + F.cross_entropy(text @ vision.T / TAU, labels)
    with_keys = torch.autograd.grad(both / 2, (vision, text))
    for ours, theirs, other in zip(found, expected, with_keys, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert not torch.allclose(ours, other)  # keys that learn would have another one


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["mask", "positive"]), st.booleans(), st.sampled_from([0.0, 0.4, 1.0]))
def test_equals_the_formula_row_by_row_whatever_ids_and_texts_repeat(
    seed: int, same_id: str, group: bool, alpha: float
) -> None:
    query, keys = case(seed % 100)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 6, (BATCH + EARLIER,), generator=generator)
    texts = torch.randint(0, 6, (BATCH + EARLIER,), generator=generator)
    query = query._replace(image_id=ids[:BATCH], text_hash=texts[:BATCH])
    keys = keys._replace(image_id=ids, text_hash=texts)
    found = loss(query, keys, alpha=alpha, same_id=same_id, group_equal_text=group)
    assert float(found) == pytest.approx(written_out(query, keys, alpha, same_id, group), rel=1e-9)


def test_an_earlier_key_of_the_same_image_is_no_negative() -> None:
    query, keys = case()
    changed = keys.image_id.clone()
    changed[BATCH + 2] = query.image_id[1]
    masked = loss(query, keys._replace(image_id=changed))
    moved = keys.text.clone()
    moved[BATCH + 2] = -moved[BATCH + 2]
    # Row 1 does not see the key, the other rows do: only their part of the loss moves with it.
    vision = query.vision.clone().requires_grad_()
    (of_masked,) = torch.autograd.grad(loss(query._replace(vision=vision), keys._replace(image_id=changed)), vision)
    other = query._replace(vision=vision)
    (of_moved,) = torch.autograd.grad(loss(other, keys._replace(image_id=changed, text=moved)), vision)
    torch.testing.assert_close(of_masked[1], of_moved[1])
    assert not torch.allclose(of_masked[0], of_moved[0])
    assert masked < loss(query, keys)


def test_linear_in_alpha() -> None:
    query, keys = case(1)
    none, half, full = (loss(query, keys, alpha=alpha) for alpha in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half, (none + full) / 2)
    assert none != full


def test_with_alpha_one_the_teacher_alone_says_what_is_right() -> None:
    query, keys = case(2)
    soft = (query.vision_twin @ keys.text.T / TAU).softmax(1), (query.text_twin @ keys.vision.T / TAU).softmax(1)
    logits = query.vision @ keys.text.T / TAU, query.text @ keys.vision.T / TAU
    expected = sum(F.cross_entropy(each, target) for each, target in zip(logits, soft, strict=True)) / 2
    torch.testing.assert_close(loss(query, keys, alpha=1.0), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_order_of_batch_and_queue_and_names_of_modalities_do_not_matter(seed: int) -> None:
    query, keys = case(seed % 50)
    expected = loss(query, keys)
    generator = torch.Generator().manual_seed(seed)
    batch, rest = torch.randperm(BATCH, generator=generator), torch.randperm(EARLIER, generator=generator) + BATCH
    shuffled_keys = Keys(*(part[torch.cat([batch, rest])] for part in keys))
    torch.testing.assert_close(loss(Query(*(part[batch] for part in query)), shuffled_keys), expected)
    swapped = Query(query.text, query.vision, query.text_twin, query.vision_twin, query.image_id, query.text_hash)
    torch.testing.assert_close(loss(swapped, keys._replace(vision=keys.text, text=keys.vision)), expected)


def test_gradients_of_features_and_temperature_equal_finite_differences() -> None:
    query, keys = case(3)
    hidden = [part.clone().requires_grad_() for part in (query.vision, query.text)]
    tau = TAU.clone().requires_grad_()
    # The teacher divides by tau as well and is held fixed: at alpha = 0 it has no part in the loss.
    torch.autograd.gradcheck(
        lambda vision, text, tau: loss(query._replace(vision=vision, text=text), keys, tau, alpha=0.0), (*hidden, tau)
    )
    torch.autograd.gradcheck(lambda vision, text: loss(query._replace(vision=vision, text=text), keys), tuple(hidden))


def test_the_teacher_does_not_move_the_temperature() -> None:
    query, keys = case(4)
    tau = TAU.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(query, keys, tau, alpha=1.0), tau)
    soft = (query.vision_twin @ keys.text.T / TAU).softmax(1), (query.text_twin @ keys.vision.T / TAU).softmax(1)
    free = TAU.clone().requires_grad_()
    logits = query.vision @ keys.text.T / free, query.text @ keys.vision.T / free
    total = sum((F.cross_entropy(each, target) for each, target in zip(logits, soft, strict=True)), torch.zeros(()))
    (expected,) = torch.autograd.grad(total / 2, free)
    torch.testing.assert_close(found, expected)


def test_half_precision_around_it_changes_nothing() -> None:
    query, keys = case(5)
    single = Query(*(part.float() if part.is_floating_point() else part for part in query))
    keys = Keys(*(part.float() if part.is_floating_point() else part for part in keys))
    expected = loss(single, keys, TAU.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(single, keys, TAU.float())
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_smallest_temperature_and_repeated_images_stay_finite() -> None:
    query, keys = case(6)
    single = Query(*(part.float() if part.is_floating_point() else part for part in query))
    keys = Keys(*(part.float() if part.is_floating_point() else part for part in keys))
    keys = keys._replace(image_id=torch.zeros_like(keys.image_id))
    vision = single.vision.clone().requires_grad_()
    query = single._replace(vision=vision, image_id=torch.zeros_like(single.image_id))
    found = loss(query, keys, torch.tensor(0.001))
    found.backward()  # type: ignore[no-untyped-call]
    assert found.isfinite()
    assert vision.grad is not None and vision.grad.isfinite().all()
