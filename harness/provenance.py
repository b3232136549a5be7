"""Which code and libraries made a record."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.keys import HOME, numerics_hash, scoring_hash
from results.record import CodeProvenance

DISTRIBUTION = "fusar-klip-bench"
LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scikit-learn",
    "scikit-image",
    "scipy",
    "pillow",
    "tifffile",
    "safetensors",
)


def installed_version(distribution: str) -> str:
    """Version of a distribution, or a word for its absence."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def code_provenance(task: str, implementation: str = "own") -> CodeProvenance:
    """The code's part of a record."""
    return CodeProvenance(
        version=installed_version(DISTRIBUTION),
        commit=source_commit(),
        numerics=numerics_hash(task, implementation),
        scoring=scoring_hash(task),
        python=platform.python_version(),
        dependencies={name: installed_version(name) for name in LIBRARIES},
    )


@cache
def source_commit() -> str | None:
    """Commit of the checkout this package runs from; None where it was installed without one."""
    if not (HOME / ".git").exists():
        return None
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return f"{commit}+changes" if _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(HOME), capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
