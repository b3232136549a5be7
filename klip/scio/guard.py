"""The set-level guard: a text without all of its flagged segments must match the image better (section 6.4, no torch).

Two wrong segments that agree with each other hide one another, and two right ones that say the same can each be missed
easily: so the guard is measured, not derived from the scores of single segments. Who measures comes in as a function:
the model in a pass, the audit log when decisions are taken again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from klip.scio.decide import Candidates, Flags, Floats, Rule

MatchWithout: TypeAlias = Callable[[NDArray[np.int64], Flags], Floats]
"""Rows [m] and the segments [m, 8] that each loses -> the matching score [m] of what is left; NaN where unknown."""


class Guarded(NamedTuple):
    """What is noise after the guard."""

    noise: Flags
    """[N, 8]."""
    tried: NDArray[np.int64]
    """[N]: sets that were tested."""
    readmitted: Flags
    """[N, 8]: segments that were flagged and are kept after all."""
    undecided: Flags
    """[N]: texts for which a score was not to be had; they keep what the rule flagged."""


def guard(found: Candidates, full_match: Floats, rule: Rule, match_without: MatchWithout) -> Guarded:
    """Re-admits flagged segments, weakest evidence first, until the text without the rest is the better match.

    With `confirm="set"` (Algorithm 1, line 8) the set is taken or left as a whole.
    """
    noise = found.noise.copy()
    tried = np.zeros(len(noise), dtype=np.int64)
    undecided = np.zeros(len(noise), dtype=np.bool_)
    waiting: Flags = np.asarray(noise.any(axis=1) & rule.guarded)
    while waiting.any():
        rows = np.flatnonzero(waiting)
        match = match_without(rows, noise[rows])
        tried[rows] += 1
        unknown = np.isnan(match)
        undecided[rows[unknown]] = True
        failed = ~unknown & ~(match > full_match[rows])
        waiting[rows[~failed]] = False
        losing = rows[failed]
        if rule.confirm == "set":
            noise[losing] = False
        else:
            weakest = np.where(noise[losing], found.evidence[losing], np.inf).argmin(axis=1)
            noise[losing, weakest] = False
        waiting[losing] = noise[losing].any(axis=1)
    return Guarded(noise, tried, found.noise & ~noise, undecided)
