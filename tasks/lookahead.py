"""Work done ahead by threads, in order, a bounded number of items before it is needed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from foundation.progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")

OPENERS = min(os.cpu_count() or 1, 8)
"""Threads that open files. Decoders and hashes let go of the interpreter, so as many cores open them."""


def lookahead(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """Yields work(item) in the order of the items; with 0 threads it is done in place.

    The results must not depend on who computes them when, so `work` may not draw from shared random state.
    """
    if threads == 0:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def each_opened(
    work: Callable[[Item], Result], files: Sequence[Item], progress: Progress, doing: str
) -> Iterator[Result]:
    """Yields work(file) in the order of the files, opened by all cores, and tells every 50 files what is being done."""
    for done, result in enumerate(lookahead(work, files, threads=OPENERS if OPENERS > 1 else 0)):
        if done % 50 == 0:
            progress(done, len(files), doing)
        yield result
