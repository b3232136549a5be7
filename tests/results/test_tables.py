"""What stands where in a table, which mark it bears, and what may not stand together."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import CheckError
from results.record import Failure, Metric, Record
from results.reported import columns, is_underlined, reported_rows
from results.rows import TableRow, rounded
from results.tables import GROUPS, Table, TableCell, build_table, marks

MakeRecord = Callable[..., Record]

MAE = TableRow("my-mae", "MAE", "ViT-Base", "mae")
MINE = TableRow("mine", "Mine", "ViT-Base")
OTHER = TableRow("other", "Other", "ViT-Base")


def _cell(table: Table, model: str, column: str, backbone: str = "ViT-Base") -> TableCell:
    names = [entry.column.column for entry in table.columns]
    (line,) = [line for line in table.lines if line.row.model == model and line.row.backbone in (backbone, "baseline")]
    return line.cells[names.index(column)]


def _reason(table: Table, cell: TableCell) -> str:
    assert cell.note is not None
    return table.footnotes[cell.note - 1]


@given(st.integers(-(10**9), 10**9), st.integers(0, 6))
def test_rounding_is_half_up_as_by_hand(digits: int, places: int) -> None:
    value = digits / 10**places
    exact = Fraction(repr(value)) if "e" not in repr(value) else Fraction(Decimal(repr(value)))
    hundredths, rest = divmod(abs(exact) * 100, 1)
    by_hand = (hundredths + (1 if rest >= Fraction(1, 2) else 0)) * (-1 if exact < 0 else 1)
    assert rounded(value) == Decimal(int(by_hand)) / 100
    assert str(rounded(value)).split(".")[1].isdigit() and len(str(rounded(value)).split(".")[1]) == 2


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (2.675, "2.68"),
        (0.125, "0.13"),
        (66.66666666666667, "66.67"),
        (-0.004, "0.00"),
        (-0.005, "-0.01"),
        (100, "100.00"),
    ],
)
def test_rounding_of_known_cases(value: float, printed: str) -> None:
    assert str(rounded(value)) == printed


@given(st.lists(st.one_of(st.none(), st.integers(0, 12).map(lambda step: 50 + step / 400)), max_size=8))
def test_marks_are_those_of_a_count_by_hand(values: list[float | None]) -> None:
    printed = [None if value is None else rounded(value) for value in values]
    for value, mark in zip(printed, marks(values), strict=True):
        # How many different printed numbers are better.
        better = len({other for other in printed if other is not None and value is not None and other > value})
        assert mark == ("" if value is None else {0: "best", 1: "second"}.get(better, ""))


def test_numbers_that_print_alike_are_marked_alike() -> None:
    assert marks([95.721, 95.719, 90.0, None]) == ["best", "best", "second", ""]


def test_groups_come_in_their_order_and_the_papers_rows_in_the_papers(make_record: MakeRecord) -> None:
    rows = [
        TableRow(f"m-{group}", group, group) for group in ("other", "control", "mini", "ViT-Large", "ViT-Base", "new")
    ]
    table = build_table(4, [*rows, MAE], [make_record("my-mae")])
    groups = [line.row.backbone for line in table.lines]
    assert list(dict.fromkeys(groups)) == [*GROUPS, "new", "baseline"]
    base = [line.row for line in table.lines if line.row.backbone == "ViT-Base"]
    printed = [row.model_id for row in reported_rows(4) if row.backbone == "ViT-Base"]
    assert [row.paper_model for row in base] == [*printed, None]
    assert MAE in base and sum(row.paper_model == "mae" for row in base) == 1
    assert [line.row.name for line in table.lines[-2:]] == ["chance", "majority"]


@pytest.mark.parametrize(("number", "rows", "numbers"), [(4, 19, 247), (6, 16, 272), (7, 5, 30)])
def test_without_any_run_the_table_is_the_papers(number: int, rows: int, numbers: int) -> None:
    table = build_table(number, [], [])
    assert sum(line.kind == "model" for line in table.lines) == rows
    assert sum(cell.reported is not None for line in table.cells for cell in line) == numbers
    assert all(cell.value is None and cell.note == 1 for line in table.cells for cell in line)
    assert table.footnotes == ("not run",)
    assert [column.column for column in table.columns] == columns(number)
    assert table.banner == "" and not any(column.filled for column in table.columns)


def test_the_papers_marks_are_recomputed_not_copied() -> None:
    wrong = set()
    for number in (4, 6):
        table = build_table(number, [], [])
        for line in table.lines:
            for entry, cell in zip(table.columns, line.cells, strict=True):
                row = line.row
                if row.paper_model and (cell.reported_mark == "second") != is_underlined(
                    number, row.paper_model, row.backbone, entry.column.column
                ):
                    wrong.add((number, row.backbone, entry.column.column))
    assert wrong == {  # errata, section A
        (4, "ViT-Large", "fusar_ship_top1"),
        (4, "ViT-Large", "air_f_ap50"),
        (4, "ViT-Large", "fusar_map_oa"),
        (6, "ViT-Base", "img_r5"),
    }


def test_ours_compete_with_ours_and_the_papers_with_the_papers(make_record: MakeRecord) -> None:
    records = [
        make_record("my-mae", values={"top1": 99.0}),
        make_record("mine", values={"top1": 50.0}),
        make_record("far", values={"top1": 10.0}),
    ]
    far = TableRow("far", "Far", "ViT-Large")
    table = build_table(4, [MAE, MINE, far], records)
    column = "fusar_air_top1"
    assert [_cell(table, model, column).mark for model in ("my-mae", "mine")] == ["best", "second"]
    assert _cell(table, "far", column, "ViT-Large").mark == "best", "each group has its own best"
    mae = _cell(table, "my-mae", column)
    assert (mae.reported, mae.reported_mark, mae.verdict) == (Decimal("66.32"), "", "outside")
    assert _cell(table, "fusar_klip", column).reported_mark == "best"
    assert _cell(table, "mine", column).reported is None and _cell(table, "mine", column).verdict == ""


def test_two_rows_beside_one_number_of_the_paper_do_not_change_its_marks(make_record: MakeRecord) -> None:
    rows = [TableRow("a", "A", "ViT-Base", "moco_v3"), TableRow("b", "B", "ViT-Base", "moco_v3")]
    table = build_table(4, rows, [])
    assert [_cell(table, model, "fusar_air_top1").reported_mark for model in "ab"] == ["second", "second"]


def test_seeds_give_mean_and_spread_one_seed_gives_neither(make_record: MakeRecord) -> None:
    records = [make_record("mine", seed=seed, values={"top1": value}) for seed, value in enumerate((70.0, 72.0, 77.0))]
    table = build_table(4, [MINE, OTHER], [*records, make_record("other", values={"top1": 60.0})])
    cell = _cell(table, "mine", "fusar_air_top1")
    assert (cell.value, cell.seeds, cell.n) == (73.0, (0, 1, 2), 100)
    assert cell.std == pytest.approx(13**0.5)
    assert (cell.low, cell.high) == (69.0, 78.0)
    assert _cell(table, "other", "fusar_air_top1").std is None


def test_an_interval_that_one_seed_lacks_is_not_pretended(make_record: MakeRecord) -> None:
    records = [make_record("mine", seed=0, values={"top1": 70.0}), make_record("mine", seed=1, half=None)]
    cell = _cell(build_table(4, [MINE], records), "mine", "fusar_air_top1")
    assert cell.value == 75.0 and cell.low is None and cell.high is None


def test_a_null_in_one_seed_is_left_out_and_told(make_record: MakeRecord) -> None:
    records = [make_record("mine", seed=seed, values={"top1": value}) for seed, value in enumerate((70.0, None, 74.0))]
    table = build_table(4, [MINE], records)
    cell = _cell(table, "mine", "fusar_air_top1")
    assert (cell.value, cell.seeds) == (72.0, (0, 2))
    assert _reason(table, cell) == "null: no ground truth (seed 1)"


def test_every_empty_place_has_its_reason(make_record: MakeRecord) -> None:
    rows = [
        TableRow("poor", "Poor", "ViT-Base", None, "weights missing: fetch them from their authors"),
        MINE,
        OTHER,
    ]
    record = make_record("mine", values={"top1": None})
    failed = Failure(
        cell=record.cell.model_copy(update={"model": "other"}), key="k", error="CellError", what="NaN loss"
    )
    table = build_table(4, rows, [record], failures=[failed], unbuilt={"detection": "task not built"})
    expected = {
        ("poor", "fusar_air_top1"): "weights missing: fetch them from their authors",
        ("poor", "fu_as_ap50"): "task not built",
        ("mine", "fusar_air_top1"): "null: no ground truth",
        ("mine", "fusar_air_top3"): "null: the record has no metric 'top3'",
        ("mine", "fusar_map_oa"): "not run",
        ("other", "fusar_air_top1"): "failed: NaN loss",
    }
    for (model, column), reason in expected.items():
        cell = _cell(table, model, column)
        assert cell.value is None and _reason(table, cell) == reason
    assert len(set(table.footnotes)) == len(table.footnotes), "one number for one reason"
    assert all(cell.note is not None for line in table.cells for cell in line if cell.value is None)


def test_a_failed_seed_beside_finished_ones_is_told_once_it_matters(make_record: MakeRecord) -> None:
    done = make_record("mine", seed=0)
    lost = done.cell.model_copy(update={"seed": 1})
    elsewhere = done.cell.model_copy(update={"seed": 2, "profile": "mini"})
    failures = [
        Failure(cell=cell, key="k", error="CellError", what=f"what of {cell.seed}")
        for cell in (done.cell, lost, elsewhere)
    ]
    table = build_table(4, [MINE], [done], failures=failures)
    assert _reason(table, _cell(table, "mine", "fusar_air_top1")) == "seed 1 failed: what of 1"


def test_chance_and_majority_stand_at_the_foot(make_record: MakeRecord) -> None:
    record = make_record("mine", chance={"top1": 100 / 7}, majority={"top1": 31.5, "top3": None})
    table = build_table(4, [MINE], [record])
    assert _cell(table, "chance", "fusar_air_top1").value == 100 / 7
    assert _cell(table, "majority", "fusar_air_top1").value == 31.5
    missing = _cell(table, "majority", "fusar_air_top3")
    assert missing.value is None and _reason(table, missing) == "null: the records state no majority value"
    assert all(cell.mark == "" for line in table.lines[-2:] for cell in line.cells)


def test_baselines_that_disagree_are_not_hidden(make_record: MakeRecord) -> None:
    records = [make_record("mine", chance={"top1": 10.0}), make_record("other", chance={"top1": 20.0})]
    table = build_table(4, [MINE, OTHER], records)
    cell = _cell(table, "chance", "fusar_air_top1")
    assert cell.value == 15.0 and _reason(table, cell) == "from 10.00 to 20.00 over the records"


@pytest.mark.parametrize(
    ("changes", "trait", "way_out"),
    [
        ({"profile": "mini", "settings": {"epochs": 100, "profile": "paper"}}, "profiles", "one table per profile"),
        ({"settings": {"epochs": 7}}, "settings", "run the models of one group again"),
        ({"data_hash": "0" * 64}, "data", "run the models of one group again"),
        ({"split_hash": "0" * 64}, "splits", "run the models of one group again"),
        ({"twin": "noise_images"}, "twins", "run the models of one group again"),
        ({"scoring": "0" * 64}, "scoring code", "score the stored predictions again"),
        ({"metrics": {"top1": Metric(value=1.0, variant="other way")}}, "ways of computing", "score all models again"),
    ],
)
def test_a_column_that_would_mix_is_refused_with_both_groups(
    make_record: MakeRecord, changes: dict[str, Any], trait: str, way_out: str
) -> None:
    rows = [MAE, MINE, OTHER]
    same = [make_record("my-mae"), make_record("mine")]
    build_table(4, rows, [*same, make_record("other")])
    with pytest.raises(CheckError) as caught:
        build_table(4, rows, [*same, make_record("other", **changes)])
    assert f"column 'Target Classification / FUSAR-AIR / Top1' would mix {trait}" in caught.value.what
    assert "(mine, my-mae)" in caught.value.what and "(other)" in caught.value.what
    assert caught.value.where == "classification/fusar_air" and way_out in caught.value.way_out


def test_backbones_may_have_settings_of_their_own_but_one_backbone_has_one(make_record: MakeRecord) -> None:
    """ViT-Large has another layer decay than ViT-Base in detection, and both stand in one column."""
    base, other = make_record("mine"), make_record("other")
    own = other.model_copy(update={"settings_hash": "1" * 64})
    large = own.model_copy(update={"model": own.model.model_copy(update={"backbone": "ViT-Large"})})
    build_table(4, [MINE, OTHER], [base, large])
    with pytest.raises(CheckError, match="would mix settings of ViT-Base"):
        build_table(4, [MINE, OTHER], [base, own])


def test_other_columns_may_have_been_run_otherwise(make_record: MakeRecord) -> None:
    records = [
        make_record("mine"),
        make_record("mine", "segmentation", "fusar_map", values={"oa": 70.0}, profile="mini"),
    ]
    table = build_table(4, [MINE], records)
    assert _cell(table, "mine", "fusar_map_oa").value == 70.0
    assert any("segmentation/fusar_map: profile mini" in remark for remark in table.remarks)


def test_one_seed_may_not_count_twice(make_record: MakeRecord) -> None:
    again = make_record("mine").model_copy(update={"key": "0" * 64})
    with pytest.raises(CheckError, match="one seed of mine twice") as caught:
        build_table(4, [MINE], [make_record("mine"), again])
    assert "superseded" in caught.value.way_out


def test_a_share_in_a_column_of_percent_is_refused(make_record: MakeRecord) -> None:
    record = make_record("mine", metrics={"top1": Metric(value=0.8, unit="none")})
    with pytest.raises(CheckError, match="is in percent"):
        build_table(4, [MINE], [record])


def test_synthetic_data_are_announced(make_record: MakeRecord) -> None:
    records = [
        make_record("mine", world="sarworld 1 tiny seed 0"),
        make_record("mine", "segmentation", "fusar_map", values={"oa": 70.0, "miou": 30.0}),
    ]
    table = build_table(4, [MINE, MAE], [*records, make_record("my-mae", world="sarworld 1 tiny seed 0")])
    assert table.banner == "SYNTHETIC DATA († sarworld 1 tiny seed 0): not comparable with the paper"
    marked = {column.column.column for column in table.columns if column.synthetic}
    assert marked == {"fusar_air_top1", "fusar_air_top3"}
    assert _cell(table, "my-mae", "fusar_air_top1").verdict == "not_comparable"


def test_what_bars_a_comparison_is_footnoted(make_record: MakeRecord) -> None:
    records = [
        make_record("my-mae", limit=8, world="w"),
        make_record("mine", limit=8, deviations=("epochs=3",), world="w"),
    ]
    table = build_table(4, [MAE, MINE], records)
    assert _reason(table, _cell(table, "my-mae", "fusar_air_top1")) == (
        "not comparable with the paper: limited to 8 images"
    )
    assert "epochs=3" in _reason(table, _cell(table, "mine", "fusar_air_top1"))


def test_remarks_tell_profile_hashes_seeds_and_who_was_left_out(make_record: MakeRecord) -> None:
    record = make_record("mine", seed=3)
    table = build_table(4, [MINE], [record, make_record("stranger", profile="mini")])
    (line,) = [remark for remark in table.remarks if remark.startswith("classification/fusar_air")]
    assert line == (
        f"classification/fusar_air: profile paper, settings {record.common_settings_hash[:12]}, "
        f"data {'d' * 12}, split {'5' * 12}, seeds 3."
    )
    assert "Records of models without a row are left out: stranger." in table.remarks
    assert not any("tolerance" in remark for remark in table.remarks), "nothing here is compared with the paper"
    compared = build_table(4, [MAE], [make_record("my-mae")])
    assert any("tolerance of 0.01: not run 245, outside 2" in remark for remark in compared.remarks)


def test_the_filled_view_keeps_only_columns_with_our_numbers(make_record: MakeRecord) -> None:
    table = build_table(4, [MINE], [make_record("mine")], unbuilt={"detection": "task not built"})
    small = table.filled()
    assert [column.column.column for column in small.columns] == ["fusar_air_top1", "fusar_air_top3"]
    assert all(len(line.cells) == 2 for line in small.lines) and len(small.lines) == len(table.lines)
    assert "task not built" in table.footnotes and small.footnotes == ("not run",)
    assert _cell(small, "mine", "fusar_air_top1") == _cell(table, "mine", "fusar_air_top1")


def test_the_order_of_records_does_not_matter(make_record: MakeRecord) -> None:
    records = [make_record(model, seed=seed) for model in ("mine", "my-mae") for seed in (0, 1, 2)]
    assert build_table(4, [MINE, MAE], records) == build_table(4, [MINE, MAE], records[::-1])


def test_headers_have_the_papers_levels() -> None:
    assert build_table(4, [], []).columns[0].headers == ("Target Classification", "FUSAR-AIR", "Top1")
    assert build_table(6, [], []).columns[0].headers == ("Retrieval", "TXT R1")
