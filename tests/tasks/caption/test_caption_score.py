"""Stored captions to metrics: rows that are refused, what counts as an answer, and what Java changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import CheckError, UsageError
from foundation.hashing import hash_bytes
from results.record import CellId, FileReference, Metric, Record
from tasks.caption import score as scoring
from tasks.caption.data import build, truth_of
from tasks.caption.score import METRICS, score
from tasks.catalog import TASKS
from tasks.datasets.records import DatasetIndex
from tasks.language.texts import CaptionedData
from tasks.metrics.captions import FALLBACK, Hypothesis
from tasks.metrics.captions import score as score_captions
from tasks.metrics.java_scorers import CORENLP, CORENLP_JARS, JAVA_SWITCH, SPICE_MEMORY, Java, Meteor, find_java
from tasks.protocol import CaptionSettings
from tasks.scoring import rescored
from tasks.task import Row

MakeSettings = Callable[..., CaptionSettings]
JAVA = find_java()
needs_java = pytest.mark.skipif(JAVA is None, reason="no Java runtime")

PLACED = "This scene holds one ship; it lies in the top-left."
SEEN = "Two ships can be seen, with two in the top-left."
TRUTH: Row = {
    "test": [
        {
            "image_id": "a",
            "references": ["This scene holds one ship; it lies in the top-left.", "The SAR image shows one ship."],
        },
        {"image_id": "b", "references": ["No ships can be found in this scene.", "This SAR image shows no ships."]},
        {
            "image_id": "c",
            "references": ["The SAR image shows two ships.", "Two ships can be seen, with two in the top-left."],
        },
    ],
    "most_common_caption": "The SAR image shows one ship.",
}
ROWS: list[Row] = [
    {"image_id": "c", "caption": "the sar image shows two ships."},
    {"image_id": "a", "caption": "this scene holds one ship; it lies in the top - left."},
    {"image_id": "b", "caption": ""},
]


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the user's environment says of Java."""
    for name in (CORENLP, JAVA_SWITCH, SPICE_MEMORY):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "find_java", lambda: None)


@pytest.mark.usefixtures("without_java")
def test_the_metrics_are_those_of_the_catalogue_and_then_our_own() -> None:
    found = score(ROWS, TRUTH)
    assert tuple(found["metrics"]) == METRICS == (*TASKS["caption"].metrics, "tuple_f1")
    assert set(found["baselines"].chance) == set(found["baselines"].majority) == set(METRICS)
    assert set(found["baselines"].chance.values()) == {None}


@pytest.mark.usefixtures("without_java")
def test_an_empty_caption_is_an_answer_that_says_nothing() -> None:
    found = score(ROWS, TRUTH)
    # a: both statements are right; b: nothing; c: one of the two is said.
    assert found["metrics"]["tuple_f1"].value == pytest.approx((100 + 0 + 200 / 3) / 3)
    assert found["warnings"] == ["1 of 3 captions are empty"]
    assert found["details"]["cider_by_image"]["b"] == 0
    assert found["details"]["readable"] == 2 and found["details"]["different_captions"] == 3


@pytest.mark.usefixtures("without_java")
def test_the_baseline_is_the_most_common_training_caption_for_every_image() -> None:
    same = [{"image_id": row["image_id"], "caption": TRUTH["most_common_caption"]} for row in TRUTH["test"]]
    found = score(same, TRUTH)
    majority = found["baselines"].majority
    for name in ("bleu_4", "cider", "tuple_f1"):
        assert majority[name] == found["metrics"][name].value != 0
    assert majority["meteor"] is None and majority["spice"] is None


@pytest.mark.usefixtures("without_java")
@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (ROWS[:2], "different images"),
        ([*ROWS, {"image_id": "d", "caption": "x"}], "different images"),
        ([*ROWS, {"image_id": "a", "caption": "again"}], "answered twice"),
        ([*ROWS[:2], {"image_id": "b"}], "lacks caption"),
        ([*ROWS[:2], {"image_id": "b", "caption": None}], "no text but NoneType"),
        ([*ROWS[:2], {"image_id": "b", "caption": ["one", "two"]}], "no text but list"),
        ([*ROWS[:2], {"image_id": "b", "caption": "\ud800"}], "half of a character"),
        ([*ROWS[:2], "no ships"], "no object"),
    ],
)
def test_anything_but_one_text_per_image_is_refused(rows: list[Any], what: str) -> None:
    with pytest.raises(CheckError, match=what):
        score(rows, TRUTH)


@pytest.mark.usefixtures("without_java")
def test_line_breaks_and_bars_in_a_caption_are_spaces() -> None:
    broken = [{**row, "caption": row["caption"].replace(" ", "\n|||\u2028")} for row in ROWS]
    usual, found = score(ROWS, TRUTH)["metrics"], score(broken, TRUTH)["metrics"]
    assert found["bleu_4"] == usual["bleu_4"] and found["cider"] == usual["cider"]


class Lengths(Meteor):
    """In place of METEOR, which takes seconds to start: the share of words."""

    starts = 0

    def __init__(self, _java: Any) -> None:
        Lengths.starts += 1

    def __exit__(self, *_: object) -> None:
        pass

    def score(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
        said = sum(len(text.split()) for text in hypotheses)
        return said / sum(len(text.split()) for own in references for text in own)


@needs_java
def test_one_start_of_every_program_gives_the_numbers_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.metrics.captions.Meteor", Lengths)
    monkeypatch.setattr(Lengths, "starts", 0)
    found = score(ROWS, TRUTH)
    assert Lengths.starts == 1 and found["details"]["tokenizer"] == "ptb"
    references = {row["image_id"]: row["references"] for row in TRUTH["test"]}
    said = [Hypothesis(row["image_id"], row["caption"]) for row in ROWS]
    common = [Hypothesis(image, TRUTH["most_common_caption"]) for image in references]
    alone, same = (score_captions(own, references, java=JAVA) for own in (said, common))
    for name in ("bleu_4", "meteor", "cider"):
        assert found["metrics"][name] == alone.metrics[name]
        assert found["baselines"].majority[name] == same.metrics[name].value != alone.metrics[name].value
    assert "CoreNLP" in found["metrics"]["spice"].reason


@needs_java
@pytest.mark.slow
def test_meteor_scores_one_set_after_the_other_in_one_process() -> None:
    first = (["two ships lie here", ""], [["two ships lie at the quay"], ["no aircraft at all"]])
    second = (["no aircraft"], [["no aircraft at all"]])
    assert JAVA is not None
    with Meteor(JAVA) as process:
        scores = [process.score(*own) for own in (first, second, first)]
    assert 0 < scores[0] < 1 and 0 < scores[1] < 1
    assert scores[0] == scores[2] != scores[1]


@pytest.mark.usefixtures("without_java")
def test_a_test_image_that_occurs_twice_is_refused() -> None:
    twice = {**TRUTH, "test": [*TRUTH["test"], {"image_id": "a", "references": ["Another one."]}]}
    with pytest.raises(CheckError, match="test image occurs twice: a"):
        score(ROWS, twice)


@pytest.fixture
def quick_java(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Java's programs without Java; what SPICE was called with."""
    calls: list[dict[str, Any]] = []

    def spice(_java: Any, hypotheses: Sequence[str], _references: Any, **options: Any) -> list[float]:
        calls.append(options)
        return [0.5] * len(hypotheses)

    monkeypatch.setattr(scoring, "find_java", lambda: Java("java", 17))
    monkeypatch.setattr("tasks.metrics.captions.Meteor", Lengths)
    monkeypatch.setattr("tasks.metrics.captions.ptb_tokens", lambda _java, texts: [text.lower() for text in texts])
    monkeypatch.setattr("tasks.metrics.captions.spice", spice)
    return calls


def test_a_folder_without_the_jars_leaves_spice_undefined_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick_java: list[dict[str, Any]]
) -> None:
    monkeypatch.setenv(CORENLP, str(tmp_path))
    (tmp_path / CORENLP_JARS[0]).touch()
    found = score(ROWS, TRUTH)
    assert all(found["metrics"][name].value is not None for name in METRICS if name != "spice")
    spice = found["metrics"]["spice"]
    assert spice.value is None and found["baselines"].majority["spice"] is None and quick_java == []
    assert CORENLP_JARS[1] in spice.reason and CORENLP_JARS[0] not in spice.reason
    assert CORENLP in spice.reason and "put them there" in spice.reason
    assert str(tmp_path) not in spice.reason, "records go to other people"


def test_folder_and_heap_of_spice_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick_java: list[dict[str, Any]]
) -> None:
    for name in CORENLP_JARS:
        (tmp_path / name).touch()
    monkeypatch.setenv(CORENLP, str(tmp_path))
    assert score(ROWS, TRUTH)["metrics"]["spice"].value == 50
    monkeypatch.setenv(SPICE_MEMORY, "512M")
    score(ROWS, TRUTH)
    assert quick_java == [{"corenlp_dir": tmp_path, "memory": memory} for memory in ("8G", "512M")]


@pytest.mark.parametrize("memory", ["lots", "8", "8 GB", "0G", "-1G", "1.5G", "8GB"])
def test_a_heap_that_java_would_not_understand_is_refused(monkeypatch: pytest.MonkeyPatch, memory: str) -> None:
    monkeypatch.setenv(SPICE_MEMORY, memory)
    with pytest.raises(UsageError, match=SPICE_MEMORY) as caught:
        score(ROWS, TRUTH)
    assert "8G" in caught.value.way_out


@pytest.mark.parametrize("said", ["off", "OFF"])
def test_java_is_switched_off_by_the_environment_and_the_record_says_so(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv(JAVA_SWITCH, said)
    off = score(ROWS, TRUTH)
    assert off["details"]["tokenizer"] == "fallback"
    assert off["metrics"]["bleu_4"].variant == off["metrics"]["cider"].variant == FALLBACK
    for name in ("meteor", "spice"):
        assert off["metrics"][name].value is None and f"{JAVA_SWITCH}=off" in off["metrics"][name].reason
    # Where there is no Java the record is the same, so that each place can check the other's.
    monkeypatch.delenv(JAVA_SWITCH)
    monkeypatch.setattr(scoring, "find_java", lambda: None)
    assert score(ROWS, TRUTH) == off


def test_a_switch_that_says_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JAVA_SWITCH, "none")
    with pytest.raises(UsageError, match=f"{JAVA_SWITCH} is 'none'"):
        score(ROWS, TRUTH)


def test_a_record_scored_again_without_java_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
    truth = json.dumps(TRUTH).encode()
    (tmp_path / "predictions.jsonl").write_bytes(lines)
    (tmp_path / "truth.json").write_bytes(truth)
    fields: dict[str, Any] = {
        "cell": CellId(task="caption", dataset="rs_captions", model="mine", profile="mini", seed=0),
        "metrics": {name: Metric(value=50.0) for name in METRICS},
        "details": {"losses": [1.0], "tokenizer": "ptb"},
        "predictions": FileReference(name="predictions.jsonl", sha256=hash_bytes(lines)),
        "truth": FileReference(name="truth.json", sha256=hash_bytes(truth)),
    }
    monkeypatch.setattr(scoring, "find_java", lambda: None)
    after = rescored(Record.model_construct(**fields), tmp_path, tmp_path)
    assert after.metrics["bleu_4"].variant == after.metrics["cider"].variant == FALLBACK
    assert after.details["tokenizer"] == "fallback" and after.details["losses"] == [1.0]
    assert after.metrics["meteor"].value is None and "Java" in after.metrics["meteor"].reason
    assert after.baselines.majority["meteor"] is None


def test_the_truth_holds_all_that_scoring_needs(data: CaptionedData) -> None:
    truth = truth_of(data)
    assert [row["image_id"] for row in truth["test"]] == [item.image.image_id for item in data.test]
    assert all(len(row["references"]) == 5 for row in truth["test"])
    assert truth["train_counts"] == list(data.counts("train")) == [24, 24]
    texts = [text for item in data.train for text in item.texts]
    assert texts.count(truth["most_common_caption"]) == max(map(texts.count, texts))
    assert json.loads(json.dumps(truth)) == truth


def test_some_of_many_images_are_taken_from_both_sources(scenes: DatasetIndex, make_settings: MakeSettings) -> None:
    some = build(scenes, make_settings(images=32))
    assert (some.counts("train"), some.counts("test")) == ((12, 12), (4, 4))
    assert not some.cut
    one = build(scenes, make_settings(), limit=1)
    assert (len(one.train), len(one.test), one.cut) == (1, 1, True)
