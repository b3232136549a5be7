"""One holder of a lock at a time, across processes; a dead holder holds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from foundation.errors import StorageError
from foundation.files import exclusive

ROOT = Path(__file__).resolve().parents[2]

HOLD = """
import sys
from pathlib import Path
from foundation.files import exclusive

with exclusive(Path(sys.argv[1])) as held:
    print("held", held, flush=True)
    sys.stdin.readline()
"""

COUNT_UP = """
import sys
from pathlib import Path
from foundation.files import exclusive

folder = Path(sys.argv[1])
for _ in range(60):
    with exclusive(folder / "lock"):
        number = int((folder / "number").read_text())
        (folder / "number").write_text(str(number + 1))
"""


def _python(code: str, argument: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(argument)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def _holder(lock: Path) -> Iterator[subprocess.Popen[str]]:
    with _python(HOLD, lock) as process:
        assert process.stdout is not None and process.stdout.readline() == "held True\n"
        try:
            yield process
        finally:
            process.kill()


def _is_free(lock: Path) -> bool:
    with exclusive(lock, wait=False) as held:
        return held


def test_a_lock_of_another_process_is_seen_and_free_again_after_its_end(tmp_path: Path) -> None:
    lock = tmp_path / "deep" / "lock"
    with _holder(lock) as process:
        assert not _is_free(lock)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait(timeout=30)
        assert _is_free(lock)


def test_a_killed_holder_releases_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with _holder(lock) as process:
        assert not _is_free(lock)
        process.kill()
        process.wait(timeout=30)
        assert lock.exists() and _is_free(lock)


def test_waiting_ends_when_the_holder_is_gone(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with _holder(lock):
        waiting = _python(HOLD, lock)
        time.sleep(0.3)
        assert waiting.poll() is None
    said, _ = waiting.communicate("\n", timeout=30)
    assert said == "held True\n"


def test_counting_processes_lose_no_count(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    processes = [_python(COUNT_UP, tmp_path) for _ in range(2)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert (tmp_path / "number").read_text() == "120"


def test_an_error_inside_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), exclusive(tmp_path / "lock"):
        raise RuntimeError
    assert _is_free(tmp_path / "lock")


def test_a_lock_where_nothing_can_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError), exclusive(tmp_path / "file" / "lock"):
        pass
