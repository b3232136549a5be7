"""What it costs: images per second and memory. Measured and reported, never judged."""

from __future__ import annotations

import ctypes
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from adapters.conformance.subject import Subject, training_mode

BATCH = 2
SECONDS = 1.5
"""Time for each measurement; at least one pass is made."""

_MIB_PER_KIB = 1 / 1024


def speed(subject: Subject) -> str:
    """Images per second at the card's size, forward alone and with the backward pass."""
    images = subject.images(BATCH)
    forward = _per_second(lambda: subject.see(images))

    def step() -> None:
        with training_mode(subject.encoder):
            subject.encoder(images).pooled.square().mean().backward()

    both = _per_second(step)
    threads = torch.get_num_threads()
    return (
        f"{forward:.1f} images/s forward, {both:.1f} with backward "
        f"({subject.size} x {subject.size}, batch {BATCH}, float32, CPU, {threads} thread{'s' if threads > 1 else ''})"
    )


def memory(subject: Subject) -> str:
    """Weights, and how much the process grows at its peak during one training step."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in subject.encoder.state_dict().values())
    images = subject.images(BATCH)
    _give_back()
    before = _status("VmRSS") or _peak()
    with training_mode(subject.encoder):
        subject.encoder(images).pooled.square().mean().backward()
    grown = max(0.0, (_status("VmHWM") or _peak()) - before)
    return f"{weights / 2**20:.1f} MiB of weights; a training step with batch {BATCH} adds {grown:.0f} MiB at its peak"


def _per_second(work: Callable[[], object]) -> float:
    work()  # the first pass warms caches
    passes, started = 0, time.perf_counter()
    while not passes or time.perf_counter() - started < SECONDS:
        work()
        passes += 1
    return passes * BATCH / (time.perf_counter() - started)


def _give_back() -> None:
    """Returns free memory to the system and forgets the peak: earlier checks needed as much."""
    with suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with suppress(OSError):  # Linux only; elsewhere the peak since the start is all there is
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(field: str) -> float | None:
    """A line of /proc/self/status in MiB; None where there is no such file."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{field}:"):
                return float(line.split()[1]) * _MIB_PER_KIB
    return None


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MIB_PER_KIB
