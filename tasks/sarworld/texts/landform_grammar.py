"""Sentences for images of landforms: at least six forms per field, filled from the claim alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tasks.sarworld.texts import phrases
from tasks.sarworld.texts.claims import Claim
from tasks.sarworld.texts.wording import Wording
from tasks.sarworld.truth import QUADRANTS

FORMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Terrain": (
            "The terrain is classified as {fact}{;relief}",
            "The landscape type is {fact}{;relief}",
            "The {image} {shows} {fact}, and {relief}",
            "The ground form is best described as {fact}, {judged}",
            "{report} on the relief: {fact}{;relief}",
            "In terms of relief there is {fact}{;relief}",
            "The physiographic unit is {fact}",
        ),
        "Functionality": (
            "The functionality is described as {fact}{;usage}",
            "The functional role is that of {fact}{;usage}",
            "The place serves as {fact}, and {usage}",
            "The prevailing use is {fact}, {judged}",
            "{report} of the human use: {fact}{;usage}",
            "The land is employed as {fact}{;usage}",
            "The utilisation profile is {fact}",
        ),
        "Location": (
            "Functional distribution: {items}{;zonation}",
            "{items}{;zonation}",
            "Across the {image} there is {items}{;zonation}",
            "The zonal overview gives {items}",
            "{report} by sector: {items}",
            "The main covers are {items}{+certainty}",
            "The thematic layout is {items}{;zonation}",
        ),
        "Layout": (
            "The spatial layout is {fact}{;order}",
            "The plots follow a scheme that is {fact}{;order}",
            "The {image} {shows} {fact} ground cover, and {order}",
            "The overall organisation is judged {fact}{;order}",
            "{report} of the ground plan: {fact}{;order}",
            "The parcels and blocks look {fact}, {judged}",
            "The planimetric impression is {fact}{;order}",
        ),
        "Boundary": (
            "Boundary features: {fact} transitions{;edges}",
            "The land covers meet along {fact} limits{;edges}",
            "The contacts between the classes appear {fact}, {judged}",
            "{fact} borders separate the units{;edges}",
            "{report} of the margins: {fact}{;edges}",
            "The passage from cover to cover is {fact}{;edges}",
            "The contours between the areas are {fact}",
        ),
        "Building": (
            "Building presence: {fact}{where}{;walls}",
            "The built environment {shows} {fact}{where}{;walls}",
            "There is evidence of {fact}{where}{;walls}",
            "The settlement layer indicates {fact}{where}{;walls}",
            "{report} of human shelter: {fact}{where}, {judged}",
            "The echo-rich blocks suggest {fact}{where}{;walls}",
            "The roofed area amounts to {fact}{where}{+certainty}",
        ),
        "Road": (
            "Road presence: {fact}{;lines}",
            "The transport network comprises {fact}{;lines}",
            "The linear traces amount to {fact}{;lines}",
            "The accessibility rests on {fact}{;lines}",
            "{report} of the thoroughfares: {fact}, {judged}",
            "The traffic infrastructure offers {fact}{;lines}",
            "The {image} {shows} {fact}",
        ),
        "Water": (
            "Water presence: {fact}{where}{;mirror}",
            "The hydrology {shows} {fact}{where}{;mirror}",
            "There is evidence of {fact}{where}{;mirror}",
            "The moisture regime indicates {fact}{where}{;mirror}",
            "{report} of the hydrographic content: {fact}{where}, {judged}",
            "The low-return patches correspond to {fact}{where}{;mirror}",
            "The drainage situation is {fact}{where}{+certainty}",
        ),
    }
)
"""By field: sentences that state the claim."""

VAGUE_FORMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Terrain": (
            "The terrain category is {unclear} {vaguely}",
            "The landscape type is {unclear}, {judged}",
            "{report} on the relief: {unclear} {vaguely}",
            "The landscape looks ordinary, its class is {unclear}",
            "The ground form is {unclear} {judged}",
            "The physiographic unit is {unclear}, {vaguely}",
        ),
        "Functionality": (
            "The prevailing use is {unclear} {vaguely}",
            "The functional role is {unclear}, {judged}",
            "{report} of the human use: {unclear} {vaguely}",
            "Some activity is conceivable, the purpose is {unclear}",
            "The utilisation profile is {unclear} {judged}",
            "The employment of the land is {unclear}, {vaguely}",
        ),
        "Location": (
            "The functional distribution is {unclear} {vaguely}",
            "The zonal overview is {unclear}, {judged}",
            "{report} by sector: {unclear} {vaguely}",
            "Various covers occur, where they lie is {unclear}",
            "The thematic layout is {unclear} {judged}",
            "The place of the main covers is {unclear}, {vaguely}",
        ),
        "Layout": (
            "The spatial layout is {unclear} {vaguely}",
            "The scheme of the plots is {unclear}, {judged}",
            "{report} of the ground plan: {unclear} {vaguely}",
            "There may be some organisation, its principle is {unclear}",
            "The planimetric impression is {unclear} {judged}",
            "The design of the parcels is {unclear}, {vaguely}",
        ),
        "Boundary": (
            "The boundary features are {unclear} {vaguely}",
            "The class limits are {unclear}, {judged}",
            "{report} of the margins: {unclear} {vaguely}",
            "There are transitions of some sort, their nature is {unclear}",
            "The contour quality is {unclear} {judged}",
            "The contact between the classes is {unclear}, {vaguely}",
        ),
        "Building": (
            "The building presence is {unclear} {vaguely}",
            "The settlement layer is {unclear}, {judged}",
            "{report} of human shelter: {unclear} {vaguely}",
            "Some bright blocks may be roofs, their status is {unclear}",
            "The built environment is {unclear} {judged}",
            "The roofed area is {unclear}, {vaguely}",
        ),
        "Road": (
            "The road presence is {unclear} {vaguely}",
            "The transport network is {unclear}, {judged}",
            "{report} of the thoroughfares: {unclear} {vaguely}",
            "There may be some linear traces, their identity is {unclear}",
            "The accessibility is {unclear} {judged}",
            "The traffic infrastructure is {unclear}, {vaguely}",
        ),
        "Water": (
            "The water presence is {unclear} {vaguely}",
            "The hydrology is {unclear}, {judged}",
            "{report} of the hydrographic content: {unclear} {vaguely}",
            "Some dark patches may be moist, their origin is {unclear}",
            "The drainage situation is {unclear} {judged}",
            "The moisture regime is {unclear}, {vaguely}",
        ),
    }
)
"""By field: sentences that state nothing."""

_MOST = (
    ", mostly in {place}", ", chiefly in {place}", ", concentrated toward {place}", ", peaking in {place}",
    ", primarily in {place}",
)  # fmt: skip
_WATERS = ("{body} with {share}", "{body} taking {share}", "{body} reaching {share}")
_ROADS = ("{number} {course} {noun}", "{number} {noun}, {course}", "{number} {noun} that look {course}")
_ROAD_NOUNS = {"roads": "road", "routes": "route", "tracks": "track", "highways": "highway", "lanes": "lane"}
_COVER_VERBS = ("over", "in", "across", "filling", "occupying", "throughout", "dominating", "prevailing in")


def realise(_: str, field: str, claim: Claim, wording: Wording) -> str:
    """One sentence that states the claim."""
    return _WRITERS[field](claim, wording)


def vague(_: str, field: str, wording: Wording) -> str:
    """One sentence that states nothing."""
    return wording.sentence(VAGUE_FORMS[field], unclear=wording.of(phrases.UNCLEAR))


def _terrain(claim: Claim, wording: Wording) -> str:
    return wording.sentence(FORMS["Terrain"], fact=wording.of(phrases.LANDFORMS[claim["landform"]]))


def _functionality(claim: Claim, wording: Wording) -> str:
    return wording.sentence(FORMS["Functionality"], fact=wording.of(phrases.FUNCTIONS[claim["function"]]))


def _layout(claim: Claim, wording: Wording) -> str:
    return wording.sentence(FORMS["Layout"], fact=wording.of(phrases.PATTERNS[claim["pattern"]]))


def _boundary(claim: Claim, wording: Wording) -> str:
    return wording.sentence(FORMS["Boundary"], fact=wording.of(phrases.BOUNDARIES[claim["boundary"]]))


def _location(claim: Claim, wording: Wording) -> str:
    """Covers with their quadrants, the widest first; the last may take what is left."""
    places: dict[str, list[str]] = {}
    for quadrant in QUADRANTS:
        places.setdefault(claim[quadrant], []).append(quadrant)
    order = sorted(places, key=lambda cover: -len(places[cover]))
    cover_first = wording.chance(0.5)
    items = []
    for rank, cover in enumerate(order):
        name = wording.of(phrases.COVERS[cover])
        rest = 0 < rank == len(order) - 1 and wording.chance(0.5)
        if rest:
            items.append(f"{name} {wording.of(phrases.ELSEWHERE)}")
        elif cover_first:
            items.append(f"{name} {wording.of(_COVER_VERBS)} {_where(places[cover], wording)}")
        else:
            items.append(f"{_where(places[cover], wording)} with {name}")
    return wording.sentence(FORMS["Location"], items=wording.listed(items))


def _where(quadrants: list[str], wording: Wording) -> str:
    if len(quadrants) == len(QUADRANTS):
        return wording.of(phrases.EVERYWHERE)
    if tuple(quadrants) in phrases.HALVES:
        return wording.of(phrases.HALVES[tuple(quadrants)])
    return " and ".join(wording.of(phrases.PLACES[quadrant]) for quadrant in quadrants)


def _building(claim: Claim, wording: Wording) -> str:
    fact = wording.of(phrases.BUILDING_SHARES[claim["share"]])
    return wording.sentence(FORMS["Building"], fact=fact, where=_most(claim, wording))


def _road(claim: Claim, wording: Wording) -> str:
    number = int(claim["roads"])
    if not number:
        return wording.sentence(FORMS["Road"], fact=wording.of(phrases.NO_ROADS))
    several = wording.of(tuple(_ROAD_NOUNS))
    noun = _ROAD_NOUNS[several] if number == 1 else several
    course = wording.of(phrases.COURSES[claim["course"]])
    said = wording.of(phrases.NUMBERS.get(number, (str(number),)))
    form = _ROADS[1] if claim["course"] == "none" else wording.of(_ROADS[: 3 if number > 1 else 2])
    return wording.sentence(FORMS["Road"], fact=form.format(number=said, course=course, noun=noun))


def _water(claim: Claim, wording: Wording) -> str:
    fact = wording.of(phrases.BODIES[claim["body"]])
    if claim["body"] != "none":
        fact = wording.of(_WATERS).format(body=fact, share=wording.of(phrases.WATER_SHARES[claim["share"]]))
    return wording.sentence(FORMS["Water"], fact=fact, where=_most(claim, wording))


def _most(claim: Claim, wording: Wording) -> str:
    if not claim["most"]:
        return ""
    return wording.of(_MOST).format(place=wording.of(phrases.PLACES[claim["most"]]))


_WRITERS: Mapping[str, Callable[[Claim, Wording], str]] = MappingProxyType(
    {
        "Terrain": _terrain,
        "Functionality": _functionality,
        "Location": _location,
        "Layout": _layout,
        "Boundary": _boundary,
        "Building": _building,
        "Road": _road,
        "Water": _water,
    }
)
