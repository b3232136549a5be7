"""Questions about targets of section 6.3: who is asked, in which words, with which answer."""

from __future__ import annotations

import hashlib
import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import CheckError
from tasks.builders.captions import Domain, Target
from tasks.builders.geometry import QUADRANTS, Box, Size, cell
from tasks.builders.questions import (
    FORMS,
    LONGEST_QUESTION,
    Question,
    Task,
    answer_balance,
    target_questions,
    word_pieces_at_most,
    worded,
)

SIZE = Size(300, 300)


def _at(x: float, y: float, name: str | None = "A330") -> Target:
    return Target(Box(x - 4, y - 2, 8, 4), name)


def _of(task: Task, questions: list[Question]) -> list[Question]:
    return [question for question in questions if question.task == task]


def _asked(targets: list[Target], domain: Domain = "aircraft", size: Size = SIZE) -> list[tuple[str, str]]:
    return [(question.question, question.answer) for question in target_questions("i", targets, size, domain)]


def test_one_target() -> None:
    assert _asked([_at(30, 60)]) == [
        ("How many aircraft does this SAR image contain?", "1"),
        ("Name the type of the aircraft centred at [10.0, 20.0].", "A330"),
        ("Number a 3x3 grid 1 to 9 row by row. Which cells hold aircraft?", "1"),
    ]


def test_several_ships() -> None:
    ships = [_at(250, 250, "Cargo"), _at(50, 50, "Tanker"), _at(150, 50, "Cargo"), _at(60, 70, "Cargo")]
    questions = target_questions("i", ships, SIZE, "ship")
    (count,) = _of("vqa_target_count", questions)
    assert (count.question, count.answer) == ("How many ships does this SAR image contain?", "4")
    (position,) = _of("vqa_target_pos", questions)
    assert position.question.endswith("Which cells hold ships?")
    assert (position.answer, position.answer_set) == ("1,2,9", ("1", "2", "9"))
    assert all("type of the ship centred" in question.question for question in _of("vqa_target_rec", questions))


def test_without_targets_only_the_number_is_asked() -> None:
    assert _asked([]) == [("How many aircraft does this SAR image contain?", "0")]


def test_class_agnostic_boxes_are_not_asked_for_their_type() -> None:
    assert [answer for _, answer in _asked([_at(30, 60, None), _at(200, 60, None)])] == ["2", "1,3"]


def test_records_are_as_section_2_1_says() -> None:
    count, kind, position = target_questions("a/b.png", [_at(30, 60)], SIZE, "aircraft")
    assert count.to_json() == {
        "question_id": "a/b.png#vqa_target_count",
        "image_id": "a/b.png",
        "task": "vqa_target_count",
        "question": "How many aircraft does this SAR image contain?",
        "answer": "1",
        "answer_set": None,
        "meta": {"form": 0},
    }
    assert kind.question_id == "a/b.png#vqa_target_rec/1"
    assert kind.meta == {"form": 0, "box": [26.0, 58.0, 8.0, 4.0]}
    assert json.loads(json.dumps(position.to_json()))["answer_set"] == ["1"]


def test_at_most_three_types_are_asked_and_the_hash_says_which() -> None:
    targets = [_at(30 * number, 100, f"type {number}") for number in range(1, 10)]
    chosen = [question.answer for question in _of("vqa_target_rec", target_questions("i", targets, SIZE, "aircraft"))]
    others = [question.answer for question in _of("vqa_target_rec", target_questions("j", targets, SIZE, "aircraft"))]
    assert len(chosen) == len(set(chosen)) == 3
    assert chosen != others, "another image, another choice"
    # The key is part of the benchmark: another one would ask about other boxes.
    keys = [f"rec-v1|i|{30.0 * number - 4},98.0,8.0,4.0|type {number}" for number in range(1, 10)]
    ordered = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    assert chosen == [key.rpartition("|")[2] for key in ordered[:3]]


def test_how_a_number_is_written_changes_no_byte() -> None:
    floats = [Target(Box(-0.0, 30.0 * n, 8.0, 4.0), f"type {n}") for n in range(9)]
    integers = [Target(Box(0, 30 * n, 8, 4), f"type {n}") for n in range(9)]
    first, second = (target_questions("i", targets, SIZE, "ship") for targets in (floats, integers))
    assert json.dumps([q.to_json() for q in first]) == json.dumps([q.to_json() for q in second])


def test_neighbours_that_a_coordinate_cannot_tell_apart_are_not_asked_about() -> None:
    far, near, nearer = _at(200, 200, "C"), _at(100, 100, "A"), _at(105, 100, "B")
    questions = target_questions("i", [near, nearer, far], SIZE, "aircraft")
    assert [question.answer for question in _of("vqa_target_rec", questions)] == ["C"]
    at_the_limit = target_questions("i", [near, _at(106, 100, "B"), far], SIZE, "aircraft")
    assert {question.answer for question in _of("vqa_target_rec", at_the_limit)} == {"A", "B", "C"}


def test_one_left_out_makes_room_for_another() -> None:
    pair = [_at(100, 100, "near"), _at(101, 100, "near")]
    spread = [_at(30 + 60 * number, 250, "alone") for number in range(4)]
    questions = _of("vqa_target_rec", target_questions("i", pair + spread, SIZE, "aircraft"))
    assert [question.answer for question in questions] == ["alone"] * 3


def test_coordinates_are_per_cent_or_pixels() -> None:
    def centre(**options: str) -> str:
        found = target_questions("i", [_at(100, 50)], Size(300, 200), "ship", **options)  # type: ignore[arg-type]
        return found[1].question

    assert centre() == "Name the type of the ship centred at [33.3, 25.0]."
    assert centre(coords="pixel") == "Name the type of the ship centred at [100.0, 50.0]."


def test_paraphrases_ask_the_same_in_other_words() -> None:
    targets = [_at(30, 60), _at(200, 60)]
    canonical = target_questions("i", targets, SIZE, "aircraft")
    everything = target_questions("i", targets, SIZE, "aircraft", paraphrases=True)
    assert len(everything) == 3 * len(canonical)
    assert [question for question in everything if question.meta["form"] == 0] == canonical
    assert len({question.question_id for question in everything}) == len(everything)
    assert len({question.question for question in everything}) == len(everything)
    for question in everything:
        (first,) = [one for one in canonical if one.question_id == question.question_id.partition("~")[0]]
        assert (question.answer, question.answer_set) == (first.answer, first.answer_set)


@pytest.mark.parametrize("task", FORMS)
def test_paraphrases_leave_open_what_the_canonical_form_leaves_open(task: Task) -> None:
    def places(form: str) -> set[str]:
        return {slot for slot in re.findall(r"\{(\w+)\}", form) if slot not in {"one", "many"}}

    canonical, *others = FORMS[task]
    assert len(others) == 2
    assert [places(form) for form in others] == [places(canonical)] * 2


boxes = st.builds(
    lambda x, y, w, h: Box(x, y, min(w, 500 - x), min(h, 400 - y)),
    *(st.floats(0, 400), st.floats(0, 300), st.floats(1, 100), st.floats(1, 100)),
)
scenes = st.lists(st.builds(Target, boxes, st.sampled_from(["A330", "Boeing737", "A320/321"])), max_size=12)


@settings(deadline=None)
@given(scenes, st.sampled_from(["percent", "pixel"]), st.sampled_from(["aircraft", "ship"]))
def test_every_question_about_targets_fits_thirty_five_pieces(targets: list[Target], coords: str, domain: str) -> None:
    questions = target_questions("i", targets, Size(500, 400), domain, coords=coords, paraphrases=True)  # type: ignore[arg-type]
    assert all(word_pieces_at_most(question.question) <= LONGEST_QUESTION for question in questions)


def test_every_form_fits_thirty_five_pieces_with_its_longest_words() -> None:
    slots = {"one": "aircraft", "many": "aircraft", "x": "10000.0", "y": "10000.0", "quadrant": QUADRANTS[-1]}
    lengths = [word_pieces_at_most(form.format(**slots)) for forms in FORMS.values() for form in forms]
    assert max(lengths) <= LONGEST_QUESTION
    assert min(lengths) > 5, "the count is not empty"


def test_a_question_that_may_be_too_long_is_refused() -> None:
    with pytest.raises(CheckError, match="35 are allowed"):
        worded("i", "vqa_target_rec", "A", {"one": "ship", "x": f"{10**20}.0", "y": "0.0"})


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", 2),
        ("ship", 3),
        ("ship?", 4),
        ("[30.5, 6.0]", 2 + 1 + 2 + 1 + 1 + 1 + 1 + 1 + 1 + 1),
        ("a 3x3 grid", 2 + 1 + 3 + 1),
        ("top-left", 2 + 3),
        ("dominates", 2 + 2),
    ],
)
def test_pieces_are_counted_from_above(text: str, pieces: int) -> None:
    assert word_pieces_at_most(text) == pieces


@settings(deadline=None)
@given(scenes, st.randoms(use_true_random=False))
def test_the_order_of_the_boxes_changes_no_question(targets: list[Target], shuffle: random.Random) -> None:
    before = target_questions("i", targets, Size(500, 400), "ship")
    shuffle.shuffle(targets)
    assert target_questions("i", targets, Size(500, 400), "ship") == before


@settings(deadline=None)
@given(scenes)
def test_answers_follow_from_the_boxes(targets: list[Target]) -> None:
    size = Size(500, 400)
    questions = target_questions("i", targets, size, "ship")
    (count,) = _of("vqa_target_count", questions)
    assert int(count.answer) == len(targets)
    cells = {cell(target.box.centre, size) for target in targets}
    stated = {int(part) for question in _of("vqa_target_pos", questions) for part in question.answer.split(",")}
    assert stated == cells
    known = {(tuple(target.box), target.type) for target in targets}
    recognised = {(tuple(question.meta["box"]), question.answer) for question in _of("vqa_target_rec", questions)}
    assert recognised <= known
    assert len(recognised) <= 3


def _answers(*counts: tuple[str, int]) -> list[Question]:
    names = [answer for answer, count in counts for _ in range(count)]
    return [q for n, name in enumerate(names) for q in worded(f"i{n}", "vqa_main_land", name, {})]


def test_a_histogram_names_the_most_common_answer_first() -> None:
    found = answer_balance(_answers(("road", 2), ("water", 3), ("building", 2)))["vqa_main_land"]
    assert list(found.histogram.items()) == [("water", 3), ("building", 2), ("road", 2)]
    assert (found.warning, found.balanced) == ("", ())


def test_sixty_per_cent_are_not_more_than_sixty_per_cent() -> None:
    assert answer_balance(_answers(("water", 60), ("road", 40)))["vqa_main_land"].warning == ""
    found = answer_balance(_answers(("water", 61), ("road", 39)))["vqa_main_land"]
    assert found.warning == "vqa_main_land: 61.0 % of the answers are 'water'; see the balanced list"


def test_in_the_balanced_list_the_common_answer_is_as_frequent_as_the_second() -> None:
    questions = _answers(("water", 70), ("vegetation", 20), ("building", 8), ("road", 2))
    balanced = answer_balance(questions)["vqa_main_land"].balanced
    answers = {question.question_id: question.answer for question in questions}
    kept = [answers[name] for name in balanced]
    assert {name: kept.count(name) for name in set(kept)} == {"water": 20, "vegetation": 20, "building": 8, "road": 2}
    assert len(set(balanced)) == len(balanced)


def test_the_balanced_list_does_not_hang_on_the_order_and_grows_without_changing_its_choice() -> None:
    questions = _answers(("water", 70), ("vegetation", 20))
    balanced = answer_balance(questions)["vqa_main_land"].balanced
    assert answer_balance(reversed(questions))["vqa_main_land"].balanced == balanced
    more = [*questions, *worded("later", "vqa_main_land", "vegetation", {})]
    assert set(balanced) < set(answer_balance(more)["vqa_main_land"].balanced)


def test_a_single_answer_cannot_be_balanced() -> None:
    found = answer_balance(_answers(("water", 7)))["vqa_main_land"]
    assert found.balanced == ()
    assert "100.0 %" in found.warning and "no other answer" in found.warning


def test_each_task_is_balanced_for_itself() -> None:
    questions = _answers(("water", 9), ("road", 1)) + target_questions("i", [_at(30, 60)], SIZE, "ship")
    found = answer_balance(questions)
    assert list(found) == ["vqa_target_count", "vqa_target_rec", "vqa_target_pos", "vqa_main_land"]
    assert len(found["vqa_main_land"].balanced) == 2
    assert answer_balance([]) == {}
