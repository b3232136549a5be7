"""What a true text says about an image: one plain claim per field, a function of the truth alone.

A claim is what remains of a sentence without its wording: plain data, equal to itself after a way through JSON.
The fields are those of section 3.1 of the KLIP specification; the bounds of the share buckets are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from foundation.names import unknown_name
from klip.text import TARGET_FIELDS, TERRAIN_FIELDS
from tasks.sarworld.truth import LAND_COVERS, QUADRANTS, Domain, TrueObject, Truth

Claim = dict[str, Any]
"""What one field states, or `VAGUE`."""

VAGUE: Mapping[str, Any] = MappingProxyType({"vague": True})
"""The claim of a sentence that states nothing."""

FIELDS: Mapping[Domain, tuple[str, ...]] = MappingProxyType(
    {"aircraft": TARGET_FIELDS, "ship": TARGET_FIELDS, "landform": TERRAIN_FIELDS}
)

PRESENT = 0.001  # section 6.3 of the task specification: a land cover below 0.1 % of the tile does not occur
LABELLED = 0.01  # section 6.3: a quadrant with less labelled ground answers nothing
BUCKETS = ("none", "little", "some", "much")
_SOME, _MUCH = 0.10, 0.30  # our choice
UNLABELLED = "unlabelled"
"""Main cover of a quadrant of bare ground."""

# What is seen of a type, the telling trait first. The traits are those with which the types are drawn (section 14.3).
TRAITS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "A220": ("faint wings", "two wing engines"),
        "A320321": ("narrow body", "two wing engines"),
        "A330": ("large span", "wide body"),
        "ARJ21": ("rear engines", "short fuselage"),
        "Boeing737": ("bright fuselage", "narrow body"),
        "Boeing787": ("swept wings", "wide body"),
        "other": ("plain outline",),
        "early_warning": ("radar disc", "four wing engines"),
        "fighter": ("delta wing", "rear engines"),
        "narrow_civil": ("narrow body", "two wing engines"),
        "regional": ("propellers", "straight wings"),
        "tanker": ("tail boom", "wide body"),
        "transport": ("four wing engines", "high wing"),
        "wide_civil": ("wide body", "two wing engines"),
        "Cargo": ("hatch rows", "aft bridge"),
        "Fishing": ("bright spot", "small hull"),
        "Tanker": ("centre pipe line", "aft bridge"),
        "Passenger": ("dense deck", "long superstructure"),
        "Dredger": ("mid boom", "broad hull"),
        "Tug": ("forward wheelhouse", "stubby hull"),
        "LawEnforce": ("two masts", "slender hull"),
    }
)
AIRCRAFT_TYPES = tuple(TRAITS)[:14]
SHIP_TYPES = tuple(TRAITS)[14:]
FEATURES = tuple(dict.fromkeys(trait for traits in TRAITS.values() for trait in traits))
"""All traits, in the order in which claims list them."""
SURROUNDINGS = (
    "apron", "runway", "taxiway", "grass", "terminal", "calm water", "swell", "quay", "cranes", "breakwater",
    "buildings", "woodland", "farmland",
)  # fmt: skip
"""What may stand around targets, in the order in which claims list it."""
MOST_TYPES = 3  # a sentence on features tells of the most frequent types only


def claims_of(truth: Truth) -> dict[str, Claim]:
    """The claims of a text without any error, by field in the order of the domain."""
    return _landform_claims(truth) if truth.domain == "landform" else _target_claims(truth)


def _target_claims(truth: Truth) -> dict[str, Claim]:
    objects, facts = truth.objects, truth.facts
    places = _counts((item.quadrant for item in objects), QUADRANTS)
    lengths = [round(item.length_m) for item in objects]
    leading = [quadrant for quadrant, count in places.items() if 2 * count > len(objects)]
    claims: dict[str, Claim] = {
        "Count": {"count": len(objects)},
        "Location": places,
        "Feature": {"features": features_of(_by_frequency(objects))},
        "Size": {"length_m": [min(lengths), max(lengths)] if lengths else []},
        "Category": _counts((item.type for item in objects), _by_frequency(objects)),
        "Distribution": {"arrangement": facts.arrangement, "toward": leading[0] if leading else None},
        "Region": _counts((item.context for item in objects), sorted({item.context for item in objects})),
        "Environment": {"surroundings": [name for name in SURROUNDINGS if name in facts.surroundings]},
    }
    return {field: claims[field] for field in TARGET_FIELDS}


def _landform_claims(truth: Truth) -> dict[str, Claim]:
    facts, shares = truth.facts, truth.shares
    building = bucket(shares.tile.get("building", 0.0))
    water = "none" if facts.water == "none" else bucket(max(shares.tile.get("water", 0.0), PRESENT))
    claims: dict[str, Claim] = {
        "Terrain": {"landform": facts.landform},
        "Functionality": {"function": facts.function},
        "Location": {quadrant: main_cover(shares.quadrants[quadrant]) for quadrant in QUADRANTS},
        "Layout": {"pattern": facts.pattern},
        "Boundary": {"boundary": facts.boundary},
        "Building": {"share": building, "most": _quadrant_with_most(truth, "building", building)},
        "Road": {"roads": facts.roads, "course": facts.road_course if facts.roads else "none"},
        "Water": {"body": facts.water, "share": water, "most": _quadrant_with_most(truth, "water", water)},
    }
    return {field: claims[field] for field in TERRAIN_FIELDS}


def features_of(types: Sequence[str]) -> list[str]:
    """What is seen of these types, the most frequent first: all traits of one, the telling trait of each of several."""
    for name in types:
        if name not in TRAITS:
            raise unknown_name("target type", name, TRAITS, see="tasks/sarworld/README.md")
    seen = set(TRAITS[types[0]]) if len(types) == 1 else {TRAITS[name][0] for name in types[:MOST_TYPES]}
    return [feature for feature in FEATURES if feature in seen]


def main_cover(shares: Mapping[str, float]) -> str:
    """The land cover with the largest share; ties go to the earlier name (section 6.3 of the task specification)."""
    if sum(shares.get(cover, 0.0) for cover in LAND_COVERS) < LABELLED:
        return UNLABELLED
    return max(LAND_COVERS, key=lambda cover: shares.get(cover, 0.0))


def bucket(share: float) -> str:
    """One of `BUCKETS`."""
    return BUCKETS[(share >= PRESENT) + (share >= _SOME) + (share >= _MUCH)]


def _quadrant_with_most(truth: Truth, cover: str, share: str) -> str | None:
    parts = {quadrant: truth.shares.quadrants[quadrant].get(cover, 0.0) for quadrant in QUADRANTS}
    if share == "none" or not any(parts.values()):
        return None
    return max(QUADRANTS, key=lambda quadrant: parts[quadrant])


def _counts(values: Iterable[str], order: Sequence[str]) -> dict[str, int]:
    """How often each value occurs, without those that do not."""
    found = Counter(values)
    return {name: found[name] for name in order if found[name]}


def _by_frequency(objects: Sequence[TrueObject]) -> list[str]:
    """Types by falling count, then name (section 6.2 of the task specification)."""
    found = Counter(item.type for item in objects)
    return sorted(found, key=lambda name: (-found[name], name))
