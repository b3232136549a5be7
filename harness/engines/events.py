"""What an engine tells while it works."""

from __future__ import annotations

from dataclasses import dataclass

from results.record import CellId, Failure


@dataclass(frozen=True)
class Started:
    """A worker has taken up a cell."""

    cell: CellId


@dataclass(frozen=True)
class Advanced:
    """A cell is `done` of `total` steps far."""

    cell: CellId
    done: int
    total: int
    note: str


@dataclass(frozen=True)
class Finished:
    """A cell's record is committed; `headline` is its main score for the eye."""

    cell: CellId
    headline: str
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A cell could not be computed; the failure is recorded."""

    failure: Failure
    exit_code: int


Event = Started | Advanced | Finished | Failed
"""Anything an engine reports."""
