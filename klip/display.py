"""What the commands of this room have in common on the screen: their look, JSON, and progress of longer work."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from foundation.progress import Progress, silent

LOOK: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
"""How every group of commands is shown."""

PATIENCE = 2.0
"""Seconds before progress is shown: shorter work ends without a word."""

HEARTBEAT = 10.0
"""Seconds between two lines where there is no terminal."""

Json = Annotated[bool, typer.Option("--json", help="machine-readable output on standard output")]


def print_json(data: Any) -> None:
    """Anything that is plain data as JSON."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


@contextmanager
def show_progress(*, quiet: bool = False) -> Iterator[Progress]:
    """Progress on the error stream, so that output can be piped: a bar in a terminal, a line now and then elsewhere."""
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        with _bar() as progress:
            yield progress
    else:
        yield Lines()


class Lines:
    """A line when a piece of work takes longer than `patience`, and one every `heartbeat` from then on.

    A piece of work is known by its note up to the first comma; what follows may change: `training, loss 2.3`.
    """

    def __init__(self, patience: float = PATIENCE, heartbeat: float = HEARTBEAT) -> None:
        self.patience = patience
        self.heartbeat = heartbeat
        self.began: dict[str, tuple[float, int]] = {}
        self.spoke = -heartbeat

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Takes note; most calls say nothing."""
        now = time.monotonic()
        began, first = self.began.setdefault(_work(note), (now, done))
        if now - began < self.patience or now - self.spoke < self.heartbeat:
            return
        self.spoke = now
        left = f", {duration((now - began) * (total - done) / (done - first))} left" if done > first else ""
        print(f"{note}: {done} of {total}{left}", file=sys.stderr, flush=True)


def _work(note: str) -> str:
    return note.partition(",")[0]


def duration(seconds: float) -> str:
    """Seconds for people: 8 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    began = time.monotonic()
    bars = Bars(*columns, console=Console(stderr=True), transient=True)
    tasks: dict[str, Any] = {}

    def progress(done: int, total: int, note: str = "") -> None:
        work = _work(note)
        if work not in tasks:
            tasks[work] = bars.add_task(note, total=total, completed=done)
        bars.update(tasks[work], completed=done, total=total, description=note)
        if not bars.live.is_started and time.monotonic() - began > PATIENCE:
            bars.start()

    try:
        yield progress
    finally:
        if bars.live.is_started:
            bars.stop()
