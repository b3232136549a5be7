"""The learning rate as a pure function of how far the training is: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from tasks.protocol.settings import ScheduleSettings


def rate_at(schedule: ScheduleSettings, *, peak: float, epochs: int, position: float) -> float:
    """The rate at `position`, counted in epochs from 0; settings stepped per epoch hold it through the epoch."""
    warmup = rise = schedule.warmup_epochs
    if schedule.step == "epoch":
        position = math.floor(position)
        rise = max(1.0, warmup - 1)  # the last epoch of the warm-up has the whole rate, as mmengine counts
    if position < warmup:
        return peak * (schedule.warmup_factor + (1 - schedule.warmup_factor) * min(1.0, position / rise))
    share = min(1.0, (position - warmup) / (epochs - warmup))
    if schedule.kind == "cosine":
        return schedule.floor + (peak - schedule.floor) * 0.5 * (1 + math.cos(math.pi * share))
    if schedule.kind == "poly":
        return schedule.floor + (peak - schedule.floor) * math.pow(1 - share, schedule.power)
    if schedule.kind == "multistep":
        return peak * schedule.gamma ** sum(position >= milestone for milestone in schedule.milestones)
    return peak
