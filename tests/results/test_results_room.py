"""The room as a whole: light to import, and its README tells the truth."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("record", "reported", "store", "statistics", "rows", "compare", "tables", "render")


def _python(code: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_listing_and_reporting_load_no_heavy_library_and_no_other_room(tmp_path: Path) -> None:
    imports = "; ".join(f"import results.{name}" for name in MODULES)
    loaded = set(_python(f"{imports}; import sys; print(*sys.modules)", tmp_path).split())
    heavy = {"torch", "numpy", "pandas", "matplotlib", "sklearn"}
    rooms = {"adapters", "klip", "tasks", "harness", "leaderboard"}
    assert not loaded & (heavy | rooms)


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "results/README.md").read_text(encoding="utf-8"), re.DOTALL)
    printed = _python(code, tmp_path)
    assert "FUSAR-KLIP" in printed and "task not built" in printed
    assert (tmp_path / "table4.md").read_text(encoding="utf-8").count("| MAE |") == 1
    assert (tmp_path / "table4.csv").read_text(encoding="utf-8").count("\n") == 1 + 21 * 13


def test_the_readme_names_every_module() -> None:
    text = (ROOT / "results/README.md").read_text(encoding="utf-8")
    for path in (ROOT / "results").glob("*.py"):
        assert path.name == "__init__.py" or f"`{path.name}`" in text
