"""Sea and ports: where the ships are, that they are afloat, what lies around them."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import numpy as np
import pytest

from tasks.sarworld.draws import Draws
from tasks.sarworld.ground import COVERS, Layout, Target, grid_shape, polygon_pixels, rasterise
from tasks.sarworld.places.port import port
from tasks.sarworld.plan import FUSAR_SHIP_CLASSES
from tasks.sarworld.targets.body import ground_box, ground_plan
from tasks.sarworld.targets.setting import arrangement_of
from tasks.sarworld.targets.wishes import Group, target_wish
from tasks.sarworld.truth import SHIP_CONTEXTS

SMALL, LARGE = (576.0, 576.0), (1152.0, 1152.0)
WATER = (COVERS.index("water"), COVERS.index("sea"))


def layout(number: int, extent: tuple[float, float]) -> Layout:
    scene = f"test/{number}"
    wish = target_wish(0, "test", number, extent, FUSAR_SHIP_CLASSES)
    return port(scene, Draws(0, scene).generator("layout"), extent, wish)


@cache
def layouts(extent: tuple[float, float], count: int) -> tuple[Layout, ...]:
    """Ports by the wishes of the first images of a data set."""
    return tuple(layout(number, extent) for number in range(count))


def cell_of(target: Target, extent: tuple[float, float]) -> int:
    left, low, right, high = ground_box(target)
    column = math.floor(3 * ((left + right) / 2 / extent[1] + 0.5))
    row = math.floor(3 * ((low + high) / 2 / extent[0] + 0.5))
    return 3 * row + column + 1


@pytest.mark.parametrize("extent", [SMALL, LARGE])
def test_every_wished_ship_is_there_and_in_its_cell(extent: tuple[float, float]) -> None:
    astray = total = 0
    for number, found in enumerate(layouts(extent, 80)):
        wish = target_wish(0, "test", number, extent, FUSAR_SHIP_CLASSES)
        assert Counter(t.type for t in found.targets) == Counter(name for group in wish for name in group.types)
        wished = Counter({group.cell: len(group.types) for group in wish})
        astray += (wished - Counter(cell_of(target, extent) for target in found.targets)).total()
        total += wished.total()
    assert astray / total <= 0.005


@pytest.mark.parametrize("extent", [SMALL, LARGE])
def test_no_two_ships_touch_and_none_leaves_the_ground_or_runs_ashore(extent: tuple[float, float]) -> None:
    for found in layouts(extent, 80):
        shape = grid_shape(extent, 1.0)
        cover = rasterise(found, shape, 1.0).cover
        owned = np.zeros(shape, dtype=bool)
        for target in found.targets:
            (outline,) = ground_plan(target)
            assert (np.abs(outline) <= extent[0] / 2).all()
            inside = polygon_pixels(outline, shape, 1.0)
            assert not owned[inside].any()
            owned[inside] = True
            assert np.isin(cover[inside], WATER).all()


def test_ships_at_the_quay_lie_along_it_and_nobody_else_near_it() -> None:
    moored = 0
    for found in layouts(SMALL, 80):
        edges = [patch.corners for patch in found.patches if patch.role == "quay"]
        for target in found.targets:
            if target.context != "quay":
                assert target.context in SHIP_CONTEXTS
                continue
            moored += 1
            along = edges[0][1] - edges[0][0]
            turn = (math.atan2(along[1], along[0]) - target.heading) % (math.pi / 2)
            assert min(turn, math.pi / 2 - turn) < 0.06
    assert moored >= 20


def test_ships_at_anchor_swing_with_the_wind_and_do_not_move() -> None:
    groups = [Group(5, ("Tug",) * 5)]
    found = [port("sea", np.random.default_rng(seed), LARGE, groups) for seed in range(40)]
    at_sea = [one for one in found if "quay" not in one.facts.surroundings]
    anchored = [one for one in at_sea if {t.context for t in one.targets} == {"anchorage"}]
    assert len(anchored) >= 5
    for one in anchored:
        headings = np.array([target.heading for target in one.targets])
        assert abs(np.mean(np.exp(1j * headings))) > 0.95
        assert not any(target.moving_m for target in one.targets)


def test_ships_in_a_harbour_are_not_said_to_be_in_open_sea() -> None:
    seen = Counter[tuple[str, str]]()
    for found in layouts(SMALL, 80):
        cover = rasterise(found, grid_shape(SMALL, 1.0), 1.0).cover
        harbour = any(patch.role == "quay" for patch in found.patches)
        for target in found.targets:
            if harbour:
                under = COVERS[cover[round(target.y + 287.5), round(target.x + 287.5)]]
                seen[target.context, under] += 1
    assert seen["open sea", "water"] == 0
    assert seen["open sea", "sea"] > 0
    assert seen["quay", "water"] > 20


def test_some_ships_in_open_sea_are_under_way_and_draw_a_wake() -> None:
    every = [(t, one) for one in layouts(SMALL, 80) for t in one.targets if t.context == "open sea"]
    moving = [one for target, one in every if target.moving_m > 0]
    assert 0.15 < len(moving) / len(every) < 0.4
    assert any(patch.role == "wake" for one in moving for patch in one.patches)


def test_facts_are_what_the_ground_shows() -> None:
    said = Counter[str]()
    for found in layouts(SMALL, 80):
        cover = rasterise(found, grid_shape(SMALL, 2.0), 2.0).cover
        shown = {COVERS[index] for index in np.unique(cover)}
        named = set(found.facts.surroundings)
        said.update(named)
        assert ("calm water" in named) == (np.mean(cover == WATER[0]) > 0.01) or np.mean(cover == WATER[0]) < 0.02
        assert ("swell" in named) <= ("sea" in shown and found.swell is not None)
        assert ("quay" in named) <= ("tarmac" in shown)
        assert ("cranes" in named) <= ("quay" in {patch.role for patch in found.patches})
        assert found.facts.buildings == len(found.buildings)
        assert found.facts.arrangement == arrangement_of(found.targets)
        assert found.facts.water == "sea"
        assert found.facts.landform == "coastal"
    assert {"calm water", "swell", "quay", "cranes", "breakwater", "buildings"} <= set(said)


def test_contexts_and_headings_are_of_all_kinds() -> None:
    every = [target for one in layouts(SMALL, 80) for target in one.targets]
    contexts = Counter(target.context for target in every)
    assert min(contexts[name] for name in SHIP_CONTEXTS) >= 0.08 * len(every)
    eighths = Counter(int(target.heading // (math.pi / 4)) for target in every)
    assert max(eighths.values()) <= 0.25 * len(every)


def test_cells_counts_and_types_are_balanced() -> None:
    found = layouts(SMALL, 400)
    cells = Counter(cell_of(target, SMALL) for one in found for target in one.targets)
    assert all(abs(100 * count / cells.total() - 100 / 9) <= 3 for count in cells.values())
    counts = Counter(len(one.targets) for one in found)
    assert max(counts.values()) <= 0.3 * len(found)
    assert counts[0] == 40
    types = Counter(target.type for one in found for target in one.targets)
    assert max(types.values()) <= 1.3 * min(types.values())
    assert np.mean([len({cell_of(t, SMALL) for t in one.targets}) > 1 for one in found]) >= 0.4


def test_the_same_draws_make_the_same_port() -> None:
    one, other = layout(11, LARGE), layout(11, LARGE)
    assert one.targets == other.targets
    assert one.buildings == other.buildings
    assert one.facts == other.facts
    assert np.array_equal(one.fixtures.rcs_db, other.fixtures.rcs_db)


def test_patches_are_finite_and_fixtures_lie_on_the_ground() -> None:
    for found in layouts(SMALL, 80):
        assert all(np.isfinite(patch.corners).all() for patch in found.patches)
        assert (np.abs(found.fixtures.x) <= SMALL[1] / 2).all()
        assert (np.abs(found.fixtures.y) <= SMALL[0] / 2).all()
