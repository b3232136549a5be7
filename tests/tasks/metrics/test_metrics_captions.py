"""Caption metrics: the cases that the specification settles, with and without Java."""

from __future__ import annotations

import json
import random
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import CellError, CheckError, MissingError
from tasks.metrics.captions import (
    FALLBACK,
    CaptionScores,
    Hypothesis,
    _ResampledBleu,
    _Tokens,
    cleaned,
    fallback_tokens,
    score,
)
from tasks.metrics.java_scorers import (
    CORENLP,
    CORENLP_JARS,
    JAVA_SWITCH,
    SPICE_MEMORY,
    Java,
    find_java,
    ptb_tokens,
    spice,
    spice_memory,
)

JAVA = find_java()
needs_java = pytest.mark.skipif(JAVA is None, reason="no Java runtime")

REFERENCES = {
    "a": [
        "This scene holds two aircraft, namely one A330 and one tanker; one in the top-left.",
        "Two aircraft can be seen: one A330 and one tanker.",
    ],
    "b": ["No aircraft can be found in this scene.", "There are no aircraft here."],
    "c": ["Three Boeing737 (large) are visible in the top-left.", "The SAR image shows three Boeing737."],
}
HYPOTHESES = [
    Hypothesis("c", "The SAR image shows three Boeing737, café."),
    Hypothesis("a", "Two aircraft are seen: one A330 and\none tanker ||| in the top-left."),
    Hypothesis("b", ""),
]

BLEU, METEOR, CIDER = 0.5938435124169893, 0.3910619455447879, 3.3492295509878875
"""Of these captions, by the tokenizer, BLEU, METEOR and CIDEr of pycocoevalcap 1.2 under its own scripts."""


def without_java(hypotheses: list[Hypothesis], references: dict[str, list[str]]) -> CaptionScores:
    return score(hypotheses, references, intervals=False)


def value(scores: CaptionScores, name: str) -> float:
    found = scores.metrics[name].value
    assert found is not None
    return found


@pytest.fixture(scope="module")
def with_java() -> CaptionScores:
    return score(HYPOTHESES, REFERENCES, java=JAVA)


@needs_java
def test_with_java_the_numbers_are_those_of_pycocoevalcap(with_java: CaptionScores) -> None:
    assert value(with_java, "bleu_4") == pytest.approx(100 * BLEU, abs=1e-9)
    assert value(with_java, "meteor") == pytest.approx(100 * METEOR, abs=1e-9)
    assert value(with_java, "cider") == pytest.approx(100 * CIDER, abs=1e-9)
    assert {metric.variant for metric in with_java.metrics.values()} == {""}
    assert with_java.tokenizer == "ptb"


@needs_java
def test_without_the_corenlp_jars_spice_is_undefined_and_says_why(with_java: CaptionScores) -> None:
    assert with_java.metrics["spice"].value is None
    assert "CoreNLP 3.6.0" in with_java.metrics["spice"].reason


@needs_java
def test_the_ptb_tokenizer_keeps_empty_texts_in_their_place() -> None:
    assert JAVA is not None
    texts = ["", "Two ships; one tug.", "  ", "Café (A320/321) isn't here!", ""]
    expected = ["", "two ships one tug", "", "café -lrb- a320/321 -rrb- is n't here", ""]
    assert ptb_tokens(JAVA, texts) == expected
    assert ptb_tokens(JAVA, ["", ""]) == ["", ""]


def test_without_java_the_numbers_are_marked_and_the_rest_is_undefined() -> None:
    scores = without_java(HYPOTHESES, REFERENCES)
    assert scores.tokenizer == "fallback"
    assert scores.metrics["bleu_4"].variant == scores.metrics["cider"].variant == FALLBACK
    for name in ("meteor", "spice"):
        assert scores.metrics[name].value is None and "Java" in scores.metrics[name].reason
    assert value(scores, "bleu_4") > 0 and value(scores, "cider") > 0


def test_the_fallback_drops_punctuation_and_case_and_keeps_compounds() -> None:
    text = "Two A320/321, one ARJ21; three in the top-left: (sea's end) - 1.5 km -- done..."
    assert fallback_tokens(text) == "two a320/321 one arj21 three in the top-left sea's end 1.5 km done"


@pytest.mark.parametrize("text", ["one\ntwo", "one ||| two", "one\r\n two\u2028", " one\ttwo |||"])
def test_line_breaks_and_bars_become_spaces(text: str) -> None:
    assert cleaned(text) == "one two"


def test_a_caption_equal_to_its_only_reference_has_full_bleu() -> None:
    texts = {"a": ["two ships lie at the quay"], "b": ["no aircraft can be found in this scene"]}
    scores = without_java([Hypothesis(image, own[0]) for image, own in texts.items()], texts)
    assert value(scores, "bleu_4") == pytest.approx(100, abs=1e-6)
    assert value(scores, "cider") == pytest.approx(1000)


def test_five_different_references_bound_cider_below_its_ceiling() -> None:
    texts = {
        "a": ["two ships lie at the quay", "a pair of vessels is moored here"],
        "b": ["no aircraft can be found in this scene", "nothing stands on the apron today"],
    }
    scores = without_java([Hypothesis(image, own[0]) for image, own in texts.items()], texts)
    assert 400 < value(scores, "cider") < 700


def test_an_empty_caption_counts_as_nothing_and_shortens_the_corpus() -> None:
    texts = {"a": ["two ships lie at the quay"], "b": ["no aircraft can be found in this scene"]}
    scores = without_java([Hypothesis("a", texts["a"][0]), Hypothesis("b", "")], texts)
    assert scores.cider_by_image["b"] == 0
    assert value(scores, "cider") == pytest.approx(500)
    assert value(scores, "bleu_4") == pytest.approx(100 * np.exp(1 - 14 / 6), rel=1e-6)  # 6 of 14 words
    assert scores.warnings == ("1 of 2 captions are empty",)
    silent = without_java([Hypothesis("a", ""), Hypothesis("b", "")], texts)
    assert value(silent, "bleu_4") == pytest.approx(0, abs=1e-9) and value(silent, "cider") == 0


def test_fewer_than_two_images_leave_cider_undefined() -> None:
    scores = without_java([Hypothesis("a", "two ships")], {"a": ["two ships"]})
    assert scores.metrics["cider"].value is None and "2 images" in scores.metrics["cider"].reason
    assert scores.cider_by_image == {}


def test_without_images_everything_is_undefined() -> None:
    assert {metric.reason for metric in without_java([], {}).metrics.values()} == {"no test images"}


def test_references_without_words_leave_cider_undefined() -> None:
    scores = without_java([Hypothesis("a", "x"), Hypothesis("b", "y")], {"a": ["..."], "b": [""]})
    assert scores.metrics["cider"].value is None


@pytest.mark.parametrize(
    ("hypotheses", "references", "what"),
    [
        (["a"], {"a": ["x"], "b": ["y"]}, "different images"),
        (["a", "b"], {"a": ["x"]}, "different images"),
        (["a", "a"], {"a": ["x"]}, "more than one caption"),
        (["a"], {"a": []}, "no reference"),
    ],
)
def test_answers_that_do_not_fit_the_images_are_refused(
    hypotheses: list[str], references: dict[str, list[str]], what: str
) -> None:
    with pytest.raises(CheckError, match=what):
        without_java([Hypothesis(image, "text") for image in hypotheses], references)


WORDS = st.lists(st.sampled_from(["two", "ships", "lie", "at", "the", "quay", "and", "tug"]), max_size=9).map(" ".join)
CASES = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=4)), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(CASES, st.randoms(use_true_random=False))
def test_the_order_of_images_is_of_no_consequence(cases: list[tuple[str, list[str]]], shuffler: random.Random) -> None:
    references = {str(index): own for index, (_, own) in enumerate(cases)}
    hypotheses = [Hypothesis(str(index), said) for index, (said, _) in enumerate(cases)]
    expected = without_java(hypotheses, references)
    shuffler.shuffle(hypotheses)
    assert without_java(hypotheses, dict(reversed(references.items()))) == expected


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_the_resampled_bleu_of_all_images_is_that_of_the_library(cases: list[tuple[str, list[str]]]) -> None:
    references = {str(index): own for index, (_, own) in enumerate(cases)}
    scores = without_java([Hypothesis(str(index), said) for index, (said, _) in enumerate(cases)], references)
    tokens = _Tokens(list(references), [said for said, _ in cases], list(references.values()))
    assert _ResampledBleu(tokens)(np.arange(len(cases))) == pytest.approx(value(scores, "bleu_4"), rel=1e-9, abs=1e-9)


def test_the_intervals_hold_the_values() -> None:
    many = {f"image {i}": [f"scene {i} holds {i % 4} ships at the quay", f"{i % 4} ships lie there"] for i in range(30)}
    said = [Hypothesis(image, own[0] if i % 3 else "no ship") for i, (image, own) in enumerate(many.items())]
    scores = score(said, many)
    for name in ("bleu_4", "cider"):
        metric = scores.metrics[name]
        assert metric.low is not None and metric.high is not None
        assert metric.low < value(scores, name) < metric.high
    assert score(said, many) == scores


def stand_in(folder: Path, body: str) -> Java:
    """A program that is called in place of Java; `body` sees the arguments as `argv`."""
    path = folder / "java"
    path.write_text(f"#!{sys.executable}\nimport json, sys\nargv = sys.argv[1:]\n{body}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Java(str(path), 17)


@pytest.fixture
def corenlp(tmp_path: Path) -> Path:
    folder = tmp_path / "corenlp"
    folder.mkdir()
    for name in CORENLP_JARS:
        (folder / name).touch()
    return folder


def test_spice_is_none_where_it_is_no_number(tmp_path: Path, corenlp: Path) -> None:
    java = stand_in(
        tmp_path,
        f"""open({str(tmp_path / "called.json")!r}, "w").write(json.dumps(argv))
rows = json.load(open(argv[argv.index("edu.anu.spice.SpiceScorer") + 1]))
values = [0.5, "NaN", 0.25]
found = [{{"image_id": r["image_id"], "scores": {{"All": {{"f": v}}}}}} for r, v in zip(rows, values)]
json.dump(found, open(argv[argv.index("-out") + 1], "w"))""",
    )
    found = spice(java, ["x", "", "z"], [["x"], ["y"], ["z"]], corenlp_dir=corenlp, memory="2G")
    assert found == [0.5, None, 0.25]
    called = json.loads((tmp_path / "called.json").read_text(encoding="utf-8"))
    assert "-Xmx2G" in called and any(argument.startswith("--add-opens=") for argument in called)
    assert all(name in called[called.index("-cp") + 1] for name in CORENLP_JARS)


def test_programs_that_fail_say_so(tmp_path: Path, corenlp: Path) -> None:
    broken = stand_in(tmp_path, 'sys.exit("no memory")')
    with pytest.raises(CellError, match="SPICE stopped") as caught:
        spice(broken, ["x"], [["x"]], corenlp_dir=corenlp, memory="2G")
    assert f"{SPICE_MEMORY}, now 2G" in caught.value.way_out and f"unset {CORENLP}" in caught.value.way_out
    with pytest.raises(CellError, match="no memory") as caught:
        ptb_tokens(broken, ["x"])
    assert f"{JAVA_SWITCH}=off" in caught.value.way_out
    with pytest.raises(CellError, match="0 lines for 2 texts"):
        score([Hypothesis("a", "x")], {"a": ["x"]}, java=stand_in(tmp_path, ""))
    echo = stand_in(tmp_path, 'sys.stdout.write("" if "-stdio" in argv else sys.stdin.read())')
    with pytest.raises(CellError, match="METEOR stopped"):
        score([Hypothesis("a", "x")], {"a": ["x"]}, java=echo)


@pytest.mark.parametrize("memory", ["8G", "512M", "2g", "4096m"])
def test_the_heap_is_passed_on_as_java_writes_it(monkeypatch: pytest.MonkeyPatch, memory: str) -> None:
    monkeypatch.setenv(SPICE_MEMORY, memory)
    assert spice_memory() == memory


def test_java_that_is_switched_off_is_not_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = stand_in(tmp_path, """sys.stderr.write('openjdk version "17.0.15"')""")
    for said, found in (("", java), ("on", java), ("off", None)):
        monkeypatch.setenv(JAVA_SWITCH, said)
        assert find_java(java.path) == found


def test_missing_jars_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"3\.6\.0-models\.jar"):
        spice(Java("java", 17), ["x"], [["x"]], corenlp_dir=tmp_path)


def test_a_stub_that_does_not_start_is_no_java(tmp_path: Path) -> None:
    assert find_java(stand_in(tmp_path, "sys.exit(1)").path) is None
    assert find_java(str(tmp_path / "nothing")) is None
    for version, major in (("17.0.15", 17), ("1.8.0_292", 8)):
        java = stand_in(tmp_path, f"""sys.stderr.write('openjdk version "{version}"')""")
        assert find_java(java.path) == (java.path, major)
