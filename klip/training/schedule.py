"""Learning rates as pure functions of how far a training is (section 7.2 of the KLIP specification)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

LINEAR_SCALE_BATCH = 2400
"""Images per step at which `optim.lr_scale=linear` keeps the rate: BLIP's own batch (section 7.2)."""


class Schedule(Protocol):
    """A learning rate by the place in the training."""

    def __call__(self, step: int, epoch: int) -> float:
        """The rate of the step that follows `step` steps, in `epoch`, both counted from 0."""


@dataclass(frozen=True)
class EpochDecay:
    """Linear warm-up over steps of the optimiser, wherever epochs end; then a factor per epoch, down to a floor.

    The factor counts from epoch 0, so where the warm-up ends inside a later epoch the rate steps down to what that
    epoch has (contradiction C14).
    """

    peak: float
    warmup_rate: float
    warmup_steps: int
    decay: float
    floor: float

    def __call__(self, step: int, epoch: int) -> float:
        """The rate of a step."""
        if step < self.warmup_steps:
            return self.warmup_rate + (self.peak - self.warmup_rate) * step / self.warmup_steps
        return max(self.floor, self.peak * self.decay**epoch)


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up from nought, then half a cosine down to the floor, both per step (section 12)."""

    peak: float
    warmup_steps: int
    total_steps: int
    floor: float = 0.0

    def __call__(self, step: int, epoch: int) -> float:  # noqa: ARG002  # epochs do not matter
        """The rate of a step."""
        if step < self.warmup_steps:
            return self.peak * step / self.warmup_steps
        share = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        return self.floor + (self.peak - self.floor) * 0.5 * (1 + math.cos(math.pi * share))


def scaled_rate(rate: float, scale: str, global_batch: int) -> float:
    """The peak rate under `optim.lr_scale`: as it is, or in proportion to the images of a step."""
    return rate * global_batch / LINEAR_SCALE_BATCH if scale == "linear" else rate
