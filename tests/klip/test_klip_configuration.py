"""Settings from files and from `--set`, for every command of this room."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foundation.errors import BenchError, CheckError, MissingError, UsageError
from klip.configuration import keys, pretraining_settings
from klip.settings import PretrainingSettings, as_data, flat, preset


def test_what_stands_later_wins(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('optim.lr = 1e-4\nepochs = 6\n[scio]\nstage_epochs = [2, 2, 2]\nrule = "zscore"\n')
    found = pretraining_settings("recommended", "tiny", file, ["optim.lr=2e-4", "optim.lr=5e-4", "scio.rule=sign"])
    assert (found.optim.lr, found.epochs, found.scio.rule) == (5e-4, 6, "sign")
    assert found.optim.clip_norm == 1.0
    assert found.model.size == "tiny"


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ("scio.enabled=false", "scio.enabled", False),
        ("mlm.mode_probs=[1.0, 0.0, 0.0]", "mlm.mode_probs", [1.0, 0.0, 0.0]),
        ("optim.warmup_steps=auto", "optim.warmup_steps", "auto"),
        ("model.init.vision=timm:vit_base_patch16_224", "model.init.vision", "timm:vit_base_patch16_224"),
        ("loss.lambda=[1, 1, 0]", "loss.lambda", [1.0, 1.0, 0.0]),
        ('data.text="template"', "data.text", "template"),
    ],
)
def test_a_value_is_written_as_in_toml_and_names_need_no_quotes(change: str, key: str, value: object) -> None:
    assert dict(flat(pretraining_settings(changes=[change])))[key] == value


def test_what_klip_settings_prints_is_a_settings_file(tmp_path: Path) -> None:
    wanted = preset("recommended", "tiny")
    for name, content in (("s.json", as_data(wanted)), ("run.json", {"settings": as_data(wanted), "status": "x"})):
        (tmp_path / name).write_text(json.dumps(content))
        assert pretraining_settings(file=tmp_path / name) == wanted


def test_every_key_can_be_set() -> None:
    assert set(keys(PretrainingSettings)) == set(dict(flat(preset())))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("optim.lr", "not a setting"),
        ("=3", "not a setting"),
        ("optim.lr=fast", "optim.lr: Input should be a valid number"),
        ("optim.rl=1e-4", "did you mean"),
        ("epochs=6", "epochs is 6, the stages of SCIO take 36"),
        ("optim.lr.more=1", "optim.lr.more"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_a_way_out(change: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        pretraining_settings(changes=[change])
    assert complaint in str(caught.value)
    assert caught.value.way_out


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [("absent.toml", None, MissingError), ("bad.toml", "a = = 1", CheckError), ("list.json", "[1]", CheckError)],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: str | None, kind: type[BenchError]
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(kind) as caught:
        pretraining_settings(file=tmp_path / name)
    assert caught.value.where == str(tmp_path / name)
