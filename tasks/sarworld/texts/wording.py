"""Draws the words of one image's texts; nothing is said twice while something else could be said.

A form is a sentence with places: `{name}` takes the fact of that name, else an entry of the pool of that name;
`{+name}` adds a comma and an entry of the pool, or nothing; `{;name}` does so with a semicolon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Pools = Mapping[str, tuple[str, ...]]

_PLACE = re.compile(r"\{([+;]?)(\w+)\}")
_SIGNS = {"+": ",", ";": ";"}
_ADDED = 0.25  # how often a modifier stands where it may
# Words of facts beyond which none is added: a text has 160 tokens at most (section 3.4 of the KLIP specification).
_LONG = 10


class Wording:
    """One image's choice of words; all that it knows of chance is the generator."""

    def __init__(self, rng: np.random.Generator, pools: Pools) -> None:
        self._rng = rng
        self._pools = pools
        self._used: set[str] = set()

    def of(self, options: Sequence[str]) -> str:
        """One of the options, if possible one that this image's texts have not drawn before."""
        fresh = [option for option in options if option not in self._used] or options
        choice = fresh[int(self._rng.integers(len(fresh)))]
        self._used.add(choice)
        return choice

    def word(self, pool: str) -> str:
        """One entry of the pool of that name."""
        return self.of(self._pools[pool])

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return bool(self._rng.random() < probability)

    def sentence(self, forms: Sequence[str], **facts: str) -> str:
        """One of the forms with its places filled; it begins with a capital letter and ends without a full stop.

        The full stop is left out because the parser of generated texts drops it (section 10.5 of the KLIP
        specification).
        """
        form = self.of(forms)
        roomy = sum(len(fact.split()) for fact in facts.values()) <= _LONG

        def fill(place: re.Match[str]) -> str:
            sign, name = place.groups()
            if name in facts:
                return facts[name]
            if not sign:
                return self.word(name)
            return f"{_SIGNS[sign]} {self.word(name)}" if roomy and self.chance(_ADDED) else ""

        text = _PLACE.sub(fill, form)
        return text[:1].upper() + text[1:]

    def listed(self, items: Sequence[str]) -> str:
        """The items in their order, joined in one of several ways."""
        if len(items) < 2:
            return "".join(items)
        last = self.of((" and ", " plus ", ", also ", ", "))
        return ", ".join(items[:-1]) + last + items[-1]
