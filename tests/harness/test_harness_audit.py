"""`harness data verify` and `harness data audit` as a user runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from foundation.errors import CheckError
from harness.audit import audit_dataset, compared, verify_all
from harness.request import RunRequest
from results.record import Metric
from tasks.protocol import load_profile
from tests.harness.conftest import Harness


@pytest.fixture
def doubled(tmp_path: Path, tiny_root: Path) -> Path:
    """The tiny SAR-ACD with every chip of the first class twice."""
    root = tmp_path / "data"
    shutil.copytree(tiny_root, root)
    folder = root / "sar_acd" / "images" / "A220"
    for path in sorted(folder.glob("0*.jpg")):
        shutil.copy(path, folder / f"1{path.name[1:]}")
    return root


def test_verify_says_what_is_there_and_that_it_is_not_the_published_size(harness: Harness, tiny_root: Path) -> None:
    done = harness("data", "verify", "sar_acd", "--data-root", tiny_root)
    assert done.returncode == 5, done.stderr
    assert "60 images" in done.stdout and "60 images instead of 3032" in done.stdout
    found = json.loads(harness("data", "verify", "--data-root", tiny_root, "--json").stdout)
    assert [one["dataset"] for one in found["data_sets"]] == ["sar_acd"] and len(found["missing"]) == 7


def test_verify_of_what_is_not_there_ends_with_three(harness: Harness, tiny_root: Path, tmp_path: Path) -> None:
    assert harness("data", "verify", "fusar_ship", "--data-root", tiny_root).returncode == 3
    (tmp_path / "empty").mkdir()
    assert harness("data", "verify", "--data-root", tmp_path / "empty").returncode == 3
    assert harness("data", "verify", "--data-root", tmp_path / "nowhere").returncode == 2
    wrong = harness("data", "verify", "sar_acdd")
    assert wrong.returncode == 2 and "did you mean sar_acd" in wrong.stderr


def test_the_synthetic_world_holds(harness: Harness) -> None:
    done = harness("data", "verify", "sar_acd", "--world", "ci")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "synthetic" in done.stdout


def test_audit_counts_copies_and_writes_a_split_without_them(harness: Harness, doubled: Path, tmp_path: Path) -> None:
    done = harness("data", "audit", "sar_acd", "--data-root", doubled, "--kinds", "exact", "--emit", "d.json", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    exact = next(kind for kind in found["kinds"] if kind["kind"] == "exact")
    assert exact["pairs"] == 10 and exact["across"] > 0
    assert found["emitted"]["units"] == 60
    test = set((tmp_path / "d.test.txt").read_text().split())
    train = set((tmp_path / "d.train.txt").read_text().split())
    assert len(train | test) == 70 and not train & test
    for number in range(1, 11):
        first, second = (f"images/A220/{name}.jpg" for name in (f"{number:03d}", f"1{number:02d}"))
        assert (first in test) is (second in test)
    assert "exact 1.000" in harness("data", "audit", "sar_acd", "--data-root", doubled).stdout


def test_audit_refuses_what_it_cannot_do(harness: Harness, tiny_root: Path) -> None:
    place = ("--data-root", tiny_root)
    assert harness("data", "audit", "sar_acd", *place, "--emit", "d.txt").returncode == 2
    assert harness("data", "audit", "sar_acd", *place, "--kinds", "nearly", "--emit", "d.json").returncode == 2
    for kinds in ("nearly", "exact,nearly", ","):
        refused = harness("data", "audit", "sar_acd", *place, "--kinds", kinds)
        assert refused.returncode == 2 and "not kinds of links" in refused.stderr
    assert harness("data", "audit", "all", *place).returncode == 2
    assert harness("data", "audit", "sar_acd", "--world", "huge").returncode == 2
    assert harness("data", "audit", "fusar_map", *place).returncode == 3


@pytest.mark.slow  # fits two classifiers
def test_the_score_difference_is_printed_with_its_interval_and_stays_out_of_the_results(
    harness: Harness, doubled: Path, tmp_path: Path
) -> None:
    done = harness(
        *("data", "audit", "sar_acd", "--data-root", doubled, "--kinds", "exact", "--json"),
        *("--score-difference", "simple-features", "--jobs", "1"),
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["score_differences"]
    assert found["metric"] == "top1" and found["low"] <= found["difference"] <= found["high"]
    assert found["difference"] == pytest.approx(found["disjoint"] - found["usual"])
    # The trial is no part of the results: tables and submissions are made of what lies in `runs`.
    assert not (tmp_path / "runs" / "cells").exists() and not (tmp_path / "runs" / "reports").exists()
    assert harness("report").returncode == 3
    split = tmp_path / "runs" / "audit" / "sar_acd" / "disjoint.json"
    own = ("run", "-m", "simple-features", "-t", "sar_acd", "--data-root", doubled, "--split-file", split)
    done = harness(*own)
    assert done.returncode == 0 and f"{json.loads(split.read_text())['split_hash'][:12]}" in done.stdout, done.stderr
    assert (tmp_path / "runs" / "reports" / "table4-mini-own-split.md").is_file()
    assert harness("report").returncode == 3  # not of the usual split


def test_parts_are_in_the_ratio_of_the_profile(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = load_profile("mini").model_copy(
        update={"split": load_profile("mini").split.model_copy(update={"ratio": (1, 1)})}
    )
    monkeypatch.setattr("harness.audit.load_profile", lambda name: half if name == "mini" else load_profile(name))
    request = RunRequest(data_root=tiny_root, tasks="sar_acd", allow_bad=True)
    assert len(audit_dataset("sar_acd", request).audit.split.test) == 30
    ((found,), _) = verify_all(["sar_acd"], request)
    assert (found.train, found.test) == (30, 30)
    paper = request.model_copy(update={"profile": "paper"})
    assert len(audit_dataset("sar_acd", paper).audit.split.test) == 12


def test_the_sizes_of_both_splits_are_printed(harness: Harness, doubled: Path) -> None:
    arguments = ("data", "audit", "sar_acd", "--data-root", doubled, "--kinds", "exact", "--emit", "d.json")
    assert "the usual split has 56 and 14" in harness(*arguments).stdout
    assert json.loads(harness(*arguments, "--json").stdout)["emitted"]["usual_train"] == 56


def test_the_interval_of_a_difference_squares_and_adds() -> None:
    usual = ("top1", Metric(value=80.0, low=76.0, high=83.0))
    other = ("top1", Metric(value=60.0, low=57.0, high=64.0))
    found = compared("m", "classification", usual, other)
    assert found.difference == -20.0
    assert found.low == pytest.approx(-20 - 18**0.5) and found.high == pytest.approx(-20 + 32**0.5)
    with pytest.raises(CheckError, match="nothing to test"):
        compared("m", "classification", usual, ("top1", Metric(value=None, reason="nothing to test")))
