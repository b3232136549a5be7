"""The land side of a port: quays with cranes, yards, halls, tanks, roads, a breakwater."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.ground import Building, Patch, rectangle, strip
from tasks.sarworld.scatterers import Scatterers
from tasks.sarworld.targets.setting import crane, dashes
from tasks.sarworld.targets.spacing import overlapping

Floats = NDArray[np.float64]

# All shares, metres and decibels below are our choice, after what is usual in ports.
_PIER_SHARE, _BREAKWATER_SHARE, _CRANES_SHARE, _NATURAL_SHARE = 0.45, 0.35, 0.75, 0.3


class Coast(NamedTuple):
    """A straight coast; land lies to the left of its direction, where depth is positive."""

    along: float
    offset: float
    """Depth of the edge, from the middle of the ground."""
    moored: int | None
    """Which group is moored along it."""

    @property
    def landward(self) -> Floats:
        """Unit vector away from the water."""
        return np.array([-math.sin(self.along), math.cos(self.along)])

    def depth(self, places: Floats) -> Floats:
        """How far (n, 2) places lie inland of the edge; negative on the water."""
        inland: Floats = places @ self.landward - self.offset
        return inland

    def box(self, s: tuple[float, float], depth: tuple[float, float]) -> Floats:
        """x, y, length, width, heading of the rectangle between two places along the coast and two depths."""
        middle = self.offset + sum(depth) / 2
        ahead = np.array([math.cos(self.along), math.sin(self.along)])
        x, y = ahead * sum(s) / 2 + self.landward * middle
        return np.array([x, y, s[1] - s[0], depth[1] - depth[0], self.along])

    def land(self, extent: tuple[float, float]) -> Floats:
        """All land as one rectangle."""
        far = 2 * math.hypot(*extent)
        return self.box((-far, far), (0.0, far))[None]


@dataclass
class Shore:
    """Land under construction."""

    rng: np.random.Generator
    extent: tuple[float, float]
    patches: list[Patch] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    standing: set[str] = field(default_factory=set)
    """Names of surroundings that patches do not show."""
    harbour: bool = False
    """Whether there is a quay, and calm water before it."""
    outside: Floats | None = None
    """The outline of the open sea beyond a breakwater."""
    _points: list[Floats] = field(default_factory=list)

    def shine(self, points: Floats) -> None:
        """Adds (n, 3) points without a label: x, y, cross-section in dB."""
        self._points.append(points)

    def on_ground(self, points: Floats) -> NDArray[np.bool_]:
        """Which points lie on the ground."""
        inside: NDArray[np.bool_] = (np.abs(points[:, 0]) <= self.extent[1] / 2) & (
            np.abs(points[:, 1]) <= self.extent[0] / 2
        )
        return inside

    def sheltered(self, x: float, y: float) -> bool:
        """Whether a place on the water is in the harbour."""
        from skimage.measure import points_in_poly

        return self.harbour and (self.outside is None or not bool(points_in_poly([(x, y)], self.outside)[0]))

    def fixtures(self) -> Scatterers:
        """All points, each with a phase, those off the ground left out."""
        points = np.concatenate([np.zeros((0, 3)), *self._points])
        x, y, rcs_db = points[self.on_ground(points)].T
        return Scatterers(x, y, rcs_db, self.rng.uniform(0, 2 * np.pi, len(x)))

    def lay(self, box: Floats, cover: str, role: str, gain_db: float = 0.0, label: str | None = None) -> None:
        """Adds a rectangle of ground."""
        self.patches.append(Patch(cover, rectangle(*box), role, gain_db=gain_db, label=label))


def lay_shore(shore: Shore, coast: Coast, ships: Floats) -> None:
    """Everything from the breakwater to the hills.

    Args:
        shore: Gets it.
        coast: Where the land begins.
        ships: Their rectangles, which stay afloat.
    """
    rng = shore.rng
    reach = math.hypot(*shore.extent) / 2
    if coast.moored is None and rng.random() < _NATURAL_SHARE:
        _natural_coast(shore, coast, reach)
        return
    shore.harbour = True
    quay = float(rng.uniform(25, 55))
    behind = coast.box((-2 * reach, 2 * reach), (quay, 3 * reach))
    if rng.random() < 0.5:
        shore.lay(behind, "industrial", "yard", -3.5)
    else:  # paved and empty but for what stands there; on a map it is built-up ground all the same
        shore.lay(behind, "tarmac", "yard", float(rng.uniform(2, 6)), "building")
    shore.lay(coast.box((-2 * reach, 2 * reach), (0.0, quay)), "tarmac", "quay")
    if rng.random() < _PIER_SHARE:
        _pier(shore, coast, ships, reach)
    if rng.random() < _CRANES_SHARE:
        _cranes(shore, coast, reach)
    _road(shore, coast, quay, reach)
    _yards_and_halls(shore, coast, quay + 16.0, reach)
    if rng.random() < _BREAKWATER_SHARE:
        _breakwater(shore, coast, ships, reach)


def _natural_coast(shore: Shore, coast: Coast, reach: float) -> None:
    """A ragged shore with meadows, woods and fields; nobody lands here."""
    rng = shore.rng
    s = np.linspace(-2 * reach, 2 * reach, 61)
    ragged = np.cumsum(rng.normal(0.0, 6.0, len(s)))
    # The ships were placed clear of the straight coast: inlets are fine, capes are not.
    depth = np.abs(ragged - ragged.mean())
    ahead = np.array([math.cos(coast.along), math.sin(coast.along)])
    for begin, cover, role in ((0.0, "grass", "shore"), (float(rng.uniform(20, 60)), "woodland", "wood")):
        border = s[:, None] * ahead + (coast.offset + depth[:, None] + begin) * coast.landward
        far = 3 * reach * coast.landward
        cover = "farmland" if cover == "woodland" and rng.random() < 0.4 else cover
        outline = np.concatenate([border, border[[-1, 0]] + far])
        shore.patches.append(Patch(cover, outline, "parcel" if cover == "farmland" else role))


def _pier(shore: Shore, coast: Coast, ships: Floats, reach: float) -> None:
    """A pier out into the water where no ship lies."""
    rng = shore.rng
    for _ in range(8):
        at, length, width = (
            float(rng.uniform(-0.8, 0.8)) * reach,
            float(rng.uniform(80, 220)),
            float(rng.uniform(18, 45)),
        )
        box = coast.box((at - width / 2, at + width / 2), (-length, 1.0))
        if not overlapping(box[None], ships, 12.0).any():
            shore.lay(box, "tarmac", "quay")
            if width > 35:
                shed = Building(
                    float(box[0]), float(box[1]), 0.7 * length, width - 20, coast.along + math.pi / 2, 9.0, "industrial"
                )
                shore.buildings.append(shed)
            return


def _cranes(shore: Shore, coast: Coast, reach: float) -> None:
    """Gantries along the quay, singly or in groups."""
    rng = shore.rng
    ahead = np.array([math.cos(coast.along), math.sin(coast.along)])
    step = float(rng.uniform(45, 130))
    boom = float(rng.uniform(14, 34))
    seen = False
    for at in np.arange(-reach, reach, step) + float(rng.uniform(0, step)):
        if rng.random() < 0.25:
            continue
        points = crane(rng, at * ahead + (coast.offset + 4.0) * coast.landward, ahead, -coast.landward, boom)
        seen |= bool(shore.on_ground(points).any())
        shore.shine(points)
    if seen:
        shore.standing.add("cranes")


def _road(shore: Shore, coast: Coast, begin: float, reach: float) -> None:
    width = float(shore.rng.uniform(8, 14))
    shore.lay(coast.box((-2 * reach, 2 * reach), (begin, begin + width)), "tarmac", "road")


def _yards_and_halls(shore: Shore, coast: Coast, begin: float, reach: float) -> None:
    """Blocks behind the quay: halls (section 14.2: 40-120 m), container stacks, tanks, empty yards; a lane between."""
    rng = shore.rng
    depth = begin
    while depth < reach - coast.offset and depth < 500.0:
        height = float(rng.uniform(50, 100))
        at = -reach + float(rng.uniform(0, 40))
        while at < reach:
            length = float(rng.uniform(50, 130))
            box = coast.box((at, at + length), (depth, depth + height))
            if shore.on_ground(rectangle(*box)).any() or shore.on_ground(box[None, :2]).any():
                _block(shore, coast, (at, at + length), (depth, depth + height))
            at += length + float(rng.uniform(10, 18))
        depth += height + float(rng.uniform(10, 18))


def _block(shore: Shore, coast: Coast, s: tuple[float, float], depth: tuple[float, float]) -> None:
    rng = shore.rng
    kind = float(rng.random())
    if kind < 0.4:
        margin = float(rng.uniform(4, 12))
        halls = int(rng.integers(1, 3))
        step = (depth[1] - depth[0]) / halls
        for index in range(halls):
            x, y, length, width, heading = coast.box(
                (s[0] + margin, s[1] - margin),
                (depth[0] + index * step + margin, depth[0] + (index + 1) * step - margin),
            )
            if width > 8:
                shore.buildings.append(Building(x, y, length, width, heading, float(rng.uniform(8, 15)), "industrial"))
    elif kind < 0.6:
        shore.lay(coast.box(s, depth), "tarmac", "yard")
        _stacks(shore, coast, s, depth)
    elif kind < 0.75:
        shore.lay(coast.box(s, depth), "grass", "grass")
        _tanks(shore, coast, s, depth)
    elif kind < 0.9:
        shore.lay(coast.box(s, depth), "tarmac", "yard")


def _stacks(shore: Shore, coast: Coast, s: tuple[float, float], depth: tuple[float, float]) -> None:
    """Containers: long low boxes with lanes between."""
    rng = shore.rng
    for row in np.arange(depth[0] + 6, depth[1] - 12, 20.0):
        if rng.random() < 0.8:
            end = s[1] - float(rng.uniform(4, 30))
            x, y, length, width, heading = coast.box((s[0] + 4, end), (float(row), float(row) + 12.0))
            shore.buildings.append(Building(x, y, length, width, heading, float(rng.uniform(3, 8)), "industrial"))


def _tanks(shore: Shore, coast: Coast, s: tuple[float, float], depth: tuple[float, float]) -> None:
    """Round tanks: a disc, a bright rim on all sides, a glint of the roof."""
    rng = shore.rng
    diameter = float(rng.uniform(16, 36))
    turn = np.linspace(0, 2 * np.pi, 17)[:-1]
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1) * diameter / 2
    ahead = np.array([math.cos(coast.along), math.sin(coast.along)])
    for at in np.arange(s[0] + diameter / 2 + 4, s[1] - diameter / 2, 1.35 * diameter):
        for into in np.arange(depth[0] + diameter / 2 + 4, depth[1] - diameter / 2, 1.35 * diameter):
            middle = at * ahead + (coast.offset + into) * coast.landward
            shore.patches.append(Patch("tarmac", middle + ring, "tank", label="building"))
            points = np.concatenate([middle + ring, middle[None]])
            shore.shine(np.column_stack([points, rng.normal(3.0, 3.0, len(points))]))


def _breakwater(shore: Shore, coast: Coast, ships: Floats, reach: float) -> None:
    """A mole of rocks off the quay; calm water behind, swell before it."""
    rng = shore.rng
    for _ in range(6):
        out, width = float(rng.uniform(0.35, 0.9)) * reach, float(rng.uniform(8, 14))
        gap_at, gap = float(rng.uniform(-0.4, 0.4)) * reach, float(rng.uniform(60, 140))
        bent = float(rng.uniform(-60, 60))
        ahead = np.array([math.cos(coast.along), math.sin(coast.along)])

        def place(s: float, d: float, ahead: Floats = ahead) -> Floats:
            return s * ahead + (coast.offset + d) * coast.landward

        lines = [
            np.array([place(-2 * reach, -out + bent), place(gap_at - gap / 2, -out)]),
            np.array([place(gap_at + gap / 2, -out - bent / 2), place(2 * reach, -out)]),
        ]
        walls = []
        for a, b in lines:
            middle, along = (a + b) / 2, b - a
            walls.append([*middle, float(np.linalg.norm(along)), width, math.atan2(along[1], along[0])])
        if overlapping(np.array(walls), ships, 12.0).any():
            continue
        outside = np.concatenate([lines[0], lines[1], [place(2 * reach, -4 * reach), place(-2 * reach, -4 * reach)]])
        shore.patches.insert(0, Patch("sea", outside, "sea"))
        shore.outside = outside
        for line in lines:
            shore.patches.append(Patch("industrial", strip(line, width), "breakwater", gain_db=-2.0, label=""))
            rocks = dashes(line[0], line[1], 6.0) + rng.normal(0.0, width / 4, (1, 2))
            shore.shine(np.column_stack([rocks, rng.normal(3.0, 4.0, len(rocks))]))
        return
