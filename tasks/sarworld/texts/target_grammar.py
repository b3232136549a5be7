"""Sentences for images with aircraft or ships: at least six forms per field, filled from the claim alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from tasks.sarworld.texts import phrases
from tasks.sarworld.texts.claims import Claim
from tasks.sarworld.texts.vocabulary import NOUNS
from tasks.sarworld.texts.wording import Wording

FORMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Count": (
            "There {are} {counted} {seen} in the {image}{+separation}",
            "The tally yields {counted}{+separation}",
            "The total population is {counted}{+separation}",
            "This {image} {shows} {counted}{+separation}",
            "{report}: {counted} can be counted {judged}",
            "Altogether {counted} stand out from the background{+separation}",
            "The inventory lists {counted} {judged}",
        ),
        "Location": (
            "The target positions are {items}{+reference}",
            "{items}{+reference}",
            "The targets are {placed} as follows: {items}{;reference}",
            "By quarter of the {image}, the placement is {items}{+reference}",
            "The spatial breakdown reads {items}{+reference}",
            "A look at the {image} gives {items}{;reference}",
            "{report} on the whereabouts: {items}{+judged}",
        ),
        "Feature": (
            "The signatures reveal {items}{+echoes}",
            "{items} can be made out{;echoes}",
            "The diagnostic traits are {items}{;echoes}",
            "The scattering layout points to {items}{;echoes}",
            "{report} of the structure: {items}{+judged}",
            "The characteristic geometry includes {items}{;echoes}",
            "The morphology hints at {items}{;echoes}",
        ),
        "Size": (
            "The length is {range}{+measure}",
            "The overall dimension is {range} along the major axis{+measure}",
            "The longitudinal extent comes out {range}{+measure}",
            "Measured from end to end, the size is {range}{+measure}",
            "{report} of the scale: {range}{+measure}",
            "The physical size is estimated {range}, {judged}",
            "The silhouettes have a length {range}{+measure}",
        ),
        "Category": (
            "The identified types are {items}{;evidence}",
            "{items}{;evidence}",
            "The class labels assigned are {items}{;evidence}",
            "The composition is {items}{;evidence}",
            "{report} of the kinds: {items}{+judged}",
            "The recognition favours {items}{;evidence}",
            "The targets are classified as {items}",
        ),
        "Distribution": (
            "The spatial configuration is {arrangement}{leaning}{;spacing}",
            "The ensemble amounts to {arrangement}{leaning}{;spacing}",
            "Functional distribution: {arrangement}{leaning}{;spacing}",
            "The mutual ordering is {arrangement}{leaning}, {judged}",
            "{report} on the dispersion: {arrangement}{leaning}{;spacing}",
            "Taken together the result is {arrangement}{leaning}{+certainty}",
            "Seen as a whole, there is {arrangement}{leaning}",
        ),
        "Region": (
            "The ground occupied: {items}{;footing}",
            "{items}{;footing}",
            "The regional assignment gives {items}{;footing}",
            "The targets are {items}{;footing}",
            "{report} of the immediate footing: {items}{+judged}",
            "The zone membership is {items}{;footing}",
            "The host areas are summarised by {items}{+footing}",
        ),
        "Environment": (
            "The surroundings include {items}{;nearby}",
            "{items} can be seen around the targets",
            "The vicinity consists of {items}{;nearby}",
            "The broader setting is {items}{;nearby}",
            "{report} of the adjacent scenery: {items}{+judged}",
            "The targets are surrounded by {items}{;nearby}",
            "Beyond the objects themselves lie {items}{+nearby}",
        ),
    }
)
"""By field: sentences about what is there."""

EMPTY_FORMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Count": (
            "There {are} {counted} {seen} in the {image}{+emptiness}",
            "The tally yields {counted}{+emptiness}",
            "Altogether {counted} stand out {judged}{+emptiness}",
            "This {image} {shows} {counted}{+emptiness}",
            "{report}: {counted} present{+emptiness}",
            "The inventory lists {counted} {judged}{+emptiness}",
        ),
        "Location": (
            "Every part of the {image} is {nothing}{+emptiness}",
            "Positions do not apply, as the {image} is {nothing}{+judged}",
            "{report} on the whereabouts: the {image} is {nothing}{+emptiness}",
            "A search of all parts found the {image} {nothing} {judged}",
            "The whole {image} was inspected and is {nothing}{+emptiness}",
            "The placement stays blank for a {image} {nothing}{+certainty}",
        ),
        "Feature": (
            "The {image} is {nothing}, hence there are no traits{+emptiness}",
            "Signatures do not apply, as the {image} is {nothing}{+judged}",
            "{report} of the structure: the {image} is {nothing} {judged}",
            "There is no characteristic geometry, the ground being {nothing}",
            "The echoes were inspected and the {image} is {nothing}{+emptiness}",
            "The morphology stays blank for a {image} {nothing}{+certainty}",
        ),
        "Size": (
            "Dimensions do not apply, as the {image} is {nothing}{+emptiness}",
            "{report} of the scale: the {image} is {nothing} {judged}",
            "The measurement was skipped because the ground is {nothing}{+certainty}",
            "The length is undefined for a {image} {nothing}{+judged}",
            "There is nothing to measure, the {image} being {nothing}",
            "The size stays blank, the whole {image} is {nothing}{+emptiness}",
        ),
        "Category": (
            "Types do not apply, as the {image} is {nothing}{+emptiness}",
            "{report} of the kinds: the {image} is {nothing} {judged}",
            "No class label is assigned because the ground is {nothing}{+certainty}",
            "The recognition was skipped for a {image} {nothing}{+judged}",
            "There is nothing to classify, the {image} being {nothing}",
            "The composition stays blank, the whole {image} is {nothing}{+emptiness}",
        ),
        "Distribution": (
            "There is {nothing} to describe{+emptiness}",
            "Functional distribution: {nothing}{+emptiness}",
            "{report} on the dispersion: {nothing}{+emptiness}",
            "The {image} {shows} {nothing} {judged}",
            "Seen as a whole, the {image} has {nothing}{+certainty}",
            "As there are no objects, there is {nothing}{+emptiness}",
        ),
        "Region": (
            "The ground is {nothing}{;footing}",
            "{report} of the immediate footing: the {image} is {nothing} {judged}",
            "Host areas do not apply, as the {image} is {nothing}{+emptiness}",
            "The regional assignment was skipped for a {image} {nothing}{+certainty}",
            "All surfaces are {nothing}{+emptiness}",
            "The zone membership stays blank, everything being {nothing}{+judged}",
        ),
        "Environment": (
            "The surroundings offer {nothing}{;nearby}",
            "The vicinity consists of {nothing} {judged}",
            "The broader setting is {nothing}, and {nearby}",
            "{report} of the adjacent scenery: {nothing}{;nearby}",
            "All around there is {nothing} {judged}",
            "Beyond the centre lies {nothing}{+nearby}",
        ),
    }
)
"""By field: sentences for where there is nothing."""

VAGUE_FORMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Count": (
            "The exact quantity is {unclear} {vaguely}",
            "How many {nouns} this {image} {shows} is {unclear}",
            "{report} on the total: {unclear} {vaguely}",
            "The enumeration is {unclear} {judged}",
            "The total population is {unclear}, {vaguely}",
            "There may be some {nouns}, the number is {unclear}",
        ),
        "Location": (
            "The whereabouts are {unclear} {vaguely}",
            "The precise placement is {unclear}, {judged}",
            "{report} on the positions: {unclear} {vaguely}",
            "Somewhere in the {image}, the details are {unclear}",
            "The spatial breakdown is {unclear} {judged}",
            "The target positions are {unclear}, {vaguely}",
        ),
        "Feature": (
            "The structural traits are {unclear} {vaguely}",
            "The diagnostic signature is {unclear}, {judged}",
            "{report} of the structure: {unclear} {vaguely}",
            "Assorted reflections are {seen}, their meaning is {unclear}",
            "The characteristic geometry is {unclear} {judged}",
            "The morphology is {unclear}, {vaguely}",
        ),
        "Size": (
            "The dimensions are {unclear} {vaguely}",
            "The overall extent is {unclear}, {judged}",
            "{report} of the scale: {unclear} {vaguely}",
            "The proportions look ordinary, the measurement is {unclear}",
            "The longitudinal extent is {unclear} {judged}",
            "The physical size is {unclear}, {vaguely}",
        ),
        "Category": (
            "The type is {unclear} {vaguely}",
            "The class membership is {unclear}, {judged}",
            "{report} of the kinds: {unclear} {vaguely}",
            "Various {nouns} are conceivable, the labels are {unclear}",
            "The recognition is {unclear} {judged}",
            "The composition is {unclear}, {vaguely}",
        ),
        "Distribution": (
            "The spatial configuration is {unclear} {vaguely}",
            "The mutual ordering is {unclear}, {judged}",
            "{report} on the dispersion: {unclear} {vaguely}",
            "There may be some pattern, its shape is {unclear}",
            "The arrangement is {unclear} {judged}",
            "The grouping is {unclear}, {vaguely}",
        ),
        "Region": (
            "The occupied ground is {unclear} {vaguely}",
            "The regional assignment is {unclear}, {judged}",
            "{report} of the immediate footing: {unclear} {vaguely}",
            "Probably some usual surface, its kind is {unclear}",
            "The host area is {unclear} {judged}",
            "The zone membership is {unclear}, {vaguely}",
        ),
        "Environment": (
            "The surroundings are {unclear} {vaguely}",
            "The vicinity is {unclear}, {judged}",
            "{report} of the adjacent scenery: {unclear} {vaguely}",
            "Presumably an ordinary backdrop, its content is {unclear}",
            "The broader setting is {unclear} {judged}",
            "What encircles the targets is {unclear}, {vaguely}",
        ),
    }
)
"""By field: sentences that state nothing."""

_RANGES = (
    "between {low} and {high} m", "in the range of {low} to {high} metres", "from {low} to {high} m",
    "within {low}-{high} m",
)  # fmt: skip
_SINGLE_SIZES = ("around {low} m", "close to {low} metres", "of approximately {low} m", "of about {low} metres")
_LEANINGS = (
    ", concentrated toward {place}", ", leaning to {place}", ", weighted around {place}", ", largely in {place}",
    ", mostly in {place}",
)  # fmt: skip

_FEW = 2  # longer lists are said in short words


def realise(domain: str, field: str, claim: Claim, wording: Wording) -> str:
    """One sentence that states the claim."""
    return _WRITERS[field](domain, claim, wording)


def vague(domain: str, field: str, wording: Wording) -> str:
    """One sentence that states nothing."""
    nouns = wording.of(tuple(NOUNS[domain]))
    return wording.sentence(VAGUE_FORMS[field], unclear=wording.of(phrases.UNCLEAR), nouns=nouns)


def _number(number: int, wording: Wording, noun: str = "", *, short: bool = False) -> str:
    """A number, with the noun that it counts if there is one."""
    known: tuple[str, ...] = phrases.NUMBERS.get(number, (str(number),))
    if not short and (noun or number > 1):  # "a lone" needs its noun, "a pair" does not
        known += phrases.GROUPS.get(number, ())
    said = wording.of(known)
    if not noun:
        return said
    return f"{said} of {noun}" if said in phrases.WITH_OF else f"{said} {noun}"


def _count(domain: str, claim: Claim, wording: Wording) -> str:
    number = int(claim["count"])
    several = wording.of(tuple(NOUNS[domain]))
    noun = NOUNS[domain][several] if number == 1 else several
    counted = _number(number, wording, f"{wording.word('separate')} {noun}")
    return wording.sentence(
        FORMS["Count"] if number else EMPTY_FORMS["Count"], counted=counted, are="is" if number == 1 else "are"
    )


def _location(_: str, claim: Claim, wording: Wording) -> str:
    if not claim:
        return _nothing("Location", phrases.NO_TARGETS, wording)
    number_first = wording.chance(0.5)
    items = []
    for place, count in claim.items():
        if len(claim) > _FEW:
            items.append(f"{_number(count, wording, short=True)} {wording.of(phrases.SHORT_PLACES[place])}")
            continue
        number, where = _number(count, wording), wording.of(phrases.PLACES[place])
        items.append(f"{number} {wording.word('prep')} {where}" if number_first else f"{where} with {number}")
    return wording.sentence(FORMS["Location"], items=wording.listed(items))


def _feature(_: str, claim: Claim, wording: Wording) -> str:
    if not claim["features"]:
        return _nothing("Feature", phrases.NO_TARGETS, wording)
    items = [wording.of(phrases.FEATURES[feature]) for feature in claim["features"]]
    return wording.sentence(FORMS["Feature"], items=wording.listed(items))


def _size(_: str, claim: Claim, wording: Wording) -> str:
    if not claim["length_m"]:
        return _nothing("Size", phrases.NO_TARGETS, wording)
    low, high = claim["length_m"]
    form = wording.of(_SINGLE_SIZES if low == high else _RANGES)
    return wording.sentence(FORMS["Size"], range=form.format(low=low, high=high))


def _category(domain: str, claim: Claim, wording: Wording) -> str:
    if not claim:
        return _nothing("Category", phrases.NO_TARGETS, wording)
    types = phrases.AIRCRAFT_TYPES if domain == "aircraft" else phrases.SHIP_TYPES
    items = []
    for name, count in claim.items():
        short = len(claim) > _FEW
        noun = types[name][0] if short else wording.of(types[name])
        items.append(_number(count, wording, noun if count == 1 else phrases.plural(noun), short=short))
    return wording.sentence(FORMS["Category"], items=wording.listed(items))


def _distribution(_: str, claim: Claim, wording: Wording) -> str:
    if claim["arrangement"] == "none" and not claim["toward"]:
        return _nothing("Distribution", phrases.ARRANGEMENTS["none"], wording)
    leaning = ""
    if claim["toward"]:
        leaning = wording.of(_LEANINGS).format(place=wording.of(phrases.PLACES[claim["toward"]]))
    arrangement = wording.of(phrases.ARRANGEMENTS[claim["arrangement"]])
    return wording.sentence(FORMS["Distribution"], arrangement=arrangement, leaning=leaning)


def _region(_: str, claim: Claim, wording: Wording) -> str:
    if not claim:
        return _nothing("Region", phrases.NO_TARGETS, wording)
    items = [f"{_number(count, wording)} {wording.of(phrases.CONTEXTS[context])}" for context, count in claim.items()]
    return wording.sentence(FORMS["Region"], items=wording.listed(items))


def _environment(_: str, claim: Claim, wording: Wording) -> str:
    things = claim["surroundings"]
    if not things:
        return _nothing("Environment", phrases.NO_SURROUNDINGS, wording)
    items = [wording.of(phrases.SURROUNDINGS[thing]) for thing in things]
    if len(items) > _FEW:
        items = [phrases.without_article(item) for item in items]
    return wording.sentence(FORMS["Environment"], items=wording.listed(items))


def _nothing(field: str, ways: Sequence[str], wording: Wording) -> str:
    return wording.sentence(EMPTY_FORMS[field], nothing=wording.of(ways))


_WRITERS: Mapping[str, Callable[[str, Claim, Wording], str]] = MappingProxyType(
    {
        "Count": _count,
        "Location": _location,
        "Feature": _feature,
        "Size": _size,
        "Category": _category,
        "Distribution": _distribution,
        "Region": _region,
        "Environment": _environment,
    }
)
