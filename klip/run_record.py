"""`run.json`: what a run of this room was made with, how long it took, and what came out (section 14b)."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from foundation.files import read_json, write_json
from foundation.hashing import hash_sources

FILE = "run.json"
HOME = Path(__file__).resolve().parent.parent
LIBRARIES = ("torch", "timm", "accelerate", "tokenizers", "numpy", "pillow", "safetensors")
_SOURCES = ("foundation", "adapters", "klip")


class RunRecord:
    """The record of a run folder; every start of the program adds to what is there."""

    def __init__(self, folder: Path, content: dict[str, Any], *, write: bool = True) -> None:
        self._path = folder / FILE
        self._write = write
        before = read_json(self._path) if self._path.is_file() else {}
        self._started = datetime.now(UTC)
        self._sessions: list[dict[str, Any]] = [*before.get("sessions", []), self._session(0.0)]
        self.content: dict[str, Any] = {**before, **content, "code": code_version()}
        self.save()

    @property
    def seconds(self) -> float:
        """All sessions together."""
        return float(sum(session["seconds"] for session in self._sessions))

    def save(self, **found: Any) -> None:
        """Writes what is known so far."""
        self._sessions[-1] = self._session((datetime.now(UTC) - self._started).total_seconds())
        self.content.update(found)
        if self._write:
            write_json(self._path, {**self.content, "sessions": self._sessions, "seconds": round(self.seconds, 1)})

    def _session(self, seconds: float) -> dict[str, Any]:
        return {
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
        }


def code_version() -> dict[str, Any]:
    """Versions of this program and of the libraries, the commit where there is one, and a hash of the sources."""
    files = [path for room in _SOURCES for path in (HOME / room).rglob("*.py")]
    return {
        "version": _installed("fusar-klip-bench"),
        "commit": _commit(),
        "sources": hash_sources(files),
        "python": platform.python_version(),
        "libraries": {name: _installed(name) for name in LIBRARIES},
    }


def _installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    """The commit of the checkout, with a mark where it was changed since."""
    if not (HOME / ".git").exists():
        return None
    commit = _git("rev-parse", "HEAD")
    changed = commit and _git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changed else commit


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=HOME, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
