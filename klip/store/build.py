"""Version 0: the texts as given, cut to the budget once, with what a synthetic world knows about them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from foundation.errors import CheckError
from foundation.files import canonical_json
from foundation.progress import Progress
from klip.corpus import CLEAN as CLEAN_TEXTS
from klip.corpus import PLANTED as PLANTED_ERRORS
from klip.corpus import TEXTS, Corpus
from klip.corpus_check import word_lengths
from klip.store.manifest import BASE, CLEAN, CUTS, PLANTED, VOCABULARY, Lengths
from klip.store.records import base_line
from klip.text import FIELDS, Segment, SegmentedText, read_corpus
from klip.tokens.layout import Cut, TextTokens, length, tokenise, tokenise_all, within_budget
from klip.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from klip.settings import TextSettings

_AT_ONCE = 512
"""Texts between two words of progress."""


class Fitted(NamedTuple):
    """The texts within the budget."""

    texts: list[SegmentedText]
    cuts: list[tuple[Cut, ...]]
    before: Lengths
    """Tokens of the texts as given."""
    after: Lengths


def fitted(texts: Sequence[SegmentedText], vocabulary: Vocabulary, budget: TextSettings, progress: Progress) -> Fitted:
    """Every text within the budget; a value of which the vocabulary sees nothing becomes a missing segment."""
    kept: list[SegmentedText] = []
    cuts: list[tuple[Cut, ...]] = []
    before: list[int] = []
    after: list[int] = []
    for first in range(0, len(texts), _AT_ONCE):
        some = texts[first : first + _AT_ONCE]
        for text, tokens in zip(some, tokenise_all(some, vocabulary), strict=True):
            try:
                short = within_budget(tokens, budget.max_len, budget.max_seg_len, vocabulary.continues)
            except CheckError as error:
                raise CheckError(error.what, where=text.image_id, way_out=error.way_out) from error
            kept.append(_with_values_cut(text, tokens, short.cuts, vocabulary))
            left = tokenise(kept[-1], vocabulary) if short.cuts else tokens
            cuts.append(tuple(cut._replace(after=_value_length(left, cut.slot)) for cut in short.cuts))
            before.append(length(tokens))
            after.append(length(left))
        progress(len(kept), len(texts), "tokenising texts")
    return Fitted(kept, cuts, Lengths(*word_lengths(before)), Lengths(*word_lengths(after)))


def files_of(corpus: Corpus, fit: Fitted, vocabulary: Vocabulary) -> dict[str, bytes]:
    """The files of version 0 by name."""
    cuts = [
        {"id": text.image_id, **cut._asdict(), "field": text.segments[cut.slot].field}
        for text, some in zip(fit.texts, fit.cuts, strict=True)
        for cut in some
    ]
    files = {
        BASE: b"".join(map(base_line, fit.texts)),
        VOCABULARY: "".join(f"{piece}\n" for piece in vocabulary.pieces).encode(),
        CUTS: _lines(cuts),
    }
    if corpus.source == corpus.folder / TEXTS:  # other texts about the same images have other errors
        if (corpus.folder / CLEAN_TEXTS).is_file():
            files[CLEAN] = _lines(_clean(corpus))
        if (corpus.folder / PLANTED_ERRORS).is_file():
            files[PLANTED] = _lines(_planted(corpus))
    return files


def count_statuses(texts: Sequence[SegmentedText]) -> dict[str, int]:
    """Segments per status."""
    return dict(sorted(Counter(segment.status for text in texts for segment in text.segments).items()))


def _with_values_cut(
    text: SegmentedText, tokens: TextTokens, cuts: Sequence[Cut], vocabulary: Vocabulary
) -> SegmentedText:
    silent = any(segment.present and tokens[slot] is None for slot, segment in enumerate(text.segments))
    if not cuts and not silent:
        return text
    left = {cut.slot: cut.after for cut in cuts}
    segments = []
    for slot, segment in enumerate(text.segments):
        value = segment.value if slot not in left else vocabulary.shortened(segment.value, left[slot])
        absent = not value or (segment.present and tokens[slot] is None)
        segments.append(Segment(segment.field, "", "missing") if absent else Segment(segment.field, value))
    return SegmentedText(text.image_id, text.domain, tuple(segments))


def _value_length(tokens: TextTokens, slot: int) -> int:
    segment = tokens[slot]
    return 0 if segment is None else len(segment.value)


def _clean(corpus: Corpus) -> list[dict[str, object]]:
    """The values without errors, in the order of the corpus."""
    path = corpus.folder / CLEAN_TEXTS
    known = {text.image_id: text for text in read_corpus(path)}
    rows: list[dict[str, object]] = []
    for text in corpus.texts:
        clean = known.get(text.image_id)
        if clean is None or clean.domain != text.domain:
            raise CheckError(
                f"no clean {text.domain} text for {text.image_id}",
                where=str(path),
                way_out=f"take {CLEAN_TEXTS} of the same corpus, or remove it",
            )
        rows.append({"id": text.image_id, "values": [segment.value for segment in clean.segments]})
    return rows


def _planted(corpus: Corpus) -> list[dict[str, object]]:
    """The planted errors of the texts that are in the corpus."""
    path = corpus.folder / PLANTED_ERRORS
    domains = {text.image_id: text.domain for text in corpus.texts}
    rows: list[dict[str, object]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            image_id, field, kind = str(record["image_id"]), str(record["field"]), str(record["kind"])
            if image_id in domains:
                slot = FIELDS[domains[image_id]].index(field)
                rows.append({"id": image_id, "slot": slot, "kind": kind})
        except (ValueError, KeyError, TypeError) as error:
            raise CheckError(
                f"a damaged record of planted errors: {error}",
                where=f"{path}:{number}",
                way_out=f"take {PLANTED_ERRORS} of the same corpus, or remove it",
            ) from error
    return rows


def _lines(records: Sequence[dict[str, object]]) -> bytes:
    return b"".join(canonical_json(record) + b"\n" for record in records)
