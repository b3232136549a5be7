"""Ranks verified submissions in every column of Table 4 of the paper, and over the columns that all of them fill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from foundation.errors import CheckError, MissingError
from leaderboard.verify import Verdict
from results.record import FileReference, Record
from results.reported import Column, columns
from results.rows import Summary, column_records, obstacles, rounded, summarise

TABLE = 4
_BY_SCORER = "scored by the leaderboard"


class Place(NamedTuple):
    """One submission in one column."""

    label: str
    rank: float
    """1 is best; equal numbers share the mean of their places."""
    summary: Summary


class RankedColumn(NamedTuple):
    """One column, best first."""

    column: Column
    synthetic: bool
    places: tuple[Place, ...]


class Standing(NamedTuple):
    """One submission over all columns."""

    label: str
    model: str
    submitter: str
    mean_rank: float | None
    """Over the shared columns; None if there are none."""
    filled: int
    """Columns with a number."""
    own_truth: bool
    notes: tuple[str, ...]
    """Why its numbers must not be compared with the paper's."""


class Ranking(NamedTuple):
    """The whole of it."""

    profile: str
    columns: tuple[RankedColumn, ...]
    """In the paper's order; columns without a number are left out."""
    shared: tuple[str, ...]
    """Columns that every submission fills: the mean rank is over these."""
    standings: tuple[Standing, ...]
    """Best mean rank first."""


def rank(verdicts: Sequence[Verdict]) -> Ranking:
    """The ranking; refuses submissions that do not hold, and what must not stand in one column."""
    entries = _entries(verdicts)
    ranked = []
    for column in columns(TABLE):
        found = column_records(column, [r for group in entries.values() for r in group], entries)
        _refuse_two_truths(column, found)
        places = _places(column, found)
        if places:
            synthetic = any(record.data.synthetic for group in found.values() for record in group)
            ranked.append(RankedColumn(column, synthetic, places))
    if not ranked:
        raise MissingError(
            f"no submission fills a column of Table {TABLE}",
            where=", ".join(str(verdict.bundle) for verdict in verdicts),
            way_out="submit cells of the vision tasks: harness run --tasks vision",
        )
    shared = [column for column in ranked if len(column.places) == len(entries)]
    standings = [
        _standing(label, verdict, entries[label], ranked, shared)
        for label, verdict in zip(entries, verdicts, strict=True)
    ]
    standings.sort(key=lambda s: (s.mean_rank if s.mean_rank is not None else float("inf"), s.label))
    profiles = sorted({record.cell.profile for group in entries.values() for record in group})
    return Ranking(", ".join(profiles), tuple(ranked), tuple(c.column.column for c in shared), tuple(standings))


def shared_ranks(values: Sequence[float]) -> list[float]:
    """Rank of each value, largest first, as printed with two decimals; equal ones share the mean of their places."""
    printed = [rounded(value) for value in values]
    return [
        sum(other > value for other in printed) + (sum(other == value for other in printed) + 1) / 2
        for value in printed
    ]


def _entries(verdicts: Sequence[Verdict]) -> dict[str, list[Record]]:
    """Label to records that bear the label as model, so that two people can submit the same model."""
    for verdict in verdicts:
        if not verdict.holds or verdict.submission is None:
            first = verdict.findings[0].what if verdict.findings else "it was not read"
            raise CheckError(
                f"not verified, {len(verdict.findings)} findings, e.g. {first}",
                where=str(verdict.bundle),
                way_out=f"see all of them: leaderboard verify {verdict.bundle}",
            )
    submissions = [verdict.submission for verdict in verdicts if verdict.submission is not None]
    models = Counter(submission.model for submission in submissions)
    entries: dict[str, list[Record]] = {}
    for submission, verdict in zip(submissions, verdicts, strict=True):
        alone = models[submission.model] == 1
        label = submission.model if alone else f"{submission.model} ({submission.submitter})"
        if label in entries:
            raise CheckError(
                f"{submission.submitter} has two submissions of {submission.model}",
                where=str(verdict.bundle),
                way_out="rank one of them",
            )
        entries[label] = [_entered(record, label) for record in verdict.records]
    return entries


def _entered(record: Record, label: str) -> Record:
    # Whatever code the submitter scored with, this one gave exactly the same numbers.
    return record.model_copy(
        update={
            "cell": record.cell.model_copy(update={"model": label}),
            "code": record.code.model_copy(update={"scoring": _BY_SCORER}),
        }
    )


def _refuse_two_truths(column: Column, found: dict[str, list[Record]]) -> None:
    truths: dict[FileReference, str] = {}
    for label, group in found.items():
        for record in group:
            truths.setdefault(record.truth, label)
    if len(truths) > 1:
        raise CheckError(
            f"column {column.paper_header!r} would mix truths: {', '.join(truths.values())}",
            where=f"{column.task_id}/{column.dataset_id}",
            way_out="verify them against the leaderboard's truth: leaderboard rank --truth DIR",
        )


def _places(column: Column, found: dict[str, list[Record]]) -> tuple[Place, ...]:
    summaries = {label: summarise(column, group) for label, group in found.items()}
    defined = [(label, summary, summary.value) for label, summary in summaries.items() if summary.value is not None]
    ranks = shared_ranks([value for *_, value in defined])
    places = [Place(label, place, summary) for (label, summary, _), place in zip(defined, ranks, strict=True)]
    return tuple(sorted(places, key=lambda place: (place.rank, place.label)))


def _standing(
    label: str, verdict: Verdict, records: list[Record], ranked: list[RankedColumn], shared: list[RankedColumn]
) -> Standing:
    ranks = [place.rank for column in shared for place in column.places if place.label == label]
    notes = [
        note
        for column in ranked
        for record in records
        if (record.cell.task, record.cell.dataset) == (column.column.task_id, column.column.dataset_id)
        for note in obstacles(record, column.column)
    ]
    assert verdict.submission is not None  # refused before
    return Standing(
        label=label,
        model=verdict.submission.model,
        submitter=verdict.submission.submitter,
        mean_rank=sum(ranks) / len(ranks) if ranks else None,
        filled=sum(place.label == label for column in ranked for place in column.places),
        own_truth=verdict.own_truth,
        notes=tuple(dict.fromkeys(notes)),
    )
