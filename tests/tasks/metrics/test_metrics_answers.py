"""Answers of section 11.5: what is equal, what is wrong, and what the diagnostics say."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foundation.errors import CheckError, UsageError
from results.record import Metric
from results.statistics import Z_95, wilson
from tasks.builders.captions import Target
from tasks.builders.geometry import QUADRANTS, Box, Size
from tasks.builders.landform import LAND_COVERS, count_covers, landform_questions
from tasks.builders.questions import target_questions
from tasks.metrics.answers import (
    COVER_SPELLINGS,
    KINDS,
    AnswerScores,
    _design_effect,
    is_right,
    normalised,
    read_answer,
    score,
)

TYPES = ("A220", "A320/321", "A330", "Boeing737", "Boeing787", "transport aircraft", "Other")


def _value(found: AnswerScores, name: str = "accuracy") -> float | None:
    return found.metrics[name].value


def _scored(task: str, pairs: Sequence[tuple[str, str | None]], types: Sequence[str] = ()) -> AnswerScores:
    """Scores of (truth, given) pairs."""
    truth = {f"q{number}": wanted for number, (wanted, _) in enumerate(pairs)}
    return score(task, truth, {f"q{number}": given for number, (_, given) in enumerate(pairs)}, types)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("  Water.  ", "water"),
        ("The  water", "water"),
        ("a ship", "ship"),
        ("An Island", "island"),
        ("Three", "3"),
        ("twenty", "20"),
        ("seventeen and seven", "17 and 7"),
        ("someone", "someone"),
        ("A", "a"),
        ("３．", "3"),
        ("water\n and\troad", "water and road"),
        ("A330.", "a330"),
        ("", ""),
        (".", ""),
    ],
)
def test_normalisation(text: str, plain: str) -> None:
    assert normalised(text) == plain


@pytest.mark.parametrize(
    ("task", "truth", "given", "right"),
    [
        ("vqa_target_count", "3", "3", True),
        ("vqa_target_count", "3", "three.", True),
        ("vqa_target_count", "3", "03", True),
        ("vqa_target_count", "0", "zero", True),
        ("vqa_target_count", "12", "Twelve", True),
        ("vqa_target_count", "3", "4", False),
        ("vqa_target_count", "3", "3 or 4", False),
        ("vqa_target_count", "3", "3.0", False),
        ("vqa_target_count", "3", "-3", False),
        ("vqa_target_count", "3", "9" * 5000, False),
        ("vqa_target_count", "3", "٣", False),
        ("vqa_target_count", "0", "", False),
        ("vqa_target_rec", "Boeing737", "boeing737", True),
        ("vqa_target_rec", "Boeing737", "Boeing 737", True),
        ("vqa_target_rec", "Boeing737", "boeing 737-800", True),
        ("vqa_target_rec", "Boeing737", "Boeing787", False),
        ("vqa_target_rec", "A320/321", "A320", True),
        ("vqa_target_rec", "A320/321", "a321.", True),
        ("vqa_target_rec", "A320/321", "A320 / 321", True),
        ("vqa_target_rec", "A330", "an A330", True),
        ("vqa_target_rec", "A330", "A330 or A220", False),
        ("vqa_target_rec", "transport aircraft", "Transport-Aircraft", True),
        ("vqa_target_rec", "A330", "", False),
        ("vqa_target_pos", "1,2,7", "1,2,7", True),
        ("vqa_target_pos", "1,2,7", "7; 2 and 1.", True),
        ("vqa_target_pos", "1,2,7", "one, two, seven", True),
        ("vqa_target_pos", "1,2,7", "1,2,7,7,1", True),
        ("vqa_target_pos", "1,2,7", "1, 2, and 7", True),
        ("vqa_target_pos", "1,2,7", "1,2", False),
        ("vqa_target_pos", "1,2,7", "1,2,7,8", False),
        ("vqa_target_pos", "1,2,7", "1,2,7,10", False),
        ("vqa_target_pos", "1", "1,0", False),
        ("vqa_target_pos", "1,2", "1 2", False),
        ("vqa_target_pos", "1", "", False),
        ("vqa_target_pos", "1", ", and ;", False),
        ("vqa_main_land", "water", "Water", True),
        ("vqa_main_land", "water", "the river.", True),
        ("vqa_main_land", "building", "Built up", True),
        ("vqa_main_land", "road", "transport line", True),
        ("vqa_main_land", "water", "vegetation", False),
        ("vqa_main_land", "water", "water and road", False),
        ("vqa_reg_land", "vegetation", "farmland", True),
        ("vqa_reg_land", "vegetation", "road", False),
        ("vqa_all_land", "building, water", "building, water", True),
        ("vqa_all_land", "building, water", "Water and Building.", True),
        ("vqa_all_land", "building, water", "water; building; water", True),
        ("vqa_all_land", "building, water", "water", False),
        ("vqa_all_land", "building, water", "building, water, road", False),
        ("vqa_all_land", "building, water", "building, water, snow", False),
    ],
)
def test_what_is_right_and_what_is_wrong(task: str, truth: str, given: str, right: bool) -> None:
    assert is_right(task, given, truth, TYPES) == right
    found = _scored(task, [(truth, given)], TYPES)
    assert _value(found) == (100.0 if right else 0.0)


@pytest.mark.parametrize("task", KINDS)
def test_no_answer_is_wrong_and_counted(task: str) -> None:
    truth = {"vqa_target_count": "0", "vqa_target_rec": "A330", "vqa_target_pos": "1"}.get(task, "water")
    found = score(task, {"a": truth, "b": truth, "c": truth, "d": truth}, {"a": truth, "b": None, "c": "?"}, TYPES)
    assert _value(found) == 25.0
    assert found.right == {"a": True, "b": False, "c": False, "d": False}
    assert found.unanswered == 3
    assert found.warnings == ("3 of 4 answers are missing or unreadable and count as wrong",)


def test_a_label_goes_before_an_alias() -> None:
    separate = ("A320", "A321", "A320/321")
    assert not is_right("vqa_target_rec", "A320", "A320/321", separate)
    assert is_right("vqa_target_rec", "A320", "A320", separate)


def test_a_spelling_that_could_mean_two_labels_means_none() -> None:
    labels = ("A-3", "A/3")
    assert read_answer("vqa_target_rec", "a3", labels) is None
    assert read_answer("vqa_target_rec", "a-3", labels) == "A-3"


def test_labels_that_only_differ_in_case_cannot_be_scored() -> None:
    with pytest.raises(CheckError, match="cannot be told apart"):
        score("vqa_target_rec", {"a": "Other"}, {}, ("Other", "other"))


@pytest.mark.parametrize("label", ["A330", "A 330"])
@pytest.mark.parametrize("text", ["A 330", "a330", "an A330", "a-330", "A - 330", "the a330"])
def test_the_a_of_a_name_is_not_lost_as_an_article(label: str, text: str) -> None:
    assert read_answer("vqa_target_rec", text, (label, "A220")) == label


def test_the_closest_reading_wins() -> None:
    assert read_answer("vqa_target_rec", "a 3", ("A 3", "3")) == "A 3"
    assert read_answer("vqa_target_rec", "3", ("A 3", "3")) == "3"
    assert read_answer("vqa_target_rec", "a 3", ("3", "4")) == "3"


def test_a_label_without_letters_does_not_attract_other_answers() -> None:
    assert read_answer("vqa_target_rec", "tanker", ("-", "A220")) is None
    assert read_answer("vqa_target_rec", "", ("-", "A220")) is None
    assert read_answer("vqa_target_rec", "-", ("-", "A220")) == "-"


def test_without_a_label_list_the_types_of_the_truth_are_it() -> None:
    found = _scored("vqa_target_rec", [("A330", "a 330"), ("A220", "a330")])
    assert _value(found) == 50.0


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5))
def test_every_label_is_itself(types: list[str]) -> None:
    try:
        found = score("vqa_target_rec", {name: name for name in types}, {name: name for name in types}, types)
    except CheckError:
        return  # two labels that only differ in what is normalised
    assert _value(found) == 100.0
    assert [read_answer("vqa_target_rec", name, types) for name in types] == types


@settings(deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.text(max_size=20))
def test_no_text_does_harm(task: str, text: str) -> None:
    meant = read_answer(task, text, TYPES)
    assert meant is None or meant == read_answer(task, f" {text.upper().lower()} ", TYPES) or not text.isascii()


@settings(deadline=None)
@given(st.sets(st.integers(1, 9), min_size=1), st.randoms(use_true_random=False))
def test_order_and_repeats_of_cells_do_not_count(cells: set[int], shuffle: random.Random) -> None:
    said = [str(cell) for cell in (*cells, *cells)]
    shuffle.shuffle(said)
    assert is_right("vqa_target_pos", " ; ".join(said), ",".join(map(str, sorted(cells))))


def test_spellings_never_name_two_covers_or_a_cover_itself() -> None:
    assert set(COVER_SPELLINGS.values()) == set(LAND_COVERS)
    assert not set(COVER_SPELLINGS) & set(LAND_COVERS)


boxes = st.tuples(st.integers(0, 90), st.integers(0, 90)).map(lambda place: Box(*place, 10, 10))
scenes = st.lists(st.builds(Target, boxes, st.sampled_from(TYPES)), max_size=8)


@settings(deadline=None)
@given(scenes, st.lists(st.sampled_from([0, 1, 2, 3, 255]), min_size=16, max_size=16))
def test_the_builders_own_answers_are_right(targets: list[Target], labels: list[int]) -> None:
    counts = count_covers(np.array(labels, dtype=np.uint8).reshape(4, 4))
    questions = target_questions("i", targets, Size(100, 100), "aircraft") + landform_questions("i", counts)
    for task in KINDS:
        truth = {question.question_id: question.answer for question in questions if question.task == task}
        found = score(task, truth, truth, TYPES)
        assert _value(found) == (100.0 if truth else None)
        for question in questions:
            if question.task == task and question.answer_set is not None:
                assert read_answer(task, question.answer) == frozenset(question.answer_set)


@pytest.mark.parametrize(
    ("task", "truth", "given", "strict"),
    [
        ("vqa_target_pos", "1,2,7", "1,2,7", True),
        ("vqa_target_pos", "1,2,7", "one; two and 7.", True),
        ("vqa_target_pos", "1,2,7", "7,2,1", False),
        ("vqa_target_pos", "1,2,7", "1,2,7,7", False),
        ("vqa_target_pos", "1", "1,2", False),
        ("vqa_target_pos", "1", None, False),
        ("vqa_target_pos", "1", "", False),
        ("vqa_all_land", "building, water", "Building and water", True),
        ("vqa_all_land", "building, water", "water, building", False),
        ("vqa_all_land", "building, water", "building, building, water", False),
        ("vqa_all_land", "building, water", "building, water, snow", False),
    ],
)
def test_strictly_order_and_repeats_count(task: str, truth: str, given: str | None, strict: bool) -> None:
    found = _scored(task, [(truth, given)])
    assert _value(found, "accuracy_strict") == (100.0 if strict else 0.0)
    assert not strict or _value(found) == 100.0


@pytest.mark.parametrize("task", KINDS)
def test_only_lists_are_scored_strictly_too(task: str) -> None:
    answer = {"vqa_target_count": "0", "vqa_target_rec": "A330", "vqa_target_pos": "1"}.get(task, "water")
    found = _scored(task, [(answer, answer)])
    assert ("accuracy_strict" in found.metrics) == (task in ("vqa_target_pos", "vqa_all_land"))


def test_count_diagnostics() -> None:
    found = _scored("vqa_target_count", [("3", "3"), ("3", "4"), ("3", "7"), ("3", None)])
    assert (_value(found), _value(found, "within_1")) == (25.0, 50.0)
    error = found.metrics["mean_absolute_error"]
    assert (error.value, error.unit, error.n) == (5 / 3, "none", 3)
    assert error.reason == "over the answered ones; 1 are not"


def test_an_error_without_answers_is_undefined() -> None:
    error = _scored("vqa_target_count", [("3", "many")]).metrics["mean_absolute_error"]
    assert (error.value, error.reason) == (None, "no answers")


def test_cell_diagnostics() -> None:
    found = _scored("vqa_target_pos", [("1,2", "2,1"), ("1,2", "2,3"), ("1,2", "3,2"), ("1,2", None)])
    assert _value(found) == 25.0
    assert _value(found, "jaccard") == pytest.approx(100 * (1 + 1 / 3 + 1 / 3 + 0) / 4)
    assert _value(found, "first_cell") == 50.0


def test_the_first_cell_is_the_one_named_first() -> None:
    assert _value(_scored("vqa_target_pos", [("1,2", "2,8,9")]), "first_cell") == 100.0
    assert _value(_scored("vqa_target_pos", [("1,2", "9,1,2")]), "first_cell") == 0.0


def test_a_list_with_an_element_outside_the_space_is_no_answer() -> None:
    found = _scored("vqa_all_land", [("water", "water, snow")])
    assert found.unanswered == 1
    assert _value(found, "jaccard") == 0.0


def test_cover_diagnostics() -> None:
    pairs = [("building, water", "building, water"), ("water", "water, road"), ("water", None)]
    found = _scored("vqa_all_land", pairs)
    assert _value(found) == pytest.approx(100 / 3)
    assert _value(found, "jaccard") == pytest.approx(100 * (1 + 1 / 2 + 0) / 3)
    assert _value(found, "f1_building") == 100.0
    assert _value(found, "f1_water") == pytest.approx(100 * 2 * 2 / (3 + 2))
    assert _value(found, "f1_road") == 0.0
    assert found.metrics["f1_vegetation"].value is None
    assert "neither true nor answered" in found.metrics["f1_vegetation"].reason


@pytest.mark.parametrize("seed", range(10))
def test_jaccard_and_f1_are_those_of_the_library(seed: int) -> None:
    from sklearn.metrics import f1_score, jaccard_score

    rng = np.random.default_rng(seed)
    truth, given = (rng.random((30, 4)) < 0.5 for _ in range(2))
    truth[:, 0] |= ~truth.any(axis=1)
    given[:, 1] |= ~given.any(axis=1)

    def said(row: NDArray[np.bool_]) -> str:
        return ", ".join(name for name, there in zip(LAND_COVERS, row, strict=True) if there)

    found = _scored("vqa_all_land", [(said(t), said(g)) for t, g in zip(truth, given, strict=True)])
    assert _value(found) == pytest.approx(100 * (truth == given).all(axis=1).mean())
    assert _value(found, "jaccard") == pytest.approx(100 * jaccard_score(truth, given, average="samples"))
    f1 = [_value(found, f"f1_{cover}") for cover in LAND_COVERS]
    assert f1 == pytest.approx(list(100 * f1_score(truth, given, average=None)))


def _accuracy(right: Sequence[bool], images: Sequence[object] | None) -> Metric:
    truth = {f"q{number}": "water" for number in range(len(right))}
    given: dict[str, str | None] = {
        name: "water" if found else "road" for name, found in zip(truth, right, strict=True)
    }
    owners = None if images is None else dict(zip(truth, map(str, images), strict=True))
    return score("vqa_main_land", truth, given, images=owners).metrics["accuracy"]


def _interval(metric: Metric) -> tuple[float, float]:
    assert metric.low is not None and metric.high is not None
    return metric.low, metric.high


def test_accuracy_has_a_wilson_interval() -> None:
    metric = _accuracy([True] * 50 + [False] * 50, range(100))
    assert (metric.value, metric.interval, metric.n, metric.reason) == (50.0, "wilson", 100, "")
    # About 10 points at n = 100 (section 10).
    assert _interval(metric) == pytest.approx((40.4, 59.6), abs=0.1)


def test_without_images_the_interval_takes_questions_as_independent_and_says_so() -> None:
    known, unknown = (_accuracy([True, False, True], images) for images in (range(3), None))
    assert _interval(known) == _interval(unknown)
    assert "images are not known" in unknown.reason


def test_every_share_of_the_questions_has_its_interval_by_image() -> None:
    pairs = {"vqa_target_count": "3", "vqa_target_pos": "1,2", "vqa_all_land": "water"}
    shares = {"accuracy", "within_1", "accuracy_strict", "first_cell"}
    found: set[str] = set()
    for task, answer in pairs.items():
        truth = {f"q{number}": answer for number in range(6)}
        metrics = score(task, truth, dict(truth), images={name: name[:1] for name in truth}).metrics
        told = {name for name, metric in metrics.items() if metric.interval == "wilson by image"}
        assert told == shares & set(metrics)
        found |= told
    assert found == shares


def test_three_wordings_of_a_question_are_not_three_questions() -> None:
    once = _accuracy([True] * 30 + [False] * 18, range(48))
    thrice = _accuracy([True] * 90 + [False] * 54, [number // 3 for number in range(144)])
    assert _interval(once) == pytest.approx((48.4, 74.8), abs=0.05)
    assert _interval(thrice) == pytest.approx(_interval(once))
    assert (thrice.value, thrice.n, thrice.interval) == (62.5, 144, "wilson by image")


answers_by_image = st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=12)


@settings(deadline=None)
@given(answers_by_image, st.integers(2, 3))
def test_to_ask_everything_again_changes_no_interval_and_no_image_makes_it_narrower(
    outcomes: list[list[bool]], times: int
) -> None:
    def asked(copies: int, of: Sequence[list[bool]] = outcomes) -> Metric:
        pairs = [(right, number) for number, own in enumerate(of) for right in own * copies]
        return _accuracy([right for right, _ in pairs], [image for _, image in pairs])

    once = asked(1)
    low, high = _interval(once)
    assert once.value is not None and 0 <= low <= once.value <= high <= 100
    alone = _accuracy([right for own in outcomes for right in own], None)
    assert low <= _interval(alone)[0] + 1e-9 and high >= _interval(alone)[1] - 1e-9
    if len(outcomes) > 1 and low < _interval(alone)[0] - 1e-9:  # above the floor: images hang together
        assert _interval(asked(times)) == pytest.approx((low, high))
    assert _interval(asked(1, outcomes[::-1])) == (low, high)


@pytest.mark.parametrize("hanging", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("share", [0.15, 0.5, 0.9])
def test_the_interval_covers_the_truth_in_about_95_of_100_worlds(share: float, hanging: float) -> None:
    """Forty images of one to four questions, whose answers hang together by nothing, a little, or wholly."""
    rng = np.random.default_rng(5)
    worlds, covered, naive = 400, 0, 0
    for _ in range(worlds):
        sizes = rng.integers(1, 5, 40)
        of_image = np.where(rng.random(40) < hanging, rng.random(40) < share, share)
        right = rng.random(sizes.sum()) < np.repeat(of_image, sizes)
        tallies = list(zip(np.add.reduceat(right, np.r_[0, sizes.cumsum()[:-1]]).tolist(), sizes.tolist(), strict=True))
        hits, n = int(right.sum()), int(sizes.sum())
        low, high = wilson(hits, n, Z_95 * math.sqrt(_design_effect(tallies, hits, n)))
        covered += low <= 100 * share <= high
        low, high = wilson(hits, n)
        naive += low <= 100 * share <= high
    assert 0.90 <= covered / worlds <= 0.99
    if hanging == 1:
        assert naive / worlds < 0.85


def test_without_questions_there_is_a_reason_and_no_number() -> None:
    found = score("vqa_target_pos", {}, {})
    assert list(found.metrics) == ["accuracy"]
    assert (_value(found), found.metrics["accuracy"].reason) == (None, "no test questions")


def test_the_order_of_the_questions_does_not_matter() -> None:
    truth = {f"q{number}": str(number % 4) for number in range(20)}
    given: dict[str, str | None] = {name: str(number % 3) for number, name in enumerate(reversed(truth))}
    backwards = dict(reversed(truth.items()))
    assert score("vqa_target_count", truth, given).metrics == score("vqa_target_count", backwards, given).metrics


def test_answers_to_questions_that_were_not_asked_are_refused() -> None:
    with pytest.raises(CheckError, match="not asked"):
        score("vqa_main_land", {"a": "water"}, {"b": "water"})


@pytest.mark.parametrize(
    ("task", "truth"),
    [("vqa_target_count", "many"), ("vqa_target_pos", "0"), ("vqa_main_land", "snow"), ("vqa_target_rec", "A380")],
)
def test_a_truth_outside_the_answer_space_is_refused(task: str, truth: str) -> None:
    with pytest.raises(CheckError, match="outside the answer space") as caught:
        score(task, {"question 7": truth}, {}, TYPES)
    assert caught.value.where == "question 7"


def test_an_unknown_task_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="vqa_main_land"):
        read_answer("vqa_main_lnd", "water")


def test_quadrants_are_scored_one_by_one() -> None:
    labels = np.full((4, 4), 2, dtype=np.uint8)
    labels[:2, :2] = 3
    questions = [q for q in landform_questions("i", count_covers(labels)) if q.task == "vqa_reg_land"]
    truth = {question.question_id: question.answer for question in questions}
    found = score("vqa_reg_land", truth, dict.fromkeys(truth, "water"))
    assert [found.right[f"i#vqa_reg_land/{name}"] for name in QUADRANTS] == [False, True, True, True]
