"""What answers are worth: beside guessing, the most common answer, the question alone and a wrong image."""

from __future__ import annotations

from typing import Any

import pytest

from foundation.errors import CheckError
from tasks.task import Scored
from tasks.vqa.score import score

COVERS = ["building", "vegetation", "water", "road"]


def truth(task: str = "vqa_target_count", **changes: Any) -> dict[str, Any]:
    """Four questions about two ships and two aircraft."""
    answers, kinds = ("2", "2", "5", "7"), ("ship", "ship", "aircraft", "aircraft")
    test = [
        {
            "question_id": f"q{n}",
            "image_id": f"image {n}",
            "other_image_id": f"image {(n + 1) % 4}",
            "question": "How many?",
            "kind": kind,
            "answer": answer,
            "question_only": "2",
        }
        for n, (answer, kind) in enumerate(zip(answers, kinds, strict=True))
    ]
    values: dict[str, Any] = {
        "task": task,
        "types": [],
        "classes": ["2", "5", "9"],
        "balanced": [],
        "train_answers": {"ship": {"2": 1, "9": 2}, "aircraft": {"5": 2, "2": 2}},
        "test": test,
    }
    return {**values, **changes}


def quarters() -> dict[str, Any]:
    """One question of each of two quarters."""
    test = [
        {**row, "kind": kind, "answer": answer, "question_only": "water"}
        for row, kind, answer in zip(truth()["test"], ("top-left", "bottom-right"), ("water", "road"), strict=False)
    ]
    seen = {"top-left": {"water": 3, "road": 1}, "bottom-right": {"road": 1}}
    return truth("vqa_reg_land", classes=COVERS, train_answers=seen, test=test)


def said(*answers: str | None, other: str | None = None) -> list[dict[str, Any]]:
    return [{"question_id": f"q{n}", "answer": own, "answer_other_image": other} for n, own in enumerate(answers)]


def value(found: Scored, name: str) -> float | None:
    return found["metrics"][name].value


def test_accuracy_is_the_headline_and_controls_stand_beside_it() -> None:
    found = score(said("2", "two", "6", None, other="2"), truth())
    assert next(iter(found["metrics"])) == "accuracy"
    assert value(found, "accuracy") == 50 and value(found, "within_1") == 75
    assert value(found, "accuracy_other_image") == 50 and value(found, "accuracy_question_only") == 50
    assert "accuracy_balanced" not in found["metrics"]
    assert found["metrics"]["accuracy"].n == 4 and found["metrics"]["accuracy"].interval == "wilson"


def test_lists_are_scored_strictly_beside() -> None:
    test = [{**row, "answer": "1,2", "question_only": "1"} for row in truth()["test"]]
    asked = truth("vqa_target_pos", classes=["1,2"], train_answers={"ship": {"1,2": 1}}, balanced=["q0"], test=test)
    found = score(said("1,2", "2,1", "1,2,2", "2"), asked)
    assert value(found, "accuracy") == 75 and value(found, "accuracy_strict") == 25
    baselines = found["baselines"]
    assert baselines.chance["accuracy_strict"] == baselines.chance["accuracy"] == pytest.approx(100 / 511)
    assert baselines.majority["accuracy_strict"] == 100
    assert "accuracy_strict" not in score(said(*"2222"), truth())["metrics"]


def test_questions_about_one_image_count_as_one_in_the_intervals() -> None:
    one_image = [{**row, "image_id": f"image {n // 2}"} for n, row in enumerate(truth()["test"])]
    rows = said("2", "2", "9", "9", other="2")
    alone, together = score(rows, truth()), score(rows, truth(test=one_image))
    for name in ("accuracy", "accuracy_question_only", "accuracy_other_image", "within_1"):
        assert alone["metrics"][name].interval == "wilson" and alone["metrics"][name].reason == ""
        assert together["metrics"][name].interval == "wilson by image"
    assert (together["metrics"]["accuracy"].low or 0) < (alone["metrics"]["accuracy"].low or 0)
    balanced = score(said(*"2222"), truth(test=one_image, balanced=["q0", "q1", "q2"]))["metrics"]["accuracy_balanced"]
    assert balanced.interval == "wilson by image"


def test_a_truth_without_images_says_what_its_intervals_are() -> None:
    nameless = [{name: field for name, field in row.items() if name != "image_id"} for row in truth()["test"]]
    for test in (nameless, [{**nameless[0], "image_id": None}, *truth()["test"][1:]]):
        metric = score(said(*"2222"), truth(test=test))["metrics"]["accuracy"]
        assert metric.interval == "wilson" and "images are not known" in metric.reason


def test_a_question_that_occurs_twice_is_refused() -> None:
    twice = truth(test=[*truth()["test"], {**truth()["test"][1], "answer": "5"}])
    with pytest.raises(CheckError, match="test question occurs twice: q1"):
        score(said("2", "2", "5", "7"), twice)


def test_what_is_missing_or_unreadable_is_wrong() -> None:
    found = score(said("2", None, "", "some"), truth())
    assert value(found, "accuracy") == 25 and found["details"]["unanswered"] == 3
    assert any("3 of 4 answers are missing or unreadable" in text for text in found["warnings"])


def test_answers_that_training_never_gave_are_told() -> None:
    found = score(said("2", "2", "5", "7"), truth())
    assert value(found, "accuracy") == 100 and found["details"]["unseen"] == 1
    assert "the answers to 1 of 4 questions never occur in training: ranking cannot win them" in found["warnings"]
    assert score(said("2", "2", "5", "7"), truth(classes=["2", "5", "7"]))["warnings"] == []


def test_chance_is_one_over_the_answer_space() -> None:
    chance = score(said(*"2222"), truth())["baselines"].chance
    assert chance["accuracy"] == chance["accuracy_question_only"] == 10  # counts 0 to 9 were seen
    assert score(said("road", "road"), quarters())["baselines"].chance["accuracy"] == 25
    positions = truth("vqa_target_pos", classes=["2"], train_answers={"ship": {"2": 1}})
    assert score(said(*"2222"), positions)["baselines"].chance["accuracy"] == pytest.approx(100 / 511)


def test_the_majority_is_the_most_common_training_answer_of_all() -> None:
    majority = score(said(*"9999"), truth())["baselines"].majority
    assert majority["accuracy"] == 50  # 2 was answered three times, 9 and 5 twice
    assert majority["within_1"] == 50 and majority["accuracy_other_image"] == 50


def test_the_majority_of_a_quarter_is_its_own() -> None:
    found = score(said("road", "road"), quarters())
    assert found["baselines"].majority["accuracy"] == 100 and value(found, "accuracy") == 50
    assert found["details"]["accuracy_by_kind"] == {
        "bottom-right": {"accuracy": 100.0, "n": 1},
        "top-left": {"accuracy": 0.0, "n": 1},
    }


def test_the_balanced_list_is_scored_for_itself() -> None:
    found = score(said("2", "2", "5", "0"), truth(balanced=["q1", "q3"]))
    assert value(found, "accuracy") == 75 and value(found, "accuracy_balanced") == 50
    assert found["metrics"]["accuracy_balanced"].n == 2
    assert found["baselines"].majority["accuracy_balanced"] == 50
    assert found["baselines"].chance["accuracy_balanced"] == 10


def test_without_another_image_there_is_no_control_and_the_reason_is_given() -> None:
    alone = [{**row, "other_image_id": None} for row in truth()["test"]]
    metric = score(said(*"2222"), truth(test=alone))["metrics"]["accuracy_other_image"]
    assert metric.value is None and metric.reason == "there is no other test image"
    metric = score(said(*"2222"), truth())["metrics"]["accuracy_other_image"]
    assert metric.value is None and "no answer was given" in metric.reason


def test_a_control_that_was_not_run_may_be_left_out() -> None:
    rows = [{"question_id": row["question_id"], "answer": row["answer"]} for row in said(*"2222")]
    assert value(score(rows, truth()), "accuracy") == 50


def test_types_are_read_with_the_label_list() -> None:
    test = [{**row, "answer": "A320/321", "question_only": "A330", "kind": "aircraft"} for row in truth()["test"][:2]]
    seen = {"aircraft": {"A330": 1}}
    asked = truth("vqa_target_rec", types=["A330", "A320/321"], classes=["A330"], train_answers=seen, test=test)
    found = score(said("a320/321", "A 330"), asked)
    assert value(found, "accuracy") == 50 and found["baselines"].chance["accuracy"] == 50


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (said("2", "2", "5"), "different questions, 1 in all"),
        ([*said("2", "2", "5", "7"), {"question_id": "q9", "answer": "1"}], "e.g. q9"),
        ([*said("2", "2", "5", "7"), {"question_id": "q0", "answer": "1"}], "answered twice: q0"),
        ([{"question_id": "q0"}], "lacks answer"),
        ([{"answer": "2"}], "lacks question_id"),
        (["q0"], "no object but str"),
        ([{"question_id": 0, "answer": "2"}], "question_id is no text but int"),
        ([{"question_id": "q0", "answer": 2}, *said("2", "2", "5", "7")[1:]], "answer to q0 is no text but int"),
        (
            [*said("2", "2", "5"), {"question_id": "q3", "answer": "2", "answer_other_image": ["2"]}],
            "answer to q3 is no text but list",
        ),
    ],
)
def test_predictions_that_do_not_fit_are_refused_by_name(rows: list[Any], words: str) -> None:
    with pytest.raises(CheckError, match=words):
        score(rows, truth())
