"""Files are whole or absent, whatever happens to the writer."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BenchError, StorageError, UsageError, storage_error
from foundation.files import (
    TEMPORARY_PREFIX,
    canonical_json,
    pretty_json,
    read_json,
    require_writable,
    write_atomic,
    write_bytes,
    write_json,
)

ROOT = Path(__file__).resolve().parents[2]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

HALF_THEN_WAIT = """
import sys, time
from pathlib import Path
from foundation.files import write_atomic

def fill(stream):
    stream.write(b"half")
    stream.flush()
    print("half written", flush=True)
    time.sleep(60)

write_atomic(Path(sys.argv[1]), fill)
"""

LARGER_THAN_ALLOWED = """
import os, resource, sys
from pathlib import Path
from foundation.errors import StorageError
from foundation.files import write_bytes

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path(sys.argv[1]), b"x" * 5000)
except StorageError as error:
    print(error.exit_code, error, flush=True)
    os._exit(0)  # what else runs at the end of a process (coverage, say) has the same limit
"""


def _started(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def _visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(TEMPORARY_PREFIX))


@pytest.mark.parametrize("before", [None, b"the old content"])
def test_a_writer_killed_in_the_middle_leaves_what_was_there(tmp_path: Path, before: bytes | None) -> None:
    target = tmp_path / "record.json"
    if before is not None:
        target.write_bytes(before)
    writer = _started(HALF_THEN_WAIT, target)
    with writer:
        assert writer.stdout is not None and writer.stdout.readline() == "half written\n"
        writer.kill()
    assert _visible(tmp_path) == (["record.json"] if before else [])
    assert before is None or target.read_bytes() == before
    write_bytes(target, b"the next writer is not disturbed")
    assert target.read_bytes() == b"the next writer is not disturbed"


def test_a_full_disk_is_an_error_with_a_way_out_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "weights.bin"
    target.write_bytes(b"old")
    writer = _started(LARGER_THAN_ALLOWED, target)
    said, _ = writer.communicate(timeout=60)
    assert writer.returncode == 0, "the limit must end in an error message, not in a dead process"
    assert said.startswith("4 cannot write: ") and str(target) in said and "way out: " in said
    assert [path.name for path in tmp_path.iterdir()] == ["weights.bin"]
    assert target.read_bytes() == b"old"


def test_an_error_while_filling_passes_through_and_leaves_nothing(tmp_path: Path) -> None:
    def fill(stream: IO[bytes]) -> None:
        stream.write(b"some")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        write_atomic(tmp_path / "file", fill)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_nothing(tmp_path: Path, interruption: type[BaseException]) -> None:
    def fill(stream: IO[bytes]) -> None:
        raise interruption

    with pytest.raises(interruption):
        write_atomic(tmp_path / "file", fill)
    assert list(tmp_path.iterdir()) == []


def test_a_place_below_a_file_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write") as caught:
        write_bytes(tmp_path / "file" / "below", b"x")
    assert caught.value.where.endswith("below") and caught.value.way_out


def test_a_folder_of_the_name_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "kept").touch()
    with pytest.raises(StorageError):
        write_bytes(tmp_path / "taken", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert (tmp_path / "taken" / "kept").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused_before_work_starts(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="permission denied"):
            require_writable(tmp_path)
        with pytest.raises(StorageError, match="permission denied"):
            write_bytes(tmp_path / "file", b"x")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_cannot_be_made_is_refused_before_work_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as caught:
        require_writable(tmp_path / "file" / "runs")
    assert caught.value.exit_code == 2 and caught.value.where.endswith("runs") and caught.value.way_out


def test_asking_whether_a_folder_is_writable_makes_it_and_leaves_it_empty(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
        (errno.EIO, "Input/output"),
    ],
)
def test_each_reason_of_the_system_is_said_in_words(code: int, words: str) -> None:
    error = storage_error(OSError(code, os.strerror(code)), "/somewhere/file")
    assert words in error.what and error.where == "/somewhere/file" and error.way_out


def test_missing_folders_are_made_and_the_file_is_readable_by_others(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "cell" / "record.json"
    write_bytes(target, b"x")
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_a_reader_never_sees_a_mixture(tmp_path: Path) -> None:
    target = tmp_path / "value"
    contents = {bytes([letter]) * 200_000 for letter in b"ab"}
    write_bytes(target, min(contents))

    def write_both() -> None:
        for _ in range(15):
            for content in sorted(contents):
                write_bytes(target, content)

    writer = threading.Thread(target=write_both)
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(target.read_bytes())
    writer.join()
    assert seen and seen <= contents


@given(JSON_VALUES)
def test_canonical_json_says_the_same_value_in_one_spelling(value: object) -> None:
    assert json.loads(canonical_json(value)) == value
    assert canonical_json(json.loads(pretty_json(value))) == canonical_json(value)


def test_canonical_json_is_sorted_tight_and_utf8() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": {"ü": True}}) == '{"a":{"ü":true},"b":[1,2.5,null]}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [{"deep": float("-inf")}]])
def test_numbers_that_json_does_not_have_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"z": 1, "a": ["ä"]})
    assert read_json(tmp_path / "a.json") == {"z": 1, "a": ["ä"]}
    assert (tmp_path / "a.json").read_text(encoding="utf-8").endswith("}\n")


@pytest.mark.parametrize("content", [b'{"a": 1', b"", b"\xff\xfe\x00", b"\x80{}"])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    damaged = tmp_path / "record.json"
    damaged.write_bytes(content)
    with pytest.raises(BenchError, match="not valid JSON") as caught:
        read_json(damaged)
    assert caught.value.where == str(damaged) and "run again" in caught.value.way_out


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot read") as caught:
        read_json(tmp_path / "absent.json")
    assert caught.value.where.endswith("absent.json")
