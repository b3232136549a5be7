"""`harness report --pages`: from a finished run to pages that show the images of the data set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.pages import images_of
from results.record import Record
from tests.harness.conftest import Harness, command, environment, write_tiny_sar_acd


@pytest.fixture(scope="module")
def runs(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The control computed on the tiny data set."""
    out = tmp_path_factory.mktemp("pages") / "runs"
    arguments = ("run", "-m", "simple-features", "-t", "sar_acd", "--data-root", tiny_root, "--out", out)
    done = subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


CELL = "cells/mini/classification/sar_acd/simple-features/seed-0/index.html"


def test_pages_show_the_images_of_the_data_root_and_are_kept_the_second_time(
    runs: Path, tiny_root: Path, harness: Harness
) -> None:
    first = harness("report", "--pages", "--data-root", tiny_root, "--out", runs)
    assert first.returncode == 0, first.stderr
    assert "(3 written, 0 as they were)" in first.stdout
    text = (runs / "reports" / CELL).read_text()
    assert "Surest errors" in text and "not here" not in text and "Confusion matrix" in text
    assert CELL in (runs / "reports/table4-mini.html").read_text()
    again = harness("report", "--pages", "--data-root", tiny_root, "--out", runs, "--json")
    assert json.loads(again.stdout)["pages"]["kept"] == 2


def test_other_images_than_the_records_are_never_shown(runs: Path, tiny_root: Path, tmp_path: Path) -> None:
    (path,) = runs.glob("cells/mini/sar_acd/*/*/record.json")
    data = Record.model_validate_json(path.read_bytes()).data
    image_of, missing = images_of(data, tiny_root)
    pixels = image_of("images/A220/001.jpg")
    assert missing == "" and pixels is not None and pixels.shape == (24, 24) and image_of("no such image") is None
    for other, said in (
        (write_tiny_sar_acd(tmp_path / "other", per_class=9), "another one than the record's"),
        (tmp_path / "empty", "not under the data root"),
        (None, "no --data-root was given"),
    ):
        image_of, missing = images_of(data, other)
        assert said in missing and image_of("images/A220/001.jpg") is None
    world = data.model_copy(update={"synthetic": True, "world": "sarworld v0 mini seed 0"})
    assert images_of(world, None)[1] == "the synthetic world of this record is not built here"


def test_pages_need_no_torch(runs: Path, tiny_root: Path) -> None:
    arguments = ["harness", "report", "--pages", "--data-root", str(tiny_root), "--out", str(runs)]
    code = (
        f"import sys; from harness.cli import app\nsys.argv = {arguments!r}\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'sklearn', 'pandas'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--radar", "simple-features"], "add --pages"), (["--pages", "--radar", "nobody"], "nobody")],
)
def test_choices_that_make_no_sense_are_refused(runs: Path, harness: Harness, arguments: list[str], said: str) -> None:
    done = harness("report", "--out", runs, *arguments)
    assert done.returncode == 2 and said in done.stderr
