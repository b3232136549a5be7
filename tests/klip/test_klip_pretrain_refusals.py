"""What a run folder of a pre-training refuses, in words of its command, and that refusals leave no trace."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from foundation.errors import BenchError, CheckError, UsageError
from klip.pretrain.prepare import STORE, Source
from klip.pretrain.run import Request, pretrain
from klip.store.text_store import TextStore
from klip.text import corpus_strings, read_corpus
from klip.tokens.vocabulary import Vocabulary
from tests.klip.pretraining import small_settings
from tests.klip.toy_corpus import write_toy_corpus

SIZE = 130
"""Of the toy corpus's vocabulary: cut off, so that another size is another vocabulary."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_corpus(tmp_path_factory.mktemp("toy") / "corpus", 16)


def train(corpus: Path, out: Path, *changes: str, size: int | None = SIZE, **options: Any) -> dict[str, Any]:
    settings = small_settings("scio.enabled=false", "epochs=1", "text.max_len=120", *changes)
    return pretrain(Request(Source(corpus, vocabulary_size=size, **options), settings, out, device="cpu"))


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    train(corpus, out)
    return out


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def refused(folder: Path, *arguments: Any, **options: Any) -> BenchError:
    before = everything(folder)
    with pytest.raises(BenchError) as caught:
        train(*arguments, **options)
    assert everything(folder) == before
    assert "--store" not in caught.value.way_out, "an option that the command has not"
    return caught.value


def test_fewer_images_than_a_batch_leave_a_folder_that_more_images_can_take(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UsageError, match="1 images do not fill one batch of 8"):
        train(corpus, out, limit=1)
    assert not (out / STORE).exists() and not (out / "run.json").exists()
    assert train(corpus, out)["steps"] == 2


def test_a_budget_that_changed_is_named_with_all_other_settings_that_did(corpus: Path, run: Path) -> None:
    error = refused(run, corpus, run, "text.max_len=110", "mlm.prob=0.3", "log_every=7")
    assert isinstance(error, UsageError)
    assert "(2 differ)" in error.what, "log_every changes no weight"
    assert "text.max_len: 120 -> 110" in error.what and "mlm.prob: 0.15 -> 0.3" in error.what
    assert "--out" in error.way_out


def test_before_the_first_checkpoint_the_store_knows_its_budget(corpus: Path, run: Path, tmp_path: Path) -> None:
    copytree(run / STORE, tmp_path / "new" / STORE)
    error = refused(tmp_path / "new", corpus, tmp_path / "new", "text.max_seg_len=6", "mlm.prob=0.3")
    assert "(1 differ)" in error.what and "text.max_seg_len: 8 -> 6" in error.what


@pytest.mark.parametrize("options", [{"limit": 8}, {"texts": "texts_clean.jsonl"}])
def test_other_texts_need_another_out_folder(corpus: Path, run: Path, options: dict[str, Any], tmp_path: Path) -> None:
    if "texts" in options:
        other = tmp_path / "texts.jsonl"
        other.write_text((corpus / "texts.jsonl").read_text().replace("bright0", "dim0"))
        options = {"texts": other}
    error = refused(run, corpus, run, **options)
    assert isinstance(error, CheckError) and "another corpus" in error.what
    assert "another --out folder" in error.way_out


def test_another_size_of_the_vocabulary_is_refused(corpus: Path, run: Path) -> None:
    error = refused(run, corpus, run, size=120)
    assert f"{TextStore.open(run / STORE).vocabulary.size} pieces, and not the 120" in error.what
    assert "leave --vocabulary and --vocabulary-size out" in error.way_out


def test_another_vocabulary_file_is_refused(corpus: Path, run: Path, tmp_path: Path) -> None:
    Vocabulary.train(corpus_strings(read_corpus(corpus / "texts.jsonl")), 120).save(tmp_path / "words.txt")
    error = refused(run, corpus, run, size=None, vocabulary=tmp_path / "words.txt")
    assert "another vocabulary" in error.what and "--out" in error.way_out


@pytest.mark.parametrize("size", [None, SIZE])
def test_the_same_size_or_none_goes_on_with_the_vocabulary_of_the_folder(
    corpus: Path, run: Path, size: int | None
) -> None:
    assert train(corpus, run, size=size)["steps"] == 2


def test_a_size_that_the_corpus_does_not_fill_is_the_same_when_it_is_asked_for_again(
    corpus: Path, tmp_path: Path
) -> None:
    train(corpus, tmp_path / "run", size=3000)
    assert TextStore.open(tmp_path / "run" / STORE).vocabulary.size < 3000
    assert train(corpus, tmp_path / "run", size=3000)["steps"] == 2
