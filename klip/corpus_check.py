"""What is in a corpus: records per domain, missing values, lengths, repeated texts, damaged records.

Lengths are words, not tokens: a vocabulary is not needed to see that a corpus is far too long. The budget that counts
(section 3.4 of the KLIP specification) is in tokens and is checked where the texts are tokenised.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from foundation.errors import CheckError
from foundation.hashing import hash_value
from klip.text import FIELDS, Domain, SegmentedText, scan_corpus

WORD = re.compile(r"[^\W_]+(?:[-'’.][^\W_]+)*")
"""A word: letters and digits, held together by hyphens, apostrophes and decimal points."""

PERCENTS = (50, 95, 99)
"""Section 3.4: p50, p95, p99 and the longest."""


class Lengths(NamedTuple):
    """Words per record, values without labels."""

    p50: int
    p95: int
    p99: int
    longest: int


class CorpusReport(NamedTuple):
    """What a check found."""

    records: dict[Domain, int]
    """Whole records per domain."""
    missing: dict[Domain, dict[str, float]]
    """Share of records without a value, 0 to 1, per field; domains without records are absent."""
    lengths: dict[Domain, Lengths]
    duplicates: tuple[tuple[str, ...], ...]
    """Ids of records with the same eight values, group by group."""
    damaged: tuple[CheckError, ...]


def check_corpus(path: Path) -> CorpusReport:
    """Reads a whole corpus and counts; damaged records are collected, not raised."""
    damaged: list[CheckError] = []
    words: dict[Domain, list[int]] = {}
    missing: dict[Domain, Counter[str]] = {}
    same: dict[str, list[str]] = {}
    for entry in scan_corpus(path):
        if isinstance(entry, CheckError):
            damaged.append(entry)
            continue
        words.setdefault(entry.domain, []).append(count_words(entry))
        absent = (segment.field for segment in entry.segments if segment.status == "missing")
        missing.setdefault(entry.domain, Counter()).update(absent)
        same.setdefault(_fingerprint(entry), []).append(entry.image_id)
    present = [domain for domain in FIELDS if domain in words]
    return CorpusReport(
        records={domain: len(words[domain]) for domain in present},
        missing={
            domain: {field: missing[domain][field] / len(words[domain]) for field in FIELDS[domain]}
            for domain in present
        },
        lengths={domain: word_lengths(words[domain]) for domain in present},
        duplicates=tuple(tuple(ids) for ids in same.values() if len(ids) > 1),
        damaged=tuple(damaged),
    )


def count_words(text: SegmentedText) -> int:
    """Words in the values of a text."""
    return sum(len(WORD.findall(segment.value)) for segment in text.segments if segment.present)


def word_lengths(counts: Iterable[int]) -> Lengths:
    """Nearest-rank percentiles: every one of them is the length of a record that is there."""
    ordered = sorted(counts)
    p50, p95, p99 = (nearest_rank(ordered, percent) for percent in PERCENTS)
    return Lengths(p50, p95, p99, ordered[-1])


def nearest_rank(ordered: Sequence[int], percent: int) -> int:
    """The smallest value that at least `percent` per cent of the values do not exceed."""
    return ordered[max(1, math.ceil(percent * len(ordered) / 100)) - 1]


def _fingerprint(text: SegmentedText) -> str:
    return hash_value([text.domain, *(segment.value for segment in text.segments)])
