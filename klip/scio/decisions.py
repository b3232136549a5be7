"""From the audit log to decisions: a function of what is written there, so other margins need no model (no torch).

The guard asks for the matching score of a text without a set of segments. For one segment that is a score of screening;
larger sets were scored while the pass was decided and lie in the log. With other margins a set may come up that nobody
scored: such texts keep what the rule flagged and are counted as undecided.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CheckError, MissingError
from klip.scio.audit_log import Record, header_of, lines, read_kind
from klip.scio.decide import NO_FIELD, Candidates, Flags, Floats, Numbers, Rule, candidates, differences
from klip.scio.guard import Guarded, MatchWithout, guard
from klip.settings import SLOTS
from klip.text import FIELDS

DECISIONS = "decisions.jsonl"

FIELD_NAMES = tuple(f"{domain}.{field}" for domain, fields in FIELDS.items() for field in fields)
"""Names of the fields of both domains; `Location` is in both and is not the same."""

KnownSets: TypeAlias = dict[tuple[int, int], float]
"""Row and set of segments (a bit for each) -> matching score without them."""


class PassScores(NamedTuple):
    """What screening measured, row by row of the corpus."""

    ids: tuple[str, ...]
    rows: NDArray[np.int64]
    itc: Floats
    """[N, 9]."""
    itm: Floats
    """[N, 9]; NaN where it was not asked."""
    numbers: Numbers


class Decisions(NamedTuple):
    """What follows from the scores."""

    flagged: Flags
    """[N, 8]: by the rule, before the guard."""
    noise: Flags
    """[N, 8]: in the end."""
    guarded: Guarded
    error: Flags
    """[N, 8]: segments without a number."""


def read_scores(place: Path) -> PassScores:
    """The scores of a pass in the order of the corpus."""
    records = sorted(read_kind(place, "scores"), key=lambda record: int(record["row"]))
    if not records:
        raise MissingError("this pass has no scores yet", where=str(place), way_out="screen first: `klip scio screen`")
    return scores_of(records)


def scores_of(records: list[Record]) -> PassScores:
    """Records as arrays."""
    names = {name: number for number, name in enumerate(FIELD_NAMES)}
    itc = np.array([_floats(record["itc"]) for record in records])
    itm = np.array([_floats(record["itm"]) for record in records])
    present = np.array([[count > 0 for count in record["tokens"][1:]] for record in records])
    fields = np.array(
        [[names[f"{record['domain']}.{field}"] for field in FIELDS[record["domain"]]] for record in records]
    )
    found = Numbers(present, np.where(present, fields, NO_FIELD), differences(itc), differences(itm))
    rows = np.array([record["row"] for record in records], dtype=np.int64)
    return PassScores(tuple(record["id"] for record in records), rows, itc, itm, found)


def known_sets(records: Iterable[Record]) -> KnownSets:
    """Scores of the guard; a score that is no number fails every comparison."""
    return {
        (int(record["row"]), as_bits(record["drop"])): -np.inf if record["itm"] is None else float(record["itm"])
        for record in records
    }


def as_bits(slots: Iterable[int]) -> int:
    """A set of segments as a number."""
    return sum(1 << slot for slot in slots)


def slots_of(flags: Flags) -> list[int]:
    """A set of segments as their positions."""
    return [int(slot) for slot in np.flatnonzero(flags)]


def lookup(scores: PassScores, known: KnownSets) -> MatchWithout:
    """Matching scores without sets of segments as far as they are known, else NaN."""

    def match_without(rows: NDArray[np.int64], drop: Flags) -> Floats:
        found = np.full(len(rows), np.nan)
        for n, (row, flags) in enumerate(zip(rows, drop, strict=True)):
            slots = slots_of(flags)
            single = scores.itm[row, slots[0] + 1] if len(slots) == 1 else np.nan
            found[n] = single if np.isfinite(single) else known.get((int(scores.rows[row]), as_bits(slots)), np.nan)
        return found

    return match_without


def decide(scores: PassScores, rule: Rule, match_without: MatchWithout) -> Decisions:
    """The rule, its limits and the guard."""
    found: Candidates = candidates(scores.numbers, rule)
    guarded = guard(found, scores.itm[:, 0], rule, match_without)
    return Decisions(found.noise, guarded.noise, guarded, scores.numbers.error)


def decide_from_log(place: Path, rule: Rule) -> tuple[PassScores, Decisions]:
    """Decisions of a pass by any rule, without the model."""
    scores = read_scores(place)
    known = known_sets(read_kind(place, "guard"))
    return scores, decide(scores, rule, lookup(scores, known))


def decided(place: Path, rule: Rule | None = None) -> tuple[PassScores, Decisions]:
    """Decisions of a pass: as it took them, lots included, or by another rule."""
    header = header_of(place, "scores")
    scores, decisions = decide_from_log(place, rule or Rule(**header["rule"]))
    if rule is None and header["control"] != "none":
        # Lots were drawn in the place of the rule's choice.
        decisions = decisions._replace(noise=read_noise(place, header["images"])[scores.rows])
    return scores, decisions


def decision_records(scores: PassScores, decisions: Decisions) -> list[Record]:
    """One record per image."""
    guarded = decisions.guarded
    return [
        {
            "id": scores.ids[n],
            "row": int(scores.rows[n]),
            "flagged": slots_of(decisions.flagged[n]),
            "confirmed": slots_of(decisions.noise[n]),
            "guard": {
                "tried": int(guarded.tried[n]),
                "readmitted": slots_of(guarded.readmitted[n]),
                "undecided": bool(guarded.undecided[n]),
            },
            "error": slots_of(decisions.error[n]),
            "status": _status(scores.numbers.present[n], decisions.noise[n]),
        }
        for n in range(len(scores.ids))
    ]


def read_noise(place: Path, count: int) -> Flags:
    """The noise pool [count, 8] of a decided pass."""
    path = place / DECISIONS
    if not path.is_file():
        raise MissingError("this pass is not decided yet", where=str(place), way_out="screen first: `klip scio screen`")
    noise = np.zeros((count, SLOTS), dtype=np.bool_)
    for record in lines(path):
        if "header" not in record:
            if record["row"] >= count:
                raise CheckError(
                    f"the pass is about row {record['row']}, there are {count} texts",
                    where=str(path),
                    way_out="take the store that the pass was made with",
                )
            noise[record["row"], record["confirmed"]] = True
    return noise


def _status(present: Flags, noise: Flags) -> list[str]:
    return ["noise" if wrong else "ok" if there else "absent" for there, wrong in zip(present, noise, strict=True)]


def _floats(values: list[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]
