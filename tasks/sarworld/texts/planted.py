"""Texts with known errors: which sentence of which image states something else than the truth, and what.

Every sentence has generators of its own, so a rate, a seed or a record changes nothing else; the errors of a lower rate
are among those of a higher one. A sentence swapped from another image comes from an image before it in the data set:
images that are added later change nothing about the first ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from foundation.errors import CheckError, UsageError
from foundation.names import unknown_name
from foundation.seeds import derive_seed
from tasks.sarworld.draws import WORLD_VERSION
from tasks.sarworld.texts.claims import FIELDS, VAGUE, Claim, claims_of
from tasks.sarworld.texts.mistakes import MISTAKES, SWAPPED, Case
from tasks.sarworld.texts.write import write_claims
from tasks.sarworld.truth import Domain, Truth

if TYPE_CHECKING:
    import numpy as np

Rates = Mapping[Domain, Mapping[str, float]]
Row = dict[str, Any]

# Section 14.5 of the task specification: per cent right, fields 1 to 8, read by eye off the authors' accuracy figure.
_RIGHT: Mapping[Domain, tuple[int, ...]] = MappingProxyType(
    {
        "aircraft": (73, 65, 70, 72, 79, 76, 80, 81),
        "ship": (78, 74, 86, 79, 80, 85, 89, 87),
        "landform": (79, 84, 87, 83, 84, 82, 84, 90),
    }
)
DEFAULT_RATES: Rates = MappingProxyType(
    {
        domain: MappingProxyType(
            {field: (100 - right) / 100 for field, right in zip(FIELDS[domain], rights, strict=True)}
        )
        for domain, rights in _RIGHT.items()
    }
)
# Our choice of how often each kind is tried first; the kinds of a field share what is left for plain mistakes.
_WEIGHTS = MappingProxyType({"vague": 1.0, SWAPPED: 2.0})
_WEIGHT_OF_PLAIN = 4.0
_LONGEST_SEARCH = 200  # images asked for a sentence that states something else


class Corpus(NamedTuple):
    """The rows of the three files, one text row per record in the order of the records."""

    noisy: list[Row]
    """As published, with errors: `id` and the eight fields, the records of `klip.text`."""
    clean: list[Row]
    """The same images without errors; equal to `noisy` but for the planted fields."""
    planted: list[Row]
    """One row per error: `image_id`, `field`, `kind`, `true_value` and `stated_value` (claims), `from_image`."""


class _Image(NamedTuple):
    truth: Truth
    claims: dict[str, Claim]
    sentences: dict[str, str]


def plant(records: Sequence[Truth], rates: float | Rates | None = None, seed: int = 0) -> Corpus:
    """Texts of all images, and what is wrong in them.

    Args:
        records: The images of one data set, in its order; swapped sentences come from earlier ones.
        rates: Probability of an error by domain and field, or one number for all; what is not named has the default.
        seed: Another seed gives other words and other errors.

    Raises:
        CheckError: Two records have the same id.
        UsageError: A rate is no probability, or a domain, field or target type is not known.
    """
    chances = _checked(rates)
    images = [_clean(truth, seed) for truth in records]
    earlier: dict[Domain, list[_Image]] = {domain: [] for domain in FIELDS}
    corpus = Corpus([], [], [])
    known: set[str] = set()
    for image in images:
        image_id, domain = image.truth.image_id, image.truth.domain
        if image_id in known:
            raise CheckError(f"two images have the id {image_id!r}", way_out="give every image an id of its own")
        known.add(image_id)
        sentences = dict(image.sentences)
        for field in FIELDS[domain]:
            if _generator(seed, image_id, field, "error").random() < chances[domain][field]:
                sentences[field], row = _error(image, field, seed, earlier[domain])
                corpus.planted.append(row)
        corpus.noisy.append({"id": image_id, **sentences})
        corpus.clean.append({"id": image_id, **image.sentences})
        earlier[domain].append(image)
    return corpus


def _checked(rates: float | Rates | None) -> Rates:
    given: Rates = rates if isinstance(rates, Mapping) else {}
    for domain, by_field in given.items():
        if domain not in FIELDS:
            raise unknown_name("domain", domain, FIELDS, see="tasks/sarworld/README.md")
        for field in by_field:
            if field not in FIELDS[domain]:
                raise unknown_name(f"field of {domain} texts", field, FIELDS[domain], see="klip/README.md")
    if rates is not None and not isinstance(rates, Mapping):
        given = {domain: dict.fromkeys(fields, float(rates)) for domain, fields in FIELDS.items()}
    for domain, by_field in given.items():
        for field, rate in by_field.items():
            if not 0.0 <= rate <= 1.0:
                raise UsageError(
                    f"error rate {rate} is no probability", where=f"{domain} {field}", way_out="give 0 to 1"
                )
    return {domain: {**DEFAULT_RATES[domain], **given.get(domain, {})} for domain in FIELDS}


def _generator(seed: int, image_id: str, *purpose: str) -> np.random.Generator:
    import numpy as np

    return np.random.default_rng(_hash(seed, image_id, *purpose))


def _hash(*parts: object) -> int:
    return derive_seed("sarworld-texts", WORLD_VERSION, *parts)


def _clean(truth: Truth, seed: int) -> _Image:
    claims = claims_of(truth)
    sentences = write_claims(truth.domain, claims, _generator(seed, truth.image_id, "sentences"))
    return _Image(truth, claims, sentences)


def _error(image: _Image, field: str, seed: int, earlier: Sequence[_Image]) -> tuple[str, Row]:
    """A sentence that does not state the truth, and its row; `vague` applies to every claim, so there always is one."""
    image_id, domain, true = image.truth.image_id, image.truth.domain, image.claims[field]
    rng = _generator(seed, image_id, field, "mistake")
    donor: _Image | None = None
    stated: Claim | None
    for kind in _kinds_in_turn(domain, field, rng):
        if kind == SWAPPED:
            donor = _donor(image, field, earlier, _hash(seed, image_id, field, "donor"))
            stated = donor.claims[field] if donor else None
        elif kind == "vague":
            stated = dict(VAGUE)
        else:
            stated = MISTAKES[domain][field][kind](Case(domain, true, _generator(seed, image_id, field, kind)))
        if stated is not None:
            break
    else:
        raise AssertionError("to be vague is always possible")
    if donor:
        sentence = donor.sentences[field]
    else:
        sentence = write_claims(domain, {field: stated}, _generator(seed, image_id, field, "sentence"))[field]
    row = {
        "image_id": image_id,
        "field": field,
        "kind": kind,
        "true_value": true,
        "stated_value": stated,
        "from_image": donor.truth.image_id if donor else None,
    }
    return sentence, row


def _kinds_in_turn(domain: Domain, field: str, rng: np.random.Generator) -> list[str]:
    """The kinds of a field in the order in which they are tried: a weighted draw without putting back."""
    plain = MISTAKES[domain][field]
    weights = {**dict.fromkeys(plain, _WEIGHT_OF_PLAIN / len(plain)), **_WEIGHTS}
    waits = {kind: -math.log(1.0 - float(rng.random())) / weight for kind, weight in weights.items()}
    return sorted(waits, key=lambda kind: waits[kind])


def _donor(asking: _Image, field: str, earlier: Sequence[_Image], start: int) -> _Image | None:
    """An image that states something else in this field: the first from a place drawn for the sentence."""
    count = len(earlier)
    turn = (earlier[(start + step) % count] for step in range(min(count, _LONGEST_SEARCH)))
    return next((image for image in turn if image.claims[field] != asking.claims[field]), None)
