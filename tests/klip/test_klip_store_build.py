"""Version 0: built once, within the budget, and never built over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import CheckError, MissingError
from foundation.files import write_bytes
from foundation.progress import silent
from klip.corpus import read_corpus_folder
from klip.settings import TextSettings
from klip.store.build import fitted
from klip.store.text_store import TextStore
from klip.text import TARGET_FIELDS, corpus_strings, parse_record
from klip.tokens.layout import fits, tokenise
from klip.tokens.vocabulary import Vocabulary
from tests.klip.small_corpus import (
    BUDGET,
    record,
    small_corpus,
    small_store,
    small_vocabulary,
    write_corpus,
    write_lines,
)

WRITE = "klip.store.text_store.write_bytes"
LONG = "a long row of cargo ships, tankers and tugs between the northern pier and the breakwater"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_version_0_is_the_corpus(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path, Size="")
    store = TextStore.create(tmp_path / "store", corpus, small_vocabulary(corpus), BUDGET)
    assert store.texts(0) == list(corpus.texts)
    assert store.ids == corpus.ids
    assert store.versions() == [0]
    assert store.tokens(0) == [tokenise(text, store.vocabulary) for text in corpus.texts]
    assert store.manifest(0).counts == {"missing": 1, "ok": 31}
    assert (store.max_len, store.max_seg_len) == (80, 12)
    assert store.warnings == []


def test_the_base_holds_id_path_domain_and_the_eight_segments(tmp_path: Path) -> None:
    store = small_store(tmp_path, Size="")
    first = json.loads((store.folder / "base.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert (first["id"], first["path"], first["domain"]) == ("images/0.png", "images/0.png", "target")
    assert first["slots"][3] == {"field": "Size", "value": "", "status": "missing"}
    assert len(first["slots"]) == 8


def test_building_again_changes_no_byte(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    before = files(store.folder)
    corpus = read_corpus_folder(tmp_path / "corpus")
    TextStore.create(store.folder, corpus, store.vocabulary, BUDGET)
    assert files(store.folder) == before
    TextStore.create(tmp_path / "other", corpus, store.vocabulary, BUDGET)
    assert files(tmp_path / "other") == before


def test_another_corpus_vocabulary_or_budget_never_replaces_version_0(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    corpus, vocabulary = read_corpus_folder(tmp_path / "corpus"), store.vocabulary
    before = files(store.folder)
    others: list[tuple[Any, Any, Any, str]] = [
        (read_corpus_folder(corpus.folder, limit=2), vocabulary, BUDGET, "another corpus"),
        (corpus, Vocabulary.train([*corpus_strings(corpus.texts), *["words"] * 9], 400), BUDGET, "another vocabulary"),
        (corpus, vocabulary, TextSettings(max_len=81, max_seg_len=12), "another text.max_len"),
    ]
    for given_corpus, given_vocabulary, budget, message in others:
        with pytest.raises(CheckError, match=message):
            TextStore.create(store.folder, given_corpus, given_vocabulary, budget)
        assert files(store.folder) == before


def test_long_values_are_cut_once_and_logged(tmp_path: Path) -> None:
    store = small_store(tmp_path, Feature=LONG)
    value = store.texts(0)[0].segments[2].value
    assert LONG.startswith(value)
    assert len(store.vocabulary.encode(value)) <= 12
    [cut] = [json.loads(line) for line in (store.folder / "cuts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (cut["id"], cut["slot"], cut["field"]) == ("images/0.png", 2, "Feature")
    assert cut["before"] == len(store.vocabulary.encode(LONG))
    assert cut["after"] == len(store.vocabulary.encode(value))


def test_texts_over_the_budget_are_told_of(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    budget = TextSettings(max_len=40, max_seg_len=12)
    store = TextStore.create(tmp_path / "store", corpus, small_vocabulary(corpus), budget)
    lengths = store.manifest(0).lengths
    assert lengths["before"].p50 > 40 >= lengths["after"].longest
    [warning] = store.warnings
    assert f"{lengths['before'].p99} tokens or more, 40 are allowed" in warning
    assert all(fits(tokens, 40, 12) for tokens in store.tokens(0))


def test_a_budget_that_the_labels_use_up_is_refused_with_the_image(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    with pytest.raises(CheckError, match=r"raise text\.max_len") as caught:
        TextStore.create(tmp_path / "store", corpus, small_vocabulary(corpus), TextSettings(max_len=20, max_seg_len=12))
    assert caught.value.where == "images/0.png"
    assert not (tmp_path / "store").exists()


def test_a_value_without_any_piece_becomes_missing(tmp_path: Path) -> None:
    store = small_store(tmp_path, Size="\u200b\u0007")
    assert store.texts(0)[0].segments[3].status == "missing"
    assert store.tokens(0)[0][3] is None


@given(values=st.lists(st.text(max_size=80), min_size=8, max_size=8), max_len=st.integers(45, 120))
@settings(deadline=None)
def test_any_text_fits_after_it_was_cut(values: list[str], max_len: int) -> None:
    vocabulary = Vocabulary.train([f"{field}:" for field in TARGET_FIELDS] * 2, 400)
    text = parse_record({"id": "a", **dict(zip(TARGET_FIELDS, values, strict=True))})
    budget = TextSettings(max_len=max_len, max_seg_len=10)
    fit = fitted([text], vocabulary, budget, silent)
    assert fits(tokenise(fit.texts[0], vocabulary), max_len, 10)
    for given_segment, kept in zip(text.segments, fit.texts[0].segments, strict=True):
        assert given_segment.value.startswith(kept.value)


@pytest.mark.parametrize("killed_at", range(5))
def test_a_killed_build_leaves_no_version_and_the_next_one_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    folder = write_corpus(tmp_path / "corpus", [record(0), record(1, Count="two")])
    write_lines(folder / "texts_clean.jsonl", [record(0), record(1)])
    corpus = read_corpus_folder(folder)
    vocabulary = small_vocabulary(corpus)
    whole = TextStore.create(tmp_path / "whole", corpus, vocabulary, BUDGET).folder
    calls = iter(range(100))

    def dies(path: Path, data: bytes) -> None:
        if next(calls) == killed_at:
            raise KeyboardInterrupt
        write_bytes(path, data)

    monkeypatch.setattr(WRITE, dies)
    with pytest.raises(KeyboardInterrupt):
        TextStore.create(tmp_path / "store", corpus, vocabulary, BUDGET)
    monkeypatch.setattr(WRITE, write_bytes)
    with pytest.raises(MissingError, match="no text store"):
        TextStore.open(tmp_path / "store")
    TextStore.create(tmp_path / "store", corpus, vocabulary, BUDGET)
    assert files(tmp_path / "store") == files(whole)


def test_a_store_knows_its_corpus(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    store.require_corpus(read_corpus_folder(tmp_path / "corpus"))
    with pytest.raises(CheckError, match="another corpus"):
        store.require_corpus(read_corpus_folder(tmp_path / "corpus", limit=3))
