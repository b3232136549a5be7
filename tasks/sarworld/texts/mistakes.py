"""False claims: what a writer gets wrong, by kind of mistake and field (section 14.5 of the task specification).

A mistake takes a true claim and gives one that differs from it, or None where it does not apply: what is not there
cannot be denied. Swapped sentences come from other images, see `planted`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tasks.sarworld.texts.claims import (
    AIRCRAFT_TYPES,
    BUCKETS,
    SHIP_TYPES,
    SURROUNDINGS,
    Claim,
    features_of,
)
from tasks.sarworld.truth import (
    AIRCRAFT_CONTEXTS,
    FUNCTIONS,
    LAND_COVERS,
    LANDFORMS,
    QUADRANTS,
    SHIP_CONTEXTS,
    Domain,
)

if TYPE_CHECKING:
    import numpy as np

Value = TypeVar("Value")


class Case(NamedTuple):
    """What a mistake is made of."""

    domain: Domain
    claim: Claim
    """The truth."""
    rng: np.random.Generator


Mistake = Callable[[Case], Claim | None]

KINDS = (
    "wrong_count", "wrong_place", "wrong_size", "wrong_type", "wrong_layout", "invented_object", "denied_object",
    "swapped_from_other_image", "vague",
)  # fmt: skip
SWAPPED = "swapped_from_other_image"

_MOST_OFF = 3  # a count is off by one to three
_FACTORS = (1.3, 2.0)  # a length is wrong by such a factor, up or down; our choice
_ARRANGEMENTS = ("single", "pair", "row", "cluster", "scattered")
_PATTERNS = ("grid", "irregular", "none")
_BOUNDARIES = ("sharp", "gradual")
_COURSES = ("straight", "winding")
_BODIES = ("river", "lake", "canal", "sea")
# Not every surrounding can be invented: only what section 14.5 names (water, roads, buildings) and what stands by it.
_INVENTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "aircraft": ("runway", "taxiway", "terminal", "calm water", "buildings"),
        "ship": ("quay", "cranes", "breakwater", "swell", "calm water", "buildings"),
    }
)


def choice(rng: np.random.Generator, options: Sequence[Value]) -> Value:
    """One of the options, all alike."""
    return options[int(rng.integers(len(options)))]


def _other(rng: np.random.Generator, options: Sequence[Value], value: object) -> Value:
    return choice(rng, [option for option in options if option != value])


def _types(domain: Domain) -> tuple[str, ...]:
    return AIRCRAFT_TYPES if domain == "aircraft" else SHIP_TYPES


def _off(rng: np.random.Generator, number: int) -> int:
    """Another number, at least one."""
    near = range(max(1, number - _MOST_OFF), number + _MOST_OFF + 1)
    return _other(rng, near, number)


def _moved(case: Case, names: Sequence[str]) -> Claim | None:
    """The same targets, but some of them elsewhere."""
    rng, counts = case.rng, case.claim
    if not counts:
        return None
    source = choice(rng, [name for name in names if name in counts])
    free = [name for name in names if name not in counts]
    moved = dict(counts)
    if free:
        moved[choice(rng, free)] = moved.pop(source)
    else:
        moved[_other(rng, names, source)] += 1
        moved[source] -= 1
    return {name: moved[name] for name in names if moved.get(name)}


def _replaced(case: Case, key: str, options: Sequence[object]) -> Claim:
    return {**case.claim, key: _other(case.rng, options, case.claim[key])}


def _count_wrong(case: Case) -> Claim:
    return {"count": _off(case.rng, case.claim["count"])}


def _count_denied(case: Case) -> Claim | None:
    return {"count": 0} if case.claim["count"] else None


def _location_wrong(case: Case) -> Claim | None:
    return _moved(case, QUADRANTS)


def _feature_wrong(case: Case) -> Claim | None:
    if not case.claim["features"]:
        return None
    others = [features for name in _types(case.domain) if (features := features_of([name])) != case.claim["features"]]
    return {"features": choice(case.rng, others)}


def _size_wrong(case: Case) -> Claim | None:
    if not case.claim["length_m"]:
        return None
    factor = float(case.rng.uniform(*_FACTORS)) ** choice(case.rng, (1, -1))
    wrong = [max(1, round(length * factor)) for length in case.claim["length_m"]]
    return {"length_m": wrong if wrong != case.claim["length_m"] else [length + 1 for length in wrong]}


def _category_type(case: Case) -> Claim | None:
    free = [name for name in _types(case.domain) if name not in case.claim]
    if not case.claim or not free:
        return None
    taken = choice(case.rng, list(case.claim))
    wrong = choice(case.rng, free)
    return {wrong if name == taken else name: count for name, count in case.claim.items()}


def _category_count(case: Case) -> Claim | None:
    if not case.claim:
        return None
    name = choice(case.rng, list(case.claim))
    return {**case.claim, name: _off(case.rng, case.claim[name])}


def _distribution_layout(case: Case) -> Claim | None:
    return None if case.claim["arrangement"] == "none" else _replaced(case, "arrangement", _ARRANGEMENTS)


def _distribution_place(case: Case) -> Claim | None:
    return None if case.claim["arrangement"] == "none" else _replaced(case, "toward", QUADRANTS)


def _region_wrong(case: Case) -> Claim | None:
    return _moved(case, AIRCRAFT_CONTEXTS if case.domain == "aircraft" else SHIP_CONTEXTS)


def _environment_invented(case: Case) -> Claim | None:
    absent = [thing for thing in _INVENTED[case.domain] if thing not in case.claim["surroundings"]]
    if not absent:
        return None
    stated = {*case.claim["surroundings"], choice(case.rng, absent)}
    return {"surroundings": [thing for thing in SURROUNDINGS if thing in stated]}


def _environment_denied(case: Case) -> Claim | None:
    if not case.claim["surroundings"]:
        return None
    denied = choice(case.rng, case.claim["surroundings"])
    return {"surroundings": [thing for thing in case.claim["surroundings"] if thing != denied]}


def _terrain_wrong(case: Case) -> Claim:
    return _replaced(case, "landform", LANDFORMS)


def _functionality_wrong(case: Case) -> Claim:
    return _replaced(case, "function", FUNCTIONS)


def _covers_exchanged(case: Case) -> Claim | None:
    one = choice(case.rng, QUADRANTS)
    others = [name for name in QUADRANTS if case.claim[name] != case.claim[one]]
    if not others:
        return None
    other = choice(case.rng, others)
    return {**case.claim, one: case.claim[other], other: case.claim[one]}


def _cover_wrong(case: Case) -> Claim:
    return _replaced(case, choice(case.rng, QUADRANTS), LAND_COVERS)


def _layout_wrong(case: Case) -> Claim:
    return _replaced(case, "pattern", _PATTERNS)


def _boundary_wrong(case: Case) -> Claim:
    return _replaced(case, "boundary", _BOUNDARIES)


def _most_wrong(case: Case) -> Claim | None:
    return None if case.claim["share"] == "none" else _replaced(case, "most", QUADRANTS)


def _share_wrong(case: Case) -> Claim | None:
    return None if case.claim["share"] == "none" else _replaced(case, "share", BUCKETS[1:])


def _building_invented(case: Case) -> Claim | None:
    if case.claim["share"] != "none":
        return None
    return {"share": choice(case.rng, BUCKETS[1:]), "most": choice(case.rng, QUADRANTS)}


def _building_denied(case: Case) -> Claim | None:
    return None if case.claim["share"] == "none" else {"share": "none", "most": None}


def _road_invented(case: Case) -> Claim | None:
    return (
        None
        if case.claim["roads"]
        else {"roads": 1 + int(case.rng.integers(_MOST_OFF)), "course": choice(case.rng, _COURSES)}
    )


def _road_denied(case: Case) -> Claim | None:
    return {"roads": 0, "course": "none"} if case.claim["roads"] else None


def _road_count(case: Case) -> Claim | None:
    return {**case.claim, "roads": _off(case.rng, case.claim["roads"])} if case.claim["roads"] else None


def _road_course(case: Case) -> Claim | None:
    return _replaced(case, "course", _COURSES) if case.claim["roads"] else None


def _water_invented(case: Case) -> Claim | None:
    if case.claim["body"] != "none":
        return None
    return {
        "body": choice(case.rng, _BODIES),
        "share": choice(case.rng, BUCKETS[1:]),
        "most": choice(case.rng, QUADRANTS),
    }


def _water_denied(case: Case) -> Claim | None:
    return None if case.claim["body"] == "none" else {"body": "none", "share": "none", "most": None}


def _water_type(case: Case) -> Claim | None:
    return None if case.claim["body"] == "none" else _replaced(case, "body", _BODIES)


_Mistakes = Mapping[str, Mapping[str, Mistake]]
_TARGET: _Mistakes = {
    "Count": {"wrong_count": _count_wrong, "denied_object": _count_denied},
    "Location": {"wrong_place": _location_wrong},
    "Feature": {"wrong_type": _feature_wrong},
    "Size": {"wrong_size": _size_wrong},
    "Category": {"wrong_type": _category_type, "wrong_count": _category_count},
    "Distribution": {"wrong_layout": _distribution_layout, "wrong_place": _distribution_place},
    "Region": {"wrong_place": _region_wrong},
    "Environment": {"invented_object": _environment_invented, "denied_object": _environment_denied},
}
_LANDFORM: _Mistakes = {
    "Terrain": {"wrong_type": _terrain_wrong},
    "Functionality": {"wrong_type": _functionality_wrong},
    "Location": {"wrong_place": _covers_exchanged, "wrong_type": _cover_wrong},
    "Layout": {"wrong_layout": _layout_wrong},
    "Boundary": {"wrong_layout": _boundary_wrong},
    "Building": {
        "invented_object": _building_invented,
        "denied_object": _building_denied,
        "wrong_place": _most_wrong,
        "wrong_size": _share_wrong,
    },
    "Road": {
        "invented_object": _road_invented,
        "denied_object": _road_denied,
        "wrong_count": _road_count,
        "wrong_layout": _road_course,
    },
    "Water": {
        "invented_object": _water_invented,
        "denied_object": _water_denied,
        "wrong_type": _water_type,
        "wrong_place": _most_wrong,
        "wrong_size": _share_wrong,
    },
}
MISTAKES: Mapping[Domain, _Mistakes] = MappingProxyType({"aircraft": _TARGET, "ship": _TARGET, "landform": _LANDFORM})
"""By domain, field and kind; without `vague` and `SWAPPED`, which every field knows."""
