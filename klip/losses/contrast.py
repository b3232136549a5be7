"""Image-text contrast with momentum distillation (section 4.1 of the KLIP specification)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_NEVER = -1e4
"""Logit of a key that does not take part; its probability is 0 in fp32, and 0 times its logarithm is 0."""


class Keys(NamedTuple):
    """Momentum features to be told apart, those of the batch first."""

    vision: Tensor
    """[K, e], no gradient."""
    text: Tensor
    image_id: Tensor
    """int64 [K]."""
    text_hash: Tensor


class Query(NamedTuple):
    """One batch: online features with gradient, their twins' without."""

    vision: Tensor
    text: Tensor
    vision_twin: Tensor
    text_twin: Tensor
    image_id: Tensor
    text_hash: Tensor


def contrast(
    query: Query,
    keys: Keys,
    temperature: Tensor,
    *,
    alpha: float,
    batch_keys: int,
    same_id: str = "mask",
    group_equal_text: bool = True,
) -> Tensor:
    """Symmetric InfoNCE against the keys, with soft targets of the twins.

    Args:
        query: The batch.
        keys: The batch's own keys first, then the queue's.
        temperature: tau; divides the logits of student and teacher, learns from the student alone.
        alpha: Weight of the teacher's targets.
        batch_keys: How many keys are of this step; the rest are earlier ones.
        same_id: What an earlier key of the same image is: `positive`, or left out (`mask`).
        group_equal_text: Whether equal texts of other images are positives.
    """
    positive, left_out = _relations(query, keys, batch_keys, same_id, group_equal_text)
    hard = positive.to(query.vision.dtype) / positive.sum(dim=1, keepdim=True).clamp(min=1)
    tau = temperature.detach()
    teacher_i2t = similarity(query.vision_twin, keys.text, tau) if alpha else None
    teacher_t2i = similarity(query.text_twin, keys.vision, tau) if alpha else None
    of_images = _cross_entropy(similarity(query.vision, keys.text, temperature), hard, teacher_i2t, alpha, left_out)
    of_texts = _cross_entropy(similarity(query.text, keys.vision, temperature), hard, teacher_t2i, alpha, left_out)
    return 0.5 * (of_images + of_texts)


def similarity(features: Tensor, keys: Tensor, temperature: Tensor) -> Tensor:
    """Cosines over tau, [B, K]; never in half precision, in which they would overflow or tie (section 4.1, trap 12)."""
    with torch.autocast(features.device.type, enabled=False):
        return features @ keys.T / temperature


def _relations(
    query: Query, keys: Keys, batch_keys: int, same_id: str, group_equal_text: bool
) -> tuple[Tensor, Tensor]:
    """Positives, and keys that are neither positive nor negative: bool [B, K] each."""
    same_image = query.image_id[:, None] == keys.image_id[None]
    positive = same_image
    if group_equal_text:
        positive = positive | (query.text_hash[:, None] == keys.text_hash[None])
    if same_id == "positive":
        return positive, torch.zeros_like(positive)
    earlier = torch.arange(len(keys.image_id), device=same_image.device)[None] >= batch_keys
    left_out = same_image & earlier
    return positive & ~left_out, left_out


def _cross_entropy(logits: Tensor, hard: Tensor, teacher: Tensor | None, alpha: float, left_out: Tensor) -> Tensor:
    target = hard
    if teacher is not None:
        soft = teacher.masked_fill(left_out, _NEVER).softmax(dim=1)
        target = alpha * soft + (1 - alpha) * hard
    return -(target * logits.masked_fill(left_out, _NEVER).log_softmax(dim=1)).sum(dim=1).mean()
