"""The `klip` command as a user meets it: output, exit codes, and nothing heavy before it is needed."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from klip import cli
from klip.cli import main
from klip.text import TARGET_FIELDS
from tests.klip.small_corpus import record as number_record
from tests.klip.small_corpus import write_corpus


def klip(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["klip", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def record(image_id: str, **values: str) -> str:
    return json.dumps({"id": image_id, **dict.fromkeys(TARGET_FIELDS, "one"), **values}) + "\n"


def test_settings_show_what_the_preset_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert klip(monkeypatch, "settings", "--preset", "recommended") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "(paper: " in line] == [
        "text.segment_dropout       0.15  (paper: 0.0)",
        "optim.clip_norm            1.0  (paper: 0.0)",
    ]


def test_settings_as_json_are_one_object(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert klip(monkeypatch, "settings", "--size", "tiny", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["model"]["size"] == "tiny"
    assert data["loss"]["lambda"] == [1.0, 1.0, 1.0]


def test_an_unknown_preset_exits_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert klip(monkeypatch, "settings", "--preset", "papers") == 2
    assert "did you mean paper?" in capsys.readouterr().err


def test_a_whole_corpus_exits_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(record("a") + record("b") + record("c", Size=""), encoding="utf-8")
    assert klip(monkeypatch, "text", "check", str(path)) == 0
    out = capsys.readouterr().out
    assert "target: 3 records" in out
    assert "Size 33.3%" in out
    assert "repeated texts: 1 (groups of equal ones: 1)\n  a, b" in out


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_damaged_records_are_listed_and_exit_5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: list[str]
) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(record("a") + "{broken\n" + record("a"), encoding="utf-8")
    assert klip(monkeypatch, "text", "check", str(path), *form) == 5
    streams = capsys.readouterr()
    assert f"{path}:2" in streams.out
    assert f"{path}:3" in streams.out
    assert "2 damaged records" in streams.err
    if form:
        assert len(json.loads(streams.out)["damaged"]) == 2


def test_an_empty_corpus_exits_5_and_an_absent_one_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "corpus.jsonl"
    path.touch()
    assert klip(monkeypatch, "text", "check", str(path)) == 5
    assert klip(monkeypatch, "text", "check", str(tmp_path / "none.jsonl")) == 3
    assert "Traceback" not in capsys.readouterr().err


QUICK = ("settings", "text", "tokenizer")
"""What runs in a moment; of commands that train it is only asked whether they are understood."""


def test_the_commands_of_the_room_s_readme_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "corpus", [number_record(number) for number in range(3)])
    (tmp_path / "corpus.jsonl").write_text(record("a"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    readme = Path(cli.__file__).with_name("README.md").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in readme.splitlines() if line.startswith("    klip ")]
    assert {command[1] for command in commands} == {*QUICK, "pretrain", "scio", "baseline", "export", "zoo"}
    for command in commands:
        if command[1] in QUICK:
            assert klip(monkeypatch, *command[1:]) == 0, (command, capsys.readouterr().err)
        else:
            understood(command[1:])


def understood(arguments: list[str]) -> None:
    """Parses a command line down to the last option, and runs nothing."""
    command, context = get_command(cli.app), None
    while (commands := getattr(command, "commands", None)) is not None:
        context = type(command).context_class(command, parent=context)
        command, arguments = commands[arguments[0]], arguments[1:]
    command.make_context(command.name, list(arguments), parent=context)


def test_an_option_that_is_not_there_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        understood(["pretrain", "corpus", "--out", "x", "--sizes", "tiny"])


def test_settings_can_be_changed_by_hand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert klip(monkeypatch, "settings", "--set", "optim.lr=1e-4") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "(paper" in line] == [["optim.lr", "0.0001", "(paper:", "0.0003)"]]
    assert klip(monkeypatch, "settings", "--set", "optim.rate=1e-4") == 2
    assert "klip settings" in capsys.readouterr().err


def test_the_command_line_loads_nothing_heavy_before_a_command_runs() -> None:
    code = "import sys, klip.cli; print([m for m in ('torch', 'numpy', 'pydantic', 'timm') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
