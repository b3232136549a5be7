"""Pre-training killed in a stage, inside screening and inside reconstruction ends as if it had never been killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from foundation.errors import UsageError
from klip.training import checkpoint as checkpoints
from klip.training.log import TIMES, read_log
from tests.klip import pretraining
from tests.klip.pretraining import small_pretraining
from tests.klip.toy_corpus import write_toy_corpus

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_corpus(tmp_path_factory.mktemp("toy") / "corpus", 48, wrong=0.2)


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    small_pretraining(corpus, out)
    return out


def lines(folder: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name not in TIMES} for line in read_log(folder)]


def files(folder: Path) -> dict[str, bytes]:
    """Versions of the texts, noise pools, and audit logs."""
    found = [*(folder / "store").rglob("*.json*"), *(folder / "audit").rglob("*.json*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.slow  # five processes, each of which starts anew
def test_killed_in_every_part_of_the_time_line_it_ends_the_same(corpus: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    kills = ["step=3", "scores=2", "step=7", "scores=3", "rebuilt=1", "step=13"]
    done = subprocess.run(
        [sys.executable, pretraining.__file__, str(corpus), str(out), *kills],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    one, other = (checkpoints.read(checkpoints.find(folder)) for folder in (whole, out))
    assert one.module.keys() == other.module.keys()
    for name, value in one.module.items():
        assert (
            torch.equal(value, other.module[name]) if isinstance(value, torch.Tensor) else value == other.module[name]
        )
    assert one.place == other.place
    assert lines(whole) == lines(out)
    assert files(whole) == files(out)


def test_the_texts_of_a_whole_run_come_in_versions_and_the_first_one_never_changes(corpus: Path, whole: Path) -> None:
    from klip.store.text_store import TextStore
    from klip.text import read_corpus

    store = TextStore.open(whole / "store")
    assert store.versions() == [0, 1]
    assert list(store.texts(0)) == list(read_corpus(corpus / "texts.jsonl"))
    assert store.pools() == ["screen_001", "screen_002", "screen_003"]


def test_ends_of_stages_keep_their_checkpoints(whole: Path) -> None:
    assert [path.name[:10] for path in checkpoints.existing(whole)] == ["epoch_0001", "epoch_0002", "epoch_0003"]


def test_another_setting_is_refused_by_its_key(corpus: Path, whole: Path) -> None:
    with pytest.raises(UsageError) as caught:
        small_pretraining(corpus, whole, "mlm.prob=0.3")
    assert "mlm.prob: 0.15 -> 0.3" in caught.value.what


def test_another_corpus_is_refused(whole: Path, tmp_path: Path) -> None:
    from foundation.errors import BenchError

    other = write_toy_corpus(tmp_path / "other", 45, seed=1)
    before = files(whole)
    with pytest.raises(BenchError, match="another corpus"):
        small_pretraining(other, whole)
    assert files(whole) == before
