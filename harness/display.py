"""Shows a run while it goes on: a live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from foundation.progress import Progress, silent
from harness.engines.events import Advanced, Event, Failed, Finished, Started
from harness.plan import PlannedCell
from klip.display import duration
from results.record import CellId

if TYPE_CHECKING:
    from rich.console import RenderableType

HEARTBEAT = 15.0
"""Seconds between two lines about a running cell where there is no terminal."""


class Display(Protocol):
    """Told every event of a run."""

    def __call__(self, event: Event) -> None:
        """Takes note of an event."""


def name_of(cell: CellId) -> str:
    """A cell in few words."""
    return f"{cell.dataset} / {cell.model}" + (f" / seed {cell.seed}" if cell.seed else "")


class Tally:
    """How far a run is, by work and not by number of cells."""

    def __init__(self, cells: Sequence[PlannedCell]) -> None:
        self.work = {str(cell.cell): cell.work for cell in cells}
        self.share = dict.fromkeys(self.work, 0.0)
        self.running: dict[str, tuple[CellId, str]] = {}
        self.finished = 0
        self.failed = 0
        self.started = time.monotonic()

    def take(self, event: Event) -> None:
        """Notes an event."""
        if isinstance(event, Started):
            self.running[str(event.cell)] = (event.cell, "starting")
        elif isinstance(event, Advanced):
            self.running[str(event.cell)] = (event.cell, event.note)
            self.share[str(event.cell)] = max(self.share[str(event.cell)], event.done / max(1, event.total))
        else:
            cell = event.failure.cell if isinstance(event, Failed) else event.cell
            self.running.pop(str(cell), None)
            self.share[str(cell)] = 1.0
            self.failed += isinstance(event, Failed)
            self.finished += isinstance(event, Finished)

    @property
    def done_share(self) -> float:
        """Share of the work that is done."""
        total = sum(self.work.values())
        return sum(self.work[name] * share for name, share in self.share.items()) / total if total else 1.0

    def time_left(self) -> str:
        """An estimate in words, once there is something to go by."""
        share, elapsed = self.done_share, time.monotonic() - self.started
        if share < 0.02 or elapsed < 3:
            return "estimating the time left"
        return f"about {duration(elapsed * (1 - share) / share)} left"


class PlainDisplay:
    """One line when a cell ends, and a heartbeat while it runs."""

    def __init__(self, cells: Sequence[PlannedCell]) -> None:
        self.tally = Tally(cells)
        self.total = len(cells)
        self.spoke = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Prints what is worth a line."""
        self.tally.take(event)
        count = f"[{self.tally.finished + self.tally.failed}/{self.total}]"
        if isinstance(event, Finished):
            self._say(f"{count} {name_of(event.cell)}: {event.headline} in {duration(event.seconds)}")
        elif isinstance(event, Failed):
            self._say(f"{count} {name_of(event.failure.cell)}: FAILED: {event.failure.what}")
        elif isinstance(event, Advanced) and time.monotonic() - self.spoke > HEARTBEAT:
            running = "; ".join(f"{name_of(cell)}: {note}" for cell, note in self.tally.running.values())
            self._say(f"{count} {running} ({self.tally.time_left()})")

    def _say(self, line: str) -> None:
        self.spoke = time.monotonic()
        print(line, file=sys.stderr, flush=True)


class LiveDisplay:
    """A bar for the whole run and a line per running cell."""

    def __init__(self, cells: Sequence[PlannedCell]) -> None:
        self.tally = Tally(cells)
        self.total = len(cells)
        self.lines: list[tuple[str, str]] = []

    def __call__(self, event: Event) -> None:
        """Takes note; the view is drawn several times a second."""
        self.tally.take(event)
        if isinstance(event, Finished):
            self.lines.append(("green", f"ok     {name_of(event.cell)}: {event.headline} in {duration(event.seconds)}"))
        elif isinstance(event, Failed):
            self.lines.append(("red", f"failed {name_of(event.failure.cell)}: {event.failure.what}"))

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        whole = Table.grid(padding=(0, 1))
        whole.add_row(
            f"{self.tally.finished + self.tally.failed} of {self.total} cells",
            ProgressBar(total=1.0, completed=self.tally.done_share, width=40),
            self.tally.time_left(),
        )
        running = Table.grid(padding=(0, 1))
        for key, (cell, note) in self.tally.running.items():
            bar = ProgressBar(total=1.0, completed=self.tally.share[key], width=20)
            running.add_row("  ", name_of(cell), bar, note)
        return Group(*(Text(line, style) for style, line in self.lines), running, whole)


@contextmanager
def show_run(cells: Sequence[PlannedCell], *, quiet: bool) -> Iterator[Display]:
    """The display that fits: silent, live or plain; all of it on the error stream, so that output can be piped."""
    if quiet:
        yield Tally(cells).take
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        display = LiveDisplay(cells)
        with Live(display, console=Console(stderr=True), refresh_per_second=5):
            yield display
    else:
        yield PlainDisplay(cells)


@contextmanager
def show_progress(*, quiet: bool) -> Iterator[Progress]:
    """Progress of preparations: a bar in a terminal, a line per piece of work elsewhere."""
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        yield from _bar()
    else:
        yield _Lines()


def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {}

        def progress(done: int, total: int, note: str = "") -> None:
            if note not in tasks:
                tasks[note] = bars.add_task(note, total=total)
            bars.update(tasks[note], completed=done, total=total)

        yield progress


class _Lines:
    """Says once that a piece of work began, if it has not ended by then."""

    def __init__(self) -> None:
        self.said: set[str] = set()

    def __call__(self, done: int, total: int, note: str = "") -> None:
        if note and note not in self.said and done < total:
            self.said.add(note)
            print(f"{note} ({total}) ...", file=sys.stderr, flush=True)


__all__ = ["Display", "LiveDisplay", "PlainDisplay", "Tally", "duration", "name_of", "show_progress", "show_run"]
