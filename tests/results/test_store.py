"""A record is whole or absent, whatever happens to its writer, and the same run leaves the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import CheckError, StorageError
from foundation.files import TEMPORARY_PREFIX
from results.record import CellId, Failure, Record
from results.store import CHECKPOINT, EXECUTION, FAILURE, RECORD, Store, folder_name

MakeRecord = Callable[..., Record]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def _failure(record: Record) -> Failure:
    return Failure(cell=record.cell, key=record.key, error="CellError", what="the loss became NaN")


def _partials(store: Store) -> list[Path]:
    return list(store.root.rglob(f"{TEMPORARY_PREFIX}*"))


def test_what_is_written_is_read(store: Store, make_record: MakeRecord) -> None:
    record = make_record("mini:klip", values={"top1": 200 / 3, "top3": None})
    folder = store.write(record)
    assert store.read(record.cell, record.key) == record
    assert folder == store.folder(record.cell, record.key)
    assert folder.relative_to(store.root).parts == (
        "cells",
        "paper",
        "fusar_air",
        "mini=3aklip",
        f"seed-0-{record.key[:12]}",
    )


def test_an_unknown_cell_is_none(store: Store, make_record: MakeRecord) -> None:
    record = make_record()
    assert store.read(record.cell, record.key) is None
    assert store.read_failure(record.cell, record.key) is None
    assert not store.records() and not store.failures() and not store.problems()
    assert store.clean() == 0


def test_the_same_record_gives_the_same_bytes_at_another_time(store: Store, make_record: MakeRecord) -> None:
    early, late = make_record(), make_record(finished="2027-05-05T00:00:00+00:00")
    path = store.write(early) / RECORD
    before = path.read_bytes()
    assert store.write(late) / RECORD == path
    assert path.read_bytes() == before
    assert b"execution" not in before
    assert json.loads((path.parent / EXECUTION).read_bytes())["finished"].startswith("2027")


def test_a_finished_cell_leaves_no_failure_and_no_checkpoint(store: Store, make_record: MakeRecord) -> None:
    record = make_record()
    folder = store.write_failure(_failure(record))
    (folder / CHECKPOINT).write_bytes(b"weights")
    assert store.read_failure(record.cell, record.key) == _failure(record)
    assert (folder / CHECKPOINT).exists(), "a failed cell must be able to go on"
    store.write(record)
    assert not (folder / CHECKPOINT).exists() and not (folder / FAILURE).exists()
    assert store.failures() == []


def test_a_failure_beside_a_finished_record_is_outdated(store: Store, make_record: MakeRecord) -> None:
    record = make_record()
    store.write(record)
    store.write_failure(_failure(record))
    assert store.read_failure(record.cell, record.key) is None
    assert store.failures() == []
    assert store.read(record.cell, record.key) == record


def test_records_come_by_cell_and_the_newest_supersedes(store: Store, make_record: MakeRecord) -> None:
    old = make_record("b", settings={"epochs": 1}, finished="2026-01-01T00:00:00+00:00")
    new = make_record("b", settings={"epochs": 2}, finished="2026-01-01T03:00:00+02:00")
    other = make_record("a", seed=1)
    for record in (new, old, other):
        store.write(record)
    found = [(entry.record.cell.model, entry.record.settings, entry.superseded) for entry in store.records()]
    assert found == [
        ("a", other.settings, False),
        ("b", {"epochs": 2}, False),
        ("b", {"epochs": 1}, True),
    ]


@pytest.mark.parametrize(
    "choice",
    [
        {"split_sha256": "ab" * 8},
        {"group_near_duplicates": "yes"},
        {"fusar_map.split_sha256": "ab" * 8},
        {"fusar_map.group_near_duplicates": "yes"},
    ],
)
def test_a_record_of_a_split_of_its_own_is_no_whole_record(
    store: Store, make_record: MakeRecord, choice: dict[str, str]
) -> None:
    usual = make_record(finished="2026-01-01T00:00:00+00:00")
    own = make_record(split_hash="6" * 64, settings={"other": 1}, finished="2026-01-02T00:00:00+00:00")
    own = own.model_copy(update={"data": own.data.model_copy(update={"choices": {"split": "1:1", **choice}})})
    store.write(own)
    assert store.whole_records() == []
    store.write(usual)
    assert [found.record.key for found in store.whole_records()] == [usual.key]
    assert len(store.records()) == 2


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"schema_version": 1, "key": 3}'])
def test_a_damaged_record_is_named_with_its_way_out_and_stops_nothing(
    store: Store, make_record: MakeRecord, damage: bytes
) -> None:
    good, bad = make_record("good"), make_record("bad")
    store.write(good)
    path = store.write(bad) / RECORD
    path.write_bytes(damage)
    assert [entry.record for entry in store.records()] == [good]
    (problem,) = store.problems()
    assert problem.where == str(path) and "delete the file" in problem.way_out
    with pytest.raises(CheckError, match="damaged"):
        store.read(bad.cell, bad.key)


def test_a_record_of_a_newer_version_asks_for_an_update(store: Store, make_record: MakeRecord) -> None:
    record = make_record()
    path = store.write(record) / RECORD
    data = json.loads(path.read_bytes())
    path.write_text(json.dumps({**data, "schema_version": 99, "field_of_the_future": 1}))
    with pytest.raises(CheckError, match="newer version: schema 99") as caught:
        store.read(record.cell, record.key)
    assert "update" in caught.value.way_out
    assert store.records() == [] and len(store.problems()) == 1


def test_a_damaged_clock_costs_no_numbers(store: Store, make_record: MakeRecord) -> None:
    record = make_record()
    (store.write(record) / EXECUTION).write_bytes(b"{")
    read = store.read(record.cell, record.key)
    assert read is not None and read.metrics == record.metrics and read.execution is None
    assert len(store.records()) == len(store.problems()) == 1


def test_a_record_in_the_wrong_folder_is_not_trusted(store: Store, make_record: MakeRecord) -> None:
    mine, other = make_record("mine"), make_record("other")
    source = store.write(other) / RECORD
    target = store.folder(mine.cell, mine.key) / RECORD
    target.parent.mkdir(parents=True)
    target.write_bytes(source.read_bytes())
    with pytest.raises(CheckError, match="holds the record of classification/fusar_air/other"):
        store.read(mine.cell, mine.key)


def test_leftovers_of_killed_writers_are_ignored_and_cleaned(store: Store, make_record: MakeRecord) -> None:
    done, busy = make_record("done"), make_record("busy")
    for record in (done, busy):
        (store.write(record) / f"{TEMPORARY_PREFIX}abc").write_bytes(b"{")
    assert len(store.records()) == 2 and store.problems() == []
    with store.lock(busy.cell, busy.key) as held:
        assert held
        assert store.clean() == 1, "a cell that is being worked on keeps its files"
    assert store.clean() == 1
    assert _partials(store) == []
    assert len(store.records()) == 2


def test_two_processes_cannot_hold_one_cell(store: Store, make_record: MakeRecord) -> None:
    record = make_record()
    with store.lock(record.cell, record.key), store.lock(record.cell, record.key, wait=False) as second:
        assert not second


@given(st.lists(st.text(max_size=200), min_size=2, max_size=8, unique=True))
def test_different_names_get_different_safe_folders(names: list[str]) -> None:
    folders = [folder_name(name) for name in names]
    assert len({folder.lower() for folder in folders}) == len(names)
    for folder in folders:
        assert folder and len(folder) <= 130 and folder.isascii()
        assert not folder.startswith(".") and not set(folder) & set('/\\:*?"<>| \0')


def test_names_that_could_be_confused_are_not() -> None:
    names = ["a:b", "a=3ab", "a/b", "A:b", "", ".", "..", "a" * 300, "a" * 301, "=", "a_b", "a-b"]
    assert len({folder_name(name) for name in names}) == len(names)
    assert folder_name("clip-vit-b.16") == "clip-vit-b.16"


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path, make_record: MakeRecord) -> None:
    # A file where a folder is needed cannot be written by anyone, whatever the rights of the test's user.
    (tmp_path / "runs").write_bytes(b"")
    store, record = Store(tmp_path / "runs"), make_record()
    with pytest.raises(StorageError, match="cannot write"):
        store.write(record)
    with pytest.raises(StorageError, match="cannot write"):
        store.write_failure(_failure(record))
    assert store.records() == []


def test_a_full_disk_leaves_nothing_half_written(
    store: Store, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make_record("mine", settings={"epochs": 1})
    store.write(before)
    record = make_record("mine", settings={"epochs": 2})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        store.write(record)
    assert "free some space" in caught.value.way_out
    monkeypatch.undo()
    assert store.read(record.cell, record.key) is None
    assert _partials(store) == [] and store.problems() == []
    assert [entry.record for entry in store.records()] == [before]


WRITER = """
import sys
from pathlib import Path
from results.record import Record
from results.store import Store

source, root, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
record = Record.model_validate_json(source.read_bytes())
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
store = Store(root)
print("ready", flush=True)
turn = 0
while True:
    store.write(record.model_copy(update={"warnings": (str(turn),) + record.warnings}))
    turn += 1
"""


def _writer(record: Record, tmp_path: Path, limit: int = 0) -> subprocess.Popen[bytes]:
    source = tmp_path / "source.json"
    source.write_text(record.model_dump_json())
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(source), str(tmp_path / "runs"), str(limit)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def test_a_file_size_limit_of_the_system_leaves_nothing_half_written(tmp_path: Path, make_record: MakeRecord) -> None:
    record = make_record()
    with _writer(record, tmp_path, limit=1024) as process:  # execution.json fits, record.json does not
        _, errors = process.communicate(timeout=30)
    assert b"StorageError" in errors and b"larger than this system allows" in errors
    store = Store(tmp_path / "runs")
    assert store.read(record.cell, record.key) is None
    assert _partials(store) == [] and store.problems() == []


def test_a_writer_killed_at_any_moment_leaves_a_whole_record_or_none(tmp_path: Path, make_record: MakeRecord) -> None:
    record = make_record().model_copy(update={"warnings": tuple("x" * 80 for _ in range(500))})
    store = Store(tmp_path / "runs")
    moments = random.Random(0)
    interrupted, end = 0, time.monotonic() + 8
    while time.monotonic() < end and interrupted < 25:
        with _writer(record, tmp_path) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            time.sleep(moments.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
            process.wait()
        interrupted += 1
        read = store.read(record.cell, record.key)
        assert read is None or read.warnings[1:] == record.warnings
        assert store.problems() == []
    assert interrupted >= 3
    store.clean()
    assert _partials(store) == []
    cell = CellId(task="classification", dataset="fusar_air", model="mine", profile="paper", seed=0)
    assert all(entry.record.cell == cell for entry in store.records())
