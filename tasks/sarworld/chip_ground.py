"""What lies on the small piece of ground that a chip shows: one target and what usually stands around it.

Every layer (ground, size, heading, distractors) draws from its own generator, so a change of one leaves the others as
they are. The target comes first among the layout's targets; a neighbour beside it has no label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.clutter import SWELL_WAVELENGTH_M
from tasks.sarworld.draws import Draws
from tasks.sarworld.ground import Building, Layout, Patch, Shape, Swell, Target, rectangle, strip
from tasks.sarworld.plan import FUSAR_AIR_CLASSES, SAR_ACD_CLASSES, Grid, Item
from tasks.sarworld.scatterers import Scatterers
from tasks.sarworld.targets.body import draw_size, turned_corners, typical_size
from tasks.sarworld.targets.setting import buildings_in, crane, dashes, surroundings_of
from tasks.sarworld.truth import Facts

Floats = NDArray[np.float64]

# All shares, metres and decibels below are our choice, after what real chips of these kinds show.
_GAIN_SPREAD_DB = 2.0  # gain of a whole target from chip to chip (calibration, wetness)
_EDGE_SHARE, _STRIP_SHARE, _GRASS_SHARE = 0.2, 0.2, 0.07  # of the aircraft chips; the others show an apron alone
_QUAY_SHARE, _CALM_SHARE, _MOVING_SHARE = 0.12, 0.25, 0.15  # of the ship chips
_NEIGHBOUR_SHARE, _BUILDING_SHARE = 0.15, 0.22
_SMEAR_M = (2.0, 14.0)
_OFF_CENTRE = 0.06  # of a chip's side, where all chips have one size


class _Stage(NamedTuple):
    """What is on the ground besides the target."""

    base: str
    patches: tuple[Patch, ...] = ()
    buildings: tuple[Building, ...] = ()
    bystanders: tuple[Target, ...] = ()
    points: tuple[Floats, ...] = ()
    """(n, 3) each: x, y, cross-section in dB."""
    swell: Swell | None = None
    standing: tuple[str, ...] = ()
    """Names of surroundings that patches do not show."""


def chip_layout(item: Item, seed: int) -> tuple[Layout, Shape]:
    """The ground of a chip of `sar_acd`, `fusar_air` or `fusar_ship`, and its rows and columns.

    Args:
        item: Which chip; its label is the type of the target.
        seed: Of the world.
    """
    draws = Draws(seed, item.scene)
    ship = item.dataset == "fusar_ship"
    size = draw_size(item.label, draws.generator("size"))
    rng = draws.generator("heading")
    heading, gain_db = float(rng.uniform(0, 2 * math.pi)), float(rng.normal(0.0, _GAIN_SPREAD_DB))
    shape, place = _framed(draws.generator("frame"), turned_corners(item.label, size, heading), item.grid)
    extent = (shape[0] * item.grid.pixel_m, shape[1] * item.grid.pixel_m)
    target = Target(
        kind="ship" if ship else "aircraft",
        type=item.label,
        x=place[0],
        y=place[1],
        heading=heading,
        length=size[0],
        width=size[1],
        context="apron",
        gain_db=gain_db,
    )
    if ship:
        stage, context, moving_m = _water(draws, target, extent)
    else:
        types = SAR_ACD_CLASSES if item.dataset == "sar_acd" else FUSAR_AIR_CLASSES
        stage, context = _stand(draws, target, extent, types)
        moving_m = 0.0
    target = replace(target, context=context, moving_m=moving_m)
    return _layout(item.scene, extent, target, stage, draws.generator("phases")), shape


def _layout(scene: str, extent: tuple[float, float], target: Target, stage: _Stage, rng: np.random.Generator) -> Layout:
    points = np.concatenate([np.zeros((0, 3)), *stage.points])
    ship = target.kind == "ship"
    buildings = buildings_in(stage.buildings, extent)
    layout = Layout(
        scene=scene,
        extent=extent,
        base=stage.base,
        facts=Facts(
            landform="coastal" if ship else "plain",
            function="port" if ship else "airport",
            pattern="grid" if buildings else "none",
            boundary="sharp",
            roads=0,
            road_course="none",
            water="sea" if ship else "none",
            buildings=len(buildings),
            arrangement="single",
            surroundings=(),
        ),
        patches=stage.patches,
        buildings=buildings,
        targets=(target, *stage.bystanders),
        fixtures=Scatterers(points[:, 0], points[:, 1], points[:, 2], rng.uniform(0, 2 * np.pi, len(points))),
        swell=stage.swell,
    )
    return replace(layout, facts=replace(layout.facts, surroundings=surroundings_of(layout, stage.standing)))


def _framed(rng: np.random.Generator, corners: Floats, grid: Grid) -> tuple[Shape, tuple[float, float]]:
    """The chip's shape, and where in it the target stands whose outlines around the origin are given."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    extent = (high - low)[::-1] / grid.pixel_m  # rows, columns
    if grid.smallest_px is None:
        shape = np.array([grid.side_px, grid.side_px])
        slack = np.maximum((shape - extent) / 2 - 1, 0)
        shift = rng.uniform(-1, 1, 2) * np.minimum(slack, _OFF_CENTRE * grid.side_px) * grid.pixel_m
    else:
        margin = rng.uniform(0.02, 0.16, (2, 2)) * extent + rng.uniform(1, 5, (2, 2))
        shape = np.clip(np.ceil(extent + margin.sum(axis=0)), grid.smallest_px, grid.side_px).astype(int)
        slack = np.maximum((shape - extent) / 2, 0)
        shift = np.clip((margin[0] - margin[1]) / 2, -slack, slack) * grid.pixel_m
    middle = (low + high) / 2
    return (int(shape[0]), int(shape[1])), (float(shift[1] - middle[0]), float(shift[0] - middle[1]))


def _stand(draws: Draws, target: Target, extent: tuple[float, float], types: Sequence[str]) -> tuple[_Stage, str]:
    """An apron; an apron's edge or a taxiway with shoulders and grass; sometimes grass alone."""
    rng = draws.generator("ground")
    far = 2 * max(extent)
    kind, angle = float(rng.random()), float(rng.uniform(0, 2 * math.pi))
    base, patches, context = "tarmac", tuple[Patch, ...](), "apron"
    if kind < _GRASS_SHARE:
        base, context = "grass", "grass"
    elif kind < _GRASS_SHARE + _STRIP_SHARE:
        # On a strip an aircraft looks along it.
        width = float(rng.uniform(30, 45))
        base, context = "grass", "runway"
        ahead = np.array([math.cos(target.heading), math.sin(target.heading)])
        ends = np.array([target.x, target.y]) + np.outer([-far, far], ahead)
        patches = (Patch("tarmac", strip(ends, width), "runway", shoulder=True),)
    elif kind < _GRASS_SHARE + _STRIP_SHARE + _EDGE_SHARE:
        edge = float(rng.uniform(0.15, 0.9)) * min(extent) / 2
        away = np.array([math.cos(angle), math.sin(angle)]) * (edge - far / 2)
        patches = (Patch("tarmac", rectangle(away[0], away[1], far, 2 * far, angle), "apron", shoulder=True),)
        base = "grass"
    else:
        patches = (Patch("tarmac", rectangle(0.0, 0.0, far, far, 0.0), "apron"),)
    rng = draws.generator("distractors")
    points = [_vehicles(rng, extent)]
    bystanders: tuple[Target, ...] = ()
    if context == "apron" and rng.random() < _NEIGHBOUR_SHARE:
        bystanders = (_neighbour(rng, target, types),)
    buildings: tuple[Building, ...] = ()
    if context == "apron" and rng.random() < _BUILDING_SHARE:
        buildings, bridge = _building_ahead(rng, target)
        points.append(bridge)
    standing = ("terminal",) if buildings_in(buildings, extent) else ()
    return _Stage(base, patches, buildings, bystanders, tuple(points), None, standing), context


def _vehicles(rng: np.random.Generator, extent: tuple[float, float]) -> Floats:
    """Up to four cars, poles and stairs anywhere on the chip."""
    count = int(rng.integers(0, 5))
    y, x = rng.uniform(-0.5, 0.5, (2, count)) * np.array(extent)[:, None]
    return np.stack([x, y, rng.normal(-4.0, 4.0, count)], axis=1)


def _neighbour(rng: np.random.Generator, target: Target, types: Sequence[str]) -> Target:
    """Parked in a row: same heading, wing tip to wing tip, mostly beyond the border."""
    name = str(rng.choice(types))
    length, width = typical_size(name)
    side = 1.0 if rng.random() < 0.5 else -1.0
    apart = side * ((target.width + width) / 2 + float(rng.uniform(3, 10)))
    return Target(
        kind="aircraft",
        type=name,
        x=target.x - apart * math.sin(target.heading),
        y=target.y + apart * math.cos(target.heading),
        heading=target.heading + float(rng.normal(0.0, 0.02)),
        length=length,
        width=width,
        context="apron",
        gain_db=target.gain_db,
        labelled=False,
    )


def _building_ahead(rng: np.random.Generator, target: Target) -> tuple[tuple[Building, ...], Floats]:
    """The terminal that a nose-in aircraft looks at, mostly beyond the border, and its jet bridge."""
    ahead = np.array([math.cos(target.heading), math.sin(target.heading)])
    left = np.array([-ahead[1], ahead[0]])
    gap, depth = float(rng.uniform(5, 10)), float(rng.uniform(12, 30))
    nose = np.array([target.x, target.y]) + ahead * target.length / 2
    middle = nose + ahead * (gap + depth / 2) + left * float(rng.uniform(-20, 20))
    building = Building(
        float(middle[0]), float(middle[1]), float(rng.uniform(60, 140)), depth, target.heading + math.pi / 2,
        float(rng.uniform(7, 12)), "industrial",
    )  # fmt: skip
    side = 1.0 if rng.random() < 0.5 else -1.0
    bridge = dashes(nose - 5 * ahead + 4 * side * left, nose + gap * ahead + 9 * side * left, 2.5)
    return (building,), np.column_stack([bridge, rng.normal(0.0, 4.0, len(bridge))])


def _water(draws: Draws, target: Target, extent: tuple[float, float]) -> tuple[_Stage, str, float]:
    """Sea with swell, or calm water, or water along a quay with cranes where a ship is moored."""
    rng = draws.generator("ground")
    moored, calm = rng.random() < _QUAY_SHARE, rng.random() < _CALM_SHARE
    moving, smear_m = rng.random() < _MOVING_SHARE, float(rng.uniform(*_SMEAR_M))
    swell = Swell(float(rng.uniform(*SWELL_WAVELENGTH_M)), *(float(v) for v in rng.uniform(0, 2 * math.pi, 2)))
    if moored:
        return _quay(draws.generator("distractors"), target, extent), "quay", 0.0
    stage = _Stage("water") if calm else _Stage("sea", swell=swell)
    return stage, "anchorage" if calm else "open sea", smear_m if moving and not calm else 0.0


def _quay(rng: np.random.Generator, target: Target, extent: tuple[float, float]) -> _Stage:
    """The quay beside a moored ship: a strip of tarmac with cranes, a yard and a hall behind."""
    along = np.array([math.cos(target.heading), math.sin(target.heading)])
    across = np.array([-along[1], along[0]]) * (1.0 if rng.random() < 0.5 else -1.0)
    far = 2 * max(extent)
    edge = target.width / 2 + float(rng.uniform(2, 5))
    depth = float(rng.uniform(18, 40))
    ship = np.array([target.x, target.y])

    def beside(begin: float, end: float) -> Floats:
        middle = ship + across * (begin + end) / 2
        return rectangle(float(middle[0]), float(middle[1]), far, end - begin, target.heading)

    patches = (
        Patch("tarmac", beside(edge, edge + depth), "quay"),
        Patch("industrial", beside(edge + depth, far), "yard", gain_db=-2.0),
    )
    halls = []
    for side in (-1.0, 1.0):
        length, width = float(rng.uniform(40, 100)), float(rng.uniform(20, 40))
        middle = ship + across * (edge + depth + 4 + width / 2) + along * side * float(rng.uniform(10, 30) + length / 2)
        halls.append(Building(float(middle[0]), float(middle[1]), length, width, target.heading, 10.0, "industrial"))
    cranes = []
    for at in np.arange(-far / 4, far / 4, float(rng.uniform(45, 90))) + float(rng.uniform(0, 40)):
        foot = ship + along * at + across * (edge + 4.0)
        cranes.append(crane(rng, foot, along, -across, float(rng.uniform(16, 30))))
    return _Stage("water", patches, tuple(halls), (), tuple(cranes), None, ("cranes",))
