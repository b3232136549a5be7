"""`klip text build`, `klip text stats` and `klip tokenizer train` as a user meets them."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from klip import display
from klip.cli import main
from klip.store.text_store import Change, TextStore
from klip.tokens.vocabulary import Vocabulary
from tests.klip.small_corpus import record, write_corpus, write_lines


def klip(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["klip", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = write_corpus(tmp_path / "corpus", [record(n, Count=f"{n} ships") for n in range(4)])
    write_lines(folder / "texts_clean.jsonl", [record(n, Count="2 ships") for n in range(4)])
    write_lines(folder / "planted.jsonl", [{"image_id": "images/0.png", "field": "Count", "kind": "wrong_count"}])
    return folder


def test_a_store_is_built_and_shown(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    assert klip(monkeypatch, "text", "build", corpus, "--store", store, "--size", 300) == 0
    shown = capsys.readouterr()
    assert "4 texts, version 0 of 0" in shown.out
    assert "segments: 32 ok" in shown.out
    assert "budget: 160 tokens a text, 48 a value\n  values cut: 0 in 0 texts" in shown.out
    assert "planted errors: wrong_count 1" in shown.out
    assert "correct segments: 90.6% of those present" in shown.out
    assert shown.err == ""
    assert TextStore.open(store).vocabulary.size <= 300
    assert klip(monkeypatch, "text", "stats", store) == 0
    assert capsys.readouterr().out == shown.out


def test_a_version_shows_what_it_changed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    klip(monkeypatch, "text", "build", corpus, "--store", store)
    TextStore.open(store).publish(
        [Change("images/0.png", 0, "dropped"), Change("images/1.png", 0, "replaced", "2 ships")],
        parent=0,
        provenance={"checkpoint": "c", "config": "f", "pass_id": "p1"},
    )
    capsys.readouterr()
    assert klip(monkeypatch, "text", "stats", store, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["version"], data["versions"], data["changed"]) == (1, [0, 1], {"Count": 2})
    assert data["counts"] == {"dropped": 1, "ok": 30, "replaced": 1}
    assert data["correct"] == {"of_present": 30 / 31, "of_clean": 30 / 32}
    assert klip(monkeypatch, "text", "stats", store, "--version", 0) == 0
    assert "version 0 of 0, 1" in capsys.readouterr().out
    assert klip(monkeypatch, "text", "stats", store, "--version", 7) == 3


def test_settings_and_a_given_vocabulary_are_taken(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, store = tmp_path / "words.txt", tmp_path / "store"
    assert klip(monkeypatch, "tokenizer", "train", corpus, "--out", words, "--size", 250, "--json") == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["digest"] == Vocabulary.read(words).digest
    assert trained["texts"] == 4
    command = ["text", "build", corpus, "--store", store, "--vocabulary", words, "--limit", 2, "--json"]
    assert klip(monkeypatch, *command, "--set", "text.max_len=50", "--set", "text.max_seg_len=20") == 0
    shown = capsys.readouterr()
    data = json.loads(shown.out)
    assert data["texts"] == 2
    assert data["budget"] == {"max_len": 50, "max_seg_len": 20}
    assert data["vocabulary"] == {"pieces": trained["pieces"], "digest": trained["digest"]}
    assert data["cuts"]["texts"] == 2
    assert "warning: 1 % of the texts have" in shown.err
    assert klip(monkeypatch, *command) == 5  # another budget: the store stays
    assert "never overwritten" in capsys.readouterr().err


def test_a_vocabulary_is_trained_from_a_file_as_from_its_folder(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for given, out in ((corpus, "a.txt"), (corpus / "texts.jsonl", "b.txt")):
        assert klip(monkeypatch, "tokenizer", "train", given, "--out", tmp_path / out) == 0
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.txt").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["text", "build", "none", "--store", "s"], 3, "no such corpus folder"),
        (["text", "build", "corpus", "--store", "s", "--vocabulary", "none"], 3, "no such vocabulary"),
        (["text", "build", "corpus", "--store", "s", "--size", "9"], 2, "no room"),
        (["text", "build", "corpus", "--store", "s", "--set", "text.max_length=9"], 2, "did you mean"),
        (["text", "build", "corpus", "--store", "s", "--texts", "none.jsonl"], 3, "no such corpus file"),
        (["text", "stats", "corpus"], 3, "no text store here"),
        (["tokenizer", "train", "none", "--out", "v.txt"], 3, "no such corpus file"),
    ],
)
def test_what_cannot_be_done_is_said_with_a_way_out(
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(corpus.parent)
    assert klip(monkeypatch, *arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert "way out:" in error
    assert not (corpus.parent / "s").exists()


def test_progress_is_shown_only_of_what_takes_longer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = display.Lines(patience=2, heartbeat=10)
    for second in range(20):
        now[0] = 100.0 + second
        lines(second, 40, "reading images")
    assert capsys.readouterr().err.splitlines() == [
        "reading images: 2 of 40, 38 s left",
        "reading images: 12 of 40, 28 s left",
    ]
