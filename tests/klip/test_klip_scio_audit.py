"""The audit log: torn lines, foreign headers, damaged records, numbers that come back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import CheckError, MissingError
from klip.scio.audit_log import AuditLog, header_of, lines, pass_folder, passes, plain, read_kind, write_whole

HEADER = {"checkpoint": "abc", "bank": {"seed": 1}, "rule": {"itc_margin": 0.0}, "world": 1}


def test_what_is_appended_is_read_back_in_order_and_goes_on_when_opened_again(tmp_path: Path) -> None:
    with AuditLog(tmp_path, "scores", HEADER) as log:
        log.append([{"row": 1}, {"row": 2}])
    with AuditLog(tmp_path, "scores", HEADER) as log:
        log.append([{"row": 3}])
        assert [record["row"] for record in log.everything()] == [1, 2, 3]
    assert header_of(tmp_path, "scores")["checkpoint"] == "abc"


@pytest.mark.parametrize("torn", [b'{"row": 3', b'{"row": 3}', b"\xff"])
def test_a_torn_last_line_is_no_record_and_is_dropped_when_the_log_goes_on(tmp_path: Path, torn: bytes) -> None:
    with AuditLog(tmp_path, "scores", HEADER) as log:
        log.append([{"row": 1}])
        path = log.path
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert [record["row"] for record in read_kind(tmp_path, "scores")] == [1]
    AuditLog(tmp_path, "scores", HEADER).close()
    assert path.read_bytes() == whole


def test_a_log_that_was_killed_inside_its_header_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "scores.rank0.jsonl"
    path.write_bytes(b'{"header": {"che')
    with AuditLog(tmp_path, "scores", HEADER) as log:
        log.append([{"row": 1}])
    assert [sorted(record) for record in lines(path)] == [["header"], ["row"]]


@pytest.mark.parametrize("changed", [{"checkpoint": "other"}, {"bank": {"seed": 2}}, {"rule": {"itc_margin": 0.1}}])
def test_another_header_is_refused_and_nothing_is_written(tmp_path: Path, changed: dict[str, object]) -> None:
    with AuditLog(tmp_path, "scores", HEADER) as log:
        log.append([{"row": 1}])
        before = log.path.read_bytes()
    with pytest.raises(CheckError, match=next(iter(changed))):
        AuditLog(tmp_path, "scores", HEADER | changed)
    assert log.path.read_bytes() == before


def test_the_number_of_processes_is_free(tmp_path: Path) -> None:
    with AuditLog(tmp_path, "scores", HEADER) as log:
        log.append([{"row": 1}])
    with AuditLog(tmp_path, "scores", HEADER | {"world": 2}, rank=1) as log:
        log.append([{"row": 2}])
    assert {record["row"] for record in read_kind(tmp_path, "scores")} == {1, 2}


def test_a_damaged_line_inside_is_an_error_with_its_place(tmp_path: Path) -> None:
    with AuditLog(tmp_path, "scores", HEADER) as log:
        log.append([{"row": 1}, {"row": 2}])
    log.path.write_bytes(log.path.read_bytes().replace(b'{"row":1}', b'{"row":'))
    with pytest.raises(CheckError, match="damaged record") as found:
        read_kind(tmp_path, "scores")
    assert found.value.where.endswith("scores.rank0.jsonl:2")


def test_a_pass_that_is_not_there_is_missed(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no scores"):
        header_of(tmp_path, "scores")


def test_passes_are_found_by_name_and_names_lead_nowhere_else(tmp_path: Path) -> None:
    for name in ("p2", "p1"):
        AuditLog(pass_folder(tmp_path, name), "scores", HEADER).close()
    assert passes(tmp_path) == ["p1", "p2"]
    for name in ("", "../p1", ".hidden"):
        with pytest.raises(CheckError, match="cannot be called"):
            pass_folder(tmp_path, name)


def test_decisions_are_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    write_whole(path, HEADER, [{"row": 0, "confirmed": [1]}])
    assert [sorted(record) for record in lines(path)] == [["header"], ["confirmed", "row"]]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_logged_score_is_the_same_fp32_value_when_it_is_read(value: float) -> None:
    logged = plain(value)
    assert logged is not None
    assert np.float32(logged) == np.float32(value)


def test_what_is_no_number_is_logged_as_none() -> None:
    assert plain(float("nan")) is None and plain(float("inf")) is None
