"""Names that users type: unknown ones are answered with the nearest known ones."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from foundation.errors import UsageError


def unknown_name(kind: str, name: str, known: Iterable[str], *, see: str) -> UsageError:
    """The error for a name that is not known; `see` is the command that lists the known ones."""
    choices = sorted(set(known))
    folded = {choice.lower().replace("_", "-"): choice for choice in choices}
    near = get_close_matches(name.lower().replace("_", "-"), folded, n=3, cutoff=0.5)
    way_out = f"see `{see}`"
    if near:
        way_out = f"did you mean {' or '.join(folded[match] for match in near)}? Otherwise {way_out}"
    return UsageError(f"unknown {kind}: {name!r}", way_out=way_out)
