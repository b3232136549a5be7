"""Table 4 with all thirteen columns: every task, both groups of the paper, baselines, seeds, intervals, reasons."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from results.record import Metric, Record
from results.render import to_latex, to_markdown, to_text
from results.reported import columns
from results.rows import TableRow
from results.tables import Table, build_table

MakeRecord = Callable[..., Record]

COLUMNS = (
    ("classification", "fusar_air", ("top1", "top3")),
    ("classification", "fusar_ship", ("top1", "top3")),
    ("classification", "sar_acd", ("top1", "top3")),
    ("detection", "fusar_air_sense", ("ap50", "ap50_95", "recall100")),
    ("detection", "fusar_ship_sense", ("ap50", "ap50_95", "recall100")),
    ("detection", "sar_aircraft_few", ("ap50", "ap50_95", "recall100")),
    ("segmentation", "fusar_map", ("oa", "miou", "mean_accuracy", "fw_iou")),
    ("segmentation", "air_polarsar_seg", ("oa", "miou", "mean_accuracy", "fw_iou")),
)


@pytest.fixture
def table(make_record: MakeRecord) -> Table:
    """Two models on every data set over two seeds; one of them has no test boxes in one set."""
    rows = [TableRow("my-mae", "MAE", "ViT-Base", "mae"), TableRow("tiny", "Tiny", "mini")]
    records = []
    for task, dataset, names in COLUMNS:
        for model, value in (("my-mae", 70.0), ("tiny", 40.0)):
            for seed in (0, 1):
                metrics = {name: Metric(value=value + seed, low=value - 2, high=value + 3, n=50) for name in names}
                if (model, dataset) == ("tiny", "fusar_ship_sense"):
                    metrics = dict.fromkeys(names, Metric(value=None, reason="no ground truth"))
                zero: dict[str, float | None] = dict.fromkeys(names, 0.0)
                majority: dict[str, float | None] = dict.fromkeys(names, 12.5)
                records.append(
                    make_record(model, task, dataset, seed=seed, metrics=metrics, chance=zero, majority=majority)
                )
    return build_table(4, rows, records)


def _line(table: Table, model: str, backbone: str = "") -> dict[str, str]:
    (line,) = [line for line in table.lines if line.row.model == model and backbone in ("", line.row.backbone)]
    names = [column.column.column for column in table.columns]
    return {
        name: table.footnotes[cell.note - 1] if cell.value is None and cell.note else str(cell.value)
        for name, cell in zip(names, line.cells, strict=True)
    }


def test_all_thirteen_columns_are_filled_and_what_is_null_has_its_reason(table: Table) -> None:
    assert len(table.columns) == len(columns(4)) == 13 and all(column.filled for column in table.columns)
    assert set(_line(table, "my-mae").values()) == {"70.5"}
    tiny = _line(table, "tiny")
    assert tiny["fu_ss_ap50"] == "null: no ground truth" and {*tiny.values()} == {"40.5", "null: no ground truth"}
    assert set(_line(table, "chance").values()) == {"0.0"} and set(_line(table, "majority").values()) == {"12.5"}
    assert set(_line(table, "fusar_klip", "ViT-Large").values()) == {"not run"}


def test_every_number_has_its_spread_and_its_interval(table: Table) -> None:
    (line,) = [line for line in table.lines if line.row.model == "my-mae"]
    assert all(cell.std is not None and (cell.low, cell.high) == (68.0, 73.0) for cell in line.cells)
    text = to_markdown(table)
    (shown,) = [entry for entry in text.splitlines() if entry.startswith("- MAE (ViT-Base): ")]
    assert shown.count("68.00 to 73.00") == 13 and "FUSAR-MAP mIoU 68.00 to 73.00" in shown
    (shown,) = [entry for entry in text.splitlines() if entry.startswith("- Tiny (mini): ")]
    assert shown.count(" to ") == 12 and "FU-SS" not in shown


def test_what_the_majority_row_means_is_said_for_each_task(table: Table, make_record: MakeRecord) -> None:
    said = " ".join(table.remarks)
    assert "threshold detector" in said and "most common training class everywhere" in said
    alone = build_table(4, [TableRow("tiny", "Tiny", "mini")], [make_record("tiny")])
    assert "threshold detector" not in " ".join(alone.remarks)


def test_text_too_wide_for_a_screen_comes_task_by_task(table: Table) -> None:
    lines = to_text(table).splitlines()
    assert max(map(len, lines)) <= 160
    heads = [
        line.split("  ")[-1].strip() or line.strip() for line in lines if line.strip().startswith(("Target", "Segm"))
    ]
    assert heads == ["Target Classification", "Target Detection", "Segmentation"]
    assert sum(line.startswith(" MAE ") for line in lines) == 3
    assert sum("70.50" in line for line in lines) == 3


def test_latex_and_markdown_keep_all_columns_in_one_table(table: Table) -> None:
    rows = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert {row.count("|") - row.count("\\|") for row in rows} == {16}
    assert rf"\begin{{tabular}}{{ll{'c' * 13}}}" in to_latex(table)
