"""The exported tower: the features of the model, the card that the benchmark reads, and refusals before any harm."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from adapters.load import load
from adapters.registry import load_model_file, weight_state
from foundation.errors import CheckError, MissingError, UsageError
from foundation.files import write_json
from klip import export as exporting
from klip.baseline_commands import export_app
from klip.export import export_vision, tower_of
from klip.toml_text import toml_document
from klip.training.checkpoint import find, read, write
from klip.unimodal.methods import METHODS
from tests.klip.small_run import checkpoint_of


@pytest.mark.parametrize("kind", ["klip", *METHODS])
def test_the_benchmark_gets_the_features_of_the_model(kind: str, tmp_path: Path) -> None:
    run, tower = checkpoint_of(kind, tmp_path / "run")
    done = export_vision(run, tmp_path / "own-model.safetensors")
    assert done.difference <= 1e-6  # section 8.6
    (card,) = load_model_file(done.card)
    assert card.id == "own-model" and card.architecture is not None and card.input is not None
    assert card.input.mean == (0.3,) * card.architecture.in_channels
    loaded = load(card, image_size=card.architecture.image_size, seed=1)
    images = torch.randn(2, card.architecture.in_channels, card.architecture.image_size, card.architecture.image_size)
    with torch.no_grad():
        expected, found = tower(images), loaded.encoder.eval()(images)  # type: ignore[union-attr]
    torch.testing.assert_close(found.pooled, expected.pooled, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.tokens, expected.tokens, atol=1e-6, rtol=0)
    assert set(load_file(done.weights)) == set(tower.state_dict())  # the names of timm, nothing else


def test_half_precision_takes_half_the_room_and_says_what_it_costs(tmp_path: Path) -> None:
    run, _ = checkpoint_of("klip", tmp_path / "run")
    whole = export_vision(run, tmp_path / "a.safetensors")
    half = export_vision(run, tmp_path / "b.safetensors", number_format="fp16")
    assert half.weights.stat().st_size < 0.6 * whole.weights.stat().st_size
    assert 0 < half.relative < 0.01
    assert {value.dtype for value in load_file(half.weights).values()} == {torch.float16}


def test_file_and_card_can_be_moved_together(tmp_path: Path) -> None:
    run, _ = checkpoint_of("mae", tmp_path / "run")
    export_vision(run, tmp_path / "here" / "m.safetensors")
    (tmp_path / "here").rename(tmp_path / "there")
    (card,) = load_model_file(tmp_path / "there" / "m.toml")
    assert weight_state(card, None).state == "ready"


def test_a_file_that_was_changed_is_not_taken_for_the_exported_one(tmp_path: Path) -> None:
    run, _ = checkpoint_of("mae", tmp_path / "run")
    done = export_vision(run, tmp_path / "m.safetensors")
    state = load_file(done.weights)
    save_file({name: value + 1 for name, value in state.items()}, done.weights)
    (card,) = load_model_file(done.card)
    with pytest.raises(MissingError, match="SHA-256"):
        load(card, image_size=32, seed=0)


def test_the_card_tells_how_it_was_made(tmp_path: Path) -> None:
    run, _ = checkpoint_of("mae", tmp_path / "run")
    write_json(run / "run.json", {"settings": {"seed": 7}, "corpus": {"digest": "abc"}, "seconds": 12.5, "code": {}})
    done = export_vision(run, tmp_path / "m.safetensors")
    made = tomllib.loads(done.card.read_text())["made"]
    assert (made["seed"], made["corpus"], made["seconds"], made["epochs"], made["steps"]) == (7, "abc", 12.5, 3, 30)


def test_broken_weights_are_not_exported(tmp_path: Path) -> None:
    run, _ = checkpoint_of("mae", tmp_path / "run")
    found = read(find(run))
    found.module["encoder.norm.weight"][0] = float("nan")
    write(run, found)
    with pytest.raises(Exception, match=r"norm\.weight holds values"):
        export_vision(run, tmp_path / "m.safetensors")
    assert not (tmp_path / "m.toml").exists()


def test_a_comparison_that_fails_leaves_what_was_exported_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = checkpoint_of("mae", tmp_path / "run")
    folder = tmp_path / "models"
    good = export_vision(run, folder / "m.safetensors")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = read(find(run))
    found.module["encoder.norm.weight"] += 1
    write(run, found)
    monkeypatch.setattr(exporting, "_compared", lambda *_given: (1.0, 1.0))
    for name in ("m", "new"):
        with pytest.raises(CheckError, match="differs from the model"):
            export_vision(run, folder / f"{name}.safetensors")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    monkeypatch.undo()
    again = export_vision(run, folder / "m.safetensors")
    assert again.sha256 != good.sha256
    assert weight_state(load_model_file(again.card)[0], None).state == "ready"
    assert sorted(path.name for path in folder.iterdir()) == ["m.safetensors", "m.toml"]


def test_values_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    run, _ = checkpoint_of("mae", tmp_path / "run")
    found = read(find(run))
    found.module["encoder.norm.weight"][0] = 1e6
    write(run, found)
    with pytest.raises(Exception, match="fp16 cannot hold"):
        export_vision(run, tmp_path / "m.safetensors", number_format="fp16")


def test_what_has_no_tower_is_refused(tmp_path: Path) -> None:
    run, _ = checkpoint_of("mae", tmp_path / "run")
    found = read(find(run))
    found.about["kind"] = "reader"
    with pytest.raises(UsageError, match="no image tower"):
        tower_of(found)
    with pytest.raises(MissingError, match="no checkpoint"):
        export_vision(tmp_path / "nowhere", tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match=r"must end in \.safetensors"):
        export_vision(run, tmp_path / "m.pth")


def test_the_command_exports(tmp_path: Path) -> None:
    run, _ = checkpoint_of("mae", tmp_path / "run")
    out = tmp_path / "m.safetensors"
    done = CliRunner().invoke(export_app, ["vision", str(run), "--out", str(out), "--id", "my-mae"])
    assert done.exit_code == 0, done.output
    assert "--models my-mae" in done.stdout and out.is_file()


def test_what_is_written_as_toml_is_read_back() -> None:
    value = {
        "made": {"a": 'quotes " and \\', "b": [1, 2.5, True], "c": {"odd key": "x", "deep": {"d": -1e-07}}, "e": "ü\n"},
        "model": [{"id": "one"}, {"id": "two"}],
    }
    assert tomllib.loads(toml_document(value)) == value
