"""From a sentence back to its claim: finds the phrases that carry facts, whatever stands between them.

It knows the phrases, not the forms, and nothing of chance; so it also reads sentences that no form gives, such as those
that a model writes after these. Where the phrases do not add up to one claim the answer is None, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from foundation.names import unknown_name
from tasks.sarworld.texts import phrases
from tasks.sarworld.texts.claims import FEATURES, FIELDS, SURROUNDINGS, VAGUE, Claim
from tasks.sarworld.truth import QUADRANTS, Domain


class Fact(NamedTuple):
    """A phrase that was found: what it speaks of, and the value that it states."""

    slot: str
    value: Any


Facts = Sequence[Fact]
Reader = Callable[[Facts], Claim | None]

_DIGITS = "number"
"""Fields with this slot read digits too."""
_EMPTY = "empty"
_UNCLEAR = "unclear"


def parse_claims(domain: Domain, texts: Mapping[str, str]) -> dict[str, Claim | None]:
    """The claim of each sentence, by field; None for one that states no claim of its field."""
    for field in texts:
        if field not in FIELDS[domain]:
            raise unknown_name(f"field of {domain} texts", field, FIELDS[domain], see="klip/README.md")
    return {field: parse_value(domain, field, value) for field, value in texts.items()}


def parse_value(domain: Domain, field: str, value: str) -> Claim | None:
    """The claim of one sentence."""
    facts = scan(domain, field, value)
    unclear = any(fact.slot == _UNCLEAR for fact in facts)
    if unclear or not facts:
        return dict(VAGUE) if unclear and len({fact.slot for fact in facts}) == 1 else None
    return _readers(domain)[field](facts)


def scan(domain: Domain, field: str, value: str) -> list[Fact]:
    """All phrases of the field that stand in a sentence, from left to right; the longest phrase wins."""
    known, pattern = _scanner(domain, field)
    found = []
    for match in pattern.finditer(normalised(value)):
        fact = known.get(match.group())
        found.append(fact or Fact(_DIGITS, int(match.group())))
    return found


def normalised(text: str) -> str:
    """Lower case, hyphens as spaces, single spaces."""
    return " ".join(text.lower().replace("-", " ").split())


@cache
def _scanner(domain: Domain, field: str) -> tuple[dict[str, Fact], re.Pattern[str]]:
    slots = lexicon(domain, field)
    known: dict[str, Fact] = {}
    for slot, values in slots.items():
        for value, ways in values.items():
            for way in ways:
                known[phrases.without_article(normalised(way))] = Fact(slot, value)
    alternatives = [re.escape(way) for way in sorted(known, key=lambda way: (-len(way), way))]
    if _DIGITS in slots:
        alternatives.append(r"\d+")
    return known, re.compile(rf"(?<![\w/])(?:{'|'.join(alternatives)})(?![\w/])")


def lexicon(domain: Domain, field: str) -> dict[str, phrases.Phrases]:
    """The phrases that carry facts in a field, by what they speak of."""
    numbers = {number: (*ways, *phrases.GROUPS.get(number, ())) for number, ways in phrases.NUMBERS.items()}
    counted = {number: ways for number, ways in numbers.items() if number}
    empty = {_EMPTY: phrases.one_of(phrases.NO_TARGETS)}
    types = phrases.AIRCRAFT_TYPES if domain == "aircraft" else phrases.SHIP_TYPES
    in_number = {name: (*ways, *map(phrases.plural, ways)) for name, ways in types.items()}
    target: dict[str, dict[str, phrases.Phrases]] = {
        "Count": {_DIGITS: numbers},
        "Location": {_DIGITS: counted, "place": phrases.PLACES, **empty},
        "Feature": {"feature": phrases.FEATURES, **empty},
        "Size": {_DIGITS: {}, "unit": phrases.one_of(phrases.UNITS), **empty},
        "Category": {_DIGITS: counted, "type": in_number, **empty},
        "Distribution": {"arrangement": phrases.ARRANGEMENTS, "place": phrases.PLACES},
        "Region": {_DIGITS: counted, "context": phrases.CONTEXTS, **empty},
        "Environment": {"thing": phrases.SURROUNDINGS, _EMPTY: phrases.one_of(phrases.NO_SURROUNDINGS)},
    }
    places = {(name,): ways for name, ways in phrases.PLACES.items()}
    everywhere = {QUADRANTS: phrases.EVERYWHERE, (): phrases.ELSEWHERE}
    landform: dict[str, dict[str, phrases.Phrases]] = {
        "Terrain": {"landform": phrases.LANDFORMS},
        "Functionality": {"function": phrases.FUNCTIONS},
        "Location": {"cover": phrases.COVERS, "places": {**places, **phrases.HALVES, **everywhere}},
        "Layout": {"pattern": phrases.PATTERNS},
        "Boundary": {"boundary": phrases.BOUNDARIES},
        "Building": {"share": phrases.BUILDING_SHARES, "place": phrases.PLACES},
        "Road": {_DIGITS: counted, "course": phrases.COURSES, _EMPTY: phrases.one_of(phrases.NO_ROADS)},
        "Water": {"body": phrases.BODIES, "share": phrases.WATER_SHARES, "place": phrases.PLACES},
    }
    fields = landform if domain == "landform" else target
    return {**fields[field], _UNCLEAR: phrases.one_of(phrases.UNCLEAR)}


def _values(facts: Facts, slot: str) -> list[Any]:
    return [fact.value for fact in facts if fact.slot == slot]


def _only(facts: Facts, slot: str) -> Any:
    """The value that all phrases of a slot agree on; None where there is none or they differ."""
    values = _values(facts, slot)
    return values[0] if values and all(value == values[0] for value in values) else None


def _single(slot: str, name: str) -> Reader:
    """A claim of a single value."""

    def read(facts: Facts) -> Claim | None:
        value = _only(facts, slot)
        return None if value is None else {name: value}

    return read


def _counted(slot: str) -> Reader:
    """A claim of numbers by name: each number before its name or each after it, throughout."""

    def read(facts: Facts) -> Claim | None:
        if _nothing(facts):
            return {}
        numbers, names = _values(facts, _DIGITS), _values(facts, slot)
        slots = [fact.slot for fact in facts]
        in_turn = slots in ([_DIGITS, slot] * len(names), [slot, _DIGITS] * len(names))
        if not in_turn or len(set(names)) < len(names) or 0 in numbers:
            return None
        return dict(zip(names, numbers, strict=True))

    return read


def _nothing(facts: Facts) -> bool:
    return bool(facts) and all(fact.slot == _EMPTY for fact in facts)


def _feature(facts: Facts) -> Claim | None:
    if _nothing(facts):
        return {"features": []}
    seen = _values(facts, "feature")
    return {"features": [name for name in FEATURES if name in seen]} if len(seen) == len(facts) else None


def _environment(facts: Facts) -> Claim | None:
    if _nothing(facts):
        return {"surroundings": []}
    seen = _values(facts, "thing")
    return {"surroundings": [name for name in SURROUNDINGS if name in seen]} if len(seen) == len(facts) else None


def _size(facts: Facts) -> Claim | None:
    if _nothing(facts):
        return {"length_m": []}
    lengths = _values(facts, _DIGITS)
    if not lengths or len(lengths) > 2 or not _values(facts, "unit") or _values(facts, _EMPTY):
        return None
    return {"length_m": [lengths[0], lengths[-1]]}


def _distribution(facts: Facts) -> Claim | None:
    arrangement = _only(facts, "arrangement")
    place = _only(facts, "place")
    if arrangement is None or (place is None and _values(facts, "place")):
        return None
    return {"arrangement": arrangement, "toward": place}


def _cover_map(facts: Facts) -> Claim | None:
    """Covers with their quadrants: every cover before its quadrants, or every one after; one may take the rest."""
    if facts[0].slot == "places":
        # Read from the end, quadrants follow their cover here too, but for a rest that is named after its cover.
        facts = _rest_before_cover(facts)[::-1]
    claim: Claim = {}
    rest = cover = None
    for fact in facts:
        if fact.slot == "cover":
            cover = fact.value
            continue
        if fact.value == ():
            rest = cover if rest is None else rest
        for quadrant in fact.value:
            if quadrant in claim:
                return None
            claim[quadrant] = cover
    if rest is not None:
        claim.update({quadrant: rest for quadrant in QUADRANTS if quadrant not in claim})
    if len(claim) < len(QUADRANTS) or None in claim.values():  # a place without a cover states nothing
        return None
    return {quadrant: claim[quadrant] for quadrant in QUADRANTS}


def _rest_before_cover(facts: Facts) -> Facts:
    if len(facts) > 1 and facts[-1] == Fact("places", ()):
        return [*facts[:-2], facts[-1], facts[-2]]
    return facts


def _building(facts: Facts) -> Claim | None:
    share, place = _only(facts, "share"), _only(facts, "place")
    if share is None or (place is None and _values(facts, "place")) or (share == "none" and place):
        return None
    return {"share": share, "most": place}


def _road(facts: Facts) -> Claim | None:
    if _nothing(facts):
        return {"roads": 0, "course": "none"}
    number, course = _only(facts, _DIGITS), _only(facts, "course")
    if not number or course is None or _values(facts, _EMPTY):
        return None
    return {"roads": number, "course": course}


def _water(facts: Facts) -> Claim | None:
    body, share, place = _only(facts, "body"), _only(facts, "share"), _only(facts, "place")
    if body is None or (place is None and _values(facts, "place")):
        return None
    if body == "none":
        return {"body": body, "share": "none", "most": None} if len(facts) == len(_values(facts, "body")) else None
    return None if share is None else {"body": body, "share": share, "most": place}


_TARGET_READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "Count": _single(_DIGITS, "count"),
        "Location": _counted("place"),
        "Feature": _feature,
        "Size": _size,
        "Category": _counted("type"),
        "Distribution": _distribution,
        "Region": _counted("context"),
        "Environment": _environment,
    }
)
_LANDFORM_READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "Terrain": _single("landform", "landform"),
        "Functionality": _single("function", "function"),
        "Location": _cover_map,
        "Layout": _single("pattern", "pattern"),
        "Boundary": _single("boundary", "boundary"),
        "Building": _building,
        "Road": _road,
        "Water": _water,
    }
)


def _readers(domain: Domain) -> Mapping[str, Reader]:
    return _LANDFORM_READERS if domain == "landform" else _TARGET_READERS
