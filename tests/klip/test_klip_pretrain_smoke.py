"""The command from a corpus to its last artefact, at a size that a core does in a minute (section 13.7)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from klip.cli import main
from klip.training.log import read_log
from tests.klip.toy_corpus import write_toy_corpus

SMALLER = [
    *("image.size=32", "model.vision_depth=2", "model.text_layers=2", "model.vision_width=64", "model.text_width=64"),
    *("model.text_ffn=128", "text.max_len=64", "text.max_seg_len=8", "optim.lr=2e-3", "optim.warmup_steps=auto"),
    *("optim.clip_norm=1.0", "image.norm=dataset"),
    *("scio.stage_epochs=[2,2,2]", "epochs=6", "log_every=8"),
]
"""The size `tiny`, halved, three stages of two epochs."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_corpus(tmp_path_factory.mktemp("smoke") / "corpus", 512, wrong=0.2)


def klip(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["klip", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def with_sets(changes: list[str]) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


@pytest.mark.slow  # 84 steps and four passes over the texts
def test_a_corpus_goes_through_three_stages_and_leaves_everything(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["pretrain", str(corpus), "--out", str(out), "--size", "tiny", "--device", "cpu", *with_sets(SMALLER)]
    assert klip(monkeypatch, *command) == 0
    said = capsys.readouterr()
    assert "steps: 14 per epoch, 84 in 6 epochs" in said.err
    assert "texts of version 1" in said.out
    losses = [line["loss"] for line in read_log(out) if "loss" in line]
    assert losses[-1] < 0.75 * losses[0]
    assert {"itc", "itm", "mlm", "tau", "alpha", "rate", "r1_i2t", "itm_match", "targets"} <= read_log(out)[0].keys()
    record: dict[str, Any] = json.loads((out / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["settings"]["scio"]["stage_epochs"] == [2, 2, 2]
    assert {"corpus", "vocabulary", "settings"} == record["hashes"].keys()
    assert record["code"]["libraries"]["torch"]
    assert [entry["version"] for entry in record["summary"]["versions"]] == [0, 1]
    for place in ("audit/screen_002/decisions.jsonl", "audit/screen_004/rebuilt.rank0.jsonl", "store/base.jsonl"):
        assert (out / place).is_file(), place
    assert len(list((out / "checkpoints").glob("*.pt"))) == 4  # ends of three stages, and the last two of all
    assert list((out / "tensorboard").iterdir())

    assert klip(monkeypatch, *command, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["checkpoint"] == record["summary"]["checkpoint"], "a finished run is not trained again"


ROWS = {
    "template text": ["data.text=template", "scio.enabled=false", "epochs=2"],
    "no SCIO": ["scio.enabled=false", "epochs=2"],
    "screen and filter": ["scio.reconstruct=false"],
    "random removal": ["scio.reconstruct=false", "scio.control=random"],
    "contrast alone": ["scio.tests=itc"],
    "matching alone": ["scio.tests=itm"],
    "z-score": ["scio.rule=zscore", "scio.noise_rate=0.1"],
    "negatives of the queue": ["scio.negatives=queue"],
    "no queue": ["queue.size=0", "scio.enabled=false", "epochs=2"],
    "BLIP's objective": ["mlm.objective=lm", "scio.enabled=false", "epochs=2"],
    "ALBEF's objective": ["mlm.objective=bidir", "scio.enabled=false", "epochs=2"],
    "mirrored with their texts": ["image.flip=text_aware", "scio.enabled=false", "epochs=2"],
    "screened inside stage 2": ["scio.stage_epochs=[1,2,1]", "epochs=4", "scio.rescreen_every=1"],
    "two iterations": ["scio.max_iter=2", "epochs=6"],
}
"""Rows of Table 8 and further ablations of section 9."""


@pytest.mark.parametrize("row", ROWS)
def test_every_ablation_is_a_matter_of_settings(row: str, tmp_path: Path) -> None:
    from tests.klip.pretraining import small_pretraining

    corpus = write_toy_corpus(tmp_path / "corpus", 24, wrong=0.2)
    summary = small_pretraining(corpus, tmp_path / "run", *ROWS[row])
    assert summary["last"]["loss"] > 0
    versions = [entry["version"] for entry in summary["versions"]]
    expected = {"two iterations": [0, 1, 2]}
    assert versions == expected.get(row, [0] if "scio.enabled=false" in ROWS[row] else [0, 1])


def test_a_model_that_cannot_match_yet_screens_nothing_in_strict_mode(tmp_path: Path) -> None:
    from tests.klip.pretraining import small_pretraining

    corpus = write_toy_corpus(tmp_path / "corpus", 24, wrong=0.2)
    summary = small_pretraining(corpus, tmp_path / "run", "scio.strict=true", "scio.min_itm_auc=1.0")
    assert [event["skipped"] for event in summary["events"] if "skipped" in event] == [True, True, True]
    assert summary["versions"][1]["segments"] == summary["versions"][0]["segments"]


def test_a_corpus_without_template_texts_says_so(tmp_path: Path) -> None:
    from foundation.errors import MissingError
    from tests.klip.pretraining import small_pretraining

    corpus = write_toy_corpus(tmp_path / "corpus", 24)
    (corpus / "texts_template.jsonl").unlink()
    with pytest.raises(MissingError, match="no template texts"):
        small_pretraining(corpus, tmp_path / "run", "data.text=template")


def test_a_corpus_that_fills_no_batch_is_refused_before_training(tmp_path: Path) -> None:
    from foundation.errors import UsageError
    from tests.klip.pretraining import small_pretraining

    corpus = write_toy_corpus(tmp_path / "corpus", 5)
    with pytest.raises(UsageError, match="do not fill one batch"):
        small_pretraining(corpus, tmp_path / "run")
