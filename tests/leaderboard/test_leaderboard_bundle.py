"""Packing: what goes into a submission, in which bytes, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from foundation.errors import BenchError, CheckError, MissingError, UsageError
from foundation.hashing import hash_bytes
from leaderboard.bundle import pack, whole_records
from leaderboard.submission import MANIFEST, Submission, is_expected_name, seal_of
from results.record import CellId, Failure

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Runs


def packed_names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def refused(runs: Runs, target: Path, kind: type[BenchError], **changes: Any) -> BenchError:
    arguments: dict[str, Any] = {"model": "mine", "submitter": "A. Author", **changes}
    with pytest.raises(kind) as caught:
        pack(runs.root, arguments.pop("model"), target, arguments.pop("submitter"), **arguments)
    assert caught.value.way_out
    assert not target.is_file()
    return caught.value


def test_a_bundle_holds_record_predictions_and_truth_of_every_cell_of_the_model(runs: Runs, tmp_path: Path) -> None:
    records = [runs.add(), runs.add(seed=1), runs.add(dataset="fusar_air")]
    runs.add(model="other")
    target = tmp_path / "mine.zip"
    packed = pack(runs.root, "mine", target, "A. Author", note="first try")
    expected = {MANIFEST}
    for record in records:
        folder = runs.folder(record).relative_to(runs.root).as_posix()
        expected |= {f"{folder}/record.json", f"{folder}/predictions.jsonl", record.truth.name}
    assert set(packed_names(target)) == expected
    assert {entry.cell for entry in packed.submission.cells} == {record.cell for record in records}
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        for name in expected - {MANIFEST}:
            assert archive.read(name) == (runs.root / name).read_bytes()
            assert packed.submission.files()[name] == hash_bytes(archive.read(name))
        listed = json.loads(archive.read(MANIFEST))
    assert Submission.model_validate(listed) == packed.submission
    assert listed["note"] == "first try"
    assert packed.sha256 == hash_bytes(target.read_bytes())


def test_the_same_cells_give_the_same_bytes_wherever_and_whenever_they_lie(runs: Runs, tmp_path: Path) -> None:
    runs.add()
    runs.add(seed=1)
    first = pack(runs.root, "mine", tmp_path / "a.zip", "A. Author")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(runs.root, elsewhere)
    for path in elsewhere.rglob("*"):
        os.utime(path, (time.time() + 86_400, time.time() + 86_400))
    second = pack(elsewhere, "mine", tmp_path / "b.zip", "A. Author")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert first == second


def test_the_names_are_sorted_and_the_dates_fixed(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}


def test_the_seal_hangs_on_every_field_and_every_hash(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        submission = Submission.model_validate_json(archive.read(MANIFEST))
    assert submission.seal == seal_of(submission)
    changed = [
        submission.model_copy(update={"submitter": "B. Author"}),
        submission.model_copy(update={"note": "better"}),
        submission.model_copy(update={"cells": submission.cells * 2}),
    ]
    for kind in ("record", "predictions", "truth"):
        file = getattr(submission.cells[0], kind).model_copy(update={"sha256": "0" * 64})
        changed.append(submission.model_copy(update={"cells": (submission.cells[0].model_copy(update={kind: file}),)}))
    assert len({seal_of(submission), *map(seal_of, changed)}) == 1 + len(changed)


def test_of_several_records_of_a_cell_the_newest_counts(runs: Runs) -> None:
    runs.add(epochs=3, finished="2026-01-01T00:00:00+00:00")
    newest = runs.add(epochs=4, finished="2026-01-03T00:00:00+00:00")
    runs.add(epochs=5, finished="2026-01-02T00:00:00+00:00")
    assert [stored.record.key for stored in whole_records(runs.root, "mine")] == [newest.key]


def test_a_limited_record_or_a_sanity_twin_never_stands_in_for_a_whole_one(runs: Runs) -> None:
    whole = runs.add()
    runs.add(limit=8, finished="2026-01-02T00:00:00+00:00")
    runs.add(twin="shuffled_labels", finished="2026-01-03T00:00:00+00:00")
    assert [stored.record.key for stored in whole_records(runs.root, "mine")] == [whole.key]


@pytest.mark.parametrize("name", ["split", "fusar_map.split"])
def test_a_record_of_a_ratio_that_was_asked_for_never_stands_in_for_one_of_the_protocol(runs: Runs, name: str) -> None:
    usual = runs.add(choices={name: "official"})
    runs.add(choices={name: "7:3"}, finished="2026-01-02T00:00:00+00:00")
    assert [stored.record.key for stored in whole_records(runs.root, "mine")] == [usual.key]


def test_a_folder_with_only_limited_records_says_so(runs: Runs, tmp_path: Path) -> None:
    runs.add(limit=8)
    runs.add(twin="noise_images")
    error = refused(runs, tmp_path / "mine.zip", MissingError)
    assert "2 records are limited, sanity twins" in error.what


def test_a_model_whose_cells_all_failed_says_so(runs: Runs, tmp_path: Path) -> None:
    cell = CellId(task="classification", dataset="sar_acd", model="mine", profile="mini", seed=0)
    runs.store.write_failure(Failure(cell=cell, key="a" * 64, error="CellError", what="out of memory"))
    assert "1 cells failed" in refused(runs, tmp_path / "mine.zip", MissingError).what


def test_a_mistyped_model_is_answered_with_the_nearest_one(runs: Runs, tmp_path: Path) -> None:
    runs.add(model="remoteclip-vit-b-32")
    error = refused(runs, tmp_path / "mine.zip", UsageError, model="remoteclip-vitb32")
    assert "did you mean remoteclip-vit-b-32?" in error.way_out


def test_an_empty_or_absent_runs_folder_is_missing(runs: Runs, tmp_path: Path) -> None:
    assert "no such runs folder" in refused(runs, tmp_path / "mine.zip", MissingError).what
    runs.root.mkdir()
    assert "no finished cell" in refused(runs, tmp_path / "mine.zip", MissingError).what


def test_two_profiles_are_not_packed_together(runs: Runs, tmp_path: Path) -> None:
    runs.add(profile="mini")
    paper = runs.add(profile="paper")
    error = refused(runs, tmp_path / "mine.zip", UsageError)
    assert "mini, paper" in error.what
    packed = pack(runs.root, "mine", tmp_path / "mine.zip", "A. Author", profile="paper")
    assert [entry.cell for entry in packed.submission.cells] == [paper.cell]


@pytest.mark.parametrize("which", ["predictions", "truth"])
@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_file_that_is_not_the_recorded_one_is_refused(runs: Runs, tmp_path: Path, which: str, damage: str) -> None:
    record = runs.add()
    path = runs.folder(record) / "predictions.jsonl" if which == "predictions" else runs.root / record.truth.name
    if damage == "changed":
        path.write_bytes(path.read_bytes().replace(b"000", b"001", 1))
    else:
        path.unlink()
    assert refused(runs, tmp_path / "mine.zip", CheckError).where == str(path)


@pytest.mark.parametrize("name", ["record.json", "execution.json"])
def test_a_damaged_record_is_refused_and_not_left_out(runs: Runs, tmp_path: Path, name: str) -> None:
    runs.add(finished="2026-01-01T00:00:00+00:00")
    newest = runs.add(epochs=4, finished="2026-01-02T00:00:00+00:00")
    (runs.folder(newest) / name).write_text("{", encoding="utf-8")
    assert name in refused(runs, tmp_path / "mine.zip", CheckError).where


def test_damage_of_another_model_is_no_hindrance(runs: Runs, tmp_path: Path) -> None:
    runs.add()
    (runs.folder(runs.add(model="other")) / "record.json").write_text("{", encoding="utf-8")
    assert len(pack(runs.root, "mine", tmp_path / "mine.zip", "A. Author").submission.cells) == 1


def test_a_folder_that_was_moved_by_hand_is_refused(runs: Runs, tmp_path: Path) -> None:
    folder = runs.folder(runs.add())
    folder.rename(folder.with_name("seed-1-000000000000"))
    assert "belongs elsewhere" in refused(runs, tmp_path / "mine.zip", CheckError).what


@pytest.mark.parametrize("submitter", ["", "  ", "two\nlines", "\x1b[31mred", "x" * 501])
def test_a_submitter_must_be_one_printable_line(runs: Runs, tmp_path: Path, submitter: str) -> None:
    runs.add()
    refused(runs, tmp_path / "mine.zip", UsageError, submitter=submitter)


def test_a_folder_as_target_is_refused(runs: Runs, tmp_path: Path) -> None:
    runs.add()
    refused(runs, tmp_path, UsageError)


def test_model_names_that_file_systems_dislike_are_packed(runs: Runs, tmp_path: Path) -> None:
    runs.add(model="timm:ResNet-18@pretrained")
    packed = pack(runs.root, "timm:ResNet-18@pretrained", tmp_path / "mine.zip", "Ä. Author")
    assert packed.submission.model == "timm:ResNet-18@pretrained"
    assert all(is_expected_name(name) for name in packed_names(tmp_path / "mine.zip"))
