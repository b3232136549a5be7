"""The phrases that carry facts: what the grammar writes for a value, and the parser reads as that value.

Within one field a phrase stands for one value only, and the words around it hold no such phrase (both are tested), so
a sentence can be read without knowing its form. Hyphens count as spaces, the article that a phrase begins with does not
count; the longest phrase wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import product
from types import MappingProxyType
from typing import Any

from tasks.sarworld.texts.claims import UNLABELLED

Phrases = Mapping[Any, tuple[str, ...]]
"""By value: the ways to say it."""

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MOST_IN_WORDS = len(_NUMBERS)  # section 6.2 of the task specification: words up to twelve, then digits
NUMBERS: Phrases = MappingProxyType(
    {number: (word, str(number)) for number, word in enumerate(_NUMBERS, start=1)} | {0: ("no", "zero")}
)
GROUPS: Phrases = MappingProxyType(
    {1: ("a single", "a lone"), 2: ("a pair", "a couple"), 3: ("a trio",), 12: ("a dozen",)}
)
WITH_OF = frozenset({"a pair", "a couple", "a trio"})
"""Groups that take "of" before a noun."""

_SIDES = (
    ("top-left", "top left", "upper left", "northwest"),
    ("top-right", "top right", "upper right", "northeast"),
    ("bottom-left", "bottom left", "lower left", "southwest"),
    ("bottom-right", "bottom right", "lower right", "southeast"),
)
_PARTS = ("", " quarter", " corner", " part")
PLACES: Phrases = MappingProxyType(
    {name: tuple(f"the {side}{part}" for side, part in product(sides, _PARTS)) for name, *sides in _SIDES}
)
"""North is up, so compass words are as true as the others."""
SHORT_PLACES: Phrases = MappingProxyType({name: tuple(sides) for name, *sides in _SIDES})
HALVES: Phrases = MappingProxyType(
    {
        ("top-left", "top-right"): ("the upper half", "the northern half", "the top strip", "the northern side"),
        ("bottom-left", "bottom-right"): ("the lower half", "the southern half", "the bottom strip"),
        ("top-left", "bottom-left"): ("the left half", "the western half", "the left-hand side"),
        ("top-right", "bottom-right"): ("the right half", "the eastern half", "the right-hand side"),
    }
)
EVERYWHERE = ("all four quarters", "every quarter alike", "the whole extent", "the entire ground")
ELSEWHERE = ("elsewhere", "in the remaining parts", "in the other sectors", "over the rest")

UNITS = ("m", "metre", "metres")
UNCLEAR = (
    "unclear", "hard to tell", "indeterminate", "uncertain", "ambiguous", "inconclusive", "left open", "undecided",
    "not specified", "impossible to state",
)  # fmt: skip
"""A sentence with one of these states nothing."""
NO_TARGETS = (
    "free of targets", "empty of targets", "target-free", "devoid of targets", "without any target", "unoccupied",
)  # fmt: skip

FEATURES: Phrases = MappingProxyType(
    {
        "faint wings": ("faint wings", "weakly reflecting wings", "dim composite wings"),
        "two wing engines": ("two wing-mounted engines", "twin underwing nacelles", "paired wing engines"),
        "narrow body": ("a narrow body", "a slim fuselage"),
        "large span": ("a large wingspan", "a generous span", "far-reaching wingtips"),
        "wide body": ("a wide body", "a broad fuselage"),
        "rear engines": ("rear engines", "tail-mounted powerplants", "aft nacelles"),
        "short fuselage": ("a short fuselage", "a stubby airframe", "a compact body length"),
        "bright fuselage": ("a bright fuselage", "a strongly reflecting skin"),
        "swept wings": ("strongly swept wings", "raked wings", "backswept leading edges"),
        "plain outline": ("a plain outline", "an unfamiliar silhouette", "a generic planform"),
        "radar disc": ("a radar disc", "a dorsal rotodome", "a saucer-shaped antenna"),
        "four wing engines": ("four wing-mounted engines", "quadruple nacelles", "two engines per wing"),
        "delta wing": ("a delta wing", "a triangular wing", "an arrowhead planform"),
        "propellers": ("propellers", "turboprop airscrews", "rotating blades"),
        "straight wings": ("straight wings", "unswept wings"),
        "tail boom": ("a tail boom", "a refuelling probe astern", "a trailing boom"),
        "high wing": ("a high-set wing", "a shoulder-mounted wing"),
        "hatch rows": ("hatch rows", "regular cargo hatches", "ladder-like hatch covers"),
        "aft bridge": ("an aft bridge", "a stern superstructure", "a deckhouse near the stern"),
        "bright spot": ("a single bright spot", "one dominant glint", "a point-like flash"),
        "small hull": ("a small hull", "a short wooden body", "a diminutive outline"),
        "centre pipe line": ("a centre pipe line", "longitudinal piping", "a midline manifold"),
        "dense deck": ("a dense deck", "crowded upper decks"),
        "long superstructure": ("a long superstructure", "a continuous cabin block"),
        "mid boom": ("a mid-ship boom", "a dredging arm"),
        "broad hull": ("a broad hull", "a barge-like shape"),
        "forward wheelhouse": ("a forward wheelhouse", "a foredeck cabin"),
        "stubby hull": ("a stubby hull", "a squat body", "a short thick shape"),
        "two masts": ("two masts", "twin masts", "paired antenna poles"),
        "slender hull": ("a slender hull", "a knife-like outline"),
    }
)
AIRCRAFT_TYPES: Phrases = MappingProxyType(
    {
        "A220": ("A220", "Airbus A220"),
        "A320321": ("A320/321", "Airbus A320/321"),
        "A330": ("A330", "Airbus A330"),
        "ARJ21": ("ARJ21", "Comac ARJ21"),
        "Boeing737": ("Boeing 737", "B737"),
        "Boeing787": ("Boeing 787", "B787"),
        "other": ("unlisted type", "other aircraft"),
        "early_warning": ("AEW platform", "early-warning aircraft"),
        "fighter": ("combat jet", "fighter aircraft"),
        "narrow_civil": ("narrow-body airliner", "single-aisle airliner"),
        "regional": ("regional turboprop", "commuter aircraft"),
        "tanker": ("tanker aircraft", "aerial refueller"),
        "transport": ("transport aircraft", "military airlifter"),
        "wide_civil": ("wide-body airliner", "twin-aisle airliner"),
    }
)
SHIP_TYPES: Phrases = MappingProxyType(
    {
        "Cargo": ("cargo ship", "freighter", "merchant carrier"),
        "Fishing": ("fishing boat", "trawler", "fishing vessel"),
        "Tanker": ("tanker", "oil carrier", "liquid-bulk vessel"),
        "Passenger": ("passenger ship", "ferry", "cruise vessel"),
        "Dredger": ("dredger", "dredging vessel", "suction hopper"),
        "Tug": ("tug", "towing boat", "harbour tugboat"),
        "LawEnforce": ("law-enforcement ship", "patrol vessel", "coastguard cutter"),
    }
)
ARRANGEMENTS: Phrases = MappingProxyType(
    {
        "none": ("no arrangement", "no grouping", "no formation"),
        "single": ("an isolated target", "a solitary target", "a stand-alone target"),
        "pair": ("a pair", "a twosome", "a duo"),
        "row": ("a row", "a straight line", "a file", "a string"),
        "cluster": ("a cluster", "a tight knot", "a bunch", "a compact group"),
        "scattered": ("a scattered pattern", "a dispersed pattern", "a loose spread", "a diffuse layout"),
    }
)
CONTEXTS: Phrases = MappingProxyType(
    {
        "apron": ("on the apron", "at the parking stands", "on the concrete ramp"),
        "runway": ("on the runway", "along the airstrip", "on the landing strip"),
        "grass": ("on the grass", "over turf", "on the verge"),
        "open sea": ("on the open sea", "in offshore waters", "in the fairway"),
        "anchorage": ("at the anchorage", "in the roadstead", "at anchor"),
        "quay": ("at the quay", "along the wharf", "beside the pier"),
    }
)
SURROUNDINGS: Phrases = MappingProxyType(
    {
        "apron": ("an apron", "parking stands", "a concrete ramp"),
        "runway": ("a runway", "an airstrip", "a landing strip"),
        "taxiway": ("a taxiway", "rolling lanes", "a taxi track"),
        "grass": ("grass", "turf", "mown verges"),
        "terminal": ("a terminal", "a passenger concourse", "a gate hall"),
        "calm water": ("calm water", "a smooth basin", "still water"),
        "swell": ("swell", "rolling waves", "an undulating sea"),
        "quay": ("a quay", "a wharf", "a pier front"),
        "cranes": ("cranes", "gantries", "loading derricks"),
        "breakwater": ("a breakwater", "a mole", "a rubble jetty"),
        "buildings": ("buildings", "houses", "built-up blocks"),
        "woodland": ("woodland", "trees", "forest stands"),
        "farmland": ("farmland", "ploughed fields", "crop parcels"),
    }
)
NO_SURROUNDINGS = ("nothing distinctive", "a plain background only", "featureless ground", "a barren backdrop")

LANDFORMS: Phrases = MappingProxyType(
    {
        "plain": ("a flat plain", "level lowland", "low-relief flatland"),
        "river-network plain": ("a river-network plain", "water-laced lowland", "a plain dissected by streams"),
        "hilly": ("hilly country", "rolling upland", "undulating hills"),
        "coastal": ("a coastal strip", "a shoreline margin", "a littoral fringe"),
        "urban flat": ("urban flat ground", "level city ground", "built-over flatland"),
    }
)
FUNCTIONS: Phrases = MappingProxyType(
    {
        "airport": ("an airport", "an airfield", "an aviation hub"),
        "port": ("a port", "a harbour", "dockland"),
        "residential": ("a residential area", "a housing estate", "a dwelling quarter"),
        "industrial": ("an industrial area", "a manufacturing district", "a factory zone"),
        "farming": ("a farming area", "agricultural land", "cropland"),
        "river corridor": ("a river corridor", "a riverside belt", "a fluvial strip"),
        "mixed": ("a mixed-use area", "a multifunctional zone", "land of blended usage"),
    }
)
COVERS: Phrases = MappingProxyType(
    {
        "building": ("buildings", "built-up land", "settlement fabric"),
        "vegetation": ("vegetation", "greenery", "plant cover"),
        "water": ("water", "a water surface", "a wet expanse"),
        "road": ("roads", "paved lanes", "traffic surfaces"),
        UNLABELLED: ("bare soil", "unlabelled ground", "unclassified land"),
    }
)
PATTERNS: Phrases = MappingProxyType(
    {
        "grid": ("grid-like", "orthogonal", "rectilinear", "gridded"),
        "irregular": ("irregular", "organic", "unplanned", "freeform"),
        "none": ("structureless", "unpatterned", "formless"),
    }
)
BOUNDARIES: Phrases = MappingProxyType(
    {
        "sharp": ("sharp", "abrupt", "crisp", "clear-cut"),
        "gradual": ("gradual", "blurred", "soft", "gently blending"),
    }
)
BUILDING_SHARES: Phrases = MappingProxyType(
    {
        "none": ("no buildings", "no built structures", "a lack of construction"),
        "little": ("few buildings", "sparse construction", "occasional structures"),
        "some": ("a moderate building cover", "medium-density construction", "a fair amount of structures"),
        "much": ("dense buildings", "heavy construction", "abundant structures"),
    }
)
NO_ROADS = ("no roads", "no carriageway", "a lack of streets")
COURSES: Phrases = MappingProxyType(
    {
        "none": ("of unresolved course", "untraceable in course"),
        "straight": ("straight", "direct", "unbending"),
        "winding": ("winding", "curving", "sinuous"),
    }
)
BODIES: Phrases = MappingProxyType(
    {
        "none": ("no water", "no wet surface", "a lack of streams and lakes"),
        "river": ("a river", "a natural stream", "a watercourse"),
        "lake": ("a lake", "a pond", "a standing pool"),
        "canal": ("a canal", "an artificial channel", "a man-made waterway"),
        "sea": ("the sea", "an ocean inlet", "marine water"),
    }
)
WATER_SHARES: Phrases = MappingProxyType(
    {
        "little": ("a minor share", "a small extent", "a slight proportion"),
        "some": ("a moderate share", "a medium extent", "a fair proportion"),
        "much": ("a large share", "a vast extent", "a major proportion"),
    }
)


def one_of(phrases: Iterable[str], value: Any = True) -> Phrases:
    """Phrases that all say the same."""
    return {value: tuple(phrases)}


def plural(noun: str) -> str:
    """The noun after a number above one; aircraft and their designations stay as they are."""
    if noun.endswith("aircraft") or noun[-1].isdigit():
        return noun
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


def without_article(phrase: str) -> str:
    """The phrase without the article that it begins with."""
    return re.sub(r"^(?:an?|the) ", "", phrase)
