"""Shows a download while it goes on: a bar with speed and time left in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from foundation.progress import Progress, silent

HEARTBEAT = 10.0
"""Seconds between two lines where there is no terminal."""


@contextmanager
def show_download(*, quiet: bool) -> Iterator[Progress]:
    """Progress in bytes, on the error stream, so that output can be piped."""
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        yield from _bar()
    else:
        yield Lines()


def megabytes(size: int | float | None) -> str:
    """A size in bytes for people."""
    if size is None:
        return "-"
    if size < 1e5:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.2f} GB"


class Lines:
    """A line when a file begins, one now and then, and one when it is here."""

    def __init__(self, heartbeat: float = HEARTBEAT) -> None:
        self.heartbeat = heartbeat
        self.name = ""
        self.spoke = 0.0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Takes note of `done` of `total` bytes of the file `note`; `total` is 0 where the server does not say."""
        now = time.monotonic()
        ended = total and done == total
        if note == self.name and not ended and now - self.spoke < self.heartbeat:
            return
        self.name, self.spoke = ("" if ended else note), now
        share = f" of {megabytes(total)} ({done / total:.0%})" if total else ""
        print(f"{note}: {megabytes(done)}{share}", file=sys.stderr, flush=True)


def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bars:
        tasks = {}

        def progress(done: int, total: int, note: str = "") -> None:
            if note not in tasks:
                tasks[note] = bars.add_task(note, total=total or None)
            bars.update(tasks[note], completed=done, total=total or None)

        yield progress
