"""The ground of an airport around aircraft that already stand: aprons, strips, piers, landside, what lies beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.ground import Building, Patch, rectangle
from tasks.sarworld.scatterers import Scatterers
from tasks.sarworld.targets.setting import dashes
from tasks.sarworld.targets.spacing import Formation, no_rectangles, overlapping, rectangles

Floats = NDArray[np.float64]

# All metres, decibels and shares below are our choice, after what is usual on airports.
_RUNWAY_M, _TAXIWAY_M = 45.0, 23.0  # ICAO code 4E
_BRIDGE_REACH_M = 28.0  # from a nose to a building that it is docked to
_OUTER_COVERS = ("woodland", "farmland", "housing")


class Parked(NamedTuple):
    """A group of aircraft that has its place."""

    context: str
    formation: Formation


class Strip(NamedTuple):
    """The runway or taxiway under a group of aircraft."""

    rectangle: Floats
    """x, y, length, width, heading."""
    taxiway: bool

    @staticmethod
    def under(rng: np.random.Generator, formation: Formation, axis: float, length: float, taxiway: bool) -> Strip:
        """The strip that carries a file of aircraft, over all of the ground."""
        x, y = formation.poses[0, :2] + rng.normal(0.0, 1.0, 2)
        return Strip(np.array([x, y, 2 * length, _TAXIWAY_M if taxiway else _RUNWAY_M, axis]), taxiway)


@dataclass
class Field:
    """An airfield under construction; s runs along its axis, t across."""

    rng: np.random.Generator
    extent: tuple[float, float]
    axis: float
    aircraft: Floats
    """Their rectangles."""
    patches: list[Patch] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    standing: set[str] = field(default_factory=set)
    """Names of surroundings that patches do not show."""
    _points: list[Floats] = field(default_factory=list)

    @property
    def half(self) -> tuple[float, float]:
        """How far the ground reaches along s and t."""
        height, width = self.extent
        cos, sin = abs(math.cos(self.axis)), abs(math.sin(self.axis))
        return (width * cos + height * sin) / 2, (width * sin + height * cos) / 2

    def ground(self, s: float, t: float) -> tuple[float, float]:
        """X and y."""
        cos, sin = math.cos(self.axis), math.sin(self.axis)
        return s * cos - t * sin, s * sin + t * cos

    def along_axis(self, points: Floats) -> Floats:
        """S and t of (n, 2) x and y."""
        cos, sin = math.cos(self.axis), math.sin(self.axis)
        turned: Floats = points @ np.array([[cos, -sin], [sin, cos]])
        return turned

    def box(
        self, s: tuple[float, float], t: tuple[float, float], cover: str, role: str, shoulder: bool = False
    ) -> None:
        """Adds a patch between two values of s and of t."""
        x, y = self.ground(sum(s) / 2, sum(t) / 2)
        corners = rectangle(x, y, s[1] - s[0], t[1] - t[0], self.axis)
        self.patches.append(Patch(cover, corners, role, shoulder=shoulder))

    def build(self, building: Building, gap: float = 2.0) -> bool:
        """Adds a building if it is clear of all aircraft and of the others."""
        here = np.array([[building.x, building.y, building.length, building.width, building.heading]])
        others = [(b.x, b.y, b.length, b.width, b.heading) for b in self.buildings]
        taken = np.concatenate([self.aircraft, np.array(others).reshape(-1, 5)])
        if overlapping(here, taken, gap).any():
            return False
        self.buildings.append(building)
        return True

    def shine(self, places: Floats, mean_db: float, spread_db: float) -> None:
        """Adds points without a label."""
        self._points.append(np.column_stack([places, self.rng.normal(mean_db, spread_db, len(places))]))

    def fixtures(self) -> Scatterers:
        """All points, each with a phase, those off the ground left out."""
        points = np.concatenate([np.zeros((0, 3)), *self._points])
        inside = (np.abs(points[:, 0]) <= self.extent[1] / 2) & (np.abs(points[:, 1]) <= self.extent[0] / 2)
        x, y, rcs_db = points[inside].T
        return Scatterers(x, y, rcs_db, self.rng.uniform(0, 2 * np.pi, len(x)))


def lay_airfield(
    rng: np.random.Generator,
    extent: tuple[float, float],
    axis: float,
    parked: Sequence[Parked],
    strip: Strip | None,
) -> Field:
    """The airfield around those aircraft."""
    standing = [rectangles(stand.formation, np.zeros(2)) for stand in parked]
    airfield = Field(rng, extent, axis, np.concatenate([no_rectangles(), *standing]))
    line = None if strip is None else float(airfield.along_axis(strip.rectangle[None, :2])[0, 1])
    bands = _bands(airfield, parked, line)
    airside = _airside(airfield, bands, line)
    _landside(airfield, bands, -airside)
    _outer_land(airfield)
    _strips(airfield, bands, airside, line, strip)
    for s, t in bands:
        airfield.box(s, t, "tarmac", "apron", shoulder=True)
    for stand, rects in zip(parked, standing, strict=True):
        if stand.context == "grass":
            _island(airfield, rects)
    _piers(airfield, parked)
    _bridges(airfield)
    _masts_and_vehicles(airfield, bands)
    return airfield


Interval = tuple[float, float]
Band = tuple[Interval, Interval]


def _bands(airfield: Field, parked: Sequence[Parked], line: float | None) -> list[Band]:
    """Aprons as s and t intervals: one per group, joined where little grass would lie between."""
    rng = airfield.rng
    reach = airfield.half[0] + 20.0
    boxes = []
    for stand in parked:
        if stand.context == "apron":
            corners = [rectangle(*row) for row in rectangles(stand.formation, np.zeros(2))]
            turned = airfield.along_axis(np.concatenate(corners))
            low, high = turned.min(axis=0) - rng.uniform(8, 20, 2), turned.max(axis=0) + rng.uniform(8, 20, 2)
            boxes.append([float(low[1]), float(high[1]), float(low[0]), float(high[0])])
    if not boxes and rng.random() < 0.6:
        middle, depth = float(rng.uniform(-0.5, 0.5)) * airfield.half[1], float(rng.uniform(50, 110))
        boxes.append([middle - depth / 2, middle + depth / 2, -40.0, 40.0])
    merged: list[list[float]] = []
    join_within = float(rng.choice([25.0, 60.0, 150.0]))
    for box in sorted(boxes):
        crossed = line is not None and merged and (merged[-1][1] < line) != (box[0] < line)
        if merged and not crossed and box[0] - merged[-1][1] < join_within:
            last = merged[-1]
            merged[-1] = [last[0], max(last[1], box[1]), min(last[2], box[2]), max(last[3], box[3])]
        else:
            merged.append(box)
    bands: list[Band] = []
    for t0, t1, s0, s1 in merged:
        ends = rng.random(2) < 0.65
        s0 = -reach if ends[0] else s0 - float(rng.uniform(5, 60))
        s1 = reach if ends[1] else s1 + float(rng.uniform(5, 60))
        bands.append(((s0, s1), (t0, t1)))
    return bands


def _airside(airfield: Field, bands: Sequence[Band], line: float | None) -> float:
    """The sign of t towards which the runway lies: where more room is."""
    if not bands:
        return 1.0 if line is None or line > 0 else -1.0
    low, high = min(t[0] for _, t in bands), max(t[1] for _, t in bands)
    if line is not None:
        return 1.0 if line > (low + high) / 2 else -1.0
    return 1.0 if airfield.half[1] - high > low + airfield.half[1] else -1.0


def _strips(airfield: Field, bands: Sequence[Band], airside: float, line: float | None, strip: Strip | None) -> None:
    """Taxiways between and beside the aprons, the runway, and what links them, all under the aprons."""
    rng, (reach_s, reach_t) = airfield.rng, airfield.half
    lines: list[tuple[float, str]] = []
    edges = [airside * t[1 if airside > 0 else 0] for _, t in bands]  # as seen towards the airside
    outermost = max(edges, default=float(rng.uniform(-0.6, 0.0)) * reach_t)
    if line is not None and strip is not None:
        lines.append((line, "taxiway" if strip.taxiway else "runway"))
        outermost = max(outermost, airside * line)
    beside = outermost + float(rng.uniform(32, 60))
    if beside < reach_t - 15:
        lines.append((airside * beside, "taxiway"))
        runway = beside + float(rng.uniform(85, 150))
        if runway < reach_t and not any(role == "runway" for _, role in lines):
            lines.append((airside * runway, "runway"))
    for (_, below), (_, above) in pairwise(bands):
        if above[0] - below[1] > 2 * _TAXIWAY_M and not any(below[1] < t < above[0] for t, _ in lines):
            lines.append(((below[1] + above[0]) / 2, "taxiway"))
    places = sorted([t for t, _ in lines] + [sum(t) / 2 for _, t in bands])
    for below_t, above_t in pairwise(places):
        for s in rng.uniform(-0.9, 0.9, int(rng.integers(1, 3))) * min(reach_s, reach_t):
            half = _TAXIWAY_M / 2
            airfield.box((s - half, s + half), (below_t, above_t), "tarmac", "taxiway", shoulder=True)
    for t, role in lines:
        half = (_RUNWAY_M if role == "runway" else _TAXIWAY_M) / 2
        airfield.box((-reach_s - 50, reach_s + 50), (t - half, t + half), "tarmac", role, shoulder=True)
        if role == "runway":  # edge lights on their posts
            for edge in (t - half - 2, t + half + 2):
                ends = np.array([airfield.ground(s, edge) for s in (-reach_s, reach_s)])
                airfield.shine(dashes(ends[0], ends[1], 60.0), -6.0, 3.0)


def _landside(airfield: Field, bands: Sequence[Band], side: float) -> None:
    """The terminal or hangars along the last apron, the road behind, cars, the fence."""
    rng, (reach_s, reach_t) = airfield.rng, airfield.half
    if not bands:
        return
    (s0, s1), t = max(bands, key=lambda band: side * band[1][1 if side > 0 else 0])
    edge = side * t[1 if side > 0 else 0]
    s0, s1 = max(s0, -reach_s), min(s1, reach_s)
    if reach_t - edge < 25 or s1 - s0 < 40:
        return
    hangars = rng.random() < 0.4
    behind = edge + 4.0
    at = s0 + float(rng.uniform(0, 20))
    while at < s1 - 20:
        length = float(rng.uniform(35, 65)) if hangars else float(rng.uniform(60, 220))
        depth = float(rng.uniform(35, 55)) if hangars else float(rng.uniform(22, 42))
        length = min(length, s1 - at)
        x, y = airfield.ground(at + length / 2, side * (edge + 4.0 + depth / 2))
        height = float(rng.uniform(12, 20) if hangars else rng.uniform(8, 16))
        built = airfield.build(Building(x, y, length, depth, airfield.axis, height, "industrial"))
        if built and not hangars:
            airfield.standing.add("terminal")
        behind = max(behind, edge + 4.0 + depth)
        at += length + float(rng.uniform(8, 40))
    road = behind + float(rng.uniform(12, 30))
    if road < reach_t - 8:
        width = float(rng.uniform(8, 14))
        span = sorted((side * road, side * (road + width)))
        airfield.box((-reach_s - 50, reach_s + 50), (span[0], span[1]), "tarmac", "road")
        _car_park(airfield, side, road + width + 4.0)
        fence = road + width + float(rng.uniform(40, 70))
        if fence < reach_t:
            ends = np.array([airfield.ground(s, side * fence) for s in (-reach_s, reach_s)])
            airfield.shine(dashes(ends[0], ends[1], 4.0), -4.0, 3.0)
            _beyond(airfield, side, fence + 3.0)


def _car_park(airfield: Field, side: float, begin: float) -> None:
    """Rows of cars on tarmac."""
    rng = airfield.rng
    length, depth = float(rng.uniform(50, 130)), float(rng.uniform(20, 34))
    start = float(rng.uniform(-0.8, 0.4)) * airfield.half[0]
    span = sorted((side * begin, side * (begin + depth)))
    airfield.box((start, start + length), (span[0], span[1]), "tarmac", "yard")
    rows, columns = np.mgrid[begin + 3 : begin + depth - 2 : 11.0, start + 2 : start + length - 2 : 3.0]
    there = rng.random(rows.shape) < 0.55
    places = np.array([airfield.ground(s, side * t) for s, t in zip(columns[there], rows[there], strict=True)])
    airfield.shine(places.reshape(-1, 2), -3.0, 4.0)


def _beyond(airfield: Field, side: float, begin: float) -> None:
    """Wood, field or houses from the fence to the border."""
    far = 2 * airfield.half[1]
    cover = str(airfield.rng.choice(_OUTER_COVERS))
    span = sorted((side * begin, side * far))
    rows = (float(airfield.axis + airfield.rng.uniform(-0.5, 0.5)), 6.0) if cover == "farmland" else None
    x, y = airfield.ground(0.0, sum(span) / 2)
    corners = rectangle(x, y, 4 * airfield.half[0], span[1] - span[0], airfield.axis)
    role = {"woodland": "wood", "farmland": "parcel", "housing": "block"}[cover]
    airfield.patches.append(Patch(cover, corners, role, float(airfield.rng.uniform(-1.5, 1.5)), rows))
    if cover == "housing":
        _houses(airfield, side, begin)


def _houses(airfield: Field, side: float, begin: float) -> None:
    """A grid of houses (section 14.2: 8-15 m on a 20-30 m grid)."""
    rng, (reach_s, reach_t) = airfield.rng, airfield.half
    step = float(rng.uniform(20, 30))
    for t in np.arange(begin + step / 2, reach_t, step):
        for s in np.arange(-reach_s + step / 2, reach_s, step):
            x, y = airfield.ground(float(s), side * float(t))
            if abs(x) < airfield.extent[1] / 2 and abs(y) < airfield.extent[0] / 2 and rng.random() < 0.85:
                length, width = rng.uniform(8, 15, 2)
                airfield.buildings.append(
                    Building(x, y, float(length), float(width), airfield.axis, float(rng.uniform(4, 10)))
                )


def _outer_land(airfield: Field) -> None:
    """Corners of the ground that no aircraft needs, cut off at any angle by wood or fields with a ragged border."""
    rng = airfield.rng
    height, width = airfield.extent
    corners = [np.array(rectangle(*row)) for row in airfield.aircraft]
    inner = np.concatenate([np.zeros((1, 2)), *corners])
    for _ in range(int(rng.integers(0, 3))):
        angle = float(rng.uniform(0, 2 * math.pi))
        out = np.array([math.cos(angle), math.sin(angle)])
        reach = (abs(out[0]) * width + abs(out[1]) * height) / 2
        least = max(float((inner @ out).max()) + 60.0, 0.45 * reach)
        if least > reach - 20:
            continue
        cut = float(rng.uniform(least, reach - 10))
        across = np.linspace(-1.5, 1.5, 25) * max(airfield.extent)
        ragged = cut + np.cumsum(rng.normal(0.0, 4.0, len(across)))
        ragged = np.maximum(ragged, least - 25.0)
        border = ragged[:, None] * out + across[:, None] * np.array([-out[1], out[0]])
        far = 3 * max(airfield.extent) * out
        cover = "woodland" if rng.random() < 0.6 else "farmland"
        role = "wood" if cover == "woodland" else "parcel"
        outline = np.concatenate([border, border[::-1][[0, -1]] + far])
        airfield.patches.append(Patch(cover, outline, role, float(rng.uniform(-1.5, 1.5))))


def _island(airfield: Field, rects: Floats) -> None:
    """Grass under aircraft that stand off the tarmac."""
    turned = airfield.along_axis(np.concatenate([rectangle(*row) for row in rects]))
    (s0, t0), (s1, t1) = turned.min(axis=0) - 5.0, turned.max(axis=0) + 5.0
    airfield.box((float(s0), float(s1)), (float(t0), float(t1)), "grass", "grass")


def _piers(airfield: Field, parked: Sequence[Parked]) -> None:
    """Buildings that rows are docked to."""
    rng = airfield.rng
    for stand in parked:
        formation = stand.formation
        likely = {"noses": 0.85, "row": 0.3 if len(formation.members) == 1 else 0.55}.get(formation.kind, 0.0)
        if stand.context != "apron" or rng.random() >= likely:
            continue
        ahead = np.array([math.cos(formation.facing), math.sin(formation.facing)])
        beside = np.array([-ahead[1], ahead[0]])
        corners = np.array([rectangle(*row) for row in rectangles(formation, np.zeros(2))])
        forward = formation.poses[:, 2] - formation.facing
        first = np.cos(forward) > 0  # the row that looks ahead
        begin = float((corners[first] @ ahead).max()) + float(rng.uniform(4, 8))
        depth = float(rng.uniform(12, 24))
        if formation.kind == "noses" and not first.all():
            depth = float((corners[~first] @ ahead).min()) - float(rng.uniform(4, 8)) - begin
        sides = corners @ beside
        low, high = float(sides.min()) - rng.uniform(-8, 12), float(sides.max()) + rng.uniform(-8, 12)
        if depth < 8 or high - low < 15:
            continue
        x, y = (begin + depth / 2) * ahead + (low + high) / 2 * beside
        heading = formation.facing + math.pi / 2
        height = float(rng.uniform(7, 12))
        if airfield.build(Building(float(x), float(y), high - low, depth, heading, height, "industrial"), 1.5):
            airfield.standing.add("terminal")


def _bridges(airfield: Field) -> None:
    """Jet bridges from noses to the building ahead."""
    if "terminal" not in airfield.standing:
        return
    rng = airfield.rng
    for x, y, length, _, heading in airfield.aircraft:
        ahead = np.array([math.cos(heading), math.sin(heading)])
        left = np.array([-ahead[1], ahead[0]]) * (1.0 if rng.random() < 0.5 else -1.0)
        door = np.array([x, y]) + ahead * (length / 2 - 5.0) + left * 3.5
        distances = np.arange(2.0, _BRIDGE_REACH_M, 2.0)
        ray = door + distances[:, None] * ahead
        for building in airfield.buildings:
            local = ray - np.array([building.x, building.y])
            cos, sin = math.cos(building.heading), math.sin(building.heading)
            along, across = local @ np.array([cos, sin]), local @ np.array([-sin, cos])
            hit = (np.abs(along) <= building.length / 2) & (np.abs(across) <= building.width / 2)
            if hit.any():
                airfield.shine(dashes(door, ray[int(np.argmax(hit))], 2.5), 1.0, 4.0)
                break


def _masts_and_vehicles(airfield: Field, bands: Sequence[Band]) -> None:
    """Light masts along the borders of aprons, service vehicles around the aircraft."""
    rng = airfield.rng
    reach = airfield.half[0]
    for (s0, s1), (t0, t1) in bands:
        step = float(rng.uniform(55, 90))
        s = np.arange(max(s0, -reach), min(s1, reach), step)
        t = t1 + 3.0 if rng.random() < 0.5 else t0 - 3.0
        airfield.shine(np.array([airfield.ground(float(value), t) for value in s]).reshape(-1, 2), 7.0, 3.0)
    for x, y, length, width, _ in airfield.aircraft:
        count = int(rng.integers(0, 5))
        angle = rng.uniform(0, 2 * np.pi, count)
        away = rng.uniform(0.35, 0.75, count) * max(length, width)
        places = np.stack([x + away * np.cos(angle), y + away * np.sin(angle)], axis=1)
        airfield.shine(places, -3.0, 4.0)
