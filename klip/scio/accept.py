"""Which rebuilt segments are taken (section 6.7 of the KLIP specification).

A value must make the text better by contrast and by matching, and so against the text without noise (Algorithm 1) and
against the full text (eqs 14 and 15): contradiction C8 asks for both. Values that were accepted one by one are then
tested together; where they do not hold together, they are added one after the other, the best first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from klip.scio.audit_log import plain
from klip.scio.score import numbers
from klip.settings import SLOTS
from klip.tokens.batch import pack

if TYPE_CHECKING:
    from klip.scio.decide import Flags
    from klip.scio.rebuild import Proposal, Source
    from klip.scio.score import Scorer, Seen
    from klip.settings import ScioSettings
    from klip.tokens.layout import SlotTokens, TextTokens


class Fit(NamedTuple):
    """How well a text fits its image."""

    itc: float
    """Loss of contrast, less is better."""
    itm: float
    """Matching score, more is better."""

    def better_than(self, other: Fit) -> bool:
        """Strictly, by both; a score that is no number is never better."""
        return self.itc < other.itc and self.itm > other.itm

    def as_data(self) -> dict[str, float | None]:
        """For the log."""
        return {"itc": plain(self.itc), "itm": plain(self.itm)}


class Judged(NamedTuple):
    """A value and what became of it."""

    proposal: Proposal
    filtered: Fit | None
    """T' with the value; None where it was refused before."""
    original: Fit | None
    """The full text with the value."""
    accepted: bool


@dataclass
class Outcome:
    """What became of one text."""

    full: Fit
    filtered: Fit
    judged: list[Judged] = field(default_factory=list)
    """One per gap: the best of its candidates."""
    taken: dict[int, Proposal] = field(default_factory=dict)
    """Segment to new value, after the joint check."""
    joint: dict[str, Any] | None = None
    """What the joint check found; None where fewer than two values were accepted."""
    final: Fit | None = None
    """T' with everything taken; the same as `filtered` where nothing was."""
    restored: list[int] = field(default_factory=list)
    """Noise that stays because too few segments would be left."""


class Judge:
    """Scores any texts of some images."""

    def __init__(self, scorer: Scorer, seen: Seen) -> None:
        self.scorer, self.seen = scorer, seen

    def fits(self, texts: Sequence[TextTokens], images: Sequence[int]) -> list[Fit]:
        """Each text with its image."""
        if not texts:
            return []
        model = self.scorer.model
        tokens = pack(texts, model.specials).to(model.device)
        index = torch.tensor(list(images), device=model.device)
        itc = numbers(self.scorer.itc(tokens, self.seen, index))
        itm = numbers(self.scorer.itm(tokens, self.seen, index))
        return [Fit(*pair) for pair in zip(itc.tolist(), itm.tolist(), strict=True)]


def judge_all(
    judge: Judge, sources: Sequence[Source], proposals: Sequence[Sequence[Proposal]], scio: ScioSettings
) -> list[Outcome]:
    """Every text with its gaps: accepted, tested together, and what is left when that is done."""
    everyone = list(range(len(sources)))
    full = judge.fits([source.tokens for source in sources], everyone)
    filtered = judge.fits([source.filtered for source in sources], everyone)
    outcomes = [Outcome(before, after) for before, after in zip(full, filtered, strict=True)]
    for judged in _judged(judge, sources, proposals, outcomes, scio):
        outcomes[judged.proposal.gap.image].judged.append(judged)
    _joined(judge, sources, outcomes)
    for source, outcome in zip(sources, outcomes, strict=True):
        outcome.restored = _left(source, outcome) if scio.fallback == "original" else []
    if scio.fallback != "original":
        _keep_enough(judge, sources, outcomes, scio)
    return outcomes


def _judged(
    judge: Judge,
    sources: Sequence[Source],
    proposals: Sequence[Sequence[Proposal]],
    outcomes: Sequence[Outcome],
    scio: ScioSettings,
) -> list[Judged]:
    """The best candidate of every gap, whether it is then accepted or not; refused ones are not scored."""
    whole = [proposal for some in proposals for proposal in some if proposal.reject is None]
    images = [proposal.gap.image for proposal in whole]
    there = [sources[p.gap.image].filtered_with({p.gap.slot: p.tokens}) for p in whole]
    instead = [sources[p.gap.image].with_value(p.gap.slot, p.tokens) for p in whole]
    fits = judge.fits([*there, *instead], [*images, *images])
    scored = {
        id(proposal): Judged(proposal, new, old, _accepted(outcomes[proposal.gap.image], new, old, scio))
        for proposal, new, old in zip(whole, fits[: len(whole)], fits[len(whole) :], strict=True)
    }
    return [
        min((scored.get(id(p), Judged(p, None, None, False)) for p in some), key=_preference)
        for some in proposals
        if some
    ]


def _accepted(outcome: Outcome, filtered: Fit, original: Fit, scio: ScioSettings) -> bool:
    """Eqs 14 and 15, Algorithm 1, or both."""
    base = scio.accept.base
    above_filtered = base == "original" or filtered.better_than(outcome.filtered)
    above_full = base == "filtered" or original.better_than(outcome.full)
    return above_filtered and above_full


def _preference(judged: Judged) -> tuple[bool, float]:
    """Scored before refused; then the best d_itm (section 6.6): all values of a gap are compared with the same T'."""
    match = judged.filtered.itm if judged.filtered is not None else np.nan
    return (judged.filtered is None, -match if np.isfinite(match) else np.inf)


def _joined(judge: Judge, sources: Sequence[Source], outcomes: Sequence[Outcome]) -> None:
    """Everything accepted at once must beat T'; else the best first, each only if it still improves."""
    several = []
    for n, outcome in enumerate(outcomes):
        accepted = [judged for judged in outcome.judged if judged.accepted]
        outcome.taken = {judged.proposal.gap.slot: judged.proposal for judged in accepted}
        outcome.final = outcome.filtered
        if len(accepted) == 1:
            outcome.final = accepted[0].filtered
        elif accepted:
            several.append(n)
    together = judge.fits([sources[n].filtered_with(_values(outcomes[n].taken)) for n in several], several)
    losing = []
    for n, fit in zip(several, together, strict=True):
        outcome = outcomes[n]
        holds = fit.better_than(outcome.filtered)
        outcome.joint = {"together": fit.as_data(), "holds": holds}
        outcome.final = fit
        if not holds:
            losing.append(n)
    _one_by_one(judge, sources, outcomes, losing)


def _one_by_one(judge: Judge, sources: Sequence[Source], outcomes: Sequence[Outcome], losing: Sequence[int]) -> None:
    """By decreasing gain of matching; a value that no longer improves both is left out."""
    waiting = {}
    for n in losing:
        outcome = outcomes[n]
        order = sorted((j for j in outcome.judged if j.accepted), key=lambda j: -_gain(j, outcome))
        outcome.taken, outcome.final = {}, outcome.filtered
        waiting[n] = [judged.proposal for judged in order]
    while waiting:
        trials = {n: outcomes[n].taken | {left[0].gap.slot: left[0]} for n, left in waiting.items()}
        texts = [sources[n].filtered_with(_values(taken)) for n, taken in trials.items()]
        for (n, taken), fit in zip(trials.items(), judge.fits(texts, list(trials)), strict=True):
            before = outcomes[n].final
            if before is not None and fit.better_than(before):
                outcomes[n].taken, outcomes[n].final = taken, fit
        waiting = {n: left[1:] for n, left in waiting.items() if len(left) > 1}
    for n in losing:
        joint = outcomes[n].joint
        assert joint is not None
        joint["kept"] = sorted(outcomes[n].taken)


def _gain(judged: Judged, outcome: Outcome) -> float:
    return -np.inf if judged.filtered is None else judged.filtered.itm - outcome.filtered.itm


def _values(taken: dict[int, Proposal]) -> dict[int, SlotTokens]:
    return {slot: proposal.tokens for slot, proposal in taken.items()}


def _left(source: Source, outcome: Outcome) -> list[int]:
    """Noise that was not replaced."""
    return [int(slot) for slot in np.flatnonzero(source.noise) if int(slot) not in outcome.taken]


def _keep_enough(judge: Judge, sources: Sequence[Source], outcomes: Sequence[Outcome], scio: ScioSettings) -> None:
    """Restores the least harmful of what was dropped until a text has `min_keep` segments (section 6.7).

    Harm is the evidence of screening: how much better the full text fits without the segment. The limits of screening
    leave enough segments, so this happens only with a pool from elsewhere; its evidence is in no log.
    """
    asked: list[tuple[int, int]] = []
    lacking = {}
    for n, (source, outcome) in enumerate(zip(sources, outcomes, strict=True)):
        present = sum(slot is not None for slot in source.filtered_with(_values(outcome.taken)))
        if present < min(scio.min_keep, SLOTS):
            lacking[n] = min(scio.min_keep, SLOTS) - present
            asked += [(n, slot) for slot in _left(source, outcome)]
    fits = judge.fits([sources[n].without(slot) for n, slot in asked], [n for n, _ in asked])
    harm: dict[int, list[tuple[float, int]]] = {n: [] for n in lacking}
    for (n, slot), fit in zip(asked, fits, strict=True):
        harm[n].append((_harm(fit, outcomes[n].full, scio), slot))
    for n, count in lacking.items():
        outcomes[n].restored = sorted(slot for _, slot in sorted(harm[n])[:count])


def _harm(without: Fit, full: Fit, scio: ScioSettings) -> float:
    found = full.itc - without.itc if scio.tests == "itc" else without.itm - full.itm
    return found if np.isfinite(found) else np.inf


def statuses(source: Source, outcome: Outcome) -> list[str]:
    """What every segment is in the new version."""
    noise: Flags = source.noise
    return [
        "replaced"
        if slot in outcome.taken
        else "ok"
        if slot in outcome.restored
        else "dropped"
        if noise[slot]
        else segment.status
        for slot, segment in enumerate(source.text.segments)
    ]
