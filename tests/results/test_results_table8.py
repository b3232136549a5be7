"""Table 8: the paper's four rows beside ours, the control that has none, and what is said of their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import pytest

from foundation.errors import CheckError
from results.ablation_table import AblationRow, Order, ablation_table
from results.record import Metric, Record
from results.render import to_csv, to_markdown, to_text
from results.reported import reported_table
from results.tables import Table

MakeRecord = Callable[..., Record]

QUESTIONS = (
    *((task, "vqa_targets") for task in ("vqa_target_count", "vqa_target_rec", "vqa_target_pos")),
    *((task, "vqa_landform") for task in ("vqa_main_land", "vqa_all_land", "vqa_reg_land")),
)
ROWS = (
    AblationRow("plain", "template text", ("SARLANG", "no", "no")),
    AblationRow("noisy", "HCoT text", ("FUSAR-GEOVL", "no", "no")),
    AblationRow("screened", "+ screen, filter", ("FUSAR-GEOVL", "yes", "no")),
    AblationRow("rebuilt", "+ reconstruct", ("FUSAR-GEOVL", "yes", "yes")),
    AblationRow("lot", "random removal"),
)
VALUES = {"plain": 40.0, "noisy": 50.0, "screened": 55.0, "rebuilt": 60.0, "lot": 45.0}
ORDERS = (Order(("rebuilt", "screened", "noisy"), "As expected"), Order(("screened", "lot"), "Better than by lot"))


def _records(
    make_record: MakeRecord,
    values: Mapping[str, float] = VALUES,
    *,
    half: float = 1.0,
    tasks: Sequence[tuple[str, str]] = QUESTIONS,
) -> list[Record]:
    found = []
    for model, value in values.items():
        for task, dataset in tasks:
            metrics = {
                "accuracy": Metric(value=value, low=value - half, high=value + half, n=100),
                "accuracy_question_only": Metric(value=30.0, n=100),
                "accuracy_other_image": Metric(value=31.0, n=100),
            }
            record = make_record(
                model,
                task,
                dataset,
                metrics=metrics,
                profile="mini",
                world="sarworld v2",
                chance={"accuracy": 5.0},
                majority={"accuracy": 25.0},
                deviations=("vqa.init_text=model by hand",),
            )
            found.append(record.model_copy(update={"model": record.model.model_copy(update={"backbone": "mini"})}))
    return found


@pytest.fixture
def table(make_record: MakeRecord) -> Table:
    """All five rows."""
    return ablation_table(ROWS, _records(make_record), orders=ORDERS, remarks=["How the models were made."])


def test_every_row_of_the_paper_stands_beside_its_own(table: Table) -> None:
    assert [line.row.name for line in table.lines] == [
        *(row.name for row in ROWS),
        "chance",
        "majority",
        "question only",
    ]
    assert {line.row.backbone for line in table.lines[:5]} == {"mini"}
    for line, printed in zip(table.lines, reported_table(8), strict=False):
        assert [cell.reported for cell in line.cells] == [
            Decimal(printed[column.column.column]) for column in table.columns
        ]
    control = table.lines[4]
    assert [cell.reported for cell in control.cells] == [None] * 6 and [cell.value for cell in control.cells] == [
        45
    ] * 6


def test_no_number_is_compared_with_the_paper(table: Table) -> None:
    assert {cell.verdict for line in table.lines[:4] for cell in line.cells} == {"not_comparable"}
    assert table.banner.startswith("SYNTHETIC DATA") and "vqa.init_text=model by hand" in table.footnotes[0]
    assert [cell.mark for cell in table.lines[3].cells] == ["best"] * 6
    assert [cell.reported_mark for cell in table.lines[2].cells] == ["second"] * 6


def test_means_and_orders_are_told(table: Table) -> None:
    said = table.remarks
    assert said[0] == "How the models were made."
    (mean,) = [text for text in said if text.startswith("Mean of the six VQA tasks: ")]
    assert "template text 40.00, HCoT text 50.00, + screen, filter 55.00" in mean
    assert "random removal 45.00, chance 5.00, majority 25.00, question only 30.00." in mean
    assert said[1].startswith(
        "As expected (+ reconstruct >= + screen, filter >= HCoT text, within two standard errors)"
    )
    assert said[1].count("Target Count") == 2 and said[2].count("Reg Land") == 2


def test_rows_that_became_the_same_model_are_told(make_record: MakeRecord) -> None:
    towers = {"plain": "a", "noisy": "b", "screened": "c", "rebuilt": "c", "lot": None}
    records = [
        record.model_copy(update={"model": record.model.model_copy(update={"weights_hash": towers[record.cell.model]})})
        for record in _records(make_record)
    ]
    said = [text for text in ablation_table(ROWS, records).remarks if "value by value" in text]
    assert [text.partition(": ")[2] for text in said] == ["+ screen, filter and + reconstruct."]


@pytest.mark.parametrize(("half", "held"), [(1.0, "none"), (10.0, "Main Land")])
def test_an_order_is_missed_only_by_more_than_two_standard_errors(
    make_record: MakeRecord, half: float, held: str
) -> None:
    # A standard error of 10 / 1.96 in each: the difference of two has 7.2, and 5 below is within twice that.
    values = {"screened": 50.0, "lot": 55.0}
    made = ablation_table(ROWS, _records(make_record, values, half=half, tasks=QUESTIONS[3:4]), orders=ORDERS)
    (said,) = [text for text in made.remarks if text.startswith("Better than by lot")]
    assert said.endswith(f": {held} of Main Land.")
    assert not any(text.startswith("As expected") for text in made.remarks), "a row is missing"
    assert not any(text.startswith("Mean") for text in made.remarks)


def test_a_row_that_cannot_be_made_says_why_and_leaves_the_order_to_the_others(make_record: MakeRecord) -> None:
    rows = (*ROWS, AblationRow("clean", "clean texts", state="the corpus has none"))
    order = Order(("clean", "rebuilt", "screened", "noisy"), "As expected")
    made = ablation_table(rows, _records(make_record), orders=[order])
    line = made.lines[len(ROWS)]
    assert {(cell.value, cell.reason) for cell in line.cells} == {(None, "the corpus has none")}
    (said,) = [text for text in made.remarks if text.startswith("As expected")]
    assert "(+ reconstruct >= + screen, filter >= HCoT text," in said
    known = ablation_table(rows, _records(make_record, VALUES | {"clean": 40.0}), orders=[order])
    (said,) = [text for text in known.remarks if text.startswith("As expected")]
    assert "(clean texts >= + reconstruct >=" in said and ": none of " in said


def test_a_row_without_records_keeps_its_place_and_the_papers_number(make_record: MakeRecord) -> None:
    made = ablation_table(ROWS, _records(make_record, {"noisy": 50.0}))
    first = made.lines[0].cells[0]
    assert first.value is None and str(first.reported) == "71.12" and first.verdict == "not_run"
    assert made.footnotes[(first.note or 0) - 1] == "not run"


def test_other_models_are_no_part_of_it(make_record: MakeRecord) -> None:
    strange = _records(make_record, {"stranger": 99.0})
    made = ablation_table(ROWS, [*_records(make_record), *strange])
    assert "stranger" not in to_csv(made) and "99.00" not in to_markdown(made)


def test_rows_made_in_different_ways_are_refused(make_record: MakeRecord) -> None:
    other = make_record("lot", "vqa_main_land", "vqa_landform", values={"accuracy": 50.0}, profile="paper")
    with pytest.raises(CheckError, match="mix profiles"):
        ablation_table(ROWS, [*_records(make_record, {"noisy": 50.0}), other])


def test_every_form_can_be_written(table: Table) -> None:
    assert "Table 8: what the texts of pre-training are worth" in to_text(table)
    assert sum(line.startswith("| ") and "random removal" in line for line in to_markdown(table).splitlines()) == 1
    assert to_csv(table).count("\n") == 1 + 8 * 6 + 5 * 6
