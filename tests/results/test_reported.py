"""Nothing of the paper was lost or changed on the way: sizes, checksums, and what the tables say about themselves."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from itertools import pairwise
from pathlib import Path

import pytest

import results.reported.reported as source
from foundation.errors import UsageError
from foundation.hashing import hash_file
from results.reported import (
    columns,
    is_underlined,
    paper_model,
    reported_models,
    reported_rows,
    reported_table,
    reported_value,
    tolerance,
)

FOLDER = Path(source.__file__).parent

CHECKSUMS = {
    "columns": "864eb4443c939b613e0fb81b52048397b29907ba2259106fa442e7708b5dbc93",
    "figure_readings": "44a6743556970be566d6fe9ad00308e8da45449cffec06bf4b96825618c3bcee",
    "models": "3a3071948dfb3f6d9d8fa6f6b79be12e786f11b3662c5c812668427e21579930",
    "table1": "516d97da6ca2a6dce5d9ddabb70c6fc0f6ea7a478589a150b384b64ce28bf73b",
    "table2": "99bd024f35a07515147b02bb5f84923030473823bf3053b1f69d90d49508a1fb",
    "table3": "12497195444b5069496cfc756d0cf91aef131a5567c9eebda943582816b02d48",
    "table4": "1b93f763f69b88d9b259365e8d82719d4521f2a27db4735f4793a08215c725bb",
    "table5": "b6a3bce5d4ae25788042d8b74dc6eb4e73f3d13416dd4115cb8e34fec6d1d04f",
    "table6": "694bcf243060717b73bb31e385ca2e3beac6b70530861c3922a2c6029ee5009b",
    "table7": "c9d9666d74d9803c575de8f8b3f244e6f5a15e7d5daac85edd9e6a44e3c42fd9",
    "table8": "688c22cefd8b5dc4d5e43d8be0c6804c0631f87067f338cb5124608aef1eea27",
    "underlined": "57df93b099dd5be210b6818bd3090c7d6613411ac14180c8f0ea40f45c8daef9",
}

BASE, LARGE = "ViT-Base", "ViT-Large"

SPOT_VALUES = [  # read off the printed tables once more: corners, the misprints that the errata names, the best rows
    (4, "remoteclip", BASE, "fusar_air_top1", "66.76"),
    (4, "fusar_klip", BASE, "fusar_air_top1", "81.90"),
    (4, "fusar_klip", BASE, "fusar_ship_top3", "96.54"),
    (4, "fusar_klip", BASE, "sar_acd_top3", "99.84"),
    (4, "fusar_klip", LARGE, "posar_seg_miou", "46.29"),
    (4, "geochat", LARGE, "fusar_ship_top1", "60.70"),
    (4, "skyscript", LARGE, "fusar_air_top3", "86.50"),
    (4, "moco_v3", BASE, "air_f_ap50", "58.90"),
    (4, "sar_jepa", BASE, "sar_acd_top1", "69.40"),
    (4, "mae", BASE, "fusar_map_miou", "41.23"),
    (6, "remoteclip", BASE, "txt_r1", "8.07"),
    (6, "blip", BASE, "img_r5", "52.05"),
    (6, "ban", LARGE, "cider", "4.66"),
    (6, "fusar_klip", LARGE, "cider", "117.83"),
    (6, "fusar_klip", LARGE, "txt_r1", "26.70"),
    (6, "clip", BASE, "vqa_main_land", "86.37"),
    (6, "fusar_klip", LARGE, "vqa_reg_land", "81.42"),
    (7, "gpt_4o", "other", "vqa_target_rec", "66"),
    (7, "qwen2_5_vl", "other", "vqa_reg_land", "39"),
    (7, "fusar_klip", BASE, "vqa_target_count", "98"),
    (8, "fusar_klip", BASE, "vqa_target_pos", "97.89"),
]

UNDERLINE_ERRORS = {  # errata, section A
    (4, LARGE, "fusar_ship_top1"): ({"remoteclip", "vhm"}, {"skyscript"}),
    (4, LARGE, "air_f_ap50"): (set(), {"remoteclip"}),
    (4, LARGE, "fusar_map_oa"): (set(), {"ban"}),
    (6, BASE, "img_r5"): ({"blip"}, {"fusar_klip"}),
}

MONOTONE = [
    (4, ("fusar_air_top1", "fusar_air_top3")),
    (4, ("fusar_ship_top1", "fusar_ship_top3")),
    (4, ("sar_acd_top1", "sar_acd_top3")),
    (4, ("fusar_map_miou", "fusar_map_oa")),
    (4, ("posar_seg_miou", "posar_seg_oa")),
    (6, ("txt_r1", "txt_r5", "txt_r10")),
    (6, ("img_r1", "img_r5", "img_r10")),
]

Rows = Sequence[dict[str, str]]


def _value(table: int, model: str, backbone: str, column: str) -> Decimal:
    value = reported_value(table, model, backbone, column)
    assert value is not None
    return value


def _audit(table: int, rows: Rows, marked: Callable[[str, str, str], bool]) -> dict[tuple[int, str, str], object]:
    """Where the underlined models are not those with the second best number of their half."""
    wrong: dict[tuple[int, str, str], object] = {}
    for backbone in (BASE, LARGE):
        half = [row for row in rows if row["backbone"] == backbone]
        for column in columns(table):
            values = {paper_model(row["model"]): Decimal(row[column.column]) for row in half}
            second = sorted(set(values.values()))[-2]
            expected = {model for model, value in values.items() if value == second}
            found = {model for model in values if marked(model, backbone, column.column)}
            if found != expected:
                wrong[table, backbone, column.column] = (found, expected)
    return wrong


def _r_mean_error(row: dict[str, str]) -> Decimal:
    six = [Decimal(row[name]) for name in ("txt_r1", "txt_r5", "txt_r10", "img_r1", "img_r5", "img_r10")]
    return abs(sum(six, Decimal(0)) / 6 - Decimal(row["r_mean"]))


@pytest.mark.parametrize("name", sorted(CHECKSUMS))
def test_each_file_is_the_transcription_byte_for_byte(name: str) -> None:
    assert hash_file(FOLDER / f"{name}.csv") == CHECKSUMS[name]


def test_no_file_of_the_transcription_is_missing_or_added() -> None:
    assert {path.stem for path in FOLDER.glob("*.csv")} == set(CHECKSUMS)


def test_one_changed_digit_is_noticed(tmp_path: Path) -> None:
    changed = tmp_path / "table4.csv"
    changed.write_bytes((FOLDER / "table4.csv").read_bytes().replace(b"81.90", b"81.91"))
    assert hash_file(changed) != CHECKSUMS["table4"]


@pytest.mark.parametrize(("table", "rows", "cells", "underlines"), [(4, 19, 247, 27), (6, 16, 272, 37)])
def test_wide_tables_have_the_size_that_the_errata_states(table: int, rows: int, cells: int, underlines: int) -> None:
    models = reported_rows(table)
    assert len(reported_table(table)) == len(models) == rows
    places = [(row.model_id, row.backbone, column.column) for row in models for column in columns(table)]
    assert len(places) == cells
    assert all(_value(table, *place) > 0 for place in places)
    assert sum(is_underlined(table, *place) for place in places) == underlines


@pytest.mark.parametrize(("table", "rows", "numbers"), [(7, 5, 30), (8, 4, 24)])
def test_small_tables_have_the_size_that_the_errata_states(table: int, rows: int, numbers: int) -> None:
    lines = reported_table(table)
    assert len(lines) == rows
    assert sum(Decimal(line[column.column]) > 0 for line in lines for column in columns(table)) == numbers


def test_table_8_has_its_eight_ticks() -> None:
    ticks = [row[name] for row in reported_table(8) for name in ("screen_filter", "refine")]
    assert len(ticks) == 8
    assert ticks.count("yes") == 3 and ticks.count("no") == 5


@pytest.mark.parametrize(("table", "model", "backbone", "column", "printed"), SPOT_VALUES)
def test_spot_values(table: int, model: str, backbone: str, column: str, printed: str) -> None:
    assert str(_value(table, model, backbone, column)) == printed


def test_every_underlined_value_is_the_value_of_its_table() -> None:
    with (FOLDER / "underlined.csv").open(encoding="utf-8", newline="") as stream:
        for mark in csv.DictReader(stream):
            table = int(mark["table"].removeprefix("table"))
            assert _value(table, paper_model(mark["model"]), mark["backbone"], mark["column"]) == Decimal(mark["value"])


def test_underlines_mark_the_second_best_with_exactly_four_exceptions() -> None:
    wrong: dict[tuple[int, str, str], object] = {}
    for table in (4, 6):

        def marked(model: str, backbone: str, column: str, table: int = table) -> bool:
            return is_underlined(table, model, backbone, column)

        wrong |= _audit(table, reported_table(table), marked)
    assert wrong == UNDERLINE_ERRORS


def test_fusar_klip_is_best_of_its_half_everywhere_but_once() -> None:
    beaten = set()
    for table in (4, 6):
        for column in columns(table):
            for backbone in (BASE, LARGE):
                values = {
                    row.model_id: _value(table, row.model_id, backbone, column.column)
                    for row in reported_rows(table)
                    if row.backbone == backbone
                }
                if max(values, key=lambda model: values[model]) != "fusar_klip":
                    beaten.add((table, backbone, column.column))
    assert beaten == {(6, BASE, "img_r5")}


def test_r_is_the_mean_of_the_six_recalls() -> None:
    assert max(_r_mean_error(row) for row in reported_table(6)) <= Decimal("0.01")


@pytest.mark.parametrize(("table", "names"), MONOTONE)
def test_easier_metrics_are_never_lower(table: int, names: tuple[str, ...]) -> None:
    for row in reported_table(table):
        for lower, upper in pairwise(names):
            assert Decimal(row[lower]) <= Decimal(row[upper]), row["model"]


def test_retrieval_columns_have_161_images_and_805_captions_as_queries() -> None:
    def multiples(prefix: str, size: int) -> int:
        shares = {(Decimal(100 * hits) / size).quantize(Decimal("0.01"), ROUND_HALF_UP) for hits in range(size + 1)}
        names = [f"{prefix}_r{k}" for k in (1, 5, 10)]
        return sum(Decimal(row[name]) in shares for row in reported_table(6) for name in names)

    # Errata, section B: this is why TXT is image-to-text, against the prose.
    assert (multiples("txt", 161), multiples("img", 805), multiples("img", 161)) == (47, 48, 11)
    assert (Decimal(4300) / 161).quantize(Decimal("0.01"), ROUND_DOWN) == Decimal("26.70")
    metrics = {column.column: column.metric_id for column in columns(6)}
    assert metrics["txt_r1"] == "i2t_r1" and metrics["img_r1"] == "t2i_r1"


def test_tables_7_and_8_repeat_the_row_of_table_6_within_their_tolerance() -> None:
    for column in columns(7):
        exact = _value(6, "fusar_klip", BASE, column.column)
        assert _value(7, "fusar_klip", BASE, column.column) == exact.quantize(Decimal(1), ROUND_DOWN)
        assert abs(exact - _value(7, "fusar_klip", BASE, column.column)) < tolerance(7)
        assert _value(8, "fusar_klip", BASE, column.column) == exact


def test_a_planted_mutation_breaks_the_audit() -> None:
    rows = reported_table(6)
    rows[0]["r_mean"] = "18.96"
    assert max(_r_mean_error(row) for row in rows) > Decimal("0.01")
    rows = reported_table(4)
    next(row for row in rows if row["model"] == "MAE")["air_f_ap50"] = "59.01"
    wrong = _audit(4, rows, lambda model, backbone, column: is_underlined(4, model, backbone, column))
    assert (4, BASE, "air_f_ap50") in wrong
    assert Decimal(reported_table(6)[0]["r_mean"]) == Decimal("18.76"), "a caller must not change what others read"


def test_columns_name_task_data_set_and_metric() -> None:
    assert [len(columns(table)) for table in (4, 6, 7, 8)] == [13, 17, 6, 6]
    first = columns(4)[0]
    assert (first.task_id, first.dataset_id, first.metric_id) == ("classification", "fusar_air", "top1")
    assert first.paper_header == "Target Classification / FUSAR-AIR / Top1" and first.unit == "percent"
    count = columns(7)[0]
    assert (count.column, count.task_id, count.dataset_id) == ("vqa_target_count", "vqa_target_count", "vqa_targets")
    assert count.unit == "percent (whole number)"
    land = columns(8)[-1]
    assert (land.task_id, land.dataset_id, land.unit) == ("vqa_reg_land", "vqa_landform", "percent")
    for table in (4, 6):
        names = [column.column for column in columns(table)]
        assert names == [name for name in reported_table(table)[0] if name not in ("model", "backbone")]
        identities = [(column.task_id, column.dataset_id, column.metric_id) for column in columns(table)]
        assert len(set(identities)) == len(identities)


def test_in_every_column_higher_is_better_as_marks_assume() -> None:
    with (FOLDER / "columns.csv").open(encoding="utf-8", newline="") as stream:
        assert {row["higher_is_better"] for row in csv.DictReader(stream)} == {"yes"}


def test_every_spelling_of_the_tables_is_a_known_model() -> None:
    for table in (4, 6, 7):
        for row in reported_table(table):
            assert paper_model(row["model"]) in {model.model_id for model in reported_models()}
    assert paper_model("Geochat") == paper_model("GeoChat") == "geochat"


def test_tolerances_follow_the_rounding_of_each_table() -> None:
    assert [tolerance(table) for table in (4, 6, 8)] == [Decimal("0.01")] * 3
    assert tolerance(7) == Decimal("1.0")


def test_what_the_paper_does_not_print_is_none() -> None:
    assert reported_value(4, "fusar_klip", "mini", "fusar_air_top1") is None
    assert reported_value(6, "mae", BASE, "txt_r1") is None
    assert reported_value(7, "clip", BASE, "vqa_target_count") is None
    assert reported_value(7, "fusar_klip", LARGE, "vqa_target_count") is None
    assert not is_underlined(4, "fusar_klip", BASE, "fusar_air_top1")


def test_misspelt_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean fusar_air_top1"):
        reported_value(4, "mae", BASE, "fusar_air_top_1")
    with pytest.raises(UsageError, match="did you mean fusar_klip"):
        reported_value(4, "fusar-klp", BASE, "fusar_air_top1")
    with pytest.raises(UsageError, match="did you mean GeoRSClip"):
        paper_model("GeoRSClipp")
    with pytest.raises(UsageError, match="tables 1 to 8"):
        reported_table(9)
    with pytest.raises(UsageError, match="Tables 4, 6, 7 and 8"):
        tolerance(1)


def test_the_errata_keep_their_sections() -> None:
    text = (FOLDER / "ERRATA.md").read_text(encoding="utf-8")
    headings = [line[3] for line in text.splitlines() if line.startswith("## ")]
    assert headings == list("ABCDEFGH")
