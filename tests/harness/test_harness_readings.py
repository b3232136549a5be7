"""A data set that was split in several ways: the usual split in the table, every other in a table of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.readings import difference, rank, readings
from results.store import Store
from tests.harness.conftest import Harness, command, environment

USUAL = (("label_map", "default"),)


@pytest.fixture(scope="module")
def two_splits(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SAR-ACD at 4:1, and later at 1:1."""
    out = tmp_path_factory.mktemp("splits") / "runs"
    for more in ((), ("--split", "1:1")):
        request = ("-m", "simple-features", "-t", "sar_acd", "--data-root", tiny_root, "--out", out, *more)
        subprocess.run(command("run", *request), env=environment(), capture_output=True, check=True)
    return out


def test_the_report_shows_both_splits_apart_and_names_the_other(two_splits: Path, harness: Harness) -> None:
    done = harness("report", "--out", two_splits)
    assert done.returncode == 0, done.stderr
    usual, other = done.stdout.split("Table 4: vision tasks, --split 1:1")
    assert "classification/sar_acd: also with --split 1:1, in table4-mini-split-1-1" in usual
    assert "also with" not in other
    assert "simple features" in usual and "simple features" in other
    assert "table4-mini.csv" in other and "table4-mini-split-1-1.csv" in other

    shown = json.loads(harness("report", "--out", two_splits, "--json").stdout)
    (extra,) = shown["others"]
    tests = [
        {cell["n"] for row in table["rows"] if row["model"] == "simple-features" for cell in row["cells"]} - {0}
        for table in (shown, extra)
    ]
    assert tests == [{12}, {30}], "a fifth and a half of sixty chips; the later split replaces nothing"


def test_without_the_usual_split_the_other_is_the_table(two_splits: Path, harness: Harness, tmp_path: Path) -> None:
    shutil.copytree(two_splits, tmp_path / "runs")
    for stored in Store(tmp_path / "runs").whole_records(apart=lambda record: record.data.split_hash):
        if "split" not in stored.record.data.choices:
            shutil.rmtree(stored.folder)
    done = harness("report")
    assert "also with" not in done.stdout and done.stdout.count("Table 4") == 1


def test_no_records_are_one_empty_reading(tmp_path: Path) -> None:
    (only,) = readings(Store(tmp_path), None)
    assert only.records == () and only.label == only.suffix == ""


def test_what_was_least_chosen_is_the_usual() -> None:
    ratio, official = (*USUAL, ("split", "7:3")), (*USUAL, ("split", "official"))
    assert rank((("fusar_map.split", "official"),)) < rank((("fusar_map.split", "7:3"),)), "of a part as well"
    assert rank(USUAL) < rank(official) < rank(ratio) < rank((*official, ("pool", "trainval")))


def test_a_label_is_what_one_would_write() -> None:
    official = (*USUAL, ("split", "official"))
    assert difference(USUAL, (*USUAL, ("split", "7:3"), ("group", "scene"))) == "--group scene --split 7:3"
    assert difference(official, USUAL) == "--split by default"
    composed = (("fusar_map.split", "7:3"), ("fusar_map.label_map", "map4_labelled"))
    assert difference(composed[1:], composed) == "--split fusar_map=7:3"
