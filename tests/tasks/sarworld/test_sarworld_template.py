"""Template texts: every fact of the rich ones, one wording, nothing left to chance, and in the corpus alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from klip.corpus import TEMPLATE_TEXTS
from klip.text import read_corpus
from tasks.sarworld import cache
from tasks.sarworld.build import build
from tasks.sarworld.plan import DATASETS, extra_files, folder_of
from tasks.sarworld.texts import claims_of, parse_claims, template_texts
from tasks.sarworld.truth import Truth


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small corpus."""
    root = tmp_path_factory.mktemp("world") / "world"
    build(root, "ci", datasets=["corpus"])
    return root / folder_of("corpus")


def truths(corpus: Path) -> list[Truth]:
    return [Truth.from_json(json.loads(line)) for line in (corpus / "truth.jsonl").read_text().splitlines()]


def test_the_parser_reads_every_claim_back(corpus: Path) -> None:
    for truth in truths(corpus):
        assert parse_claims(truth.domain, template_texts(truth)) == claims_of(truth)


def test_the_file_holds_them_in_the_order_of_the_corpus(corpus: Path) -> None:
    written = list(read_corpus(corpus / TEMPLATE_TEXTS))
    assert [text.image_id for text in written] == [text.image_id for text in read_corpus(corpus / "texts.jsonl")]
    for text, truth in zip(written, truths(corpus), strict=True):
        assert {segment.field: segment.value for segment in text.segments} == template_texts(truth)


def test_one_wording_for_each_field(corpus: Path) -> None:
    landforms = [truth for truth in truths(corpus) if truth.domain == "landform"]
    assert len({template_texts(truth)["Terrain"].split(" as ")[0] for truth in landforms}) == 1
    counts = [template_texts(truth)["Count"].split()[-4:] for truth in truths(corpus) if truth.objects]
    assert {" ".join(words) for words in counts} == {"visible in the scene"}


def test_equal_facts_have_equal_texts(corpus: Path) -> None:
    first = truths(corpus)[0]
    again = Truth.from_json({**first.to_json(), "image_id": "images/other.png"})
    assert template_texts(first) == template_texts(again)


def test_no_other_data_set_has_them() -> None:
    assert [name for name in DATASETS if TEMPLATE_TEXTS in extra_files(name)] == ["corpus"]


def test_a_world_from_before_gets_them_and_keeps_the_rest(corpus: Path, tmp_path: Path) -> None:
    root = tmp_path / "world"
    shutil.copytree(corpus.parent, root)
    old = root / folder_of("corpus")
    (old / TEMPLATE_TEXTS).unlink()
    assert not (old / TEMPLATE_TEXTS).exists()
    done = build(root, "ci", datasets=["corpus"])
    assert done.written == 0  # no image was drawn again
    for path in sorted(corpus.rglob("*")):
        if path.is_file():
            assert (old / path.relative_to(corpus)).read_bytes() == path.read_bytes()
    assert cache.is_built(root, "corpus")
