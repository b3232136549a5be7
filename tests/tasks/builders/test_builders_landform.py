"""Questions about land cover of section 6.3: counting, ties, margins, unlabelled pixels."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from foundation.errors import CheckError
from tasks.builders.geometry import QUADRANTS, Point, Size, quadrant
from tasks.builders.landform import (
    LAND_COVERS,
    MIN_LABELLED,
    MIN_SHARE,
    SYNTHETIC_MIN_MARGIN,
    UNLABELLED,
    CoverCounts,
    TileCounts,
    count_covers,
    landform_questions,
    largest,
    present,
)
from tasks.builders.questions import LONGEST_QUESTION, word_pieces_at_most

Labels = NDArray[np.uint8]
BUILDING, VEGETATION, WATER, ROAD = range(4)

label_images = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.sampled_from([0, 1, 2, 3, UNLABELLED]),
)


def _quarters(top_left: int, top_right: int, bottom_left: int, bottom_right: int, side: int = 10) -> Labels:
    quarters = np.array([[top_left, top_right], [bottom_left, bottom_right]], dtype=np.uint8)
    return quarters.repeat(side, axis=0).repeat(side, axis=1)


def _asked(labels: Labels, **options: float) -> dict[str, str]:
    questions = landform_questions("i", count_covers(labels), **options)  # type: ignore[arg-type]
    return {question.question_id: question.answer for question in questions}


def test_a_tile_with_a_cover_in_each_quarter() -> None:
    questions = landform_questions("tile", count_covers(_quarters(WATER, WATER, ROAD, BUILDING)))
    assert [(question.question, question.answer) for question in questions] == [
        ("Which land cover takes up the largest area?", "water"),
        ("List every land cover that occurs here.", "building, water, road"),
        ("Which land cover dominates the top-left quarter?", "water"),
        ("Which land cover dominates the top-right quarter?", "water"),
        ("Which land cover dominates the bottom-left quarter?", "road"),
        ("Which land cover dominates the bottom-right quarter?", "building"),
    ]
    assert questions[1].answer_set == ("building", "water", "road")
    assert questions[2].question_id == "tile#vqa_reg_land/top-left"
    assert questions[2].meta == {"form": 0, "quadrant": "top-left", "ambiguous": False}
    assert questions[0].meta == {"form": 0, "ambiguous": False}


def test_unlabelled_pixels_never_answer() -> None:
    labels = np.full((20, 20), UNLABELLED, dtype=np.uint8)
    labels[0, 0] = ROAD
    assert _asked(labels) == {"i#vqa_main_land": "road", "i#vqa_all_land": "road", "i#vqa_reg_land/top-left": "road"}


def test_a_tile_without_labels_is_not_asked_about() -> None:
    assert _asked(np.full((20, 20), UNLABELLED, dtype=np.uint8)) == {}


def test_a_tie_goes_to_the_earlier_name_and_is_flagged() -> None:
    questions = landform_questions("i", count_covers(_quarters(ROAD, VEGETATION, ROAD, VEGETATION)))
    assert (questions[0].answer, questions[0].meta["ambiguous"]) == ("vegetation", True)
    assert not any(question.meta["ambiguous"] for question in questions[2:]), "the quarters are clear"


def test_a_margin_leaves_close_calls_out() -> None:
    tied = count_covers(_quarters(ROAD, VEGETATION, ROAD, VEGETATION))
    tasks = [question.task for question in landform_questions("i", tied, min_margin=SYNTHETIC_MIN_MARGIN)]
    assert tasks == ["vqa_all_land", *["vqa_reg_land"] * 4]


@pytest.mark.parametrize(("lead", "asked"), [(4, False), (5, True), (6, True)])
def test_a_lead_of_exactly_the_margin_is_asked(lead: int, asked: bool) -> None:
    # 100 labelled pixels, first and second and a rest of one or two that makes the sum; unlabelled ones do not count.
    rest = lead % 2
    second = (100 - rest - lead) // 2
    counts = CoverCounts((second + lead, second, rest, 0), 1000)
    tile = TileCounts(counts, dict.fromkeys(QUADRANTS, CoverCounts((0, 0, 0, 0), 250)))
    found = [question.task for question in landform_questions("i", tile, min_margin=0.05)]
    assert ("vqa_main_land" in found) == asked


@pytest.mark.parametrize(("labelled", "asked"), [(3, False), (4, True)])
def test_a_quarter_needs_one_per_cent_labelled(labelled: int, asked: bool) -> None:
    labels = _quarters(UNLABELLED, WATER, WATER, WATER, side=20)
    labels[0, :labelled] = ROAD
    assert ("i#vqa_reg_land/top-left" in _asked(labels)) == asked
    assert MIN_LABELLED == 0.01, "4 of 400 pixels"


@pytest.mark.parametrize(("pixels", "seen"), [(9, False), (10, True)])
def test_a_cover_is_present_from_a_thousandth_of_the_tile(pixels: int, seen: bool) -> None:
    counts = CoverCounts((0, 3000, 0, pixels), 10_000)
    assert ("road" in present(counts)) == seen
    assert MIN_SHARE == 0.001


def test_without_a_smallest_share_one_pixel_is_enough_and_none_is_not() -> None:
    assert present(CoverCounts((1, 0, 0, 5), 10**9), min_share=0.0) == ("building", "road")


def test_the_share_is_of_the_whole_tile_and_not_of_its_labelled_part() -> None:
    assert present(CoverCounts((0, 0, 5, 0), 10_000)) == ()
    assert present(CoverCounts((0, 0, 5, 0), 5_000)) == ("water",)


def test_margins_are_of_the_labelled_part() -> None:
    assert largest(CoverCounts((6, 4, 0, 0), 1000)) == ("building", False, Fraction(1, 5))
    assert largest(CoverCounts((0, 0, 0, 0), 1000)) is None


def test_the_middle_of_an_odd_side_belongs_to_the_right_and_the_bottom() -> None:
    labels = np.full((3, 5), UNLABELLED, dtype=np.uint8)
    labels[1, 2] = WATER
    counts = count_covers(labels)
    assert counts.quadrants["bottom-right"].covers == (0, 0, 1, 0)
    assert [counts.quadrants[name].total for name in QUADRANTS] == [2, 3, 4, 6]


@settings(deadline=None)
@given(label_images)
def test_counts_are_those_of_a_loop_over_pixel_centres(labels: Labels) -> None:
    height, width = labels.shape
    counts = count_covers(labels)
    expected = {name: [0, 0, 0, 0, 0] for name in QUADRANTS}
    for row in range(height):
        for column in range(width):
            place = expected[quadrant(Point(column + 0.5, row + 0.5), Size(width, height))]
            place[4] += 1
            if labels[row, column] != UNLABELLED:
                place[labels[row, column]] += 1
    assert {name: [*place.covers, place.total] for name, place in counts.quadrants.items()} == expected
    assert [*counts.tile.covers, counts.tile.total] == [sum(column) for column in zip(*expected.values(), strict=True)]


@settings(deadline=None)
@given(label_images)
def test_answers_follow_from_the_pixels(labels: Labels) -> None:
    asked = _asked(labels, min_share=0.0)
    sizes = [int((labels == cover).sum()) for cover in range(4)]
    if max(sizes):
        assert asked["i#vqa_main_land"] == LAND_COVERS[int(np.argmax(sizes))]
        there = [name for name, size in zip(LAND_COVERS, sizes, strict=True) if size]
        assert asked["i#vqa_all_land"] == ", ".join(there)
    else:
        assert asked == {}


@settings(deadline=None)
@given(label_images)
def test_mirroring_the_tile_mirrors_the_quarters_alone(labels: Labels) -> None:
    if labels.shape[1] % 2 == 0:
        mirrored = _asked(np.ascontiguousarray(labels[:, ::-1]))
        left_right = {"left": "right", "right": "left"}
        expected = {}
        for name, answer in _asked(labels).items():
            head, dash, side = name.rpartition("-")
            expected[f"{head}{dash}{left_right.get(side, side)}"] = answer
        assert mirrored == expected


def test_every_question_about_land_fits_thirty_five_pieces() -> None:
    questions = landform_questions("i", count_covers(_quarters(0, 1, 2, 3)), paraphrases=True)
    assert len(questions) == 18
    assert len({question.question_id for question in questions}) == 18
    assert max(word_pieces_at_most(question.question) for question in questions) <= LONGEST_QUESTION


def test_an_id_that_is_no_land_cover_is_refused() -> None:
    with pytest.raises(CheckError, match="the id 4") as caught:
        count_covers(_quarters(0, 1, 2, 4))
    assert "255" in caught.value.way_out


@pytest.mark.parametrize("labels", [np.zeros((2, 2, 1), np.uint8), np.zeros((2, 2), np.int64)])
def test_labels_of_another_form_are_refused(labels: Labels) -> None:
    with pytest.raises(CheckError, match="labels of"):
        count_covers(labels)
