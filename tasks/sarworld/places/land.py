"""Towns, industry, fields, rivers and coasts as layouts (sections 14.1 to 14.3 of the task specification)."""

from __future__ import annotations

import numpy as np

from tasks.sarworld.clutter import SWELL_WAVELENGTH_M
from tasks.sarworld.ground import Building, Layout, Patch, Swell
from tasks.sarworld.places.board import Board
from tasks.sarworld.places.courses import Course
from tasks.sarworld.places.fields import parcels, power_line
from tasks.sarworld.places.plan import THEMES, Plan, plan_ground
from tasks.sarworld.places.town import houses, industry, points
from tasks.sarworld.places.wishes import LandWish, land_wish, wish_of_kind
from tasks.sarworld.places.zones import Floats, Fractal, Grid, grid, margins, regions
from tasks.sarworld.scatterers import Scatterers
from tasks.sarworld.truth import Course as RoadCourse
from tasks.sarworld.truth import Facts, Pattern

__all__ = ["LandWish", "land", "land_wish", "wish_of_kind"]

_NODES = 128
_MARGIN = 0.06  # of the extent; houses at the border must know their ground
_BANK_M = 7.0
_KERB_M = 6.0
_SIDE_LOBES_M = 10.0  # what shines just beyond the border still reaches in
_SHORE_SMOOTH = 2.0  # nodes: waves wear corners off
_BROAD_CELLS = 10.0


def land(
    scene: str,
    rng: np.random.Generator,
    extent: tuple[float, float],
    wish: LandWish,
    finest_m: float = 0.0,
) -> Layout:
    """Lays out land that shows what the wish asks for.

    Args:
        scene: Id of the layout.
        rng: All draws come from it.
        extent: Height and width in metres, from 256 m to 2 km.
        wish: See `land_wish` and `wish_of_kind`.
        finest_m: The coarsest pixel that will be used; smaller things are left to the texture of their cover.
    """
    plan_rng, form_rng, town_rng, field_rng, point_rng = rng.spawn(5)
    plan = plan_ground(plan_rng, extent, wish)
    at = grid(extent, _NODES, _MARGIN)
    fields = _fields(plan, at)
    shores = np.any([fields[name] > -_BANK_M - _KERB_M for name in ("water", "sea") if name in fields], axis=0)
    board = Board.of(plan, at, finest_m, _KERB_M, np.broadcast_to(shores, (len(at.y), len(at.x))))
    bent = wish.pattern == "irregular"
    base = "farmland" if board.has("farmland") else "grass"
    lots = parcels(field_rng, board, plan.heading, bent)
    streets, homes, cars = houses(town_rng, board, plan.heading, bent)
    yards, halls, shine = industry(town_rng, board, plan.heading)
    patches = lots + _zones(form_rng, wish, at, fields) + streets + yards + _lines(plan, extent, at)
    buildings = (*homes, *halls)
    fixtures = Scatterers.joined([*cars, *shine, *power_line(point_rng, board), *_parked(point_rng, board, plan)])
    seen = board.on_ground(fixtures.x, fixtures.y, _SIDE_LOBES_M)
    fixtures = Scatterers(fixtures.x[seen], fixtures.y[seen], fixtures.rcs_db[seen], fixtures.phase[seen])
    facts = _facts(plan, wish, bool(lots), buildings)
    swell = None
    if plan.water == "sea":
        swell = Swell(
            float(form_rng.uniform(*SWELL_WAVELENGTH_M)),
            float(form_rng.uniform(0, np.pi)),
            float(form_rng.uniform(0, 6.3)),
        )
    return Layout(scene, extent, base, facts, tuple(patches), buildings, (), fixtures, swell)


def _fields(plan: Plan, at: Grid) -> dict[str, Floats]:
    """The field of every theme, with shores that have no corners."""
    from scipy.ndimage import gaussian_filter

    fields = {THEMES[theme]: field for theme, field in margins(plan.costs(at)).items()}
    for theme in ("water", "sea"):
        if theme in fields:
            fields[theme] = gaussian_filter(fields[theme], _SHORE_SMOOTH, mode="nearest")
    return fields


def _zones(rng: np.random.Generator, wish: LandWish, at: Grid, named: dict[str, Floats]) -> list[Patch]:
    """Polygons of all zones but farmland, which lies under them as parcels."""
    patches: list[Patch] = []
    slope = Fractal.draw(rng, 0.35 * min(at.x[-1], at.y[-1]), 30.0, 1.0).on(at)
    if "woodland" in named:
        wood = named["woodland"]
        patches += _cut("woodland", "wood", wood, at)
        if wish.landform == "hilly":
            # Slopes towards the radar are brighter, those away from it darker.
            patches += _cut("woodland", "slope", np.minimum(wood, 8 * (slope - 0.6)), at, gain_db=2.0)
            patches += _cut("woodland", "slope", np.minimum(wood, 8 * (-slope - 0.6)), at, gain_db=-2.5)
        else:
            patches += _cut("woodland", "slope", np.minimum(wood, 8 * (slope - 0.9)), at, gain_db=-1.5)
    for theme, role in (("meadow", "meadow"), ("verge", "verge")):
        if theme in named:
            patches += _cut("grass", role, named[theme], at)
    for theme in ("housing", "industrial"):
        if theme in named:
            patches += _cut(theme, "block", named[theme], at)
            # Denser and greener parts of the town.
            patches += _cut(theme, "block", np.minimum(named[theme], 8 * (slope - 0.5)), at, gain_db=1.5)
            patches += _cut(theme, "block", np.minimum(named[theme], 8 * (-slope - 0.5)), at, gain_db=-2.0)
    if "tarmac" in named:
        patches += _cut("tarmac", "square", named["tarmac"], at, shoulder=True)
        patches += _cut("grass", "island", np.minimum(named["tarmac"] - 4, 6 * (slope - 1.7)), at)
    for theme, role in (("water", "lake"), ("sea", "sea")):
        if theme in named:
            patches += _cut("grass", "shore", named[theme] + _BANK_M, at, gain_db=-1.5)
            patches += _cut(theme, role, named[theme], at)
    return patches


def _cut(cover: str, role: str, field: Floats, at: Grid, gain_db: float = 0.0, shoulder: bool = False) -> list[Patch]:
    return [Patch(cover, polygon, role, gain_db, None, shoulder) for polygon in regions(field, at)]


def _lines(plan: Plan, extent: tuple[float, float], at: Grid) -> list[Patch]:
    """Rivers with their banks, and roads over everything."""
    step = min(extent) / 40
    patches: list[Patch] = []
    if plan.verge is not None:
        patches.append(Patch("grass", plan.verge.polygon(step), role="verge"))
    river, cover = plan.river, "sea" if plan.water == "sea" else "water"
    if isinstance(river, Course) and river.width > _BROAD_CELLS * at.cell[0]:
        # The banks of a broad river turn more sharply than its middle; cut from a field they do not cross themselves.
        field = river.inside(at.x[None, :], at.y[:, None])
        patches += _cut("grass", "bank", field + _BANK_M, at, gain_db=-0.5)
        patches += _cut(cover, plan.water, field, at)
    elif river is not None:
        patches.append(Patch("grass", river.polygon(step, _BANK_M), role="bank", gain_db=-0.5))
        patches.append(Patch(cover, river.polygon(step), role=plan.water))
    patches += [Patch("tarmac", ramp.polygon(step / 3), role="ramp", shoulder=True) for ramp in plan.ramps]
    patches += [Patch("tarmac", road.polygon(step), role="road", shoulder=True) for road in plan.roads]
    return patches


def _parked(rng: np.random.Generator, board: Board, plan: Plan) -> list[Scatterers]:
    """Vehicles: in rows on squares, here and there on roads."""
    found = []
    if board.has("tarmac"):
        half = 0.75 * float(np.hypot(*board.extent))
        u, v = (a.ravel() for a in np.meshgrid(np.arange(-half, half, 6.0), np.arange(-half, half, 42.0)))
        x = u * np.cos(plan.heading) - v * np.sin(plan.heading)
        y = u * np.sin(plan.heading) + v * np.cos(plan.heading)
        kept = board.is_at(x, y, "tarmac") & board.on_ground(x, y)
        taken = np.sin(u / 37.0 + v) + rng.normal(0, 0.6, len(u)) > 0.7  # rows are filled in stretches
        kept &= taken
        cross_section = rng.uniform(0, 12, int(kept.sum()))
        found.append(points(rng, np.stack([x[kept], y[kept], cross_section], axis=1)))
    for road in plan.roads:
        line = road.on_axis(25.0)
        taken = rng.random(len(line)) < 0.35
        spots = line[taken] + rng.normal(0, 0.15 * road.width, (int(taken.sum()), 2))
        spots = spots[board.on_ground(spots[:, 0], spots[:, 1])]
        found.append(points(rng, np.column_stack([spots, rng.uniform(-5, 8, len(spots))])))
    return found


def _facts(plan: Plan, wish: LandWish, has_parcels: bool, buildings: tuple[Building, ...]) -> Facts:
    course: RoadCourse = "none"
    if plan.roads:
        course = "winding" if plan.road_bends else "straight"
    pattern: Pattern = wish.pattern if buildings or has_parcels else "none"
    return Facts(
        landform=wish.landform,
        function=wish.function,
        pattern=pattern,
        boundary=wish.boundary,
        roads=len(plan.roads),
        road_course=course,
        water=plan.water,
        buildings=len(buildings),
        arrangement="none",
        surroundings=(),
    )
