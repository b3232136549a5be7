"""Runs what a plan leaves to do, and says how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from foundation.errors import BenchError, MissingError
from foundation.files import require_writable
from harness.cell import Job
from harness.display import show_progress, show_run
from harness.engines.events import Event, Failed, Finished
from harness.engines.local import run_jobs
from harness.plan import Plan, State, make_plan
from harness.report import Written, run_table, table_name, table_numbers, write_table
from harness.request import RunRequest
from results.record import Failure, Record
from results.store import Store


class InterruptedRunError(BenchError):
    """The user stopped the run; everything finished or checkpointed so far is kept."""

    exit_code = 130


@dataclass
class Outcome:
    """How a run ended."""

    plan: Plan
    computed: int = 0
    failures: list[Failure] = field(default_factory=list)
    exit_code: int = 0
    tables: list[Written] = field(default_factory=list)


def execute(request: RunRequest, *, quiet: bool = False, tables: bool = True) -> Outcome:
    """Plans, computes what is left, writes the tables; running again does only what is left then.

    Args:
        request: What is wanted.
        quiet: Without a display of how far it is.
        tables: Write the paper's tables that the cells belong to.
    """
    require_writable(request.out)
    with show_progress(quiet=quiet) as progress:
        plan = make_plan(request, build_world=True, progress=progress)
    store = Store(request.out)
    outcome = Outcome(plan)
    jobs = [Job(cell, request) for cell in sorted(plan.runnable(), key=lambda cell: -cell.work)]
    if jobs:
        store.clean()
        with show_run([job.planned for job in jobs], quiet=quiet) as display:

            def on_event(event: Event) -> None:
                display(event)
                if isinstance(event, Finished):
                    outcome.computed += 1
                elif isinstance(event, Failed):
                    outcome.failures.append(event.failure)
                    outcome.exit_code = max(outcome.exit_code, event.exit_code)

            try:
                run_jobs(jobs, workers=request.jobs, threads=request.threads, on_event=on_event)
            except KeyboardInterrupt as stop:
                raise InterruptedRunError("interrupted", way_out="run the same command again to go on") from stop
    records = _finish(outcome, store)
    for number in table_numbers(outcome.plan) if tables else ():
        table = run_table(outcome.plan, records, outcome.failures, store, number)
        outcome.tables.append(write_table(table, store, table_name(number, request)))
    return outcome


def _finish(outcome: Outcome, store: Store) -> list[Record]:
    """Updates the plan to what is there now; gives its records."""
    records: list[Record] = []
    cells = []
    for cell in outcome.plan.cells:
        record = store.read(cell.cell, cell.key) if cell.key else None
        if record is not None:
            records.append(record)
            cells.append(replace(cell, state=State.DONE, reason=""))
        else:
            cells.append(cell)
    outcome.plan = replace(outcome.plan, cells=tuple(cells))
    broken = [state.broken for state in outcome.plan.data.values() if state.broken is not None]
    if broken:
        outcome.exit_code = max(outcome.exit_code, MissingError.exit_code)
    return records
