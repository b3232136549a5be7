"""Times several pieces of work in turns, so that a change of the machine's mood meets all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Timing(NamedTuple):
    """Seconds per turn of one piece of work."""

    median: float
    low: float
    high: float
    turns: int


def interleaved(works: Mapping[str, Callable[[], object]], *, turns: int, warm_up: int = 1) -> dict[str, Timing]:
    """Median, smallest and largest time of every work; the order is reversed every other turn."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(-warm_up, turns):
        names = list(works) if turn % 2 else list(works)[::-1]
        for name in names:
            start = time.perf_counter()
            works[name]()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return {
        name: Timing(statistics.median(values), min(values), max(values), len(values))
        for name, values in seconds.items()
    }
