"""Eight-field texts of the synthetic world: true sentences, errors planted in them, and a parser for both.

A claim is what a sentence states without its wording. The grammar writes claims, the parser reads them back without
loss, and `plant` puts false ones in their place and keeps the books. Section 14.5 of the task specification.
"""

from tasks.sarworld.texts.claims import Claim, claims_of
from tasks.sarworld.texts.mistakes import KINDS
from tasks.sarworld.texts.parse import parse_claims, parse_value
from tasks.sarworld.texts.planted import DEFAULT_RATES, Corpus, Rates, plant
from tasks.sarworld.texts.template import template_texts
from tasks.sarworld.texts.write import write_texts

__all__ = [
    "DEFAULT_RATES",
    "KINDS",
    "Claim",
    "Corpus",
    "Rates",
    "claims_of",
    "parse_claims",
    "parse_value",
    "plant",
    "template_texts",
    "write_texts",
]
