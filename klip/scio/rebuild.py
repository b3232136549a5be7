"""New values for segments that were taken for noise, written by the model that screened (section 6.6).

The question is built by the function that training builds its questions with. Each gap is written by itself, given the
text without noise; a value that cannot stand is refused before anything is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from klip.generate import KlipWriter, Writing, Written, forbidden_tokens, write
from klip.losses.corrupt import reconstruction_input
from klip.scio.fields import fault
from klip.settings import SLOTS
from klip.text import Segment, SegmentedText
from klip.tokens.batch import pack
from klip.tokens.layout import SlotTokens, TextTokens, length

if TYPE_CHECKING:
    from klip.model.klip import KLIP
    from klip.scio.decide import Flags
    from klip.scio.score import Seen
    from klip.settings import PretrainingSettings
    from klip.tokens.vocabulary import Vocabulary


class Gap(NamedTuple):
    """A segment to be written."""

    image: int
    """Row among the images that are looked at."""
    slot: int


@dataclass(frozen=True, slots=True)
class Source:
    """A text with gaps."""

    text: SegmentedText
    tokens: TextTokens
    noise: Flags
    """bool [8]: segments that are not to be trusted."""
    gaps: Flags
    """bool [8]: segments to be written: the noise, and what earlier versions dropped."""

    @property
    def filtered(self) -> TextTokens:
        """T': the text without noise."""
        return tuple(None if wrong else slot for slot, wrong in zip(self.tokens, self.noise, strict=True))

    def without(self, slot: int) -> TextTokens:
        """The full text without one segment, as screening compares it."""
        return (*self.tokens[:slot], None, *self.tokens[slot + 1 :])

    def with_value(self, slot: int, new: SlotTokens) -> TextTokens:
        """t_c: the full text with one segment replaced."""
        return _with(self.tokens, slot, new)

    def filtered_with(self, values: dict[int, SlotTokens]) -> TextTokens:
        """T' with rebuilt segments in their places."""
        tokens = self.filtered
        for slot, new in values.items():
            tokens = _with(tokens, slot, new)
        return tokens


class Proposal(NamedTuple):
    """A value for a gap."""

    gap: Gap
    text: str
    tokens: SlotTokens
    """Of `text`, tokenised anew: what a reader of the new version will see is what is judged."""
    score: float
    """Length-normalised log-probability."""
    reject: str | None
    """Why it is refused before it is scored."""


def propose(
    model: KLIP, vocabulary: Vocabulary, sources: Sequence[Source], seen: Seen, settings: PretrainingSettings
) -> list[list[Proposal]]:
    """For each gap of each text the best values, `num_candidates` of them."""
    gaps = [Gap(n, int(slot)) for n, source in enumerate(sources) for slot in np.flatnonzero(source.gaps)]
    if not gaps:
        return []
    written = _written(model, vocabulary, sources, gaps, seen, settings)
    kept = settings.scio.recon.num_candidates
    return [
        [_proposal(vocabulary, sources[gap.image], gap, text, settings) for text in texts[:kept]]
        for gap, texts in zip(gaps, written, strict=True)
    ]


def _written(
    model: KLIP,
    vocabulary: Vocabulary,
    sources: Sequence[Source],
    gaps: Sequence[Gap],
    seen: Seen,
    settings: PretrainingSettings,
) -> list[list[Written]]:
    specials, recon = model.specials, settings.scio.recon
    texts = [_with(sources[gap.image].tokens, gap.slot, _stand_in(vocabulary, sources[gap.image], gap)) for gap in gaps]
    hidden = [_hidden(sources[gap.image], recon.context) for gap in gaps]
    device = model.device
    index = torch.tensor([gap.image for gap in gaps], device=device)
    question, prefix = reconstruction_input(
        pack(texts, specials).to(device),
        torch.tensor([gap.slot for gap in gaps], device=device),
        torch.from_numpy(np.array(hidden)).to(device),
        specials,
        keep_label=recon.keep_label,
    )
    question, prefix = question.trimmed(), prefix.trimmed()
    fused = model.fused(question, seen.memory, index)
    memory = model.decoder_memory(fused, question.mask, seen.memory, index)
    beams = max(recon.num_beams, recon.num_candidates)
    how = Writing(most=settings.text.max_seg_len + 1, beams=beams)
    banned = forbidden_tokens(specials, model.vocabulary_size, stop=specials.seg)
    return write(KlipWriter(model, memory), prefix.ids, prefix.mask, stop=specials.seg, how=how, banned=banned)


def _proposal(
    vocabulary: Vocabulary, source: Source, gap: Gap, written: Written, settings: PretrainingSettings
) -> Proposal:
    text = vocabulary.decode(written.ids).strip()
    tokens = SlotTokens(_label(vocabulary, source.text.segments[gap.slot]), vocabulary.encode(text))
    reject = _refusal(vocabulary, source, gap, written, text, tokens, settings)
    return Proposal(gap, text, tokens, written.score, reject)


def _refusal(
    vocabulary: Vocabulary,
    source: Source,
    gap: Gap,
    written: Written,
    text: str,
    tokens: SlotTokens,
    settings: PretrainingSettings,
) -> str | None:
    """The first of the reasons of section 6.6 that holds."""
    old = source.text.segments[gap.slot]
    if not written.ended:
        return "no end"
    if not tokens.value:
        return "empty"
    if set(tokens.value) & set(vocabulary.specials):
        return "special token"
    if tokens.value == vocabulary.encode(old.value):
        return "unchanged"
    over = max(length(source.with_value(gap.slot, tokens)), length(source.filtered_with({gap.slot: tokens})))
    if len(tokens.value) > settings.text.max_seg_len or over > settings.text.max_len:
        return "too long"
    return fault(source.text.domain, old.field, text)


def _hidden(source: Source, context: str) -> Flags:
    """Segments that the model may not see while it writes (contradiction C7)."""
    return source.noise if context == "filtered" else np.zeros(SLOTS, dtype=np.bool_)


def _stand_in(vocabulary: Vocabulary, source: Source, gap: Gap) -> SlotTokens:
    """The segment as it is; for one that an earlier version dropped, its label with any value: the gap hides it."""
    there = source.tokens[gap.slot]
    if there is not None:
        return there
    return SlotTokens(_label(vocabulary, source.text.segments[gap.slot]), (vocabulary.specials.mask,))


def _label(vocabulary: Vocabulary, segment: Segment) -> tuple[int, ...]:
    return vocabulary.encode(f"{segment.field}:")


def _with(tokens: TextTokens, slot: int, new: SlotTokens) -> TextTokens:
    return (*tokens[:slot], new, *tokens[slot + 1 :])
