"""Five captions per image from its boxes, and what a caption says (section 6.2 of the task specification).

The first four templates tell number, types and places, the fifth leaves the places out. Numbers are words up to twelve,
then digits. With class-agnostic labels there are no types to tell, so each template says number and noun once.
`parse_caption` reads back every caption that can be made here without loss, and `tuple_f1` compares what two texts say;
it is never printed as SPICE.

Type names stand in a caption as they are in the label list. One that would make a list of types ambiguous is refused.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal, NamedTuple

from foundation.errors import CheckError
from results.record import Metric
from tasks.builders.geometry import QUADRANTS, Box, Size, quadrant

Domain = Literal["aircraft", "ship"]
Kind = Literal["noun", "type", "quadrant"]

NUMBER_WORDS = (
    *("one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
"""Of 1 to 12; larger numbers are digits."""


class Noun(NamedTuple):
    """What the targets of a domain are called."""

    one: str
    many: str

    def of(self, number: int) -> str:
        """The form that goes with a number."""
        return self.one if number == 1 else self.many


NOUNS: dict[Domain, Noun] = {"aircraft": Noun("aircraft", "aircraft"), "ship": Noun("ship", "ships")}


class Target(NamedTuple):
    """One labelled box."""

    box: Box
    type: str | None = None
    """Its name in the label list; None where labels are class-agnostic."""


class Caption(NamedTuple):
    """A text record of section 2.1."""

    image_id: str
    caption_id: str
    template: str
    """C1 to C5, or N1 to N5 for an image without targets."""
    text: str


class Statement(NamedTuple):
    """One thing that a caption says."""

    kind: Kind
    name: str
    """Noun in the singular, type or quadrant."""
    number: int


class _Form(NamedTuple):
    """The wordings of one template: one target, several, and the same two without types."""

    one: str
    many: str
    one_untyped: str
    many_untyped: str


FORMS: dict[str, _Form] = {
    "C1": _Form(
        "This scene holds {total} {noun}, namely {types}; {places}.",
        "This scene holds {total} {noun}, namely {types}; {places}.",
        "This scene holds {total} {noun}; {places}.",
        "This scene holds {total} {noun}; {places}.",
    ),
    "C2": _Form(
        "{Total} {noun} can be seen: {types}, and {places}.",
        "{Total} {noun} can be seen: {types}, with {places}.",
        "{Total} {noun} can be seen, and {places}.",
        "{Total} {noun} can be seen, with {places}.",
    ),
    "C3": _Form(
        "A radar survey of this area reports {total} {noun}, which is {types}, and {places}.",
        "A radar survey of this area reports {total} {noun}, made up of {types}, and {places}.",
        "A radar survey of this area reports {total} {noun}, and {places}.",
        "A radar survey of this area reports {total} {noun}, {places}.",
    ),
    "C4": _Form(
        "In the SAR image, {types} is visible, {total} {noun} in all: {places}.",
        "In the SAR image, {types} are visible, {total} {noun} in all: {places}.",
        "In the SAR image, {total} {noun} is visible: {places}.",
        "In the SAR image, {total} {noun} are visible: {places}.",
    ),
    "C5": _Form(
        "The SAR image shows {total} {noun}, that is {types}.",
        "The SAR image shows {total} {noun}, that is {types}.",
        "The SAR image shows {total} {noun}.",
        "The SAR image shows {total} {noun}.",
    ),
}
"""Section 6.2 for several targets; the place of a single one is a clause of its own, "it lies in the top-left"."""

EMPTY_FORMS: dict[str, str] = {
    "N1": "No {noun} can be found in this scene.",
    "N2": "This SAR image shows no {noun}.",
    "N3": "A radar survey of this area reports no {noun}.",
    "N4": "There are no {noun} to be seen here.",
    "N5": "The scene holds no {noun} at all.",
}

_NUMBER = rf"(?:{'|'.join(sorted(NUMBER_WORDS, key=len, reverse=True))}|[0-9]{{1,9}})"
_ANY_CASE = re.IGNORECASE | re.ASCII  # without ASCII the long s and the Kelvin sign would pass for s and k
_LIST_BREAK = re.compile(rf"(?:, | and )(?={_NUMBER} )", _ANY_CASE)
_PLACE = rf"{_NUMBER} in the (?:{'|'.join(QUADRANTS)})"
_SLOTS = {
    "{total}": rf"(?P<total>{_NUMBER})",
    "{Total}": rf"(?P<total>{_NUMBER})",
    "{noun}": rf"(?P<noun>{'|'.join(sorted({word for noun in NOUNS.values() for word in noun}))})",
    "{types}": rf"(?P<types>{_NUMBER} .+)",
    "{places}": rf"(?P<places>{_PLACE}(?:, {_PLACE})*(?: and {_PLACE})?|it lies in the (?:{'|'.join(QUADRANTS)}))",
}


def captions(image_id: str, targets: Sequence[Target], size: Size, domain: Domain) -> list[Caption]:
    """The five captions of an image, independent of the order of its targets."""
    noun = NOUNS[domain]
    if not targets:
        texts = {name: form.format(noun=noun.many) for name, form in EMPTY_FORMS.items()}
    else:
        total = len(targets)
        types = _type_counts(image_id, targets)
        counted = Counter(quadrant(target.box.centre, size) for target in targets)
        spoken = number_word(total)
        slots = {
            "total": spoken,
            "Total": spoken.capitalize(),
            "noun": noun.of(total),
            "types": _joined([f"{number_word(count)} {name}" for name, count in types]),
            "places": _places([(name, counted[name]) for name in QUADRANTS if counted[name]], total),
        }
        texts = {name: _wording(form, total, typed=bool(types)).format(**slots) for name, form in FORMS.items()}
    return [Caption(image_id, f"{image_id}#{name}", name, text) for name, text in texts.items()]


def number_word(number: int) -> str:
    """`one` to `twelve`, then digits."""
    return NUMBER_WORDS[number - 1] if 1 <= number <= len(NUMBER_WORDS) else str(number)


def parse_caption(text: str) -> frozenset[Statement]:
    """What a caption says; nothing where it follows none of the templates.

    Upper and lower case are the same except in type names, which come back as they stand.
    """
    for pattern in _patterns():
        if match := pattern.fullmatch(text):
            return _statements(match.groupdict())
    return frozenset()


def tuple_f1(hypothesis: str, references: Sequence[str]) -> float | None:
    """How much of what the references say together a text says, and nothing else; F1 in per cent.

    Case, spaces and spaces around hyphens, slashes and stops do not count, since decoders put them where they like. A
    text that cannot be read says nothing and scores 0. None where no reference can be read.
    """
    wanted = frozenset().union(*(parse_caption(_plain(text)) for text in references))
    if not wanted:
        return None
    said = parse_caption(_plain(hypothesis))
    return 200.0 * len(said & wanted) / (len(said) + len(wanted))


def mean_tuple_f1(hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> Metric:
    """Mean of `tuple_f1` over the images, both by image id."""
    if set(hypotheses) != set(references):
        odd = sorted(set(hypotheses) ^ set(references))
        raise CheckError(
            f"captions and references name different images, {len(odd)} in all, e.g. {odd[0]}",
            way_out="give exactly one caption for every image that has references",
        )
    values = [tuple_f1(hypotheses[image], references[image]) for image in sorted(references)]
    defined = [value for value in values if value is not None]
    if not defined:
        return Metric(value=None, reason="no reference follows the builder's grammar" if values else "no test images")
    lost = len(values) - len(defined)
    reason = f"{lost} images without a reference of the builder's grammar left out" if lost else ""
    return Metric(value=math.fsum(defined) / len(defined), n=len(defined), reason=reason)


def _type_counts(image_id: str, targets: Sequence[Target]) -> list[tuple[str, int]]:
    """By falling number, then name; empty for class-agnostic labels."""
    named = Counter(target.type for target in targets if target.type is not None)
    if named and named.total() < len(targets):
        raise CheckError(
            f"{named.total()} of {len(targets)} boxes have a type",
            where=image_id,
            way_out="give the type of every box, or of none",
        )
    for name in named:
        if not _listable(name):
            raise CheckError(
                f"the type name {name!r} cannot stand in a caption and be read back",
                where=image_id,
                way_out='rename it: letter or digit first, single spaces, nothing like ", two " or " and two " inside',
            )
    return sorted(named.items(), key=lambda item: (-item[1], item[0]))


def _listable(name: str) -> bool:
    """Whether lists that hold the name can be divided again, wherever it stands, as they are and folded."""
    if name != " ".join(name.split()) or not _folded(f"one {name}").startswith("one "):
        return False
    lists = ([f"one {name}", f"two {name}", f"two {name}"], [f"one {name}", f"two {name}"])
    return all(
        _LIST_BREAK.split(_joined(items)) == items
        and _LIST_BREAK.split(_folded(_joined(items))) == [_folded(item) for item in items]
        for items in lists
    )


def _wording(form: _Form, total: int, *, typed: bool) -> str:
    if typed:
        return form.one if total == 1 else form.many
    return form.one_untyped if total == 1 else form.many_untyped


def _places(counted: Sequence[tuple[str, int]], total: int) -> str:
    if total == 1:
        return f"it lies in the {counted[0][0]}"
    return _joined([f"{number_word(count)} in the {name}" for name, count in counted])


def _joined(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """One per wording. Those without types come first: their slots are closed, so they take no typed caption."""
    wordings = [
        *(wording for form in FORMS.values() for wording in (form.one_untyped, form.many_untyped)),
        *(wording for form in FORMS.values() for wording in (form.one, form.many)),
        *EMPTY_FORMS.values(),
    ]
    return tuple(re.compile(_pattern(wording), _ANY_CASE) for wording in dict.fromkeys(wordings))


def _pattern(wording: str) -> str:
    return "".join(_SLOTS.get(part, re.escape(part)) for part in re.split(r"(\{\w+\})", wording))


def _statements(slots: Mapping[str, str | None]) -> frozenset[Statement]:
    noun = next(name for name, words in NOUNS.items() if (slots["noun"] or "").lower() in words)
    found = [Statement("noun", noun, _number(slots.get("total") or "0"))]
    if types := slots.get("types"):
        for item in _LIST_BREAK.split(types):
            number, _, name = item.partition(" ")
            found.append(Statement("type", name, _number(number)))
    if places := slots.get("places"):
        if places.lower().startswith("it lies"):
            found.append(Statement("quadrant", places.lower().rpartition(" ")[2], 1))
        else:
            for item in _LIST_BREAK.split(places):
                number, _, place = item.partition(" ")
                found.append(Statement("quadrant", place.lower().rpartition(" ")[2], _number(number)))
    return frozenset(found)


def _number(word: str) -> int:
    folded = word.lower()
    return NUMBER_WORDS.index(folded) + 1 if folded in NUMBER_WORDS else int(folded)


def _plain(text: str) -> str:
    folded = _folded(text)
    return folded if folded.endswith(".") else f"{folded}."


def _folded(text: str) -> str:
    spaced = " ".join(unicodedata.normalize("NFKC", text).lower().split())
    return re.sub(r"\s*([-/])\s*|\s+(?=[,.;:])", r"\1", spaced)
