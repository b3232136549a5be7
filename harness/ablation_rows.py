"""The rows of Table 8, and the table of what is stored of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from foundation.errors import CheckError, MissingError, UsageError
from harness.ablation_notes import Ablation, Note, ablations, read_notes
from harness.readings import Choices, choices_of, difference, rank
from klip.corpus import CLEAN
from results.ablation_table import AblationRow, Order, ablation_table
from results.record import BY_HAND, Failure, Record
from results.store import Store, StoredRecord, has_own_split
from results.tables import Table

NAME = "table8"


class TextRow(NamedTuple):
    """One row: which texts, and what SCIO does to them (section 9 of the KLIP specification)."""

    id: str
    name: str
    settings: tuple[str, ...]
    printed: tuple[str, str, str] | None
    """The paper's row with this meaning."""
    texts: str = ""
    """The file of the corpus that is read in the place of its texts; a corpus without it has no such row."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the row adds to the training command."""
        texts = ("--texts", f"CORPUS/{self.texts}") if self.texts else ()
        return (*texts, *(part for change in self.settings for part in ("--set", change)))

    @property
    def told(self) -> str:
        """The same in a sentence."""
        return ", ".join((*([f"--texts {self.texts}"] if self.texts else []), *self.settings))


ROWS: tuple[TextRow, ...] = (
    TextRow(
        "table8-template", "template text", ("data.text=template", "scio.enabled=false"), ("SARLANG", "no", "no")
    ),  # a stand-in for SARLANG, whose texts are made from annotations by templates
    TextRow("table8-hcot", "HCoT text", ("scio.enabled=false",), ("FUSAR-GEOVL", "no", "no")),
    TextRow(
        "table8-screen",
        "+ screen, filter",
        ("scio.screen=true", "scio.reconstruct=false"),
        ("FUSAR-GEOVL", "yes", "no"),
    ),
    TextRow(
        "table8-reconstruct",
        "+ reconstruct",
        ("scio.screen=true", "scio.reconstruct=true"),
        ("FUSAR-GEOVL", "yes", "yes"),
    ),
    TextRow(
        "table8-random",
        "random removal",
        ("scio.screen=true", "scio.reconstruct=false", "scio.control=random"),
        None,
    ),
    TextRow("table8-clean", "KLIP, clean texts (upper bound)", ("scio.enabled=false",), None, texts=CLEAN),
)
"""The four rows of the paper, and two that it has not: as much removed as screening removes, but by lot; and texts
without errors, which only a synthetic corpus has."""

ORDERS = (
    Order(
        ("table8-clean", "table8-reconstruct", "table8-screen", "table8-hcot"),
        "The more of the texts is right, the more of the answers are",
    ),
    Order(("table8-screen", "table8-random"), "Screening is no worse than removal by lot"),
)
"""What is expected (section 14.5 of the task specification); reported, not required."""

INIT_TEXT = ("vqa.init_text", "model")
"""Texts act through the text side as well, so each row starts from its own; the same for all rows."""
_DEVIATION = f"{INIT_TEXT[0]}={INIT_TEXT[1]}{BY_HAND}"

MODELS = frozenset(row.id for row in ROWS)
"""Their ids."""

_AGAIN = "run the ablation again as it was run: what is there is not done again, and it notes what belongs together"
_UNTOLD = f"How these models were made is not noted beside the records; to have it told, {_AGAIN}."


def rows_of(corpus: Path | None) -> tuple[TextRow, ...]:
    """The rows that a corpus has texts for; all of them where it is not there yet."""
    if corpus is None or not corpus.is_dir():
        return ROWS
    return tuple(row for row in ROWS if not row.texts or (corpus / row.texts).is_file())


def absent_rows(corpus: Path) -> dict[str, str]:
    """Why a corpus lacks rows."""
    there = rows_of(corpus)
    return {row.id: f"the corpus has no {row.texts}" for row in ROWS if row not in there}


def table_of(
    records: Sequence[Record],
    failures: Sequence[Failure] = (),
    *,
    told: Sequence[str] = (),
    absent: Mapping[str, str] | None = None,
) -> Table:
    """Table 8 of these records."""
    why = absent or {}
    shown = [AblationRow(row.id, row.name, row.printed, why.get(row.id, "")) for row in ROWS]
    return ablation_table(shown, records, failures=failures, orders=ORDERS, remarks=told)


def has_records(store: Store, profile: str | None) -> bool:
    """Whether anything of Table 8 is stored."""
    return bool(fit_records(store, profile))


def stored_table(store: Store, profile: str | None) -> Table:
    """Table 8 of what is stored: of one ablation, that with the most whole columns, of several such the newest.

    Raises:
        MissingError: Nothing of Table 8 is stored.
        UsageError: There are several profiles and none was chosen.
        CheckError: Nothing tells which models belong together.
    """
    chosen = _chosen(store, profile)
    own = chosen.ablation
    used = own.records[0].record.cell.profile
    failures = [
        failure for failure in store.failures() if failure.cell.model in MODELS and failure.cell.profile == used
    ]
    told = [*(own.note.told if own.note is not None else (_UNTOLD,)), *chosen.left_out]
    absent = own.note.absent if own.note is not None else {}
    return table_of([stored.record for stored in own.records], failures, told=told, absent=absent)


def stored_records(store: Store, profile: str | None) -> list[StoredRecord]:
    """The records behind `stored_table`; none where nothing is stored."""
    return list(_chosen(store, profile).ablation.records) if has_records(store, profile) else []


def fit_records(store: Store, profile: str | None) -> list[StoredRecord]:
    """What is fit for some Table 8: of all the data under its own split, with no other setting by hand.

    Of each cell the newest record of every model that has its id, and of every way in which the data were read.
    """
    newest: dict[tuple[object, ...], StoredRecord] = {}
    for stored in store.records():  # from new to old within a cell
        record = stored.record
        whole = record.data.limit is None and record.data.twin == "none"
        plain = all(text == _DEVIATION for text in record.deviations if text.endswith(BY_HAND))
        fit = whole and plain and not has_own_split(record.data) and record.cell.model in MODELS
        if fit and profile in (None, record.cell.profile):
            what = (record.cell, record.model.weights_hash, record.data.world, choices_of(record))
            newest.setdefault(what, stored)
    return list(newest.values())


class _Chosen(NamedTuple):
    """What the table is made of."""

    ablation: Ablation
    left_out: list[str]
    """What else is there, in sentences."""


def _chosen(store: Store, profile: str | None) -> _Chosen:
    found = fit_records(store, profile)
    profiles = sorted({stored.record.cell.profile for stored in found})
    if not found:
        raise MissingError(
            "no finished cell of the ablation in the runs folder",
            where=str(store.root),
            way_out="run it: harness run --ablation table8",
        )
    if len(profiles) > 1:
        raise UsageError(
            f"the runs folder holds records of several profiles: {', '.join(profiles)}",
            where=str(store.root),
            way_out=f"choose one: --profile {profiles[0]}",
        )
    usual, otherwise = _as_usual(found)
    together, lost = ablations(usual, read_notes(store, NAME))
    if not together:
        raise CheckError(
            "rows of several ablations, and nothing tells which models belong together",
            where=str(store.root),
            way_out=_AGAIN,
        )
    own, *others = together
    taken = {id(stored) for stored in own.records}
    told = []
    for other in others:
        left = [stored for stored in other.records if id(stored) not in taken]
        taken |= {id(stored) for stored in left}
        told += _left_out(left, f"of another ablation ({_told_of(other.note)})")
    told += _left_out(lost, "of which nothing tells where their models belong")
    ways: dict[str, list[StoredRecord]] = defaultdict(list)
    for stored, way in otherwise:
        ways[way].append(stored)
    for way, records in sorted(ways.items()):
        told += _left_out(records, f"of data that were read otherwise ({way})")
    return _Chosen(own, told)


def _told_of(note: Note | None) -> str:
    return " ".join(note.told[:1]).rstrip(".") if note is not None and note.told else "how it was made is not noted"


def _left_out(records: Sequence[StoredRecord], why: str) -> list[str]:
    if not records:
        return []
    places = sorted({f"{stored.record.cell.task}/{stored.record.cell.dataset}" for stored in records})
    return [f"Left out: {len(records)} records {why}: {', '.join(places)}."]


def _as_usual(records: Sequence[StoredRecord]) -> tuple[list[StoredRecord], list[tuple[StoredRecord, str]]]:
    """The records of each data set as it was read with the fewest choices, and the others, each with what was chosen.

    As the readings of Tables 4 and 6, but by data set: the questions about one are asked about the same images.
    """
    ways: dict[str, dict[Choices, int]] = defaultdict(lambda: defaultdict(int))
    for stored in records:
        ways[stored.record.cell.dataset][choices_of(stored.record)] += 1
    first = {
        dataset: min(found, key=lambda choices: (*rank(choices), -found[choices], choices))
        for dataset, found in ways.items()
    }
    usual, otherwise = [], []
    for stored in records:
        before, after = first[stored.record.cell.dataset], choices_of(stored.record)
        if before == after:
            usual.append(stored)
        else:
            otherwise.append((stored, difference(before, after)))
    return usual, otherwise
