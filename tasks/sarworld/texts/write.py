"""The eight sentences of an image: every fact from a claim, every choice of words from the generator that is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tasks.sarworld.texts import landform_grammar, target_grammar
from tasks.sarworld.texts.claims import Claim, claims_of
from tasks.sarworld.texts.vocabulary import LANDFORM_POOLS, TARGET_POOLS
from tasks.sarworld.texts.wording import Pools, Wording
from tasks.sarworld.truth import Domain, Truth

if TYPE_CHECKING:
    import numpy as np


def write_texts(truth: Truth, rng: np.random.Generator) -> dict[str, str]:
    """The eight true sentences of an image, by field in the order of its domain."""
    return write_claims(truth.domain, claims_of(truth), rng)


def write_claims(domain: Domain, claims: Mapping[str, Claim], rng: np.random.Generator) -> dict[str, str]:
    """One sentence per claim, true or not; words are not repeated where there are others."""
    wording = Wording(rng, pools_of(domain))
    return {field: realised(domain, field, claim, wording) for field, claim in claims.items()}


def pools_of(domain: Domain) -> Pools:
    """The words that carry no fact."""
    return LANDFORM_POOLS if domain == "landform" else TARGET_POOLS


def realised(domain: Domain, field: str, claim: Claim, wording: Wording) -> str:
    """The sentence of one claim in the words that `wording` chooses."""
    grammar = landform_grammar if domain == "landform" else target_grammar
    if "vague" in claim:
        sentence: str = grammar.vague(domain, field, wording)
    else:
        sentence = grammar.realise(domain, field, claim, wording)
    return sentence
