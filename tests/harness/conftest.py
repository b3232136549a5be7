"""A tiny real-layout data set and the command line as a user runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.trial_data import tiny_scenes, tiny_tiles

HOME = Path(__file__).resolve().parents[2]
CLASSES = ("A220", "A320321", "A330", "ARJ21", "Boeing737", "Boeing787")

Harness = Callable[..., subprocess.CompletedProcess[str]]


def write_tiny_sar_acd(root: Path, per_class: int = 10, size: int = 24) -> Path:
    """SAR-ACD's layout with chips whose bright stripe says the class."""
    rng = np.random.default_rng(7)
    for label, name in enumerate(CLASSES):
        folder = root / "sar_acd" / "images" / name
        folder.mkdir(parents=True)
        for number in range(1, per_class + 1):
            chip = rng.gamma(2.0, 20.0, (size, size))
            chip[:, 2 + 3 * label : 5 + 3 * label] += 120
            Image.fromarray(np.clip(chip, 0, 255).astype(np.uint8)).save(folder / f"{number:03d}.jpg", quality=95)
    return root


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sar_acd(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def tiny_vision_root(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with one tiny data set of every vision task."""
    root = tmp_path_factory.mktemp("vision")
    shutil.copytree(tiny_root / "sar_acd", root / "sar_acd")
    shutil.copytree(tiny_scenes(), root / "fusar_ship_sense")
    shutil.copytree(tiny_tiles(), root / "fusar_map")
    return root


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "harness.cli", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HOME), **more}


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    """Runs `harness ...` in an empty folder and returns what it printed and its exit code."""

    def run(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), cwd=tmp_path, env=env or environment(), capture_output=True, text=True, timeout=300
        )

    return run


def deterministic_files(runs: Path) -> dict[str, bytes]:
    """Everything a run leaves behind but the clock and the locks."""
    return {
        path.relative_to(runs).as_posix(): path.read_bytes()
        for path in sorted(runs.rglob("*"))
        if path.is_file() and path.name not in {"execution.json", "lock"}
    }
