"""The learning rate as a pure function of how far the training is: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from tasks.protocol.settings import ScheduleSettings


def rate_at(schedule: ScheduleSettings, *, peak: float, epochs: int, position: float) -> float:
    """The rate at `position`, counted in epochs from 0; settings stepped per epoch hold it through the epoch."""
    if schedule.step == "epoch":
        position = math.floor(position)
    warmup = schedule.warmup_epochs
    if position < warmup:
        return peak * (schedule.warmup_factor + (1 - schedule.warmup_factor) * position / warmup)
    share = min(1.0, (position - warmup) / (epochs - warmup))
    if schedule.kind == "cosine":
        return schedule.floor + (peak - schedule.floor) * 0.5 * (1 + math.cos(math.pi * share))
    if schedule.kind == "poly":
        return schedule.floor + (peak - schedule.floor) * math.pow(1 - share, schedule.power)
    if schedule.kind == "multistep":
        return peak * schedule.gamma ** sum(position >= milestone for milestone in schedule.milestones)
    return peak
