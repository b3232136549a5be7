"""The written forms say what the table says, keep their shape, and are the same bytes each time."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

import pytest

from results.record import Record
from results.render import CSV_FIELDS, to_csv, to_latex, to_markdown, to_text
from results.rows import TableRow
from results.tables import Table, build_table

MakeRecord = Callable[..., Record]

NASTY = r"50%_a&b|c#{$x}~^\<br>*"
CLASSES = (("fusar_air", ("top1", "top3")), ("fusar_ship", ("top1", "top3")), ("sar_acd", ("top1", "top3")))


@pytest.fixture
def table(make_record: MakeRecord) -> Table:
    """Two models of ours, one of them in the paper, over three seeds on synthetic data."""
    rows = [
        TableRow("my-mae", "MAE", "ViT-Base", "mae"),
        TableRow("mine", NASTY, "mini", None, "not here: 100 % & more"),
    ]
    records = [
        make_record("my-mae", dataset=dataset, seed=seed, values=dict.fromkeys(names, 80.0 + seed / 3), world="w_1")
        for dataset, names in CLASSES
        for seed in (0, 1, 2)
    ]
    return build_table(4, rows, records)


def _split(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def _markdown_rows(text: str) -> list[list[str]]:
    return [_split(line) for line in text.splitlines() if line.startswith("|")]


def test_markdown_shows_value_spread_seeds_marks_and_the_papers_number(table: Table) -> None:
    rows = _markdown_rows(to_markdown(table))
    header = rows[0]
    assert header[2] == "Target Classification<br>FUSAR-AIR<br>Top1†"
    mae = next(row for row in rows if row[1] == "MAE")
    assert mae[2] == "**80.33** ± 0.33 (3) [66.32]"
    assert mae[4] == "**80.33** ± 0.33 (3) [<u>67.89</u>]"
    assert next(row for row in rows if row[1] == "FUSAR-KLIP")[2] == "-<sup>1</sup> [**81.90**]"
    assert [row[:2] for row in rows[-2:]] == [["baseline", "chance"], ["", "majority"]]


def test_markdown_keeps_its_shape_whatever_the_names(table: Table) -> None:
    text = to_markdown(table)
    rows = _markdown_rows(text)
    assert {len(row) for row in rows} == {15}
    assert len(rows) == 2 + 19 + 1 + 2
    assert any(row[1] == r"50%\_a&b\|c\#{$x}\~^\\&lt;br>\*" for row in rows)
    assert text.index("> **SYNTHETIC DATA († w\\_1): not comparable with the paper**") < text.index("| Backbone")
    assert "1. not run\n2. not here: 100 % & more\n" in text


def test_the_filled_markdown_has_only_columns_of_ours(table: Table) -> None:
    rows = _markdown_rows(to_markdown(table, columns="filled"))
    assert {len(row) for row in rows} == {8}


def test_csv_is_one_line_per_place_with_every_digit(table: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert len(lines) == 22 * 13 and tuple(lines[0]) == CSV_FIELDS
    (mae,) = [line for line in lines if line["model"] == "my-mae" and line["column"] == "fusar_air_top1"]
    record_value = (80.0 + (80.0 + 1 / 3) + (80.0 + 2 / 3)) / 3
    assert float(mae["value"]) == pytest.approx(record_value, abs=1e-12)
    assert (mae["seeds"], mae["n"], mae["reported"], mae["verdict"]) == ("0;1;2", "100", "66.32", "not_comparable")
    assert float(mae["low"]) == 79.0 and float(mae["high"]) == pytest.approx(81 + 2 / 3)
    assert float(mae["difference"]) == pytest.approx(record_value - 66.32, abs=1e-9)
    assert (mae["synthetic"], mae["profile"], mae["data_hash"]) == ("yes", "paper", "d" * 64)
    (nasty,) = [line for line in lines if line["model"] == "mine" and line["column"] == "fusar_air_top1"]
    assert (nasty["name"], nasty["value"], nasty["reason"]) == (NASTY, "", "not here: 100 % & more")
    assert nasty["profile"] == "", "what was not run has no profile"
    assert {line["model"] for line in lines[-26:]} == {"chance", "majority"}


def test_latex_is_balanced_and_every_row_has_every_column(table: Table) -> None:
    text = to_latex(table)
    unescaped = re.sub(r"\\[\\{}&%$#_]", "", text.replace(r"\\" + "\n", "\n"))
    depth = 0
    for character in unescaped:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0 and unescaped.count("$") % 2 == 0
    assert re.findall(r"\\begin\{(\w+\*?)\}", text) == ["table*", "tabular"]
    assert re.findall(r"\\end\{(\w+\*?)\}", text) == ["tabular", "table*"]
    layout = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert layout is not None and len(layout[1]) == 15
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 3 + 22
    for row in rows:
        spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", row)]
        assert len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans) - len(spans) == 15


def test_latex_rules_span_their_headers(table: Table) -> None:
    text = to_latex(table)
    assert r"\multicolumn{6}{c}{Target Classification} & \multicolumn{3}{c}{Target Detection}" in text
    assert r"\cmidrule(lr){3-8} \cmidrule(lr){9-11} \cmidrule(lr){12-15}" in text
    assert r"\textbf{80.33} $\pm$ 0.33 (3) [66.32]" in text
    assert r"[\underline{67.89}]" in text and r"[\textbf{81.90}]" in text
    assert r"\multirow{12}{*}{ViT-Base}" in text and r"Top1$^{\dagger}$" in text


def test_latex_escapes_what_users_name_their_models(table: Table) -> None:
    escaped = (
        r"50\%\_a\&b\textbar{}c\#\{\$x\}\textasciitilde{}\textasciicircum{}\textbackslash{}\textless{}br\textgreater{}*"
    )
    assert escaped in to_latex(table)


def test_text_is_aligned_and_fits_a_terminal(table: Table) -> None:
    text = to_text(table)
    lines = text.splitlines()
    assert lines[1].startswith("SYNTHETIC DATA")
    header = next(line for line in lines if line.startswith("Model"))
    assert header.count("†") == 6
    grid = lines[lines.index(header) - 2 : lines.index(next(line for line in lines if set(line) == {"-"})) + 1]
    assert 100 < max(map(len, grid)) <= 160
    mae = next(line for line in lines if line.startswith(" MAE"))
    klip = next(line for line in lines if line.startswith(" FUSAR-KLIP"))
    assert "80.33*±0.33 [66.32]" in mae and "[81.90]*" in klip
    assert mae.index("[66.32]") == klip.index("[81.90]") and mae.index("80.33") == header.index("Top1†")
    assert "± is over 3 seeds." in text
    assert all(line == line.rstrip() for line in lines)


def test_text_sets_decimal_points_under_each_other(make_record: MakeRecord) -> None:
    rows = [TableRow(name, name, "mini") for name in ("a", "b", "c")]
    records = [
        make_record(row.model, values={"top1": value}) for row, value in zip(rows, (9.0, 81.5, 100.0), strict=True)
    ]
    lines = to_text(build_table(4, rows, records)).splitlines()
    points = {next(line for line in lines if line.startswith(f" {row.name} ")).index(".") for row in rows}
    assert len(points) == 1


def test_text_counts_seeds_in_the_cell_when_they_differ(make_record: MakeRecord) -> None:
    rows = [TableRow("a", "A", "mini"), TableRow("b", "B", "mini")]
    records = [make_record(model, seed=seed) for model, seeds in (("a", 2), ("b", 3)) for seed in range(seeds)]
    text = to_text(build_table(4, rows, records))
    assert "80.00*±0.00(2)" in text and "80.00*±0.00(3)" in text


def test_a_table_without_our_numbers_says_so() -> None:
    table = build_table(6, [], [])
    for text in (to_text(table), to_markdown(table, "filled"), to_latex(table, "filled")):
        assert "No number of ours stands in this table yet." in text
    assert "49.57" in to_text(table, columns="all") and "49.57" in to_markdown(table)


@pytest.mark.parametrize("number", [4, 6, 7])
@pytest.mark.parametrize("write", [to_markdown, to_csv, to_latex, to_text])
def test_the_same_records_give_the_same_bytes_in_any_order(
    make_record: MakeRecord, number: int, write: Callable[[Table], str]
) -> None:
    rows = [TableRow("my-mae", "MAE", "ViT-Base", "mae"), TableRow("mine", "Mine", "mini")]
    records = [make_record(row.model, seed=seed) for row in rows for seed in (0, 1)]
    text = write(build_table(number, rows, records))
    assert text == write(build_table(number, rows, records[::-1])) and text.endswith("\n")
    assert "\u2014" not in text
