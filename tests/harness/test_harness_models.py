"""`harness models check` and `harness models new` as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from adapters.conformance.report import Unmet
from adapters.registry import catalog
from harness.model_trials import TRIALS, Trial
from harness.models_commands import check
from tasks.catalog import TASKS
from tasks.registry import get_task

Harness = Callable[..., "CompletedProcess[str]"]

FAILING = """
[[model]]
id = "half-a-model"
name = "x"
backbone = "other"
kind = "own"
architecture = { kind = "vit", width = 16, depth = 1, heads = 2, patch = 8, activation = "gelu", image_size = 64 }
input = { channels = 1, grey_rule = "single", mean = [0.5], std = [0.5] }
weights = { kind = "random" }
"""


def test_a_model_that_passes_is_reported_check_by_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("simple-features", [], None, quick=False, as_json=True) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["model"], report["passed"]) == ("simple-features", True)
    names = [finding["name"] for finding in report["findings"]]
    trials = [name for name in names if name.startswith("trial: ")]
    assert names[0] == "loading" and names[-len(trials) :] == trials
    assert trials == [f"trial: {TASKS[task].title}" for task in TRIALS]


def test_a_model_that_fails_ends_with_five_and_says_what_to_change(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(FAILING)
    done = harness("models", "check", "half-a-model", "--model-file", "mine.toml", "--quick")
    assert done.returncode == 5
    assert "FAILED   interface" in done.stdout
    assert "expected: in_channels = 1" in done.stdout
    assert "change:   set input.channels" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_model_without_its_weights_is_missing_not_failed(harness: Harness, tmp_path: Path) -> None:
    done = harness("models", "check", "mae-vit-b-16", env=None)
    assert done.returncode == 3
    assert "mae-vit-b-16 cannot be checked" in done.stderr and "way out" in done.stderr


def test_an_unknown_model_is_a_usage_error(harness: Harness) -> None:
    done = harness("models", "check", "random-mimi")
    assert done.returncode == 2
    assert "random-mini" in done.stderr


def test_a_new_package_is_written_once(harness: Harness, tmp_path: Path) -> None:
    done = harness("models", "new", "radar-net", "--out", "here", "--json")
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)["files"]
    assert "here/radar_net/encoder.py" in files
    assert (tmp_path / "here" / "pyproject.toml").read_text().count("radar-net") == 2
    again = harness("models", "new", "radar-net", "--out", "here")
    assert again.returncode == 2
    assert "not empty" in again.stderr


# ---- trials


def test_every_way_of_learning_has_a_trial() -> None:
    ways = {get_task(task).package for task, info in TASKS.items() if info.built}
    assert ways == {get_task(task).package for task in TRIALS}, "mend the list in harness/model_trials.py"


@pytest.mark.parametrize("task", ["retrieval", "caption", "vqa_target_count"])
def test_an_encoder_is_tried_under_a_text_side(task: str) -> None:
    assert TRIALS[task](Trial(catalog()["random-mini"], None, quick=True)).startswith("loss from ")


def test_a_model_that_learns_nothing_fails_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from adapters import load as loading
    from adapters.interface import LoadedModel

    true_load = loading.load

    def frozen(card: object, **more: object) -> LoadedModel:
        loaded = true_load(card, **more)  # type: ignore[arg-type]
        encoder = loaded.encoder
        assert isinstance(encoder, torch.nn.Module)
        for parameter in encoder.parameters():
            parameter.data.mul_(0)  # every image looks the same
            parameter.requires_grad_(False)
        return loaded

    monkeypatch.setattr(loading, "load", frozen)
    with pytest.raises(Unmet) as caught:
        TRIALS["classification"](Trial(catalog()["random-mini"], None, quick=False))
    assert "falls" in caught.value.expected and caught.value.change
