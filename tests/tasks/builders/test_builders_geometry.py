"""Quadrants and cells of section 6.1: borders, ties, exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import CheckError
from tasks.builders.geometry import CELLS, QUADRANTS, Box, Point, Size, cell, closer_than, quadrant, tenths

SQUARE = Size(300, 300)

sides = st.integers(1, 5000)


@pytest.mark.parametrize(
    ("point", "expected"),
    [((99.9, 10), 1), ((100, 10), 2), ((299.9, 299.9), 9), ((150, 150), 5)],
)
def test_the_cells_that_the_specification_gives(point: tuple[float, float], expected: int) -> None:
    assert cell(Point(*point), SQUARE) == expected


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0, 0), "top-left"),
        ((149.9, 149.9), "top-left"),
        ((150, 149.9), "top-right"),
        ((149.9, 150), "bottom-left"),
        ((150, 150), "bottom-right"),  # given by the specification
        ((300, 300), "bottom-right"),
    ],
)
def test_the_middle_lines_belong_to_the_right_and_the_bottom(point: tuple[float, float], expected: str) -> None:
    assert quadrant(Point(*point), SQUARE) == expected


def test_cells_are_numbered_row_by_row_and_the_far_edges_belong_to_the_last() -> None:
    centres = [Point(50 + 100 * column, 50 + 100 * row) for row in range(3) for column in range(3)]
    assert [cell(point, SQUARE) for point in centres] == list(range(1, CELLS + 1))
    assert cell(Point(300, 0), SQUARE) == 3
    assert cell(Point(0, 300), SQUARE) == 7


def test_a_wide_image_is_divided_by_its_own_sides() -> None:
    assert cell(Point(299, 99), Size(900, 100)) == 3 * 2 + 0 + 1
    assert quadrant(Point(299, 99), Size(900, 100)) == "bottom-left"


@settings(deadline=None)
@given(sides, sides, st.data())
def test_integer_pixels_are_placed_as_whole_number_division_says(width: int, height: int, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, width)), data.draw(st.integers(0, height))
    assert cell(Point(x, y), Size(width, height)) == 3 * min(2, 3 * y // height) + min(2, 3 * x // width) + 1
    row, column = min(1, 2 * y // height), min(1, 2 * x // width)
    assert quadrant(Point(x, y), Size(width, height)) == QUADRANTS[2 * row + column]


@settings(deadline=None)
@given(sides, st.floats(0, 1))
def test_any_centre_is_placed_by_its_exact_value(width: int, part: float) -> None:
    x = min(float(width), part * width)
    assert cell(Point(x, 0), Size(width, 1)) == min(2, int(Fraction(x) * 3 / width)) + 1


def test_the_number_just_below_a_border_stays_below_it() -> None:
    below = 1.6666666666666665
    assert Fraction(below) < Fraction(5, 3)
    assert math.floor(3 * below / 5) == 1, "rounded arithmetic would move it into the next cell"
    assert cell(Point(below, 0), Size(5, 5)) == 1


@settings(deadline=None)
@given(sides, sides, st.data())
def test_turning_the_image_by_half_turns_the_places(width: int, height: int, data: st.DataObject) -> None:
    x = data.draw(st.floats(0, width).filter(lambda value: all(value * n % width for n in (2, 3))))
    y = data.draw(st.floats(0, height).filter(lambda value: all(value * n % height for n in (2, 3))))
    size, turned = Size(width, height), Point(width - x, height - y)
    if Fraction(turned.x) == width - Fraction(x) and Fraction(turned.y) == height - Fraction(y):
        assert cell(turned, size) == 10 - cell(Point(x, y), size)
        assert QUADRANTS.index(quadrant(turned, size)) == 3 - QUADRANTS.index(quadrant(Point(x, y), size))


def test_a_box_is_where_its_centre_is() -> None:
    assert Box(90, 10, 21, 4).centre == Point(100.5, 12)


@pytest.mark.parametrize("point", [(-0.1, 5), (5, -1), (300.1, 5), (5, 301), (math.nan, 5), (5, math.inf)])
def test_a_centre_outside_the_image_is_refused_with_the_way_out(point: tuple[float, float]) -> None:
    for place in (cell, quadrant):
        with pytest.raises(CheckError, match="outside the image") as caught:
            place(Point(*point), SQUARE)
        assert "clip" in caught.value.way_out


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(CheckError, match="0 x 5"):
        cell(Point(0, 0), Size(0, 5))


@pytest.mark.parametrize(
    ("value", "whole", "parts", "text"),
    [
        (150, 300, 100, "50.0"),
        (1, 3, 100, "33.3"),
        (2, 3, 100, "66.7"),
        (1, 2000, 100, "0.1"),  # 0.05 rounds up
        (3, 2000, 100, "0.2"),  # 0.15, which is below that as a float
        (0, 7, 100, "0.0"),
        (7, 7, 100, "100.0"),
        (12.25, 1, 1, "12.3"),
    ],
)
def test_coordinates_have_one_decimal_rounded_half_up(value: float, whole: int, parts: int, text: str) -> None:
    assert tenths(value, whole, parts) == text


@settings(deadline=None)
@given(sides, st.floats(0, 1))
def test_coordinates_are_within_half_a_tenth(width: int, part: float) -> None:
    x = min(float(width), part * width)
    error = Fraction(tenths(x, width, 100)) - Fraction(x) * 100 / width
    assert -Fraction(1, 20) < error <= Fraction(1, 20)


def test_distance_is_measured_in_per_cent_of_both_sides() -> None:
    size = Size(100, 1000)
    assert closer_than(Point(50, 500), Point(51.5, 500), size, 2)
    assert not closer_than(Point(50, 500), Point(52, 500), size, 2), "two per cent are not closer than two per cent"
    assert closer_than(Point(50, 500), Point(50, 519), size, 2)
    assert not closer_than(Point(50, 500), Point(50, 520), size, 2)
    assert not closer_than(Point(50, 500), Point(51.5, 515), size, 2)
