"""Where what lies: zones, waters and roads that show what a wish asks for.

Plans are drawn at random and measured on a coarse grid until one fits, so borders go where they like: no line of
the layout follows the quadrants that the wish speaks of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.places.courses import Course, Pond, Ring, Swing, reach_of, winding
from tasks.sarworld.places.roads import MOST_BRIDGE, NO_ROADS, clover_leaf, roads_through
from tasks.sarworld.places.wishes import LandWish
from tasks.sarworld.places.zones import Floats, Fractal, Grid, Sites, grid, rectangles, scattered
from tasks.sarworld.truth import LAND_COVERS, WaterBody

THEMES = ("farmland", "woodland", "meadow", "verge", "housing", "industrial", "tarmac", "water", "sea")
"""What a zone is; meadow and verge are grass, which is not on the map."""
NAME_OF_THEME = {
    "farmland": "vegetation",
    "woodland": "vegetation",
    "housing": "building",
    "industrial": "building",
    "tarmac": "road",
    "water": "water",
    "sea": "water",
}
_WET = (THEMES.index("water"), THEMES.index("sea"))
_TRIES = 60
# Section 6.3 skips questions whose answer leads by less than 0.05 of the labelled area; details drawn later cost some.
_QUADRANT_LEAD, _TILE_LEAD, _LEAST_SHARE = 0.13, 0.09, 0.008
_LEAST_LABELLED = 0.35  # of a quadrant; far above the 1 % of section 6.3
_COARSE = 48
_INTERCHANGE_UP_TO_M = 600.0  # on larger ground an interchange no longer covers most of a quarter's labelled area

Extent = tuple[float, float]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Plan:
    """The large forms of one piece of ground."""

    extent: Extent
    sites: Sites
    warp: tuple[float, Fractal, Fractal] | None
    """How far, and by which fields, organic borders stray."""
    heading: float
    """Of streets and parcels."""
    river: Course | Pond | None
    """A water that lies over the zones; lakes and seas can also be zones."""
    water: WaterBody
    roads: tuple[Course, ...]
    ramps: tuple[Ring | Course, ...]
    verge: Course | None
    """Grass between the ramps of an interchange: a square."""
    road_bends: bool

    def costs(self, at: Grid) -> dict[int, Floats]:
        """Costs of the themes at the nodes of a grid."""
        x, y = at.x[None, :], at.y[:, None]
        if self.warp is None:
            return self.sites.costs(x, y)
        size, one, other = self.warp
        return self.sites.costs(x + size * one.on(at), y + size * other.on(at))

    def themes(self, at: Grid) -> NDArray[np.int64]:
        """Index into `THEMES` at the nodes of a grid."""
        costs = self.costs(at)
        order = np.array(list(costs))
        best: NDArray[np.int64] = order[np.argmin(np.stack(list(costs.values())), axis=0)]
        if self.verge is not None:
            best[self.verge.inside(at.x[None, :], at.y[:, None]) > 0] = THEMES.index("verge")
        return best


def plan_ground(rng: np.random.Generator, extent: Extent, wish: LandWish) -> Plan:
    """The first plan that fits the wish well, or the best of sixty."""
    coarse = grid(extent, _COARSE, 0.0)
    best = _draft(rng, extent, wish)
    best_score = _score(best, wish, coarse)
    for _ in range(_TRIES - 1):
        if best_score >= 0:
            break
        plan = _draft(rng, extent, wish)
        score = _score(plan, wish, coarse)
        if score > best_score:
            best, best_score = plan, score
    return best


def map_names(plan: Plan, at: Grid) -> NDArray[np.int64]:
    """The map of a plan at the nodes of a grid: index into `LAND_COVERS`, -1 for nothing."""
    table = np.array([LAND_COVERS.index(NAME_OF_THEME[t]) if t in NAME_OF_THEME else -1 for t in THEMES])
    names: NDArray[np.int64] = table[plan.themes(at)]
    x, y = at.x[None, :], at.y[:, None]
    water, road = LAND_COVERS.index("water"), LAND_COVERS.index("road")
    if plan.river is not None:
        names[plan.river.inside(x, y) > 0] = water
    for line in (*plan.roads, *plan.ramps):
        names[(line.inside(x, y) > 0) & (names != water)] = road
    return names


def _score(plan: Plan, wish: LandWish, coarse: Grid) -> float:
    """How far the weakest point of a plan lies above what is needed."""
    names = map_names(plan, coarse)
    half = _COARSE // 2
    quarters = names.reshape(2, half, 2, half).transpose(0, 2, 1, 3).reshape(4, -1)
    counts = np.stack([np.bincount(quarter + 1, minlength=5)[1:] for quarter in quarters]) / half**2
    points = [_lead(count, name) - _QUADRANT_LEAD for count, name in zip(counts, wish.quadrants, strict=True)]
    points += [float(counts.sum(axis=1).min()) - _LEAST_LABELLED]
    tile = counts.mean(axis=0)
    points += [_lead(tile, wish.main) - _TILE_LEAD]
    points += [float(tile[LAND_COVERS.index(name)]) - _LEAST_SHARE for name in wish.covers]
    points += [MOST_BRIDGE - _over_water(road, names, coarse) for road in plan.roads]
    water = names == LAND_COVERS.index("water")
    if plan.ramps:
        x, y = coarse.x[None, :], coarse.y[:, None]
        under = np.stack([ramp.inside(x, y) > 0 for ramp in plan.ramps]).any(axis=0)
        points += [0.03 - float((under & water).sum() / max(1, under.sum()))]
    return min(points)


def _lead(shares: Floats, name: str) -> float:
    own = shares[LAND_COVERS.index(name)]
    others = np.delete(shares, LAND_COVERS.index(name))
    return float((own - others.max()) / max(shares.sum(), 1e-9))


def _over_water(road: Course, names: NDArray[np.int64], coarse: Grid) -> float:
    line = road.on_axis(8.0)
    on_ground = (np.abs(line[:, 0]) <= -coarse.x[0]) & (np.abs(line[:, 1]) <= -coarse.y[0])
    if not on_ground.any():
        return 1.0
    rows, columns = coarse.nearest(line[on_ground, 0], line[on_ground, 1])
    return float(np.mean(names[rows, columns] == LAND_COVERS.index("water")))


class _Frame(NamedTuple):
    """What all parts of a draft share."""

    extent: Extent
    wish: LandWish
    heading: float
    water: WaterBody
    over: bool
    """The water lies over the zones."""
    interchange: bool


def _draft(rng: np.random.Generator, extent: Extent, wish: LandWish) -> Plan:
    heading = float(rng.choice([-1, 1]) * rng.uniform(0.12, 0.7))
    water, over = _water(rng, wish)
    roomy = max(extent) > _INTERCHANGE_UP_TO_M
    interchange = wish.quadrants.count("road") == 1 and wish.main != "road" and not roomy and rng.random() < 0.6
    frame = _Frame(extent, wish, heading, water, over, interchange)
    river = _river(rng, frame) if over else None
    sites = _sites(rng, frame)
    smaller = min(extent)
    warp = None
    if wish.boundary == "gradual":
        one, other = (Fractal.draw(rng, 0.6 * smaller, max(6.0, 0.02 * smaller), 0.9) for _ in range(2))
        warp = (float(rng.uniform(0.035, 0.055)) * smaller, one, other)
    elif water in ("sea", "lake") and not over:
        one, other = (Fractal.draw(rng, 0.8 * smaller, 0.3 * smaller, 1.0) for _ in range(2))
        warp = (0.02 * smaller, one, other)

    def wet(x: Floats, y: Floats) -> Flags:
        return _wet(sites, river, x, y)

    if "road" not in wish.covers:
        roads = NO_ROADS
    elif interchange:
        roads = clover_leaf(rng, extent, heading, wish.quadrants.index("road"))
    else:
        roads = roads_through(rng, extent, heading, wish.pattern == "irregular", wet)
    return Plan(extent, sites, warp, heading, river, water, *roads)


def _wet(sites: Sites, river: Course | Pond | None, x: Floats, y: Floats) -> Flags:
    """Whether points lie in water, as far as can be told before borders stray."""
    costs = sites.costs(x, y)
    wet: Flags = np.isin(np.array(list(costs))[np.argmin(list(costs.values()), axis=0)], _WET)
    return wet if river is None else wet | (river.inside(x, y) > 0)


def _water(rng: np.random.Generator, wish: LandWish) -> tuple[WaterBody, bool]:
    """The body of water, and whether it lies over the zones."""
    if "water" not in wish.covers:
        return "none", False
    count = wish.quadrants.count("water")
    if wish.function == "river corridor" and count < 3:
        return "river", True
    if wish.landform == "coastal":
        return "sea", count == 0
    if count == 0:
        bodies: tuple[WaterBody, ...] = ("river", "canal", "lake")
        chances = (0.8, 0.2, 0.0) if wish.landform == "river-network plain" else (0.3, 0.3, 0.4)
        return bodies[int(rng.choice(3, p=chances))], True
    # Quarters that touch at a corner only, and river land, get a broad river through their middles.
    straight = count == 2
    if count < 3 and (wish.landform == "river-network plain" or (straight and rng.random() < 0.3)):
        return "river", True
    return "lake", False


def _river(rng: np.random.Generator, frame: _Frame) -> Course | Pond:
    extent, wish = frame.extent, frame.wish
    height, width = extent
    smaller, reach = min(extent), reach_of(extent)
    places = [place for place, name in enumerate(wish.quadrants) if name == "water"]
    if not places and frame.water == "sea":
        return _strand(rng, frame)
    if not places and frame.water == "lake":
        lobes = tuple(Swing(float(rng.uniform(0.04, 0.16)), n, float(rng.uniform(0, 6.3))) for n in (2, 3, 5))
        x, y = rng.uniform(-0.38, 0.38, 2) * (width, height)
        return Pond(float(x), float(y), float(rng.uniform(0.07, 0.12)) * smaller, lobes)
    if not places:
        x, y = rng.uniform(-0.3, 0.3, 2) * (width, height)
        heading = float(rng.uniform(0, np.pi))
        if frame.water == "canal":
            return Course(float(x), float(y), heading, float(rng.uniform(12, 18)) * (smaller / 256) ** 0.4, reach)
        broad = float(rng.uniform(0.05, 0.085)) * smaller
        swings = winding(rng, 0.07 * smaller, 0.6 * smaller)
        swell = Swing(0.12 * broad, 0.4 * smaller, float(rng.uniform(0, 6.3)))
        return Course(float(x), float(y), heading, broad, reach, swings, swell)
    centres = np.array([((place % 2 - 0.5) / 2 * width, (place // 2 - 0.5) / 2 * height) for place in places])
    x, y = centres.mean(axis=0) + rng.uniform(-0.03, 0.03, 2) * smaller
    if len(places) == 1:
        heading = float(np.arctan2(y, x)) + np.pi / 2
    else:
        heading = float(np.arctan2(*(centres[1] - centres[0])[::-1]))
    heading += float(rng.uniform(-0.18, 0.18))
    broad = float(rng.uniform(0.3, 0.4)) * smaller
    swings = winding(rng, 0.035 * smaller, 0.7 * smaller)
    swell = Swing(0.06 * broad, 0.5 * smaller, float(rng.uniform(0, 6.3)))
    return Course(float(x), float(y), heading, broad, reach, swings, swell)


def _strand(rng: np.random.Generator, frame: _Frame) -> Course:
    """A sea that takes a strip along one border of the ground."""
    height, width = frame.extent
    smaller = min(frame.extent)
    x, y, along = ((0.5, 0.0, np.pi / 2), (-0.5, 0.0, np.pi / 2), (0.0, 0.5, 0.0), (0.0, -0.5, 0.0))[
        int(rng.integers(4))
    ]
    heading = float(along + rng.uniform(-0.15, 0.15))
    broad, swings = float(rng.uniform(0.2, 0.28)) * smaller, winding(rng, 0.03 * smaller, 0.7 * smaller)
    return Course(x * width, y * height, heading, broad, reach_of(frame.extent), swings)


def _sites(rng: np.random.Generator, frame: _Frame) -> Sites:
    extent, wish = frame.extent, frame.wish
    height, width = extent
    count = float(rng.uniform(9, 15)) * (max(1.0, min(extent) / 300)) ** 0.8
    half = None
    if wish.boundary == "sharp" and wish.pattern == "grid" and frame.water != "sea":
        x, y, half = rectangles(rng, extent, count, frame.heading)
    else:
        x, y = scattered(rng, extent, count)
    strayed = rng.normal(0, 0.05, (2, len(x)))
    quadrants = 2 * (y / height + strayed[0] >= 0).astype(int) + (x / width + strayed[1] >= 0)
    names = np.array(wish.quadrants, dtype=object)[quadrants]
    dry = [name for name in wish.covers if name not in ("water", "road")] or ["meadow"]
    free = dry + ([wish.main] if len(set(wish.quadrants)) == 4 and wish.main not in dry else [])
    # One cover with the largest area of the tile but only one quarter needs many patches in the others.
    chance = 0.3 if len(set(wish.quadrants)) == 4 else 0.1
    swapped = rng.random(len(names)) < chance
    picks = [wish.main if len(set(wish.quadrants)) == 4 else str(name) for name in rng.choice(free, len(names))]
    names = np.where(swapped, np.array(picks, dtype=object), names)
    names[rng.random(len(names)) < 0.06] = "meadow"
    inside = np.flatnonzero((np.abs(x) < width * 0.45) & (np.abs(y) < height * 0.45))
    for name in dry:
        if name not in wish.quadrants and len(inside):
            names[rng.choice(inside, max(1, len(inside) // 12), replace=False)] = name
    if frame.over:
        wet = names == "water"
        names[wet] = rng.choice(dry, int(wet.sum()))
    themes = np.array([THEMES.index(_theme(rng, str(name), frame)) for name in names], dtype=np.int64)
    return Sites(x, y, themes, half, frame.heading)


def _theme(rng: np.random.Generator, name: str, frame: _Frame) -> str:
    function = frame.wish.function
    if name == "building":
        homes = {"residential": 0.9, "industrial": 0.15, "farming": 0.95}.get(function, 0.65)
        return "housing" if rng.random() < homes else "industrial"
    if name == "vegetation":
        fields = {"farming": 0.8, "industrial": 0.6, "residential": 0.4}.get(function, 0.6)
        fields = 0.3 if frame.wish.landform == "hilly" else fields
        return "farmland" if rng.random() < fields else "woodland"
    if name == "water":
        return "sea" if frame.water == "sea" else "water"
    if name == "road":
        return "verge" if frame.interchange else "tarmac"
    return name
