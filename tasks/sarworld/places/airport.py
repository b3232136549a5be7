"""Airports: aircraft in rows on aprons, beside piers, on a taxiway, on the grass, and the airfield around them.

The aircraft come first, where the wish wants them; `airfield` then lays the ground around them, so that every count
and cell holds and the ground makes sense. Everything lies along one axis, drawn for the site.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.ground import Layout, Target
from tasks.sarworld.places.airfield import Parked, Strip, lay_airfield
from tasks.sarworld.targets.body import draw_size
from tasks.sarworld.targets.setting import arrangement_of, buildings_in, roads_across, surroundings_of
from tasks.sarworld.targets.spacing import (
    Formation,
    Member,
    cell_region,
    first_place,
    no_rectangles,
    rectangles,
    stands_apart,
    whole,
)
from tasks.sarworld.targets.wishes import Group
from tasks.sarworld.truth import Facts

Floats = NDArray[np.float64]

# All shares and metres below are our choice, after what is usual on airports.
_GAIN_SPREAD_DB = 2.0  # gain of a whole target (calibration, wetness)
_ON_STRIP_SHARE, _ON_GRASS_SHARE = 0.3, 0.15  # of the airports: a group on a runway or taxiway, on the grass
_TAXIWAY_SHARE = 0.6  # of the groups on a strip
_SLANTED_SHARE = 0.25  # of the rows
_CLEARANCE_M = 4.5  # between wing tips: ICAO asks for 4.5 m between stands of narrow bodies
_ATTEMPTS = 8
_LANDFORMS = {"plain": 0.4, "urban flat": 0.25, "river-network plain": 0.15, "coastal": 0.15, "hilly": 0.05}


def airport(
    scene: str,
    rng: np.random.Generator,
    extent: tuple[float, float],
    groups: Sequence[Group],
    heading: float | None = None,
) -> Layout:
    """An airport with those groups of aircraft, each in its cell wherever there is room.

    Args:
        scene: Id of the layout.
        rng: All draws of the layout.
        extent: Height and width of the ground in metres.
        groups: Which types stand together, and in which cell.
        heading: Direction of the runways; drawn if not given.
    """
    parked, strip, axis = _parked(rng, extent, groups, heading)
    targets = tuple(target for stand in parked for target in _targets(rng, stand))
    field = lay_airfield(rng, extent, axis, parked, strip)
    layout = Layout(
        scene=scene,
        extent=extent,
        base="grass",
        facts=_no_facts(str(rng.choice(list(_LANDFORMS), p=list(_LANDFORMS.values())))),
        patches=tuple(field.patches),
        buildings=buildings_in(field.buildings, extent),
        targets=targets,
        fixtures=field.fixtures(),
    )
    roads = roads_across(layout.patches, extent)
    facts = replace(
        layout.facts,
        pattern="grid" if layout.buildings else "none",
        roads=roads,
        road_course="straight" if roads else "none",
        buildings=len(layout.buildings),
        arrangement=arrangement_of(targets),
        surroundings=surroundings_of(layout, field.standing),
    )
    return replace(layout, facts=facts)


def _no_facts(landform: str) -> Facts:
    return Facts(
        landform=landform,
        function="airport",
        pattern="none",
        boundary="sharp",
        roads=0,
        road_course="none",
        water="none",
        buildings=0,
        arrangement="none",
        surroundings=(),
    )


def _targets(rng: np.random.Generator, stand: Parked) -> list[Target]:
    formation = stand.formation
    return [
        Target(
            kind="aircraft",
            type=member.type,
            x=float(x),
            y=float(y),
            heading=float(heading % (2 * math.pi)),
            length=member.size[0],
            width=member.size[1],
            context=stand.context,
            gain_db=float(rng.normal(0.0, _GAIN_SPREAD_DB)),
        )
        for member, (x, y, heading) in zip(formation.members, formation.poses, strict=True)
    ]


class _Parking(NamedTuple):
    parked: list[Parked]
    strip: Strip | None
    axis: float


def _parked(
    rng: np.random.Generator, extent: tuple[float, float], groups: Sequence[Group], heading: float | None
) -> _Parking:
    """Places for all groups; later attempts ask for less."""
    members = [tuple(Member(name, draw_size(name, rng)) for name in group.types) for group in groups]
    for attempt in range(_ATTEMPTS):
        axis = float(rng.uniform(0, 2 * math.pi)) if heading is None else heading
        found = _attempt(rng, axis, extent, groups, members, plain=attempt >= 2, last=attempt == _ATTEMPTS - 1)
        if found is not None:
            return _Parking(*found, axis)
    return _Parking([], None, axis)


def _attempt(
    rng: np.random.Generator,
    axis: float,
    extent: tuple[float, float],
    groups: Sequence[Group],
    members: Sequence[tuple[Member, ...]],
    plain: bool,
    last: bool,
) -> tuple[list[Parked], Strip | None] | None:
    parked: list[Parked] = []
    taken = no_rectangles()
    strip: Strip | None = None
    order = sorted(range(len(groups)), key=lambda index: -sum(m.size[0] * m.size[1] for m in members[index]))
    contexts = _contexts(rng, members, plain)
    # What stands on a strip comes first: nobody may stand in its way.
    order.sort(key=lambda index: contexts[index] != "runway")
    for index in order:
        context = contexts[index]
        cell = cell_region(groups[index].cell, extent)
        placed = first_place(
            rng, _formations(rng, axis, members[index], context), [cell], whole(extent), taken, _CLEARANCE_M
        )
        if placed is None and context == "runway":
            return None
        stands = [placed] if placed is not None else _one_by_one(rng, axis, members[index], cell, extent, taken)
        if len(stands) == 0 and not last:
            return None
        for formation in stands:
            parked.append(Parked(context, formation))
            taken = np.concatenate([taken, rectangles(formation, np.zeros(2))])
            if context == "runway":
                strip = Strip.under(rng, formation, axis, math.hypot(*extent), rng.random() < _TAXIWAY_SHARE)
                taken = np.concatenate([taken, strip.rectangle[None]])
    return parked, strip


def _contexts(rng: np.random.Generator, members: Sequence[tuple[Member, ...]], plain: bool) -> list[str]:
    """Aprons, but for one group on a strip and one on the grass at times."""
    contexts = ["apron"] * len(members)
    draws = rng.random(2)
    if plain or not members:
        return contexts
    few = [index for index, group in enumerate(members) if len(group) <= 3]
    if few and draws[0] < _ON_STRIP_SHARE:
        contexts[few[int(rng.integers(len(few)))]] = "runway"
    few = [index for index in few if contexts[index] == "apron"]
    if few and draws[1] < _ON_GRASS_SHARE:
        contexts[few[int(rng.integers(len(few)))]] = "grass"
    return contexts


def _one_by_one(
    rng: np.random.Generator,
    axis: float,
    members: tuple[Member, ...],
    cell: Sequence[float],
    extent: tuple[float, float],
    taken: Floats,
) -> list[Formation]:
    """A group that finds no place together, spread over its cell, at worst over the ground; nothing if in vain."""
    found: list[Formation] = []
    ground = whole(extent)
    for member in members:
        turns = axis + rng.permutation(4) * math.pi / 2
        formations = [Formation((member,), np.array([[0.0, 0.0, turn]]), "row", float(turn)) for turn in turns]
        region = type(ground)(*cell)
        place = first_place(rng, formations, [region, ground], ground, taken, _CLEARANCE_M / 2, tries=60)
        if place is None:
            return []
        found.append(place)
        taken = np.concatenate([taken, rectangles(place, np.zeros(2))])
    return found


def _formations(rng: np.random.Generator, axis: float, members: tuple[Member, ...], context: str) -> list[Formation]:
    """Ways to park a group, the one that is tried first at the beginning."""
    if context == "runway":
        return [_file(rng, members, axis + turn * math.pi) for turn in rng.permutation(2)]
    slant = float(rng.uniform(-0.8, 0.8)) if rng.random() < _SLANTED_SHARE else 0.0
    kinds = ["row"]
    if len(members) >= 3:
        kinds = ["row", "noses", "tails"] if rng.random() < 0.5 else ["noses", "tails", "row"]
    formations = []
    for kind in kinds:
        for turn in rng.permutation(4):
            facing = axis + float(turn) * math.pi / 2
            formation = _rows(rng, members, facing, slant, kind)
            if stands_apart(formation, _CLEARANCE_M / 2):
                formations.append(formation)
    return formations


def _file(rng: np.random.Generator, members: tuple[Member, ...], heading: float) -> Formation:
    """One behind the other, as on a taxiway."""
    poses, at = [], 0.0
    for member in members:
        at -= member.size[0] / 2
        poses.append((at * math.cos(heading), at * math.sin(heading), heading + rng.normal(0.0, 0.02)))
        at -= member.size[0] / 2 + float(rng.uniform(15.0, 40.0))
    return Formation(members, np.array(poses), "file", heading)


def _rows(rng: np.random.Generator, members: tuple[Member, ...], facing: float, slant: float, kind: str) -> Formation:
    """Beside each other with the noses in one line, or two such rows nose to nose or tail to tail."""
    if kind == "row":
        return Formation(members, _row(rng, members, facing, slant), kind, facing)
    half = (len(members) + 1) // 2
    apart = float(rng.uniform(26.0, 42.0) if kind == "noses" else rng.uniform(16.0, 30.0)) / 2
    ahead = np.array([math.cos(facing), math.sin(facing)])
    poses = []
    for part, side in ((members[:half], -1.0), (members[half:], 1.0)):
        towards = facing if (side < 0) == (kind == "noses") else facing + math.pi
        row = _row(rng, part, towards, slant)
        if kind == "tails":  # the line of the noses lies a length beyond
            row[:, :2] += side * ahead * max(member.size[0] for member in part)
        row[:, :2] += side * apart * ahead
        poses.append(row)
    return Formation(members, np.concatenate(poses), kind, facing)


def _row(rng: np.random.Generator, members: tuple[Member, ...], facing: float, slant: float) -> Floats:
    """Poses with the noses on the line through the origin across `facing`."""
    lengths, spans = np.array([member.size for member in members]).T
    room = spans * math.cos(slant) + lengths * abs(math.sin(slant)) + float(rng.uniform(_CLEARANCE_M, 10.0))
    along = np.cumsum(room) - room / 2
    along -= (along[0] + along[-1]) / 2
    headings = facing + slant + rng.normal(0.0, 0.02, len(members))
    reach = lengths / 2 * math.cos(slant) + spans / 2 * abs(math.sin(slant))
    x = -reach * math.cos(facing) - along * math.sin(facing)
    y = -reach * math.sin(facing) + along * math.cos(facing)
    return np.stack([x, y, headings], axis=1)
