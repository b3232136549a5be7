"""Records of a data set that was read or split in several ways: which go into the table, which into one of their own.

A column never mixes two ways (`--split 7:3` beside the usual 4:1, say), and neither replaces the other.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from results.record import Record
from results.store import Store, StoredRecord
from tasks.datasets.options import flag, is_divided_by_ratio

Place = tuple[str, str]
"""Task and data set: what has columns of its own."""
Choices = tuple[tuple[str, str], ...]


class Reading(NamedTuple):
    """Records that may stand in one table."""

    label: str
    """The options that set it apart, as they are written on the command line; empty for the usual one."""
    records: tuple[StoredRecord, ...]

    @property
    def suffix(self) -> str:
        """For the names of its files."""
        return "".join(f"-{word}" for word in re.split(r"[^A-Za-z0-9]+", self.label) if word)


def readings(store: Store, profile: str | None) -> list[Reading]:
    """The usual reading first: of each data set the way with the fewest choices; then the others."""
    ways: dict[Place, dict[Choices, list[StoredRecord]]] = defaultdict(lambda: defaultdict(list))
    for stored in store.whole_records(profile, apart=choices_of):
        cell = stored.record.cell
        ways[cell.task, cell.dataset][choices_of(stored.record)].append(stored)
    usual: list[StoredRecord] = []
    others: dict[str, list[StoredRecord]] = defaultdict(list)
    for found in ways.values():
        first, *rest = sorted(found, key=lambda choices: (*rank(choices), -len(found[choices]), choices))
        usual += found[first]
        for choices in rest:
            others[difference(first, choices)] += found[choices]
    return [Reading("", tuple(usual)), *(Reading(label, tuple(others[label])) for label in sorted(others))]


def places(records: Sequence[StoredRecord]) -> list[str]:
    """Where the records stand, as `task/data set`."""
    return sorted({f"{stored.record.cell.task}/{stored.record.cell.dataset}" for stored in records})


def choices_of(record: Record) -> Choices:
    """How the data of a record were read."""
    return tuple(sorted(record.data.choices.items()))


def rank(choices: Choices) -> tuple[int, bool]:
    """Little was chosen first; the parts that a data set ships before a ratio."""
    return len(choices), is_divided_by_ratio(choices)


def difference(usual: Choices, chosen: Choices) -> str:
    """What was chosen otherwise, as it is written on the command line."""
    before, after = dict(usual), dict(chosen)
    words = []
    for name in sorted(before | after):
        if before.get(name) != after.get(name):
            part, _, option = name.rpartition(".")  # the data set within a composed one
            words.append(f"{flag(option)} {f'{part}=' if part else ''}{after.get(name, 'by default')}")
    return " ".join(words)
