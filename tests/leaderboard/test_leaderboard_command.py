"""The `leaderboard` command as a user meets it: output, exit codes, and nothing heavy before it is needed."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from leaderboard import cli
from leaderboard.cli import main

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Forger, Runs


def leaderboard(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["leaderboard", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_pack_verify_rank_from_one_end_to_the_other(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for model, right in (("mine", 0.9), ("other", 0.3)):
        runs.add(model=model, right=right)
        files.append(tmp_path / f"{model}.zip")
        packing = ("pack", runs.root, "--model", model, "--to", files[-1], "--submitter", "A. Author")
        assert leaderboard(monkeypatch, *packing) == 0
        assert leaderboard(monkeypatch, "verify", files[-1], "--truth", runs.root) == 0
    assert capsys.readouterr().out.count("holds: 3 metrics") == 2
    assert leaderboard(monkeypatch, "rank", *files, "--truth", runs.root) == 0
    out = capsys.readouterr().out
    assert out.startswith("SYNTHETIC DATA")
    assert "sar_acd_top1 †" in out
    assert out.index("mine ") < out.index("other ")
    assert "the leaderboard's truth" in out


def test_every_command_speaks_json(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.add()
    file = tmp_path / "mine.zip"
    packing = ("pack", runs.root, "--model", "mine", "--to", file, "--submitter", "A. Author", "--json")
    assert leaderboard(monkeypatch, *packing) == 0
    packed = json.loads(capsys.readouterr().out)
    assert leaderboard(monkeypatch, "verify", file, "--json") == 0
    verdict = json.loads(capsys.readouterr().out)
    assert leaderboard(monkeypatch, "rank", file, "--json") == 0
    ranking = json.loads(capsys.readouterr().out)
    assert packed["sha256"] == verdict["sha256"]
    assert verdict["holds"] is True
    assert verdict["cells_that_hold"] == packed["cells"]
    assert ranking["standings"][0]["mean_rank"] == 1
    assert ranking["columns"][0]["synthetic"] is True


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_submission_that_does_not_hold_exits_5_with_its_findings(
    forger: Forger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: list[str],
) -> None:
    forger.change("record.json", lambda record: record["metrics"]["top1"].update(value=100.0))
    file = forger.write(tmp_path / "forged.zip")
    assert leaderboard(monkeypatch, "verify", file, *form) == 5
    streams = capsys.readouterr()
    assert "the record says 100.0" in streams.out
    assert "2 findings" in streams.err
    assert leaderboard(monkeypatch, "rank", file, *form) == 5
    if form:
        assert json.loads(streams.out)["holds"] is False


def test_a_mistyped_model_exits_2_and_an_absent_folder_3(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--to", tmp_path / "x.zip", "--submitter", "A. Author")
    assert leaderboard(monkeypatch, "pack", runs.root, "--model", "mine", *options) == 3
    runs.add()
    assert leaderboard(monkeypatch, "pack", runs.root, "--model", "mnie", *options) == 2
    assert "did you mean mine?" in capsys.readouterr().err
    assert leaderboard(monkeypatch, "verify", tmp_path / "x.zip") == 3


def test_the_commands_of_the_room_s_readme_work(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in ("mine", "other"):
        runs.add(model=model)
    monkeypatch.chdir(tmp_path)
    pack_other = ["pack", "runs", "--model", "other", "--to", "other.zip", "--submitter", "B. Author"]
    assert leaderboard(monkeypatch, *pack_other) == 0
    readme = Path(cli.__file__).with_name("README.md").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in readme.splitlines() if line.startswith("    lead")]
    assert {command[1] for command in commands} == {"pack", "verify", "rank"}
    for command in commands:
        assert leaderboard(monkeypatch, *command[1:]) == 0, (command, capsys.readouterr().err)


def test_the_command_line_loads_nothing_heavy_before_a_command_runs() -> None:
    code = "import sys, leaderboard.cli; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_packing_verifying_and_ranking_never_load_torch() -> None:
    rooms = "leaderboard.bundle, leaderboard.verify, leaderboard.rank"
    code = f"import sys, {rooms}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
