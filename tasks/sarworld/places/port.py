"""Sea and ports: ships under way, at anchor in rows, moored along a quay, and the shore behind it.

The ships come first, where the wish wants them; the land is then laid where none of them is. A wind turns the ships at
anchor and the swell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.clutter import SWELL_WAVELENGTH_M
from tasks.sarworld.ground import Layout, Patch, Swell, Target, strip
from tasks.sarworld.places.shore import Coast, Shore, lay_shore
from tasks.sarworld.targets.body import draw_size
from tasks.sarworld.targets.setting import arrangement_of, buildings_in, roads_across, surroundings_of
from tasks.sarworld.targets.spacing import (
    Formation,
    Member,
    Region,
    cell_region,
    first_place,
    no_rectangles,
    rectangles,
    stands_apart,
    whole,
    within,
)
from tasks.sarworld.targets.wishes import Group
from tasks.sarworld.truth import Facts

Floats = NDArray[np.float64]

# All shares, metres and decibels below are our choice, after what is usual on charts of anchorages and ports.
_GAIN_SPREAD_DB = 2.0  # gain of a whole target (loading, wetness)
_PORT_SHARE = 0.55  # of the images with ships: those with a coast
_EMPTY_PORT_SHARE = 0.5  # of the images without
_ANCHORAGE_SHARE = 0.5  # of the groups of two and more off the quay; single ships less often
_ANCHORAGE_IN_PORT_SHARE = 0.8  # of the groups before a coast
_MOVING_SHARE = 0.3  # of the ships in open sea
_WAKE_SHARE = 0.6  # of the ships under way
_SMEAR_M = (4.0, 20.0)
_CALM_SHARE = 0.15  # of the seas without a harbour
_GAP_M = 12.0  # between ships, and from ships to land
_ATTEMPTS = 6
_COASTS_TRIED = 24
_LAND_SHARE = (0.08, 0.5)


def port(
    scene: str,
    rng: np.random.Generator,
    extent: tuple[float, float],
    groups: Sequence[Group],
    heading: float | None = None,
) -> Layout:
    """A stretch of sea, or a port, with those groups of ships, each in its cell wherever there is room.

    Args:
        scene: Id of the layout.
        rng: All draws of the layout.
        extent: Height and width of the ground in metres.
        groups: Which types stand together, and in which cell.
        heading: Direction of the quay where there is one; drawn if not given.
    """
    wind = float(rng.uniform(0, 2 * math.pi))
    afloat = _afloat(rng, extent, groups, wind, heading)
    shore = Shore(rng, extent)
    if afloat.coast is not None:
        ships = np.concatenate(
            [no_rectangles(), *(rectangles(fleet.formation, np.zeros(2)) for fleet in afloat.fleets)]
        )
        lay_shore(shore, afloat.coast, ships)
    calm = shore.harbour or rng.random() < _CALM_SHARE
    targets = tuple(target for fleet in afloat.fleets for target in _targets(rng, fleet, shore))
    _buoys(shore, targets, afloat.coast)
    cover = "water" if calm and shore.outside is None else "sea"
    wakes = [patch for target in targets if target.moving_m > 0 for patch in _wake(rng, target, cover)]
    swell = Swell(float(rng.uniform(*SWELL_WAVELENGTH_M)), wind, float(rng.uniform(0, 2 * math.pi)))
    layout = Layout(
        scene=scene,
        extent=extent,
        base="water" if calm else "sea",
        facts=Facts(
            landform="coastal",
            function="port",
            pattern="none",
            boundary="sharp",
            roads=0,
            road_course="none",
            water="sea",
            buildings=0,
            arrangement=arrangement_of(targets),
            surroundings=(),
        ),
        patches=(
            *(p for p in shore.patches if p.role == "sea"),
            *wakes,
            *(p for p in shore.patches if p.role != "sea"),
        ),
        buildings=buildings_in(shore.buildings, extent),
        targets=targets,
        fixtures=shore.fixtures(),
        swell=None if calm and shore.outside is None else swell,
    )
    roads = roads_across(layout.patches, extent)
    facts = replace(
        layout.facts,
        pattern="grid" if layout.buildings else "none",
        roads=roads,
        road_course="straight" if roads else "none",
        buildings=len(layout.buildings),
        surroundings=surroundings_of(layout, shore.standing),
    )
    return replace(layout, facts=facts)


class _Fleet(NamedTuple):
    """A group of ships that has its place."""

    context: str
    formation: Formation


class _Afloat(NamedTuple):
    fleets: list[_Fleet]
    coast: Coast | None


def _afloat(
    rng: np.random.Generator,
    extent: tuple[float, float],
    groups: Sequence[Group],
    wind: float,
    heading: float | None,
) -> _Afloat:
    """Places for all groups; the coast is given up if it leaves no room."""
    members = [tuple(Member(name, draw_size(name, rng)) for name in group.types) for group in groups]
    with_coast = rng.random() < (_PORT_SHARE if groups else _EMPTY_PORT_SHARE)
    for attempt in range(_ATTEMPTS):
        coast = None
        if with_coast and attempt < _ATTEMPTS - 2:
            coast = _coast(rng, extent, groups, members, heading)
        fleets = _settled(rng, extent, groups, members, wind, coast, last=attempt == _ATTEMPTS - 1)
        if fleets is not None:
            return _Afloat(fleets, coast)
    return _Afloat([], None)


def _coast(
    rng: np.random.Generator,
    extent: tuple[float, float],
    groups: Sequence[Group],
    members: Sequence[tuple[Member, ...]],
    heading: float | None,
) -> Coast | None:
    """A straight coast that leaves all cells with ships on its seaward side, or runs through one as its quay."""
    height, width = extent
    middles = []
    for group in groups:
        region = cell_region(group.cell, extent)
        middles.append(((region.left + region.right) / 2, (region.top + region.bottom) / 2))
    cell = min(extent) / 3
    for _ in range(_COASTS_TRIED):
        along = float(rng.uniform(0, 2 * math.pi)) if heading is None else heading + math.pi * int(rng.integers(2))
        landward = np.array([-math.sin(along), math.cos(along)])
        reach = (abs(landward[0]) * width + abs(landward[1]) * height) / 2
        if not middles:
            return Coast(along, float(rng.uniform(-0.1, 0.6)) * reach, None)
        depths = np.array(middles) @ landward
        moored = int(np.argmax(depths))
        others = np.delete(depths, moored)
        # Through the moored group's cell, and seaward of it room for the ships of all other cells.
        offset = float(depths[moored] + rng.uniform(-0.25, 0.4) * cell)
        beam = max(member.size[1] for member in members[moored])
        room = not len(others) or offset - float(others.max()) > 0.45 * cell + beam
        land = (reach - offset) / (2 * reach)
        if room and _LAND_SHARE[0] <= land <= _LAND_SHARE[1]:
            return Coast(along, offset, moored)
        # Or a coast beyond all ships, nobody moored.
        beyond = float(depths.max() + rng.uniform(0.45, 0.7) * cell)
        if beyond < 0.85 * reach and rng.random() < 0.3:
            return Coast(along, beyond, None)
    return None


def _settled(
    rng: np.random.Generator,
    extent: tuple[float, float],
    groups: Sequence[Group],
    members: Sequence[tuple[Member, ...]],
    wind: float,
    coast: Coast | None,
    last: bool,
) -> list[_Fleet] | None:
    fleets: list[_Fleet] = []
    taken = no_rectangles() if coast is None else coast.land(extent)
    order = sorted(range(len(groups)), key=lambda index: -sum(m.size[0] * m.size[1] for m in members[index]))
    if coast is not None and coast.moored is not None:
        order.remove(coast.moored)
        order.insert(0, coast.moored)
    for index in order:
        cell = cell_region(groups[index].cell, extent)
        if coast is not None and index == coast.moored:
            placed = _moored(rng, members[index], coast, cell, extent)
            if placed is None:
                return None
            found, context = [placed], "quay"
        else:
            likely = _ANCHORAGE_SHARE if len(members[index]) > 1 else _ANCHORAGE_SHARE / 2
            anchored = rng.random() < (likely if coast is None else _ANCHORAGE_IN_PORT_SHARE)
            found, context = _free(rng, members[index], wind if anchored else None, cell, extent, taken)
            if not found and not last:
                return None
        for formation in found:
            fleets.append(_Fleet(context, formation))
            taken = np.concatenate([taken, rectangles(formation, np.zeros(2))])
    return fleets


def _moored(
    rng: np.random.Generator, members: tuple[Member, ...], coast: Coast, cell: Region, extent: tuple[float, float]
) -> Formation | None:
    """Alongside the quay, one behind the other; two abreast where there is no more room."""
    for abreast in (1, 2):
        for _ in range(12):
            formation = _alongside(rng, members, coast, abreast)
            ahead = np.array([math.cos(coast.along), math.sin(coast.along)])
            middle = np.array([cell.left + cell.right, cell.top + cell.bottom]) / 2
            at = float(middle @ ahead) + float(rng.uniform(-0.5, 0.5)) * (cell.right - cell.left)
            poses = formation.poses.copy()
            poses[:, :2] += at * ahead
            moved = formation._replace(poses=poses)
            if within(moved, cell, whole(extent)):
                return moved
    return None


def _alongside(rng: np.random.Generator, members: tuple[Member, ...], coast: Coast, abreast: int) -> Formation:
    along = np.array([math.cos(coast.along), math.sin(coast.along)])
    seaward = np.array([math.sin(coast.along), -math.cos(coast.along)])
    quay = -seaward * coast.offset
    poses = []
    at = 0.0
    for begin in range(0, len(members), abreast):
        berth = members[begin : begin + abreast]
        longest = max(member.size[0] for member in berth)
        at += longest / 2
        out = float(rng.uniform(2.0, 5.0))
        for member in berth:
            out += member.size[1] / 2
            x, y = quay + along * at + seaward * out
            poses.append((x, y, coast.along + math.pi * int(rng.integers(2)) + rng.normal(0.0, 0.01)))
            out += member.size[1] / 2 + float(rng.uniform(2.0, 4.0))
        at += longest / 2 + float(rng.uniform(10.0, 30.0))
    shifted = np.array(poses)
    shifted[:, :2] -= along * (at / 2)
    return Formation(members, shifted, "quay", coast.along)


def _free(
    rng: np.random.Generator,
    members: tuple[Member, ...],
    wind: float | None,
    cell: Region,
    extent: tuple[float, float],
    taken: Floats,
) -> tuple[list[Formation], str]:
    """At anchor with the bows into the wind, or without a wind each on its own course."""
    ground = whole(extent)
    if wind is not None and len(members) > 1:
        rows = [_anchored(rng, members, wind, abeam) for abeam in rng.permutation(2)]
        rows = [row for row in rows if stands_apart(row, _GAP_M)]
        placed = first_place(rng, rows, [cell], ground, taken, _GAP_M)
        if placed is not None:
            return [placed], "anchorage"
    found: list[Formation] = []
    for member in members:
        courses = rng.uniform(0, 2 * math.pi, 6) if wind is None else np.full(6, wind) + rng.normal(0.0, 0.08, 6)
        # Where no course fits, a long ship still finds room along a diagonal or a border.
        more = np.concatenate([courses, rng.uniform(0, 2 * math.pi, 6), np.arange(4) * math.pi / 4])
        lone = [Formation((member,), np.array([[0.0, 0.0, float(course)]]), "lone", float(course)) for course in more]
        place = first_place(rng, lone[:6], [cell], ground, taken, _GAP_M)
        place = place or first_place(rng, lone, [cell, ground], ground, taken, _GAP_M / 2, tries=40)
        if place is None:
            return [], "open sea"
        found.append(place)
        taken = np.concatenate([taken, rectangles(place, np.zeros(2))])
    return found, "open sea" if wind is None else "anchorage"


def _anchored(rng: np.random.Generator, members: tuple[Member, ...], wind: float, abeam: int) -> Formation:
    """A row abeam, or one ship astern of the other, with room to swing."""
    room = np.array([member.size[1 if abeam else 0] for member in members]) + rng.uniform(30, 60, len(members))
    at = np.cumsum(room) - room / 2
    aside = rng.normal(0.0, 6.0, len(members))
    along, across = (aside, at) if abeam else (at, aside)
    x = along * math.cos(wind) - across * math.sin(wind)
    y = along * math.sin(wind) + across * math.cos(wind)
    return Formation(members, np.stack([x, y, wind + rng.normal(0.0, 0.06, len(members))], axis=1), "anchorage", wind)


def _targets(rng: np.random.Generator, fleet: _Fleet, shore: Shore) -> list[Target]:
    found = []
    for member, (x, y, heading) in zip(fleet.formation.members, fleet.formation.poses, strict=True):
        # Who lies in a harbour off the quay is at anchor, on whatever heading there was room for.
        free = fleet.context == "open sea" and not shore.sheltered(float(x), float(y))
        moving = free and rng.random() < _MOVING_SHARE
        found.append(
            Target(
                kind="ship",
                type=member.type,
                x=float(x),
                y=float(y),
                heading=float(heading % (2 * math.pi)),
                length=member.size[0],
                width=member.size[1],
                context="anchorage" if fleet.context == "open sea" and not free else fleet.context,
                gain_db=float(rng.normal(0.0, _GAIN_SPREAD_DB)),
                moving_m=float(rng.uniform(*_SMEAR_M)) if moving else 0.0,
            )
        )
    return found


def _wake(rng: np.random.Generator, target: Target, cover: str) -> list[Patch]:
    """The dark turbulent wake astern, sometimes with one bright arm of the bow wave."""
    if rng.random() >= _WAKE_SHARE:
        return []
    astern = -np.array([math.cos(target.heading), math.sin(target.heading)])
    stern = np.array([target.x, target.y]) + astern * target.length / 2
    end = stern + astern * float(rng.uniform(2.0, 5.0)) * target.length
    patches = [Patch(cover, strip(np.array([stern, end]), 0.9 * target.width), "wake", gain_db=-4.0)]
    if rng.random() < 0.5:
        turn = math.radians(float(rng.uniform(4, 12))) * (1 if rng.random() < 0.5 else -1)
        cos, sin = math.cos(turn), math.sin(turn)
        arm = np.array([astern[0] * cos - astern[1] * sin, astern[0] * sin + astern[1] * cos])
        bow = np.array([target.x, target.y]) - astern * target.length / 2
        tip = bow + arm * float(rng.uniform(2.0, 4.0)) * target.length
        patches.append(Patch(cover, strip(np.array([stern + arm * 5, tip]), 8.0), "wake", gain_db=3.0))
    return patches


def _buoys(shore: Shore, targets: Sequence[Target], coast: Coast | None) -> None:
    """A few buoys off the ships."""
    rng, (height, width) = shore.rng, shore.extent
    places = rng.uniform(-0.5, 0.5, (int(rng.integers(0, 5)), 2)) * np.array([width, height])
    clear = np.ones(len(places), dtype=bool)
    for target in targets:
        clear &= np.hypot(places[:, 0] - target.x, places[:, 1] - target.y) > target.length / 2 + 25.0
    if coast is not None:
        clear &= coast.depth(places) < -20.0
    shore.shine(np.column_stack([places, rng.normal(6.0, 4.0, len(places))])[clear])
