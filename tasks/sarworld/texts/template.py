"""True texts in one fixed wording: what texts look like that a template makes of annotations.

They are the row "template text" of the paper's Table 8 (section 9 of the KLIP specification): every fact of the rich
texts, none of their words. Of every choice that the grammars offer the first is taken, and nothing is added.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.sarworld.texts.claims import claims_of
from tasks.sarworld.texts.wording import Pools, Wording
from tasks.sarworld.texts.write import pools_of, realised
from tasks.sarworld.truth import Truth


class FixedWording(Wording):
    """The same words for the same facts, whatever was said before; leaves nothing to chance."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    def of(self, options: Sequence[str]) -> str:
        """The first option."""
        return options[0]

    def chance(self, probability: float) -> bool:  # noqa: ARG002  # whatever it is
        """Never."""
        return False


def template_texts(truth: Truth) -> dict[str, str]:
    """The eight true sentences of an image by field, equal for images of which the same is true."""
    wording = FixedWording(pools_of(truth.domain))
    return {field: realised(truth.domain, field, claim, wording) for field, claim in claims_of(truth).items()}
