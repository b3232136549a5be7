"""Aircraft and ships: dimensions, what scatters where, how they are put on the ground (section 14.3)."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import pytest

from foundation.errors import UsageError
from tasks.sarworld.ground import Target
from tasks.sarworld.plan import (
    FUSAR_AIR_CLASSES,
    FUSAR_SHIP_CLASSES,
    FUSAR_SHIP_TINY,
    GRIDS,
    SAR_ACD_CLASSES,
    SAR_AIRCRAFT_CLASSES,
)
from tasks.sarworld.targets import plan as plans
from tasks.sarworld.targets.aircraft import (
    AIRCRAFT_TYPES,
    FUSAR_AIR_TYPES,
    OTHER,
    SAR_ACD_TYPES,
    aircraft_plan,
    airframe,
    member,
)
from tasks.sarworld.targets.body import body_plan, draw_size, ground_box, ground_plan, is_aircraft
from tasks.sarworld.targets.plan import Placed, Plan, View, placed
from tasks.sarworld.targets.ships import SHIP_TYPES, draw_dimensions, ship_plan

FROM_LEFT = View(look=1, incidence_deg=45.0)
U, V, Z, RCS_DB = range(4)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """No loss, no jitter, no glints, no wandering: what remains is geometry."""
    monkeypatch.setattr(plans, "LOSS_PROBABILITY", 0.0)
    monkeypatch.setattr(plans, "JITTER_DB", 0.0)
    monkeypatch.setattr(plans, "GLINT_PROBABILITY", 0.0)
    monkeypatch.setattr(plans, "WANDER_M", 0.0)


def put(plan: Plan, heading: float = 0.0, view: View = FROM_LEFT, seed: int = 0) -> Placed:
    return placed(plan, np.random.default_rng(seed), heading, view)


def test_types_are_the_classes_of_the_data_sets() -> None:
    assert sorted(SAR_ACD_TYPES) == sorted(SAR_ACD_CLASSES)
    assert sorted(FUSAR_AIR_TYPES) == sorted(FUSAR_AIR_CLASSES)
    assert sorted(SHIP_TYPES) == sorted(FUSAR_SHIP_CLASSES + FUSAR_SHIP_TINY)


@pytest.mark.parametrize("name", [*SAR_ACD_TYPES, *FUSAR_AIR_TYPES])
def test_outline_of_an_aircraft_has_its_length_and_span(name: str) -> None:
    frame = airframe(name)
    left, low, right, high = put(aircraft_plan(frame)).box()
    assert right - left == pytest.approx(frame.length, abs=0.5)
    assert high - low == pytest.approx(frame.span, abs=0.5)


@pytest.mark.parametrize("name", [*SAR_ACD_TYPES, *FUSAR_AIR_TYPES])
def test_aircraft_are_symmetric_and_their_points_lie_on_them(name: str) -> None:
    frame = airframe(name)
    rows = aircraft_plan(frame).rows()
    points = {(round(u, 6), round(v, 6)) for u, v in rows[:, :2]}
    assert all((u, round(-v, 6)) in points for u, v in points)
    assert np.abs(rows[:, U]).max() <= frame.length / 2 + frame.boom + 1.0
    assert np.abs(rows[:, V]).max() <= frame.span / 2 + 1e-9


def test_other_aircraft_are_of_several_shapes_that_length_and_span_tell_apart() -> None:
    assert set(SAR_AIRCRAFT_CLASSES) - {"A320/321"} <= set(AIRCRAFT_TYPES)
    rng = np.random.default_rng(0)
    members = [member(OTHER, rng) for _ in range(200)]
    propellers = {frame.propellers for frame in members}
    engines = {frame.engines for frame in members}
    assert propellers == {True, False}
    assert len(engines) >= 4
    for frame in members:  # a layout keeps the size alone, and the shape comes back from it
        kept = dataclasses.replace(airframe(OTHER), length=frame.length, span=frame.span)
        assert np.array_equal(aircraft_plan(kept).rows(), aircraft_plan(frame).rows())


@pytest.mark.parametrize("name", ["A330", "fighter", OTHER, "Cargo", "Tug"])
def test_the_ground_plan_of_a_target_is_the_outline_of_what_is_rendered(name: str) -> None:
    length, width = draw_size(name, np.random.default_rng(2))
    kind: Literal["aircraft", "ship"] = "aircraft" if is_aircraft(name) else "ship"
    target = Target(kind, name, 30.0, -20.0, 2.2, length, width, "apron")
    shown = placed(body_plan(name, length, width), np.random.default_rng(0), 2.2, FROM_LEFT).shifted(30.0, -20.0)
    assert all(np.allclose(a, b) for a, b in zip(ground_plan(target), shown.outlines, strict=True))
    assert ground_box(target) == pytest.approx(shown.box())


def test_scattering_centres_wander_about_their_places_on_the_plan() -> None:
    plan = Plan()
    for _ in range(5000):
        plan.point(3.0, 4.0, 0.0)
    points = put(plan).scatterers
    assert points.x.mean() == pytest.approx(3.0, abs=0.05)
    assert points.y.std() == pytest.approx(plans.WANDER_M, rel=0.1)


def test_engines_hang_under_the_wings_or_at_the_tail() -> None:
    rear, wing = airframe("ARJ21"), airframe("A320321")
    brightest = {frame.name: aircraft_plan(frame).rows() for frame in (rear, wing)}
    engines = {name: rows[rows[:, RCS_DB] >= rows[:, RCS_DB].max() - 0.1] for name, rows in brightest.items()}
    assert (engines["ARJ21"][:, U] < -0.2 * rear.length).all()
    assert (engines["A320321"][:, U] > -0.1 * wing.length).all()
    assert (np.abs(engines["A320321"][:, V]) > 0.25 * wing.span / 2).all()


def test_real_types_have_one_size_and_fictional_classes_vary() -> None:
    rng = np.random.default_rng(0)
    assert len({member("A330", rng).length for _ in range(5)}) == 1
    lengths = [member("wide_civil", rng).length for _ in range(200)]
    assert 0.04 < np.std(lengths) / np.mean(lengths) < 0.08


@pytest.mark.parametrize("name", SHIP_TYPES)
def test_ships_keep_within_the_sizes_of_their_type_and_points_on_board(name: str) -> None:
    rng = np.random.default_rng(0)
    kind = SHIP_TYPES[name]
    for _ in range(50):
        size = draw_dimensions(name, rng)
        assert kind.length[0] <= size.length <= kind.length[1]
        assert kind.beam[0] <= size.beam <= kind.beam[1]
    rows = ship_plan(name, size).rows()
    assert np.abs(rows[:, U]).max() <= size.length / 2 + 1e-9
    assert np.abs(rows[:, V]).max() <= 0.61 * size.beam  # the arm of a dredger reaches overboard
    left, low, right, high = put(ship_plan(name, size)).box()
    assert (right - left, high - low) == pytest.approx((size.length, size.beam))


def test_cargo_ships_and_tankers_carry_the_bridge_aft() -> None:
    for name in ("Cargo", "Tanker"):
        rows = ship_plan(name, draw_dimensions(name, np.random.default_rng(1))).rows()
        brightest = rows[rows[:, RCS_DB].argmax()]
        assert brightest[U] < 0
        assert brightest[RCS_DB] - np.median(rows[:, RCS_DB]) >= 9


def test_every_target_fits_its_chip_at_any_heading() -> None:
    largest_ship = max(kind.length[1] for kind in SHIP_TYPES.values())
    largest_aircraft = max(max(airframe(n).length, airframe(n).span) for n in FUSAR_AIR_TYPES) * 1.12
    for grids in GRIDS.values():
        assert largest_ship < grids["fusar_ship"].side_m
        assert largest_aircraft < grids["fusar_air"].side_m


@pytest.mark.usefixtures("exact")
def test_heading_turns_the_nose() -> None:
    plan = Plan(outlines=[[(10, 0), (-10, 1), (-10, -1)]])
    plan.point(10.0, 0.0, 0.0)
    north = put(plan, heading=math.pi / 2)
    assert (north.scatterers.x[0], north.scatterers.y[0]) == pytest.approx((0.0, 10.0))
    assert north.outlines[0][0] == pytest.approx([0.0, 10.0])


@pytest.mark.usefixtures("exact")
def test_high_points_lean_towards_the_sensor() -> None:
    plan = Plan()
    plan.point(0.0, 0.0, 0.0, z=10.0)
    assert put(plan, view=View(1, 45.0)).scatterers.x[0] == pytest.approx(-10.0)
    assert put(plan, view=View(-1, 45.0)).scatterers.x[0] == pytest.approx(10.0)
    assert put(plan, view=View(1, 30.0)).scatterers.x[0] == pytest.approx(-10 / math.tan(math.radians(30)))


@pytest.mark.usefixtures("exact")
def test_a_side_flashes_when_it_faces_the_sensor_and_dims_when_it_turns_away() -> None:
    plan = Plan()
    plan.line((0, 0), (10, 0), 0.0, flash_db=8.0, outward=(0, 1))
    towards = put(plan, heading=math.pi / 2)  # the left side, +v, looks along -x, to a sensor on the left
    away = put(plan, heading=-math.pi / 2)
    end_on = put(plan, heading=0.0)
    assert towards.scatterers.rcs_db.max() == pytest.approx(8.0)
    assert away.scatterers.rcs_db.max() == pytest.approx(-4.0)
    assert end_on.scatterers.rcs_db.max() == pytest.approx(0.0, abs=1e-9)
    from_right = put(plan, heading=-math.pi / 2, view=View(-1, 45.0))
    assert from_right.scatterers.rcs_db.max() == pytest.approx(8.0)


def test_a_fifth_of_the_points_is_lost_and_levels_jitter() -> None:
    plan = Plan()
    for _ in range(20_000):
        plan.point(0.0, 0.0, 0.0)
    levels = put(plan).scatterers.rcs_db
    assert len(levels) / 20_000 == pytest.approx(1 - plans.LOSS_PROBABILITY, abs=0.01)
    quartiles = np.quantile(levels, [0.25, 0.5])  # below the glints, which lift some points only
    assert quartiles[1] - quartiles[0] == pytest.approx(0.6745 * plans.JITTER_DB, rel=0.1)
    assert (levels > 4 * plans.JITTER_DB).mean() > 0.01


def test_the_same_draws_make_the_same_target_from_all_sides() -> None:
    plan = aircraft_plan(airframe("A330"))
    one, other = put(plan, heading=0.3, seed=4), put(plan, heading=2.0, seed=4)
    assert len(one.scatterers) == len(other.scatterers)
    assert (one.scatterers.phase == other.scatterers.phase).all()


def test_unknown_types_are_answered_with_known_ones() -> None:
    with pytest.raises(UsageError, match="A330"):
        airframe("A33O")
    with pytest.raises(UsageError, match="Tanker"):
        draw_dimensions("Tankr", np.random.default_rng(0))
