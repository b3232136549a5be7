"""What a user sees while a run goes on."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from adapters.load import load
from adapters.registry import catalog
from harness.display import LiveDisplay, PlainDisplay, Tally, duration, show_progress, show_run
from harness.engines.events import Advanced, Failed, Finished, Started
from harness.plan import PlannedCell, State
from results.record import CellId, Failure
from tasks.classification.data import build
from tasks.classification.fit import fit_and_predict
from tasks.datasets import find_source, read_index
from tasks.protocol import ClassificationSettings, task_settings


def planned(model: str, train_items: int = 100) -> PlannedCell:
    cell = CellId(task="classification", dataset="sar_acd", model=model, profile="mini", seed=0)
    settings = task_settings("mini", "classification", "mini")
    return PlannedCell(cell, catalog()[model], State.TODO, settings=settings, train_items=train_items)


SLOW, QUICK = planned("random-mini"), planned("simple-features")


def failure(cell: CellId) -> Failed:
    return Failed(Failure(cell=cell, key="k", error="CellError", what="no luck"), 4)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (7500, "2 h 05 min")],
)
def test_durations_are_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_progress_counts_work_and_not_cells() -> None:
    """The control is one of two cells but a small part of the work."""
    tally = Tally([SLOW, QUICK])
    tally.take(Started(QUICK.cell))
    tally.take(Finished(QUICK.cell, "top1 50.00", 1.0))
    assert 0 < tally.done_share < 0.2
    tally.take(Started(SLOW.cell))
    tally.take(Advanced(SLOW.cell, 1, 2, "epoch 10/20"))
    assert 0.5 < tally.done_share < 0.7
    tally.take(Finished(SLOW.cell, "top1 50.00", 1.0))
    assert tally.done_share == pytest.approx(1.0)


def test_preparing_steps_do_not_push_the_share_back() -> None:
    tally = Tally([SLOW])
    tally.take(Advanced(SLOW.cell, 3, 4, "epoch 3/4"))
    tally.take(Advanced(SLOW.cell, 0, 1, "reading data"))
    assert tally.done_share == pytest.approx(0.75)


def test_decoding_images_is_not_counted_as_work(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell that has decoded all its images and trained nothing is at its very start."""
    monkeypatch.setenv("FUSAR_KLIP_CACHE", str(tmp_path))  # nothing is decoded yet
    monkeypatch.setattr("tasks.fine_tuning.train", lambda *_, **__: pytest.fail("stop before training"))
    data = build(read_index(find_source("sar_acd", tiny_root)))
    tally = Tally([SLOW])
    settings = task_settings("mini", "classification", "mini")
    assert isinstance(settings, ClassificationSettings)
    with pytest.raises(pytest.fail.Exception, match="stop before training"):
        fit_and_predict(
            load(SLOW.card, image_size=64, seed=0),
            data,
            settings,
            seed=0,
            progress=lambda done, total, note="": tally.take(Advanced(SLOW.cell, done, total, note)),
        )
    assert "decoding" in tally.running[str(SLOW.cell)][1]
    assert tally.done_share == 0


def test_the_time_left_is_in_proportion_to_the_work_left(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally([SLOW])
    assert tally.time_left() == "estimating the time left"
    monkeypatch.setattr("harness.display.time.monotonic", lambda: tally.started + 60)
    tally.take(Advanced(SLOW.cell, 1, 4, "epoch 1/4"))
    assert tally.time_left() == "about 3 min 00 s left"


def test_without_a_terminal_every_end_of_a_cell_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = PlainDisplay([SLOW, QUICK])
    shown(Started(QUICK.cell))
    shown(Finished(QUICK.cell, "top1 50.00", 2.0))
    shown(failure(SLOW.cell))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "[1/2] sar_acd / simple-features: top1 50.00 in 2 s",
        "[2/2] sar_acd / random-mini: FAILED: no luck",
    ]


def test_without_a_terminal_a_long_cell_gives_signs_of_life(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = PlainDisplay([SLOW])
    now = shown.spoke
    for elapsed in (1, 16, 17, 40):
        monkeypatch.setattr("harness.display.time.monotonic", lambda elapsed=elapsed: now + elapsed)
        shown(Advanced(SLOW.cell, elapsed, 100, f"epoch {elapsed}"))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "epoch 16" in said[0] and "epoch 40" in said[1]


def test_the_live_view_names_what_runs_and_what_ended() -> None:
    shown = LiveDisplay([SLOW, QUICK])
    shown(Started(SLOW.cell))
    shown(Advanced(SLOW.cell, 1, 2, "epoch 10/20"))
    shown(Finished(QUICK.cell, "top1 50.00", 2.0))
    console = Console(file=io.StringIO(), width=120)
    console.print(shown)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "1 of 2 cells" in text and "epoch 10/20" in text and "top1 50.00" in text


def test_markup_in_a_failure_is_shown_as_it_is() -> None:
    shown = LiveDisplay([SLOW])
    shown(Failed(failure(SLOW.cell).failure.model_copy(update={"what": "bad value [/red] in [x]"}), 4))
    console = Console(file=io.StringIO(), width=120)
    console.print(shown)
    assert "bad value [/red] in [x]" in console.file.getvalue()  # type: ignore[attr-defined]


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with show_run([SLOW], quiet=True) as shown, show_progress(quiet=True) as progress:
        shown(Started(SLOW.cell))
        shown(Finished(SLOW.cell, "top1 50.00", 2.0))
        progress(1, 2, "indexing")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_preparations_are_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(quiet=False) as progress:
        for done in range(4):
            progress(done, 3, "indexing sar_acd")
    assert capsys.readouterr().err == "indexing sar_acd (3) ...\n"
