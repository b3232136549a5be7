"""Airports and the wishes they fulfil: where the aircraft stand, what lies around them, how evenly all is dealt."""

from __future__ import annotations

import math
import time
from collections import Counter
from functools import cache

import numpy as np
import pytest

from tasks.sarworld.draws import Draws
from tasks.sarworld.ground import COVERS, Layout, Target, grid_shape, polygon_pixels, rasterise
from tasks.sarworld.places.airport import airport
from tasks.sarworld.plan import FUSAR_AIR_CLASSES
from tasks.sarworld.targets.body import ground_box, ground_plan
from tasks.sarworld.targets.setting import SURROUNDINGS, arrangement_of
from tasks.sarworld.targets.wishes import Group, target_wish
from tasks.sarworld.truth import AIRCRAFT_CONTEXTS, LANDFORMS

TYPES = ("A220", "A320321", "A330", "ARJ21", "Boeing737", "Boeing787", "other")
SMALL, LARGE = (256.0, 256.0), (512.0, 512.0)


@cache
def layouts(extent: tuple[float, float], count: int, classes: tuple[str, ...] = TYPES) -> tuple[Layout, ...]:
    """Airports by the wishes of the first images of a data set."""
    return tuple(layout(number, extent, classes) for number in range(count))


def layout(number: int, extent: tuple[float, float], classes: tuple[str, ...] = TYPES) -> Layout:
    scene = f"test/{number}"
    wish = target_wish(0, "test", number, extent, classes)
    return airport(scene, Draws(0, scene).generator("layout"), extent, wish)


def cell_of(target: Target, extent: tuple[float, float]) -> int:
    left, low, right, high = ground_box(target)
    column = math.floor(3 * ((left + right) / 2 / extent[1] + 0.5))
    row = math.floor(3 * ((low + high) / 2 / extent[0] + 0.5))
    return 3 * row + column + 1


def quadrant_of(target: Target) -> tuple[bool, bool]:
    left, low, right, high = ground_box(target)
    return left + right < 0, low + high < 0


def shares(counts: Counter[int]) -> dict[int, float]:
    return {key: 100 * value / counts.total() for key, value in counts.items()}


@pytest.mark.parametrize("extent", [SMALL, LARGE, (300.0, 700.0)])
def test_every_wished_aircraft_is_there(extent: tuple[float, float]) -> None:
    for number, found in enumerate(layouts(extent, 60)):
        wished = Counter(name for group in target_wish(0, "test", number, extent, TYPES) for name in group.types)
        assert Counter(target.type for target in found.targets) == wished


@pytest.mark.parametrize(("extent", "share"), [(SMALL, 0.97), (LARGE, 0.995), ((300.0, 700.0), 0.98)])
def test_aircraft_stand_in_their_cells(extent: tuple[float, float], share: float) -> None:
    there = total = 0
    for number, found in enumerate(layouts(extent, 60)):
        wish = target_wish(0, "test", number, extent, TYPES)
        wished = Counter({group.cell: len(group.types) for group in wish})
        there += (Counter(cell_of(target, extent) for target in found.targets) & wished).total()
        total += wished.total()
    assert there / total >= share


@pytest.mark.parametrize("classes", [TYPES, FUSAR_AIR_CLASSES])
def test_no_two_aircraft_touch_and_none_leaves_the_ground(classes: tuple[str, ...]) -> None:
    for found in layouts(SMALL, 60, classes):
        owned = np.zeros(grid_shape(SMALL, 0.5), dtype=bool)
        for target in found.targets:
            body = np.zeros_like(owned)
            for outline in ground_plan(target):
                assert (np.abs(outline) <= 128.0).all()
                body[polygon_pixels(outline, (owned.shape[0], owned.shape[1]), 0.5)] = True
            assert not (owned & body).any()
            owned |= body


def test_buildings_stand_clear_of_aircraft() -> None:
    for found in layouts(LARGE, 60):
        shape = grid_shape(LARGE, 1.0)
        built = np.zeros(shape, dtype=bool)
        for building in found.buildings:
            built[polygon_pixels(building.corners(), shape, 1.0)] = True
        for target in found.targets:
            for outline in ground_plan(target):
                assert not built[polygon_pixels(outline, shape, 1.0)].any()


def test_aircraft_stand_on_the_ground_that_their_context_names() -> None:
    # Of a runway or taxiway the wings may reach over the grass.
    expected = {"apron": "tarmac", "runway": "tarmac", "grass": "grass"}
    seen = set()
    for found in layouts(LARGE, 100):
        cover = rasterise(found, grid_shape(LARGE, 2.0), 2.0).cover
        for target in found.targets:
            row, column = round(target.y / 2 + 127.5), round(target.x / 2 + 127.5)
            assert COVERS[cover[row, column]] == expected[target.context]
            seen.add(target.context)
    assert seen == set(AIRCRAFT_CONTEXTS)


def test_aircraft_of_a_group_stand_in_line_and_airports_are_turned_anyhow() -> None:
    groups = [Group(5, ("Boeing737",) * 4)]
    rows, directions = 0, 0.0
    axes = []
    for number in range(60):
        found = airport("row", np.random.default_rng(number), LARGE, groups)
        rows += found.facts.arrangement in ("row", "cluster")
        headings = np.array([target.heading for target in found.targets])
        directions += float(abs(np.mean(np.exp(4j * headings))) > 0.9)  # one axis, quarter turns apart
        axes.append(headings[0])
    assert rows >= 58
    assert directions >= 50
    eighths = Counter(int(axis // (math.pi / 4)) for axis in axes)
    assert len(eighths) == 8
    assert max(eighths.values()) <= 20


def test_the_heading_of_a_site_turns_its_runways() -> None:
    for seed in range(5):
        found = airport("site", np.random.default_rng(seed), LARGE, [Group(5, ("A330",))], heading=0.4)
        for patch in found.patches:
            if patch.role in ("runway", "taxiway"):
                edge = patch.corners[1] - patch.corners[0]
                turn = (math.atan2(edge[1], edge[0]) - 0.4) % (math.pi / 2)
                assert min(turn, math.pi / 2 - turn) < 1e-6


def test_the_same_draws_make_the_same_airport() -> None:
    one, other = layout(13, LARGE), layout(13, LARGE)
    assert one.targets == other.targets
    assert one.buildings == other.buildings
    assert one.facts == other.facts
    assert all(np.array_equal(a.corners, b.corners) for a, b in zip(one.patches, other.patches, strict=True))
    assert np.array_equal(one.fixtures.x, other.fixtures.x)


def test_facts_are_what_the_ground_shows() -> None:
    said = Counter[str]()
    for found in layouts(LARGE, 60):
        facts, cover = found.facts, rasterise(found, grid_shape(LARGE, 2.0), 2.0).cover
        shown = {COVERS[index] for index in np.unique(cover)}
        named = set(facts.surroundings)
        said.update(named)
        for name in ("woodland", "farmland", "grass"):
            assert name not in named or name in shown
        assert not named & {"apron", "runway", "taxiway"} or "tarmac" in shown
        assert ("terminal" in named) <= (facts.buildings > 0)
        assert facts.buildings == len(found.buildings)
        assert facts.roads == sum(patch.role == "road" for patch in found.patches)
        assert facts.arrangement == arrangement_of(found.targets)
        assert facts.landform in LANDFORMS
        assert list(facts.surroundings) == sorted(facts.surroundings, key=SURROUNDINGS.index)
    assert {"apron", "runway", "taxiway", "grass", "terminal", "woodland"} <= set(said)


def test_fixtures_and_patches_are_finite_and_fixtures_lie_on_the_ground() -> None:
    for found in layouts(LARGE, 60):
        assert all(np.isfinite(patch.corners).all() for patch in found.patches)
        assert (np.abs(found.fixtures.x) <= 256).all()
        assert (np.abs(found.fixtures.y) <= 256).all()
        assert len(found.fixtures) > 0


def row_of(count: int, step: float) -> list[Target]:
    return [Target("aircraft", "A220", step * number, 0.0, 1.0, 38.7, 35.1, "apron") for number in range(count)]


def test_arrangements_are_called_by_their_names() -> None:
    def square(step: float) -> list[Target]:
        moved = [Target("aircraft", "A220", t.x, step, 1.0, 38.7, 35.1, "apron") for t in row_of(2, step)]
        return [*row_of(2, step), *moved]

    assert arrangement_of([]) == "none"
    assert arrangement_of(row_of(1, 0)) == "single"
    assert arrangement_of(row_of(2, 45)) == "pair"
    assert arrangement_of(row_of(2, 200)) == "scattered"
    assert arrangement_of(row_of(5, 45)) == "row"
    assert arrangement_of(square(50)) == "cluster"
    assert arrangement_of([*row_of(3, 45), *row_of(5, 100)[-1:]]) == "scattered"


class TestBalance:
    """Section 14.6, counted on layouts."""

    COUNT = 400

    def test_counts_are_even_and_one_image_in_ten_is_empty(self) -> None:
        for extent in (SMALL, LARGE):
            for count in (20, 24, 30, self.COUNT):
                counts = Counter(len(found.targets) for found in layouts(extent, self.COUNT)[:count])
                answers = shares(counts)
                assert max(answers.values()) <= 30
                assert 7 <= answers[0] <= 13
                assert set(range(9)) <= set(counts)
            for number in range(1, 9):
                assert 8 <= answers[number] <= 15
            assert max(len(found.targets) for found in layouts(SMALL, self.COUNT)) == 8
        assert 9 <= max(len(found.targets) for found in layouts(LARGE, self.COUNT)) <= 12

    @pytest.mark.parametrize("extent", [SMALL, LARGE])
    def test_cells_are_equally_likely(self, extent: tuple[float, float]) -> None:
        found = Counter(cell_of(t, extent) for one in layouts(extent, self.COUNT) for t in one.targets)
        assert all(abs(share - 100 / 9) <= 3 for share in shares(found).values())
        assert len(found) == 9

    @pytest.mark.parametrize("extent", [SMALL, LARGE])
    @pytest.mark.parametrize("count", [20, 30, COUNT])
    def test_targets_lie_in_two_or_more_cells_often_enough(self, extent: tuple[float, float], count: int) -> None:
        spread = [len({cell_of(t, extent) for t in one.targets}) > 1 for one in layouts(extent, self.COUNT)[:count]]
        assert np.mean(spread) >= 0.4

    @pytest.mark.parametrize("extent", [SMALL, LARGE])
    def test_most_images_can_be_told_by_count_types_and_quadrants(self, extent: tuple[float, float]) -> None:
        told = Counter(
            tuple(sorted((t.type, *quadrant_of(t)) for t in one.targets)) for one in layouts(extent, self.COUNT)
        )
        assert sum(count == 1 for count in told.values()) / self.COUNT >= 0.7

    @pytest.mark.parametrize("extent", [SMALL, LARGE])
    def test_types_are_balanced(self, extent: tuple[float, float]) -> None:
        found = Counter(t.type for one in layouts(extent, self.COUNT) for t in one.targets)
        assert max(found.values()) <= 1.3 * min(found.values())


def test_more_images_leave_the_wishes_of_the_first_as_they_are() -> None:
    few = [target_wish(3, "some", number, LARGE, TYPES) for number in range(12)]
    many = [target_wish(3, "some", number, LARGE, TYPES) for number in reversed(range(50))]
    assert few == many[::-1][:12]
    assert few != [target_wish(4, "some", number, LARGE, TYPES) for number in range(12)]
    assert few != [target_wish(3, "other", number, LARGE, TYPES) for number in range(12)]


def test_counts_stay_balanced_where_every_image_has_its_own_ground() -> None:
    rng = np.random.default_rng(0)
    grounds = [(float(height), float(width)) for height, width in rng.integers(224, 900, (100, 2))]
    wishes = [target_wish(0, "uneven", number, extent, TYPES) for number, extent in enumerate(grounds)]
    counts = Counter(sum(len(group.types) for group in wish) for wish in wishes)
    assert counts[0] == 10
    assert all(10 <= counts[number] <= 20 for number in range(1, 9))


def test_an_airport_takes_less_than_twenty_milliseconds() -> None:
    layout(0, LARGE)  # imports
    began = time.process_time()
    for number in range(20):
        layout(number, LARGE)
    assert (time.process_time() - began) / 20 < 0.02
