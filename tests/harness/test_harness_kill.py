"""Killed anywhere and run again, a run leaves the very files of one that was never interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from results.record import CellId
from results.store import Store
from tests.harness.conftest import Harness, command, deterministic_files, environment

pytestmark = pytest.mark.slow

PATIENCE = 120.0


def run_command(root: Path, out: Path) -> list[str]:
    chosen = ("-m", "random-mini", "-t", "sar_acd", "--data-root", root, "--limit", "24")
    return command("run", *chosen, "--out", out, "--jobs", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def uninterrupted(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "runs"
    subprocess.run(run_command(tiny_root, out), env=environment(), check=True, capture_output=True)
    return deterministic_files(out)


def lock_taken(out: Path) -> bool:
    return any(out.rglob("lock"))


def first_checkpoint(out: Path) -> bool:
    return any(out.rglob("checkpoint.pt"))


def tenth_checkpoint() -> Callable[[Path], bool]:
    seen: set[int] = set()

    def reached(out: Path) -> bool:
        seen.update(path.stat().st_mtime_ns for path in out.rglob("checkpoint.pt"))
        return len(seen) >= 10

    return reached


def predictions_written(out: Path) -> bool:
    return any(out.rglob("predictions.jsonl"))


def children(pid: int) -> set[int]:
    """Descendants of a process, from /proc."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | children(child)
    return found


def wait_until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.002)


@pytest.mark.parametrize(
    "reached",
    [lock_taken, first_checkpoint, tenth_checkpoint(), predictions_written],
    ids=["before training", "first epoch", "tenth epoch", "before the record"],
)
def test_sigkill_and_run_again_gives_the_same_bytes(
    reached: Callable[[Path], bool], tiny_root: Path, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    out = tmp_path / "runs"
    process = subprocess.Popen(
        run_command(tiny_root, out), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def ready() -> bool:
        try:
            return out.exists() and reached(out)
        except FileNotFoundError:  # a file was renamed while we looked
            return False

    wait_until(ready, "the moment to kill at")
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers), "the end of the workers")
    assert not any(out.rglob("record.json")) or reached is predictions_written
    subprocess.run(run_command(tiny_root, out), env=environment(), check=True, capture_output=True)
    assert deterministic_files(out) == uninterrupted


@pytest.mark.parametrize("dataset", ["fusar_ship_sense", "fusar_map"])
def test_detection_and_segmentation_go_on_bit_for_bit(dataset: str, tiny_vision_root: Path, tmp_path: Path) -> None:
    def run(out: Path) -> list[str]:
        chosen = ("-m", "random-mini", "-t", dataset, "--data-root", tiny_vision_root)
        return command("run", *chosen, "--out", out, "--jobs", "1", "--device", "cpu")

    subprocess.run(run(tmp_path / "whole"), env=environment(), check=True, capture_output=True)
    for attempt in range(5):  # these cells take seconds: on a busy machine the kill may come too late
        out = tmp_path / f"killed-{attempt}"
        process = subprocess.Popen(run(out), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda out=out: out.exists() and first_checkpoint(out), "the first checkpoint")  # type: ignore[misc]
        workers = children(process.pid)
        process.kill()
        process.wait()
        wait_until(
            lambda workers=workers: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers),  # type: ignore[misc]
            "the end of the workers",
        )
        if not any(out.rglob("record.json")):
            break
    else:
        pytest.fail("every run was over before it could be killed")
    subprocess.run(run(out), env=environment(), check=True, capture_output=True)
    execution = json.loads(next(out.rglob("execution.json")).read_text())
    assert execution["resumed_from_epoch"] >= 1
    assert deterministic_files(out) == deterministic_files(tmp_path / "whole")


def test_a_resumed_run_says_so(tiny_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    process = subprocess.Popen(run_command(tiny_root, out), env=environment(), stderr=subprocess.DEVNULL)
    wait_until(lambda: out.exists() and first_checkpoint(out), "the first checkpoint")
    process.kill()
    process.wait()
    subprocess.run(run_command(tiny_root, out), env=environment(), check=True, capture_output=True)
    execution = json.loads(next(out.rglob("execution.json")).read_text())
    assert execution["resumed_from_epoch"] >= 1


def test_a_killed_worker_costs_its_own_cell_only(tiny_root: Path, tmp_path: Path, harness: Harness) -> None:
    out = tmp_path / "runs"
    arguments: list[str | Path] = [
        "run",
        "-m",
        "random-mini,simple-features",
        "-t",
        "sar_acd",
        "--data-root",
        tiny_root,
    ]
    process = subprocess.Popen(
        command(*arguments, "--out", out, "--jobs", "1"),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: out.exists() and first_checkpoint(out), "the first checkpoint")
    for worker in children(process.pid):
        if b"spawn_main" in Path(f"/proc/{worker}/cmdline").read_bytes():
            os.kill(worker, signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4
    assert "signal 9" in errors and "Traceback" not in errors
    assert any(out.glob("cells/mini/sar_acd/simple-features/*/record.json"))
    assert any(out.glob("cells/mini/sar_acd/random-mini/*/failure.json"))
    again = harness(*arguments, "--out", out)
    assert again.returncode == 0, again.stderr
    assert any(out.glob("cells/mini/sar_acd/random-mini/*/record.json"))
    assert not any(out.rglob("failure.json"))


def test_a_full_disk_fails_the_cell_and_leaves_nothing_half_written(tiny_root: Path, tmp_path: Path) -> None:
    """A limit on file size stands for the full disk: the checkpoint of the first epoch does not fit."""
    out = tmp_path / "runs"
    arguments = " ".join(f"'{word}'" for word in run_command(tiny_root, out))
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 600; trap '' XFSZ; {arguments}"], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 4, done.stderr
    assert "cannot write" in done.stderr and "way out" in done.stderr and "Traceback" not in done.stderr
    assert not list(out.rglob(".partial-*")) and not list(out.rglob("record.json"))
    assert not list(out.rglob("checkpoint.pt"))
    subprocess.run(run_command(tiny_root, out), env=environment(), check=True, capture_output=True)


def test_a_cell_that_another_process_holds_is_left_to_it(tiny_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    request = run_command(tiny_root, out)
    planned = subprocess.run(
        [*request[:3], "plan", *request[4:], "--json"], env=environment(), capture_output=True, text=True, check=True
    )
    (cell,) = json.loads(planned.stdout)["cells"]
    name = CellId(**{field: cell[field] for field in CellId.model_fields})
    with Store(out).lock(name, cell["key"]):
        second = subprocess.run(request, env=environment(), capture_output=True, text=True)
    assert second.returncode == 4 and "another process" in second.stderr
    assert not any(out.rglob("failure.json")), "being busy elsewhere is no failure of the cell"
    assert not any(out.rglob("record.json"))
    assert subprocess.run(request, env=environment(), capture_output=True).returncode == 0


def test_ctrl_c_says_how_to_go_on(tiny_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    process = subprocess.Popen(
        run_command(tiny_root, out),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests that run in the background inherit an ignored SIGINT; a user's terminal does not pass one on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: out.exists() and first_checkpoint(out), "the first checkpoint")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "run the same command again" in errors and "Traceback" not in errors
