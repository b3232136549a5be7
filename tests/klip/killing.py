"""Work that is killed in the middle, and what it leaves on disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path


def files(folder: Path) -> dict[str, bytes]:
    """Every file by its name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def killed_after(steps: int, work: Callable[[Callable[..., None]], object]) -> None:
    """Runs `work` in a child process that is killed at a step of its progress."""
    child = os.fork()
    if not child:
        count = 0

        def progress(done: int, total: int, note: str = "") -> None:
            nonlocal count
            count += 1
            if count == steps:
                os.kill(os.getpid(), signal.SIGKILL)

        work(progress)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the work was over before it could be killed"
