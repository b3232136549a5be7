"""A corpus of a few small images and texts, for the tests of texts, stores and images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from klip.corpus import Corpus, read_corpus_folder
from klip.settings import TextSettings
from klip.store.text_store import TextStore
from klip.text import corpus_strings
from klip.tokens.vocabulary import Vocabulary

BUDGET = TextSettings(max_len=80, max_seg_len=12)

VALUES = {
    "Count": "three ships",
    "Location": "upper left; one at the pier",
    "Feature": "long hulls, bright masts.",
    "Size": "39-65 m",
    "Category": "cargo ship",
    "Distribution": "in a row",
    "Region": "harbour",
    "Environment": "calm water",
}


def record(number: int, **values: str) -> dict[str, str]:
    """A text about image `number`."""
    return {"id": f"images/{number}.png", **VALUES, **values}


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """JSON lines."""
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in records), encoding="utf-8")
    return path


def write_corpus(folder: Path, records: Sequence[Mapping[str, Any]], side: int = 16) -> Path:
    """Texts, and an image for each of them that is a file of its own."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    write_lines(folder / "texts.jsonl", records)
    for number, entry in enumerate(records):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / entry["id"])
    return folder


def small_corpus(folder: Path, count: int = 4, **values: str) -> Corpus:
    """`count` texts that differ in their Count; `values` are those of the first."""
    records = [record(number, Count=f"{number} ships") for number in range(count)]
    records[0].update(values)
    return read_corpus_folder(write_corpus(folder / "corpus", records))


def small_vocabulary(corpus: Corpus) -> Vocabulary:
    """Trained on the corpus."""
    return Vocabulary.train(corpus_strings(corpus.texts), 400)


def small_store(folder: Path, count: int = 4, **values: str) -> TextStore:
    """A store of `small_corpus`."""
    corpus = small_corpus(folder, count, **values)
    return TextStore.create(folder / "store", corpus, small_vocabulary(corpus), BUDGET)
