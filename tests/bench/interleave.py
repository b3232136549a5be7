"""Times several pieces of work in turns, so that a change of the machine's mood meets all of them."""

from __future__ import annotations

import resource
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
    cpu: float
    """Median of the seconds that processors worked, for this process, its threads and its children that have ended.

    On a machine that others use as well it says more than the clock on the wall.
    """


def interleaved(works: Mapping[str, Callable[[], object]], *, turns: int, warm_up: int = 1) -> dict[str, Timing]:
    """Median, smallest and largest time of every work; the order is reversed every other turn."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    worked: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(-warm_up, turns):
        names = list(works) if turn % 2 else list(works)[::-1]
        for name in names:
            start, worked_before = time.perf_counter(), _processor_seconds()
            works[name]()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
                worked[name].append(_processor_seconds() - worked_before)
    return {
        name: Timing(statistics.median(values), min(values), max(values), len(values), statistics.median(worked[name]))
        for name, values in seconds.items()
    }


def _processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
