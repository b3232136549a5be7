"""What a piece of ground shall be like, before it is laid out: the balance of section 14.6 of the task specification.

Wishes are drawn in blocks of twelve, each block from its own generator: more tiles change nothing about the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import numpy as np

from foundation.names import unknown_name
from foundation.seeds import derive_seed
from tasks.sarworld.truth import LAND_COVERS, Boundary

BLOCK = 12
"""Wishes that are balanced together."""
SCENE_KINDS = ("urban", "industrial", "rural", "river", "mixed")
"""Kinds of scenes of section 14.1 that are all land; airport and port are places of their own."""

_B, _V, _W, _R = LAND_COVERS
# Largest cover of the tiles of a block, in runs of four (section 14.6: none above 40 %). Tarmac seldom covers most of
# a tile on real maps, so it gives one of its three turns to vegetation; a prefix of 13 tiles still holds the 40 %.
_MAINS = ((_B, _V, _W, _R), (_B, _V, _W, _R), (_B, _V, _W, _V))
# Sets that the tiles of a run of four take, all different (section 14.6: no set above 35 %, at least six in a block).
_SET_SIZES = ((4, 3, 3, 2), (4, 3, 3, 2), (4, 3, 3, 3))
_FEWEST_SETS = 6
_ODD_PAIR = frozenset((_W, _R))  # tarmac in water alone is no place


class LandWish(NamedTuple):
    """What a layout of land has to show."""

    main: str
    """The cover with the largest area in the whole tile."""
    quadrants: tuple[str, str, str, str]
    """The cover with the largest area in each of `truth.QUADRANTS`."""
    covers: tuple[str, ...]
    """Map names that occur, and no others, in the order of `truth.LAND_COVERS`."""
    landform: str
    """One of `truth.LANDFORMS`."""
    function: str
    """One of `truth.FUNCTIONS`."""
    pattern: Literal["grid", "irregular"]
    """How buildings and parcels are arranged."""
    boundary: Boundary
    """How covers meet."""


def land_wish(seed: int, dataset: str, number: int) -> LandWish:
    """The wish for one tile of a data set; `seed` is the world's."""
    block, place = divmod(number, BLOCK)
    rng = np.random.default_rng(derive_seed(seed, "land wish", dataset, block))
    mains = [str(name) for run in _MAINS for name in rng.permutation(run)]
    sets = _sets(rng, mains)
    patterns = rng.permutation(["grid", "irregular"] * (BLOCK // 2))
    boundaries = rng.permutation(["sharp", "gradual"] * (BLOCK // 2))
    details = rng.spawn(BLOCK)
    style = (str(patterns[place]), str(boundaries[place]))
    return _wish(details[place], mains[place], sets[place], style)


def wish_of_kind(kind: str, rng: np.random.Generator) -> LandWish:
    """A wish for a whole scene of one of `SCENE_KINDS`, without regard to balance."""
    if kind not in SCENE_KINDS:
        raise unknown_name("kind of land scene", kind, SCENE_KINDS, see="section 14.1 of the task specification")
    style = (str(rng.choice(["grid", "irregular"])), str(rng.choice(["sharp", "gradual"])))
    main, quadrants = {
        "urban": (_B, (_B, _B, _B, _V)),
        "industrial": (_B, (_B, _B, _B, _R)),
        "rural": (_V, (_V, _V, _V, _B)),
        "river": (_V, (_V, _V, _W, _W)),
        "mixed": (_V, (_V, _V, _B, _W)),
    }[kind]
    turned = _turned(rng, quadrants)
    wish = _ground(rng, main, turned, LAND_COVERS, style)
    function = {"urban": "residential", "rural": "farming", "river": "river corridor"}.get(kind, kind)
    landforms = {
        "urban": ("urban flat",),
        "industrial": ("urban flat", "plain"),
        "rural": ("plain", "hilly", "river-network plain"),
        "river": ("river-network plain",),
        "mixed": ("plain", "coastal", "river-network plain"),
    }[kind]
    return wish._replace(function=function, landform=str(rng.choice(landforms)))


def _sets(rng: np.random.Generator, mains: Sequence[str]) -> list[tuple[str, ...]]:
    """The covers of every tile of a block; drawn anew until they are varied enough."""
    while True:
        sets: list[tuple[str, ...]] = []
        for run, sizes in enumerate(_SET_SIZES):
            sizes_here = rng.permutation(sizes)
            four = [_set(rng, mains[4 * run + place], int(size)) for place, size in enumerate(sizes_here)]
            if len(set(four)) < len(four):
                break
            sets += four
        if len(sets) == BLOCK and len(set(sets)) >= _FEWEST_SETS:
            return sets


def _set(rng: np.random.Generator, main: str, size: int) -> tuple[str, ...]:
    while True:
        others = [name for name in LAND_COVERS if name != main]
        chosen = {main, *(str(name) for name in rng.choice(others, size - 1, replace=False))}
        if chosen != _ODD_PAIR:
            return tuple(name for name in LAND_COVERS if name in chosen)


def _wish(rng: np.random.Generator, main: str, covers: tuple[str, ...], style: tuple[str, str]) -> LandWish:
    others = [str(name) for name in rng.permutation([name for name in covers if name != main])]
    if len(others) > 1 and others[0] == _R and rng.random() < 0.5:
        others = others[1:] + others[:1]  # tarmac dominates a quarter less often than the rest do
    # How many quadrants the main cover has keeps "the same as the whole tile" under 60 % (section 14.6): a half of
    # them in most tiles, three where there are but two covers, one in some of the tiles with all four.
    if len(others) == 1:
        quadrants = (main, main, main, others[0])
    elif len(others) == 3 and rng.random() < 0.6:
        quadrants = (main, others[0], others[1], others[2])
    else:
        quadrants = (main, main, others[0], others[1])
    return _ground(rng, main, _turned(rng, quadrants), covers, style)


def _turned(rng: np.random.Generator, quadrants: tuple[str, str, str, str]) -> tuple[str, str, str, str]:
    return cast("tuple[str, str, str, str]", tuple(str(name) for name in rng.permutation(quadrants)))


def _ground(
    rng: np.random.Generator,
    main: str,
    quadrants: tuple[str, str, str, str],
    covers: tuple[str, ...],
    style: tuple[str, str],
) -> LandWish:
    """Landform and function that go with the covers."""
    landforms = {_B: ["urban flat", "urban flat", "plain"], _V: ["plain", "hilly"], _W: [], _R: ["urban flat", "plain"]}
    choices = list(landforms[main])
    if _W in covers and quadrants.count(_W) < 3:
        choices += ["river-network plain"]
    if _W in quadrants and not across(quadrants, _W):
        choices += ["coastal"] * (2 if main == _W else 1)
    landform = str(rng.choice(choices))
    functions = {
        _B: ["residential", "residential", "industrial"],
        _V: ["farming"],
        _W: ["mixed"],
        _R: ["industrial", "mixed"],
    }
    dry = [name for name in quadrants if name != _W]
    function = str(rng.choice(functions[main if main in dry else dry[0]]))
    if _W in quadrants and landform == "river-network plain" and rng.random() < 0.5:
        function = "river corridor"
    elif len(set(quadrants)) == 4:
        function = "mixed"
    pattern = cast('Literal["grid", "irregular"]', style[0])
    return LandWish(main, quadrants, covers, landform, function, pattern, cast("Boundary", style[1]))


def across(quadrants: Sequence[str], name: str) -> bool:
    """Whether a cover has two quadrants that touch at a corner only."""
    places = tuple(place for place, cover in enumerate(quadrants) if cover == name)
    return places in ((0, 3), (1, 2))
