"""Which segments are noise: a pure function of numbers (section 6.3 of the KLIP specification, no torch).

One sign convention everywhere (contradictions C1 and C2): `d_itc` and `d_itm` are the score of the text *without* the
segment minus that of the full text. The contrastive loss falls and the matching score rises when a wrong segment goes,
so noise has `d_itc < 0 < d_itm`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from foundation.seeds import derive_seed

if TYPE_CHECKING:
    from klip.settings import ScioSettings

Flags: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]

NO_FIELD = -1
_SPREAD = 1e-12  # fields whose differences are all alike say nothing


class Numbers(NamedTuple):
    """What the model said about N texts; NaN where it was not asked or the answer was not finite."""

    present: Flags
    """[N, 8]: segments that the text has."""
    field: NDArray[np.int64]
    """[N, 8]: which field each segment is, of both domains; fields are compared with their like only."""
    d_itc: Floats
    """[N, 8]."""
    d_itm: Floats
    """[N, 8]."""

    @property
    def error(self) -> Flags:
        """[N, 8]: segments whose first difference is no number; they are never noise."""
        return self.present & ~np.isfinite(self.d_itc)

    def rows(self, index: NDArray[np.int64]) -> Numbers:
        """Some of the texts."""
        return Numbers(self.present[index], self.field[index], self.d_itc[index], self.d_itm[index])


@dataclass(frozen=True, slots=True)
class Rule:
    """When a segment is noise, and how much of a text may be."""

    kind: Literal["sign", "zscore"] = "sign"
    itc_margin: float = 0.0
    itm_margin: float = 0.0
    tests: Literal["both", "itc", "itm"] = "both"
    """Both of eqs 10 and 11, or one of them alone (ablations of section 9)."""
    confirm: Literal["segment", "set", "both"] = "both"
    """Contradiction C5: each segment by itself, contrast for the segments and matching for the set, or all of it."""
    noise_rate: float = 0.2
    """The share of segments that `zscore` flags."""
    min_keep: int = 3
    max_noise_frac: float = 0.5

    @property
    def guarded(self) -> bool:
        """Whether the set of flagged segments is tested as a whole (section 6.4)."""
        return self.confirm != "segment"

    @property
    def needs_all_matches(self) -> bool:
        """Whether matching is asked for segments that contrast does not suspect."""
        return self.kind == "zscore" or self.tests == "itm"


def rule_of(settings: ScioSettings) -> Rule:
    """The rule that the settings state."""
    return Rule(
        kind=settings.rule,
        itc_margin=settings.itc_margin,
        itm_margin=settings.itm_margin,
        tests=settings.tests,
        confirm=settings.confirm,
        noise_rate=settings.noise_rate,
        min_keep=settings.min_keep,
        max_noise_frac=settings.max_noise_frac,
    )


class Candidates(NamedTuple):
    """Segments that look like noise, before the set-level guard."""

    noise: Flags
    """[N, 8]."""
    evidence: Floats
    """[N, 8]: how much speaks for noise; the weakest is re-admitted first. -inf where nothing is flagged."""


def differences(scores: Floats) -> Floats:
    """Scores [N, 9] of the full text and of the eight texts without one segment, as differences [N, 8]."""
    return np.asarray(scores[:, 1:] - scores[:, :1], dtype=np.float64)


def candidates(numbers: Numbers, rule: Rule) -> Candidates:
    """What the rule flags, within the limits of section 6.4.

    A tie is not noise, nor is a segment without both numbers that the rule asks for.
    """
    with np.errstate(invalid="ignore"):
        if rule.kind == "sign":
            flagged, evidence = _by_sign(numbers, rule)
        else:
            flagged, evidence = _by_zscore(numbers, rule)
    flagged &= numbers.present & ~numbers.error
    return limited(flagged, np.where(flagged, evidence, -np.inf), numbers.present, rule)


def limited(flagged: Flags, evidence: Floats, present: Flags, rule: Rule) -> Candidates:
    """The strongest of what is flagged, as many as a text may lose; equal evidence counts in the order of the text."""
    count = present.sum(axis=1)
    allowed = np.minimum(np.floor(rule.max_noise_frac * count + 1e-9), count - rule.min_keep).clip(min=0)
    order = np.argsort(-np.where(flagged, evidence, -np.inf), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    noise = flagged & (rank < allowed[:, None])
    return Candidates(noise, np.where(noise, evidence, -np.inf))


def random_control(noise: Flags, numbers: Numbers, rule: Rule, *, seed: int) -> Flags:
    """As many segments of every field as `noise` has, drawn at random: the control of section 9.

    Drawn one field after the other among texts that may still lose a segment, so the limits hold and the rate of a
    field is met wherever enough such texts are left.
    """
    generator = np.random.default_rng(derive_seed("scio random removal", seed))
    count = numbers.present.sum(axis=1)
    left = np.minimum(np.floor(rule.max_noise_frac * count + 1e-9), count - rule.min_keep).clip(min=0)
    drawn = np.zeros_like(noise)
    for field in generator.permutation(np.unique(numbers.field[numbers.present])):
        wanted = int((noise & (numbers.field == field)).sum())
        rows, slots = np.nonzero(numbers.present & (numbers.field == field) & (left > 0)[:, None])
        chosen = generator.permutation(len(rows))[:wanted]
        drawn[rows[chosen], slots[chosen]] = True
        np.subtract.at(left, rows[chosen], 1)
    return drawn


def _by_sign(numbers: Numbers, rule: Rule) -> tuple[Flags, Floats]:
    worse_contrast = numbers.d_itc < -rule.itc_margin
    better_match = numbers.d_itm > rule.itm_margin
    if rule.tests == "itm":
        return better_match, numbers.d_itm
    if rule.tests == "itc" or rule.confirm == "set":
        return worse_contrast, -numbers.d_itc
    return worse_contrast & better_match, numbers.d_itm


def _by_zscore(numbers: Numbers, rule: Rule) -> tuple[Flags, Floats]:
    """The top share of the standardised evidence: every field has a mean of its own."""
    evidence = np.zeros_like(numbers.d_itc)
    if rule.tests != "itm":
        evidence = evidence + standardised(-numbers.d_itc, numbers)
    if rule.tests != "itc":
        evidence = evidence + standardised(numbers.d_itm, numbers)
    usable = np.isfinite(evidence) & numbers.present
    flagged = np.zeros_like(usable)
    wanted = round(rule.noise_rate * int(usable.sum()))
    if wanted:
        places = np.flatnonzero(usable)
        order = np.argsort(-evidence.reshape(-1)[places], kind="stable")
        flagged.reshape(-1)[places[order[:wanted]]] = True
    return flagged, evidence


def standardised(values: Floats, numbers: Numbers) -> Floats:
    """Mean 0 and spread 1 within every field; a field without spread is 0 everywhere."""
    result = np.full_like(values, np.nan)
    for field in np.unique(numbers.field[numbers.present]):
        where = numbers.present & (numbers.field == field) & np.isfinite(values)
        if where.any():
            spread = values[where].std()
            result[where] = (values[where] - values[where].mean()) / spread if spread > _SPREAD else 0.0
    return result
