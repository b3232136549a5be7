"""Runs cells in processes of this machine, each worker one cell at a time.

A worker that dies (out of memory, a crash in a library) costs its own cell and is replaced; the others go on. Workers
end when their parent does, however it ended, so that a killed run leaves nothing behind that writes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from foundation.errors import BenchError, CellError
from harness.cell import BusyError, Job, compute
from harness.engines.events import Advanced, Event, Failed, Finished, Started
from results.record import Failure, Record

PROGRESS_INTERVAL = 0.2
"""Seconds between two progress messages of a worker."""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: Job | None = None


def run_jobs(jobs: Sequence[Job], *, workers: int, threads: int, on_event: Callable[[Event], None]) -> None:
    """Computes every job; reports events in the calling process."""
    waiting = deque(jobs)
    crew: list[_Worker] = []
    try:
        for _ in range(min(workers, len(jobs))):
            crew.append(_hire(threads))
            _assign(crew[-1], waiting, on_event)
        while any(worker.job is not None for worker in crew):
            for pipe in wait([worker.pipe for worker in crew if worker.job is not None]):
                worker = next(worker for worker in crew if worker.pipe is pipe)
                try:
                    event = worker.pipe.recv()
                except (EOFError, OSError):
                    on_event(_lost(worker))
                    crew.remove(worker)
                    if waiting:
                        crew.append(_hire(threads))
                        _assign(crew[-1], waiting, on_event)
                    continue
                on_event(event)
                if isinstance(event, Finished | Failed):
                    _assign(worker, waiting, on_event)
    finally:
        for worker in crew:
            worker.pipe.close()
            if worker.job is not None:
                worker.process.terminate()
        for worker in crew:
            worker.process.join(timeout=10)
            if worker.process.is_alive():
                worker.process.kill()


def failure_of(job: Job, error: BaseException) -> Failure:
    """The record of a failed cell; only unexpected errors carry a traceback."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        error = CellError(
            f"memory ran out: {error}".splitlines()[0],
            way_out="run fewer cells at a time (--jobs 1), on a larger GPU, or with a smaller backbone",
        )
    expected = isinstance(error, BenchError)
    return Failure(
        cell=job.planned.cell,
        key=job.planned.key,
        error=type(error).__name__,
        what=error.what if isinstance(error, BenchError) else f"{type(error).__name__}: {error}",
        where=error.where if isinstance(error, BenchError) else "",
        way_out=error.way_out if isinstance(error, BenchError) else "this is a bug; please report the traceback",
        traceback="" if expected else "".join(traceback.format_exception(error)),
    )


def headline(record: Record) -> str:
    """The main score of a record in a few words."""
    name, metric = next(iter(record.metrics.items()))
    return f"{name} {metric.value:.2f}" if metric.value is not None else f"{name} -"


def _hire(threads: int) -> _Worker:
    # Libraries read these when they are loaded, so they must stand before the process starts.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, threads), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _assign(worker: _Worker, waiting: deque[Job], on_event: Callable[[Event], None]) -> None:
    worker.job = waiting.popleft() if waiting else None
    if worker.job is not None:
        on_event(Started(worker.job.planned.cell))
        try:
            worker.pipe.send(worker.job)
        except OSError:
            return  # it died at once; reading from its pipe reports that


def _lost(worker: _Worker) -> Failed:
    assert worker.job is not None
    worker.process.join(timeout=5)
    code = worker.process.exitcode
    reason = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
    hint = "; signal 9 usually means that memory ran out" if code == -9 else ""
    failure = Failure(
        cell=worker.job.planned.cell,
        key=worker.job.planned.key,
        error="WorkerLost",
        what=f"the worker process ended with {reason}{hint}",
        way_out="run again with fewer --jobs, or look at the system log",
    )
    return Failed(_recorded(worker.job, failure), BenchError.exit_code)


def _recorded(job: Job, failure: Failure) -> Failure:
    from results.store import Store

    try:
        Store(job.request.out).write_failure(failure)
    except BenchError as error:  # the disk may be full: the failure is still reported
        return failure.model_copy(update={"where": f"{failure.where} (not recorded: {error.what})".strip()})
    return failure


def _work(pipe: Connection, threads: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    while True:
        try:
            job: Job = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(_attempt(job, pipe))


def _attempt(job: Job, pipe: Connection) -> Event:
    last = 0.0

    def progress(done: int, total: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_INTERVAL or done == total:
            last = now
            pipe.send(Advanced(job.planned.cell, done, total, note))

    started = time.perf_counter()
    try:
        record = compute(job, progress)
    except Exception as error:
        if isinstance(error, BrokenPipeError):
            raise
        code = error.exit_code if isinstance(error, BenchError) else BenchError.exit_code
        failure = failure_of(job, error)
        return Failed(failure if isinstance(error, BusyError) else _recorded(job, failure), code)
    return Finished(job.planned.cell, headline(record), time.perf_counter() - started)


def _end_with_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
