"""Our numbers beside the paper's: what is compared, what must not be, and which verdict follows."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundation.errors import CheckError
from results.compare import compare, judge
from results.record import Metric, Record
from results.reported import columns, reported_rows, reported_value, tolerance
from results.rows import Summary, TableRow

MakeRecord = Callable[..., Record]

MAE = TableRow("my-mae", "MAE", "ViT-Base", "mae")  # FUSAR-AIR Top1 66.32, Top3 87.83 in Table 4


def _reported_as_records(table: int, make_record: MakeRecord) -> tuple[list[TableRow], list[Record]]:
    """The paper's own table, as if we had run it and found exactly its numbers."""
    rows, records = [], []
    for line in reported_rows(table):
        model = f"{line.model_id}:{line.backbone}"
        rows.append(TableRow(model, line.name, line.backbone, line.model_id))
        cells: dict[tuple[str, str], dict[str, float]] = {}
        for column in columns(table):
            value = reported_value(table, line.model_id, line.backbone, column.column)
            assert value is not None
            cells.setdefault((column.task_id, column.dataset_id), {})[column.metric_id] = float(value)
        for (task, dataset), values in cells.items():
            records.append(make_record(model, task, dataset, values=values, half=None))
    return rows, records


@pytest.mark.parametrize(("table", "numbers"), [(4, 247), (6, 272), (7, 30), (8, 6)])
def test_the_paper_against_itself_differs_nowhere(make_record: MakeRecord, table: int, numbers: int) -> None:
    rows, records = _reported_as_records(table, make_record)
    found = compare(records, rows, tables=[table])
    assert len(found) == numbers
    assert {comparison.difference for comparison in found} == {0.0}
    assert {comparison.verdict for comparison in found} == {"reproduced"}


def test_one_changed_number_is_found(make_record: MakeRecord) -> None:
    rows, records = _reported_as_records(4, make_record)
    place = next(i for i, record in enumerate(records) if record.cell.model == "mae:ViT-Base")
    metrics = {**records[place].metrics, "top1": Metric(value=66.34)}
    records[place] = records[place].model_copy(update={"metrics": metrics})
    (wrong,) = [comparison for comparison in compare(records, rows, tables=[4]) if comparison.difference]
    assert (wrong.paper_model, wrong.column.column, wrong.difference, wrong.verdict) == (
        "mae",
        "fusar_air_top1",
        0.02,
        "outside",
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (60.0, 70.0, "reproduced"),
        (66.33, 70.0, "reproduced"),  # 66.32 and 0.01 of rounding
        (66.3301, 70.0, "outside"),
        (60.0, 66.31, "reproduced"),
        (60.0, 66.3099, "outside"),
        (66.32, 66.32, "reproduced"),
    ],
)
def test_reproduced_means_inside_our_interval_widened_by_the_rounding(
    make_record: MakeRecord, low: float, high: float, verdict: str
) -> None:
    metric = Metric(value=(low + high) / 2, low=low, high=high, n=100)
    record = make_record("my-mae", metrics={"top1": metric})
    found = {comparison.column.column: comparison for comparison in compare([record], [MAE], tables=[4])}
    assert found["fusar_air_top1"].verdict == verdict
    assert (found["fusar_air_top1"].low, found["fusar_air_top1"].high) == (low, high)


def test_the_reported_number_is_joined_by_model_and_backbone(make_record: MakeRecord) -> None:
    rows = [
        TableRow("base", "RemoteClip", "ViT-Base", "remoteclip"),
        TableRow("large", "RemoteClip", "ViT-Large", "remoteclip"),
        TableRow("mini", "RemoteClip", "mini", "remoteclip"),
        TableRow("mine", "mine", "ViT-Base"),
    ]
    records = [make_record(row.model) for row in rows]
    found = [c for c in compare(records, rows, tables=[4]) if c.column.column == "fusar_air_top1"]
    assert [(c.model, str(c.reported)) for c in found] == [("base", "66.76"), ("large", "65.28")]


def test_what_was_not_run_says_so_with_its_reason() -> None:
    rows = [MAE._replace(state="weights missing: see the card"), TableRow("moco", "MoCo v3", "ViT-Base", "moco_v3")]
    found = compare([], rows)
    assert len(found) == 26 and {comparison.verdict for comparison in found} == {"not_run"}
    assert {comparison.reason for comparison in found} == {"weights missing: see the card", "not run"}
    assert all(comparison.ours is None and comparison.difference is None for comparison in found)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"world": "sarworld 1"}, "synthetic data"),
        ({"profile": "mini"}, "profile mini"),
        ({"limit": 20}, "limited to 20 images"),
        ({"twin": "shuffled_labels"}, "shuffled labels"),
        ({"weights_kind": "random"}, "random weights"),
        ({"deviations": ("epochs=3 by hand",)}, "epochs=3 by hand"),
        ({"metrics": {"top1": Metric(value=66.32, variant="tokenizer=fallback")}}, "tokenizer=fallback"),
        ({"values": {"top1": None}}, "null: no ground truth"),
        ({"metrics": {}}, "null: the record has no metric 'top1'"),
    ],
)
def test_what_differs_in_kind_is_never_called_reproduced(
    make_record: MakeRecord, changes: dict[str, Any], reason: str
) -> None:
    record = make_record("my-mae", **{"values": {"top1": 66.32}, **changes})
    found = {comparison.column.column: comparison for comparison in compare([record], [MAE], tables=[4])}
    top1 = found["fusar_air_top1"]
    assert (top1.verdict, top1.reason) == ("not_comparable", reason)


def test_seeds_are_averaged_and_their_intervals_joined(make_record: MakeRecord) -> None:
    records = [
        make_record("my-mae", seed=seed, values={"top1": value}) for seed, value in enumerate((64.0, 65.0, 69.0))
    ]
    found = {comparison.column.column: comparison for comparison in compare(records, [MAE], tables=[4])}
    top1 = found["fusar_air_top1"]
    assert top1.ours == 66.0 and (top1.low, top1.high) == (63.0, 70.0)
    assert top1.difference == pytest.approx(-0.32) and top1.verdict == "reproduced"


def test_whole_numbers_of_table_7_get_their_wider_margin(make_record: MakeRecord) -> None:
    row = TableRow("klip", "FUSAR-KLIP", "ViT-Base", "fusar_klip")
    record = make_record("klip", "vqa_target_count", "vqa_targets", values={"accuracy": 98.70}, half=None)
    found = [c for c in compare([record], [row], tables=[6, 7]) if c.verdict != "not_run"]
    assert [(c.table, str(c.reported), c.difference, c.verdict) for c in found] == [
        (6, "98.70", 0.0, "reproduced"),
        (7, "98", 0.7, "reproduced"),
    ]


def test_mixtures_are_refused_as_in_tables(make_record: MakeRecord) -> None:
    records = [make_record("my-mae", seed=0), make_record("my-mae", seed=1, profile="mini")]
    with pytest.raises(CheckError, match="mix profiles"):
        compare(records, [MAE])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.integers(0, 10000), low=st.integers(0, 300), high=st.integers(0, 300), reported=st.integers(0, 10000))
def test_the_verdict_is_exact_to_the_last_decimal(value: int, low: int, high: int, reported: int) -> None:
    def summary(scale: float) -> Summary:
        return Summary(value / scale, None, (value - low) / scale, (value + high) / scale, 10, (0,), "", ())

    inside = value - low - 1 <= reported <= value + high + 1
    verdict, _ = judge(summary(100), Decimal(reported) / 100, tolerance(4))
    assert (verdict == "reproduced") == inside
