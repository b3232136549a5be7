"""The rows of Table 8, and the table of what is stored of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from foundation.errors import MissingError
from results.ablation_table import AblationRow, Order, ablation_table
from results.record import BY_HAND, CellId, Failure, Record
from results.store import Store, StoredRecord
from results.tables import Table


class TextRow(NamedTuple):
    """One row: which texts, and what SCIO does to them (section 9 of the KLIP specification)."""

    id: str
    name: str
    settings: tuple[str, ...]
    printed: tuple[str, str, str] | None
    """The paper's row with this meaning."""

    @property
    def shown(self) -> AblationRow:
        """As the table takes it."""
        return AblationRow(self.id, self.name, self.printed)


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
)
"""The four rows of the paper, and the control: as much removed as screening removes, but by lot."""

ORDERS = (
    Order(
        ("table8-reconstruct", "table8-screen", "table8-hcot"),
        "Rebuilt, screened and noisy texts come out in this order",
    ),
    Order(("table8-screen", "table8-random"), "Screening is no worse than removal by lot"),
)
"""What is expected (section 14.5 of the task specification); reported, not required."""

INIT_TEXT = ("vqa.init_text", "model")
"""Texts act through the text side as well, so each row starts from its own; the same for all rows."""
_DEVIATION = f"{INIT_TEXT[0]}={INIT_TEXT[1]}{BY_HAND}"

MODELS = frozenset(row.id for row in ROWS)
"""Their ids."""


def table_of(records: Sequence[Record], failures: Sequence[Failure] = (), *, told: Sequence[str] = ()) -> Table:
    """Table 8 of these records."""
    return ablation_table([row.shown for row in ROWS], records, failures=failures, orders=ORDERS, remarks=told)


def has_records(store: Store, profile: str | None) -> bool:
    """Whether anything of Table 8 is stored."""
    return bool(stored_records(store, profile))


def stored_table(store: Store, profile: str | None) -> Table:
    """Table 8 of what is stored: of every cell the newest record of all the data."""
    found = [stored.record for stored in stored_records(store, profile)]
    if not found:
        raise MissingError(
            "no finished cell of the ablation in the runs folder",
            where=str(store.root),
            way_out="run it: harness run --ablation table8",
        )
    return table_of(found, [failure for failure in store.failures() if failure.cell.model in MODELS])


def stored_records(store: Store, profile: str | None) -> list[StoredRecord]:
    """Of every cell the newest record that is fit for the table: of all the data, with no other setting by hand."""
    newest: dict[CellId, StoredRecord] = {}
    for stored in store.records():  # from new to old within a cell
        record = stored.record
        whole = record.data.limit is None and record.data.twin == "none"
        plain = all(text == _DEVIATION for text in record.deviations if text.endswith(BY_HAND))
        if whole and plain and record.cell.model in MODELS and profile in (None, record.cell.profile):
            newest.setdefault(record.cell, stored)
    return list(newest.values())
