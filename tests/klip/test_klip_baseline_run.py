"""Baselines through the training loop and the command line: the same again after a stop, and the right rates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from foundation.errors import UsageError
from foundation.files import exclusive
from klip.baseline_commands import baseline_app
from klip.training.checkpoint import find, read
from klip.training.distributed import single
from klip.training.engine import Training
from klip.unimodal.methods import METHODS
from klip.unimodal.objective import plan_of
from klip.unimodal.run import prepare, pretrain_baseline, read_baseline_corpus
from klip.unimodal.settings import settings_of
from tests.klip.small_corpus import record, write_corpus, write_lines
from tests.klip.structured_images import SMALL, small_settings, structured

COUNT = 12


@pytest.fixture()
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FUSAR_KLIP_CACHE", str(tmp_path / "cache"))
    records = [record(number, Count=f"{number} ships") for number in range(COUNT)]
    corpus = write_corpus(tmp_path / "corpus", records)
    for entry, pixels in zip(records, structured(COUNT), strict=True):
        Image.fromarray(pixels).save(corpus / entry["id"])
    write_lines(corpus / "texts_template.jsonl", records)
    return corpus


def quick(method: str, *changes: str) -> Any:
    return small_settings(method, "epochs=2", "batch_size_per_device=4", "clip.vocabulary_size=300", *changes)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return read(find(run)).module


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_training_goes_on_to_the_same_bits(method: str, folder: Path, tmp_path: Path) -> None:
    settings = quick(method)
    pretrain_baseline(folder, tmp_path / "whole", settings, single())
    prepared = prepare(read_baseline_corpus(folder, settings), settings, single())
    plan = plan_of(settings, 3, single(), prepared.configuration, prepared.about)
    halted = Training(prepared.objective, plan, tmp_path / "halted", single())
    halted.run(range(1))  # one epoch, then gone
    halted.close()
    done = pretrain_baseline(folder, tmp_path / "halted", settings, single())
    assert done["resumed"] and done["steps"] == 6 and done["presentations"] == 24
    whole, resumed = weights_of(tmp_path / "whole"), weights_of(tmp_path / "halted")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_trains_too(method: str, folder: Path, tmp_path: Path) -> None:
    done = pretrain_baseline(folder, tmp_path / "run", quick(method, "precision=bf16", "epochs=1"), single())
    assert done["precision"] == "bf16"
    state = weights_of(tmp_path / "run")
    assert all(bool(torch.isfinite(value).all()) for value in state.values() if value.is_floating_point())


def test_another_setting_is_refused_in_the_same_folder(folder: Path, tmp_path: Path) -> None:
    pretrain_baseline(folder, tmp_path / "run", quick("mae"), single())
    with pytest.raises(UsageError, match=r"mae\.keep"):
        pretrain_baseline(folder, tmp_path / "run", quick("mae", "mae.keep=0.5"), single())


def test_a_refused_start_leaves_the_record_as_it_was(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pretrain_baseline(folder, run, quick("mae"), single())
    before = (run / "run.json").read_bytes()
    with pytest.raises(UsageError, match="epochs: 2 -> 3"):
        pretrain_baseline(folder, run, quick("mae", "epochs=3"), single())
    assert (run / "run.json").read_bytes() == before


def test_a_start_while_another_training_writes_there_leaves_the_record_as_it_was(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pretrain_baseline(folder, run, quick("mae"), single())
    before = (run / "run.json").read_bytes()
    with exclusive(run / ".lock", wait=False) as mine, pytest.raises(UsageError, match="another training writes here"):
        assert mine
        pretrain_baseline(folder, run, quick("mae"), single())
    assert (run / "run.json").read_bytes() == before


def test_a_training_that_breaks_off_is_recorded_as_unfinished(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_training: Training, _epochs: range) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Training, "run", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        pretrain_baseline(folder, tmp_path / "run", quick("mae"), single())
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["finished"] is False and len(record["sessions"]) == 1


def test_rates_are_per_256_images_and_follow_a_cosine(folder: Path) -> None:
    settings = settings_of("mae", "base", changes=["epochs=10", "batch_size_per_device=64"])
    plan = plan_of(settings, 100, single(), {}, {})
    assert plan.schedule(0, 0) == 0.0
    assert plan.schedule(50, 0) == pytest.approx(1.5e-4 / 4)  # a twentieth of 1000 steps is warm-up
    assert plan.schedule(525, 5) == pytest.approx(1.5e-4 / 8)
    assert plan.schedule(1000, 9) == pytest.approx(0.0, abs=1e-12)


def test_a_small_batch_of_moco_is_told(folder: Path, tmp_path: Path) -> None:
    (note,) = pretrain_baseline(folder, tmp_path / "run", quick("moco-v3", "epochs=1"), single())["notes"]
    assert "below 256" in note


def test_the_command_trains_and_says_what_it_did(folder: Path, tmp_path: Path) -> None:
    sets = [part for change in (*SMALL, "batch_size_per_device=4") for part in ("--set", change)]
    arguments = ["mae", str(folder), "--out", str(tmp_path / "run"), "--size", "tiny", "--epochs", "1", *sets]
    done = CliRunner().invoke(baseline_app, [*arguments, "--device", "cpu", "--limit", "8", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["method"], said["steps"], said["finished"]) == ("mae", 2, True)
    assert said["corpus"]["images"] == 8 and said["machine"]["threads"] >= 1
    assert (tmp_path / "run" / "run.json").is_file()


@pytest.mark.parametrize("method", METHODS)
def test_settings_are_shown(method: str) -> None:
    done = CliRunner().invoke(baseline_app, ["settings", method, "--size", "tiny", "--set", "epochs=3", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["epochs"] == 3


@pytest.mark.parametrize(
    ("change", "what"),
    [("epoch=3", "epochs"), ("tower.heads=7", "heads"), ("jepa.window=99", "window"), ("views.scale=[0, 1]", "scale")],
)
def test_settings_that_cannot_be_meant_are_refused(change: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        settings_of("sar-jepa", "tiny", changes=[change])


@pytest.mark.parametrize("method", METHODS)
def test_both_sizes_of_every_method_are_valid(method: str) -> None:
    base, tiny = settings_of(method), settings_of(method, "tiny")
    assert (base.tower.width, base.tower.side) == (768, 14)
    assert (tiny.tower.width, tiny.tower.side) == (128, 8)
    assert base.epochs == tiny.epochs == 36
