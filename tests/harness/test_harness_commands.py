"""The command line as a user meets it: what it prints, what it exits with, what it never loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.conftest import Harness, command, deterministic_files, environment, write_tiny_sar_acd


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["list"], ["list", "tasks"], ["plan"], ["status"], ["run", "--help"]],
    ids=lambda arguments: " ".join(arguments),
)
def test_planning_commands_never_import_torch(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from harness.cli import app\n"
        f"sys.argv = ['harness', *{arguments!r}]\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'timm', 'sklearn', 'torchvision', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_report_imports_no_torch(harness: Harness, finished_runs: Path) -> None:
    code = (
        "import sys; from harness.cli import app\n"
        f"sys.argv = ['harness', 'report', '--out', {str(finished_runs)!r}]\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def finished_runs(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with the control computed on the tiny data set."""
    out = tmp_path_factory.mktemp("finished") / "runs"
    done = subprocess.run(
        command("run", "-m", "simple-features", "-t", "sar_acd", "--data-root", tiny_root, "--out", out),
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_a_run_ends_with_the_table_and_where_it_is(finished_runs: Path, harness: Harness) -> None:
    shown = harness("report", "--out", finished_runs)
    assert shown.returncode == 0
    assert "simple features" in shown.stdout and "chance" in shown.stdout and "majority" in shown.stdout
    for suffix in ("md", "csv", "tex"):
        assert (finished_runs / "reports" / f"table4-mini.{suffix}").is_file()


def test_a_record_is_complete(finished_runs: Path) -> None:
    (path,) = finished_runs.glob("cells/mini/sar_acd/simple-features/*/record.json")
    record = json.loads(path.read_text())
    assert record["data"]["train_items"] == 48 and record["data"]["test_items"] == 12
    assert record["data"]["synthetic"] is False
    assert record["metrics"]["top1"]["n"] == 12
    assert record["baselines"]["chance"]["top1"] == pytest.approx(100 / 6)
    assert set(record["code"]["dependencies"]) >= {"torch", "numpy", "scikit-learn"}
    assert json.loads((path.parent / "execution.json").read_text())["device"]
    test_list = next(finished_runs.glob("splits/sar_acd-*/test.txt")).read_text().splitlines()
    answered = [json.loads(line)["image_id"] for line in (path.parent / "predictions.jsonl").read_text().splitlines()]
    assert answered == test_list


def test_running_again_does_nothing_and_loads_no_torch(finished_runs: Path, tiny_root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished_runs.rglob("record.json")}
    code = (
        "import sys; from harness.cli import app\n"
        f"sys.argv = ['harness', 'run', '-m', 'simple-features', '-t', 'sar_acd', '--data-root', {str(tiny_root)!r},"
        f" '--out', {str(finished_runs)!r}, '--json']\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["computed"] == 0
    assert {path: path.stat().st_mtime_ns for path in finished_runs.rglob("record.json")} == before


def test_the_same_command_twice_gives_the_same_bytes(
    finished_runs: Path, tiny_root: Path, harness: Harness, tmp_path: Path
) -> None:
    again = harness("run", "-m", "simple-features", "-t", "sar_acd", "--data-root", tiny_root)
    assert again.returncode == 0, again.stderr
    assert deterministic_files(tmp_path / "runs") == deterministic_files(finished_runs)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "-m", "remoteclp-vit-b-32"], 2, "remoteclip-vit-b-32"),
        (["run", "-t", "sar-adc"], 2, "sar_acd"),
        (["run", "--profile", "papr"], 2, "paper"),
        (["run", "--seeds", "x"], 2, "--seeds 0,1,2"),
        (["run", "--twin", "shuffeld_labels"], 2, "shuffled_labels"),
        (["run", "--label-map", "fusar_ship"], 2, "fusar_ship=ship7"),
        (["run", "--group", "fusar_mp=scene"], 2, "fusar_map"),
        (["run", "--split", "fusar_map="], 2, "--split [DATA SET=]VALUE"),
        (["run", "--voc-origin", "2"], 2, "0 or 1"),
        (["run", "-m", "remoteclip-vit-b-32"], 3, "RemoteCLIP-ViT-B-32.pt"),
        (["run", "--data-root", "/nonexistent/place"], 2, "not a folder"),
        (["run", "-m", "mine=absent.pth:vit_base_patch16_224", "-t", "sar_acd"], 3, "absent.pth"),
        (["report", "--out", "nowhere"], 3, "harness run"),
        (["score", "--out", "nowhere"], 3, "harness run"),
        (["list", "remote"], 2, "harness list models"),
        (["frobnicate"], 2, "No such command"),
        (["run", "--limit", "0"], 2, "limit"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_request_is_answered_with_the_way_out(
    harness: Harness, arguments: list[str], code: int, says: str
) -> None:
    done = harness(*arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_data_of_a_named_set_is_an_error_and_of_a_group_a_note(harness: Harness, tiny_root: Path) -> None:
    named = harness("run", "-m", "simple-features", "-t", "fusar_air", "--data-root", tiny_root)
    assert named.returncode == 3 and "fusar_air" in named.stderr
    group = harness("run", "-m", "simple-features", "-t", "vision", "--data-root", tiny_root)
    assert group.returncode == 0
    assert "fusar_air" in group.stderr and "simple features" in group.stdout


def test_an_output_folder_that_cannot_be_written_is_refused_at_once(harness: Harness, tiny_root: Path) -> None:
    done = harness("run", "-m", "simple-features", "-t", "sar_acd", "--data-root", tiny_root, "--out", "/proc/runs")
    assert done.returncode == 2
    assert "/proc/runs" in done.stderr and "choose" in done.stderr


def test_a_broken_data_set_does_not_stop_the_others(harness: Harness, tmp_path: Path) -> None:
    root = write_tiny_sar_acd(tmp_path / "data")
    for name in ("one", "two"):
        (root / "fusar_air" / name).mkdir(parents=True)
    done = harness("run", "-m", "simple-features", "-t", "vision", "--data-root", root)
    assert done.returncode == 3
    assert "holds no images" in done.stderr
    assert list((tmp_path / "runs").glob("cells/mini/sar_acd/*/*/record.json"))


def test_unreadable_images_are_refused_listed_and_allowed(harness: Harness, tmp_path: Path) -> None:
    root = write_tiny_sar_acd(tmp_path / "data")
    (root / "sar_acd" / "images" / "A330" / "003.jpg").write_bytes(b"not an image")
    arguments = ("run", "-m", "simple-features", "-t", "sar_acd", "--data-root", root)
    refused = harness(*arguments)
    assert refused.returncode == 3
    assert "A330/003.jpg" in refused.stderr and "--allow-bad" in refused.stderr
    assert not list((tmp_path / "runs").rglob("record.json"))
    allowed = harness(*arguments, "--allow-bad")
    assert allowed.returncode == 0, allowed.stderr
    record = json.loads(next((tmp_path / "runs").rglob("record.json")).read_text())
    assert record["data"]["bad_files"][0].startswith("images/A330/003.jpg")
    assert any("unreadable" in warning for warning in record["warnings"])


def test_one_failing_model_does_not_stop_the_others(harness: Harness, tiny_root: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(b"PK\x03\x04 truncated")
    models = f"broken={tmp_path / 'broken.pth'}:vit_base_patch16_224,simple-features"
    done = harness("run", "-m", models, "-t", "sar_acd", "--data-root", tiny_root)
    assert done.returncode in (3, 4)
    assert "broken.pth" in done.stderr and "way out" in done.stderr and "Traceback" not in done.stderr
    assert list((tmp_path / "runs").glob("cells/mini/sar_acd/simple-features/*/record.json"))
    failure = json.loads(next((tmp_path / "runs").glob("cells/mini/sar_acd/broken/*/failure.json")).read_text())
    assert "broken.pth" in failure["where"] + failure["what"]
    shown = harness("status", "-m", models, "-t", "sar_acd", "--data-root", tiny_root)
    assert "failed before" in shown.stdout


def test_every_command_speaks_json(harness: Harness, finished_runs: Path, tiny_root: Path) -> None:
    request = ("-m", "simple-features", "-t", "sar_acd", "--data-root", tiny_root, "--out", finished_runs, "--json")
    for arguments in (
        ("list", "models", "--json"),
        ("list", "groups", "--json"),
        ("list", "tasks", "--json"),
        ("list", "profiles", "--json"),
        ("plan", *request),
        ("status", *request),
        ("run", *request),
        ("resume", *request),
        ("report", "--out", finished_runs, "--json"),
        ("score", "--out", finished_runs, "--json"),
        ("doctor", "--json"),
    ):
        done = harness(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        json.loads(done.stdout)


def test_scoring_again_moves_nothing_and_notices_a_changed_answer(
    harness: Harness, tiny_root: Path, tmp_path: Path
) -> None:
    run = harness("run", "-m", "simple-features", "-t", "sar_acd", "--data-root", tiny_root)
    assert run.returncode == 0, run.stderr
    same = harness("score", "--check")
    assert same.returncode == 0 and "0 moved" in same.stdout
    record = next((tmp_path / "runs").rglob("record.json"))
    data = json.loads(record.read_text())
    data["metrics"]["top1"]["value"] = 12.5
    record.write_text(json.dumps(data))
    moved = harness("score", "--check")
    assert moved.returncode == 5 and "top1: 12.5 ->" in moved.stdout
    mended = harness("score")
    assert mended.returncode == 0
    assert harness("score", "--check").returncode == 0
    predictions = record.parent / "predictions.jsonl"
    predictions.write_text(predictions.read_text().replace("001", "009", 1))
    tampered = harness("score")
    assert tampered.returncode == 4 and "predictions.jsonl" in tampered.stderr


def test_changed_scoring_code_is_scored_again_without_training(
    harness: Harness, tiny_root: Path, tmp_path: Path
) -> None:
    request = ("-m", "simple-features", "-t", "sar_acd", "--data-root", tiny_root)
    assert harness("run", *request).returncode == 0
    record = next((tmp_path / "runs").rglob("record.json"))
    data = json.loads(record.read_text())
    data["code"]["scoring"] = "of an older version"
    data["metrics"]["top1"]["value"] = 1.0
    record.write_text(json.dumps(data))
    predictions = record.parent / "predictions.jsonl"
    before = predictions.stat().st_mtime_ns
    assert "1 to score again" in harness("plan", *request).stdout
    assert harness("run", *request).returncode == 0
    assert json.loads(record.read_text())["metrics"]["top1"]["value"] != 1.0
    assert predictions.stat().st_mtime_ns == before


def test_a_foreign_package_of_the_same_name_is_named_at_start(harness: Harness, tmp_path: Path) -> None:
    foreign = tmp_path / "site" / "adapters"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("")
    home = environment()["PYTHONPATH"]
    done = harness("list", env=environment(PYTHONPATH=f"{tmp_path / 'site'}:{home}"))
    # `-m harness.cli` puts the working folder first, then PYTHONPATH in order.
    assert done.returncode == 2
    assert str(foreign) in done.stderr and "environment of its own" in done.stderr


def test_the_doctor_finds_what_stands_in_the_way(harness: Harness) -> None:
    healthy = harness("doctor")
    assert healthy.returncode == 0, healthy.stdout
    ill = harness("doctor", "--out", "/proc/runs", "--data-root", "/nonexistent")
    assert ill.returncode == 5
    verdicts = {line[8:23].strip(): line[:8].strip() for line in ill.stdout.splitlines() if line[:1] != " "}
    assert verdicts["output folder"] == verdicts["data root"] == "problem"
    assert verdicts["torch"] != "problem"


def test_a_limit_that_cuts_nothing_is_no_limit(harness: Harness, tiny_root: Path) -> None:
    request = ("-m", "simple-features", "-t", "sar_acd", "--data-root", tiny_root)
    assert harness("run", *request, "--limit", "5000").returncode == 0
    assert "1 done" in harness("plan", *request).stdout
    assert harness("report").returncode == 0


def test_a_damaged_record_is_listed_and_computed_anew(harness: Harness, tiny_root: Path, tmp_path: Path) -> None:
    request = ("-m", "simple-features", "-t", "sar_acd", "--data-root", tiny_root)
    assert harness("run", *request).returncode == 0
    record = next((tmp_path / "runs").rglob("record.json"))
    whole = record.read_bytes()
    record.write_bytes(whole[: len(whole) // 2])
    status = harness("status", *request)
    assert status.returncode == 5 and "damaged" in status.stdout
    assert harness("run", *request).returncode == 0
    assert record.read_bytes() == whole


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_a_request_that_computes_nothing_fails_and_says_what_is_missing(
    harness: Harness, tiny_root: Path, form: tuple[str, ...]
) -> None:
    done = harness("run", "-m", "simple-features", "-t", "caption", "--data-root", tiny_root, *form)
    assert done.returncode == 3 and "none of them is under the data root" in done.stderr


def test_other_labels_on_the_same_images_are_other_data(harness: Harness, tmp_path: Path) -> None:
    root = write_tiny_sar_acd(tmp_path / "data")
    request = ("-m", "simple-features", "-t", "sar_acd", "--data-root", root)
    assert harness("run", *request).returncode == 0
    images = root / "sar_acd" / "images"
    (images / "A220").rename(images / "moved")
    (images / "A330").rename(images / "A220")
    (images / "moved").rename(images / "A330")
    assert "1 to do" in harness("plan", *request).stdout


def test_a_limit_takes_part_in_the_split_and_is_kept_out_of_reports(harness: Harness, tiny_root: Path) -> None:
    limited = harness(
        "run", "-m", "simple-features", "-t", "sar_acd", "--data-root", tiny_root, "--limit", "20", "--json"
    )
    assert limited.returncode == 0, limited.stderr
    assert harness("report").returncode == 3


def test_a_setting_by_hand_is_told_and_keeps_out_of_the_real_table(
    harness: Harness, tiny_root: Path, tmp_path: Path
) -> None:
    arguments = ("run", "-m", "simple-features", "-t", "sar_acd", "--data-root", tiny_root)
    usual = harness(*arguments)
    assert usual.returncode == 0, usual.stderr
    by_hand = harness(*arguments, "--set", "classification.label_smoothing=0.2")
    assert by_hand.returncode == 0, by_hand.stderr
    assert "classification.label_smoothing=0.2 by hand" in by_hand.stdout
    assert (tmp_path / "runs/reports/table4-mini-by-hand.md").is_file()
    report = harness("report")
    assert report.returncode == 0, report.stderr
    assert "by hand" not in report.stdout


def test_a_setting_that_does_not_exist_is_refused(harness: Harness, tiny_root: Path) -> None:
    done = harness("run", "-t", "sar_acd", "--data-root", tiny_root, "--set", "classification.epochs=3")
    assert done.returncode == 2 and "classification.epochs=3" in done.stderr and "Traceback" not in done.stderr
