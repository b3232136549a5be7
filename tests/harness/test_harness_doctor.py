"""What `harness doctor` says of the parts that captions are scored with."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import doctor
from harness.doctor import Finding, examine
from tasks.metrics import java_scorers
from tasks.metrics.java_scorers import CORENLP, CORENLP_JARS, JAVA_SWITCH, SPICE_MEMORY, Java


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (CORENLP, JAVA_SWITCH, SPICE_MEMORY):
        monkeypatch.delenv(name, raising=False)


def test_everything_about_captions_is_among_what_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_torch", lambda: Finding("torch", "ok", ""))  # slow, and of no concern here
    found = {finding.name: finding.verdict for finding in examine(tmp_path, None, tmp_path)}
    assert found["corenlp"] == "note" and found["spice memory"] == "ok" and found["java"] in ("ok", "note")


def test_java_that_is_switched_off_is_told_from_java_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_scorers, "find_java", lambda: None)
    absent = doctor._java()
    assert absent.verdict == "note" and "not here" in absent.text and "install" in absent.way_out
    monkeypatch.setenv(JAVA_SWITCH, "off")
    off = doctor._java()
    assert off.verdict == "note" and f"switched off by {JAVA_SWITCH}" in off.text and JAVA_SWITCH in off.way_out
    for finding in (absent, off):
        assert "without METEOR and SPICE" in finding.text and "BLEU and CIDEr are marked" in finding.text
    monkeypatch.delenv(JAVA_SWITCH)
    monkeypatch.setattr(java_scorers, "find_java", lambda: Java("/usr/bin/java", 17))
    assert doctor._java() == ("java", "ok", "version 17 at /usr/bin/java", "")


def test_a_switch_or_a_heap_that_would_stop_a_cell_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._spice_memory().text.startswith("8G")
    monkeypatch.setenv(SPICE_MEMORY, "512M")
    assert doctor._spice_memory() == ("spice memory", "ok", f"512M of heap, chosen by {SPICE_MEMORY}", "")
    monkeypatch.setenv(SPICE_MEMORY, "lots")
    monkeypatch.setenv(JAVA_SWITCH, "no")
    for finding in (doctor._spice_memory(), doctor._java()):
        assert finding.verdict == "problem" and finding.way_out


def test_missing_jars_stop_nothing_and_are_named_with_their_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(CORENLP, str(tmp_path))
    (tmp_path / CORENLP_JARS[0]).touch()
    found = doctor._corenlp()
    assert found.verdict == "note" and str(tmp_path) in found.text and CORENLP_JARS[1] in found.text
    assert CORENLP_JARS[0] not in found.text and "without SPICE" in found.text
    (tmp_path / CORENLP_JARS[1]).touch()
    assert doctor._corenlp() == ("corenlp", "ok", str(tmp_path), "")
