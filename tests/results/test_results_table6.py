"""Table 6 with all seventeen columns: both groups, what costs nothing, controls, and what is undefined."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest

from foundation.errors import CheckError
from results.record import Metric, Record
from results.render import to_csv, to_latex, to_markdown, to_text
from results.reported import columns
from results.rows import TableRow
from results.tables import Table, TableCell, beside_words, build_table

MakeRecord = Callable[..., Record]

RECALLS = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "r_mean")
CAPTIONS = ("bleu_4", "meteor", "cider", "spice")
QUESTIONS = (
    *((task, "vqa_targets") for task in ("vqa_target_count", "vqa_target_rec", "vqa_target_pos")),
    *((task, "vqa_landform") for task in ("vqa_main_land", "vqa_all_land", "vqa_reg_land")),
)
ROWS = [TableRow("my-clip", "CLIP", "ViT-Base", "clip"), TableRow("tiny", "Tiny", "mini")]
NO_JARS = "needs the jars of Stanford CoreNLP 3.6.0, which are not given"


def _records(
    make_record: MakeRecord, model: str, value: float, *, variant: str = "", seed: int = 0, only_question: float = 30.0
) -> list[Record]:
    """One model on all eight tasks."""
    recalls = {name: Metric(value=value, n=80) for name in (*RECALLS, "r_mean_eq")}
    said = {name: Metric(value=value, n=80, variant=variant) for name in ("bleu_4", "meteor")}
    said["cider"] = Metric(value=2 * value, unit="none", n=80, variant=variant)
    said["spice"] = Metric(value=None, reason=NO_JARS)
    said["tuple_f1"] = Metric(value=value, n=80)
    answers = {
        "accuracy": Metric(value=value, low=value - 1, high=value + 1, n=200),
        "accuracy_other_image": Metric(value=value / 2, n=200),
        "accuracy_question_only": Metric(value=only_question, n=200),
    }
    chance: dict[str, float | None] = dict.fromkeys(RECALLS, 1.0)
    common: dict[str, float | None] = {"bleu_4": 20.0, "meteor": 21.0, "cider": 22.0, "spice": None}
    guess: dict[str, float | None] = {"accuracy": 5.0, "accuracy_other_image": 5.0}
    most: dict[str, float | None] = {"accuracy": 25.0}
    both = {"seed": seed, "profile": "paper"}
    return [
        make_record(model, "retrieval", "rs_captions", metrics=recalls, chance=chance, majority=chance, **both),
        make_record(
            model, "caption", "rs_captions", metrics=said, chance=dict.fromkeys(CAPTIONS), majority=common, **both
        ),
        *(
            make_record(model, task, dataset, metrics=answers, chance=guess, majority=most, **both)
            for task, dataset in QUESTIONS
        ),
    ]


@pytest.fixture
def table(make_record: MakeRecord) -> Table:
    """Two models on every task."""
    return build_table(6, ROWS, [*_records(make_record, "my-clip", 60.0), *_records(make_record, "tiny", 40.0)])


def _cells(table: Table, model: str, backbone: str = "") -> dict[str, TableCell]:
    (line,) = [line for line in table.lines if line.row.model == model and backbone in ("", line.row.backbone)]
    return {column.column.column: cell for column, cell in zip(table.columns, line.cells, strict=True)}


def _why(table: Table, cell: TableCell) -> str:
    return table.footnotes[cell.note - 1] if cell.note is not None else ""


def test_all_seventeen_columns_are_filled_but_for_what_is_undefined(table: Table) -> None:
    assert len(table.columns) == len(columns(6)) == 17
    assert all(column.filled for column in table.columns), "what is undefined was run, and its reason is told"
    mine = _cells(table, "my-clip")
    assert {name: cell.value for name, cell in mine.items()} == {
        **dict.fromkeys(mine, 60.0),
        "cider": 120.0,
        "spice": None,
    }
    assert str(mine["vqa_main_land"].reported) == "86.37" and mine["vqa_main_land"].verdict == "outside"
    assert _why(table, _cells(table, "fusar_klip", "ViT-Large")["img_r5"]) == "not run"


def test_what_is_undefined_is_a_dash_with_its_reason(table: Table) -> None:
    assert _why(table, _cells(table, "tiny")["spice"]) == f"null: {NO_JARS}"
    assert _why(table, _cells(table, "majority")["spice"]) == f"null: {NO_JARS}", "of the row of majorities as well"
    (line,) = [line for line in to_markdown(table).splitlines() if line.startswith("| mini | Tiny |")]
    assert "| -<sup>" in line and NO_JARS in to_text(table) and NO_JARS in to_latex(table)


def test_what_costs_nothing_has_rows_of_its_own(table: Table) -> None:
    assert [line.row.name for line in table.lines[-3:]] == ["chance", "majority", "question only"]
    chance, majority, question = (_cells(table, name) for name in ("chance", "majority", "question only"))
    assert chance["txt_r1"].value == 1.0 and chance["vqa_reg_land"].value == 5.0
    assert chance["bleu_4"].value is None and _why(table, chance["bleu_4"]) == "captions have no chance level"
    assert (majority["meteor"].value, majority["cider"].value, majority["vqa_all_land"].value) == (21.0, 22.0, 25.0)
    assert {question[task].value for task, _ in QUESTIONS} == {30.0}
    assert {question[name] for name in question if not name.startswith("vqa_")} == {TableCell()}


def test_without_questions_there_is_no_row_of_them(make_record: MakeRecord) -> None:
    made = build_table(6, ROWS, _records(make_record, "tiny", 40.0)[:1])
    assert [line.row.name for line in made.lines[-2:]] == ["chance", "majority"]


def test_a_question_only_value_that_hangs_on_the_model_is_noticed(make_record: MakeRecord) -> None:
    records = [*_records(make_record, "my-clip", 60.0), *_records(make_record, "tiny", 40.0, only_question=34.0)]
    made = build_table(6, ROWS, records)
    cell = _cells(made, "question only")["vqa_target_pos"]
    assert cell.value == 32.0 and _why(made, cell) == "from 30.00 to 34.00 over the records"


def test_controls_of_a_model_stand_beside_the_table_and_in_its_csv(table: Table) -> None:
    words = beside_words(table)
    assert len(words) == 6
    (said,) = [text for text in words if text.startswith("Tiny (mini), with the image of another question")]
    assert said.count("20.00") == 6 and "Target Rec 20.00" in said
    assert "CLIP (ViT-Base), an equal text counts as right: R 60.00." in words
    assert "Tiny (mini), tuple F1, which is not SPICE: SPI-CE 40.00." in words
    for text in (to_markdown(table), to_latex(table), " ".join(to_text(table).split())):
        assert "with the image of another question" in text
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    usual = [row for row in rows if row["metric"] in {column.metric_id for column in columns(6)}]
    assert len(usual) == (16 + 1 + 3) * 17, "the paper's rows, one more of ours, three that cost nothing"
    other = [row for row in rows if row["metric"] == "accuracy_other_image"]
    assert {(row["model"], row["value"]) for row in other} == {("my-clip", "30.0"), ("tiny", "20.0")}
    assert {row["profile"] for row in other} == {"paper"} and len(other) == 12


def test_controls_stand_beside_the_columns_that_were_run(make_record: MakeRecord) -> None:
    made = build_table(6, ROWS, _records(make_record, "tiny", 40.0)[1:])
    assert {entry.metric for entry in made.beside} == {"accuracy_other_image", "tuple_f1"}
    small = made.filled()
    assert small.beside == made.beside and len(small.columns) == 10
    hidden = made._replace(columns=tuple(column._replace(filled=False) for column in made.columns))
    assert to_text(hidden).count("No number of ours") == 1


def test_two_tokenizers_never_stand_in_one_column(make_record: MakeRecord) -> None:
    with_java = _records(make_record, "my-clip", 60.0)
    without = _records(make_record, "tiny", 40.0, variant="tokenizer=fallback")
    with pytest.raises(CheckError, match="mix ways of computing") as error:
        build_table(6, ROWS, [*with_java, *without])
    assert "score all models again on one machine" in error.value.way_out


def test_a_fallback_tokenizer_alone_is_told_and_not_compared(make_record: MakeRecord) -> None:
    made = build_table(6, ROWS, _records(make_record, "my-clip", 60.0, variant="tokenizer=fallback"))
    cell = _cells(made, "my-clip")["bleu_4"]
    assert cell.verdict == "not_comparable" and "tokenizer=fallback" in _why(made, cell)


def test_a_percentage_in_another_unit_is_refused_but_cider_has_no_bound(make_record: MakeRecord) -> None:
    record = make_record("tiny", "vqa_main_land", "vqa_landform", metrics={"accuracy": Metric(value=0.4, unit="none")})
    with pytest.raises(CheckError, match="in percent"):
        build_table(6, ROWS, [record])


def test_the_foot_tells_directions_majorities_and_provenance(table: Table) -> None:
    said = " ".join(table.remarks)
    assert "TXT: an image ranks texts; IMG: a text ranks images" in said
    assert "most frequent training caption" in said and "question only is the best answer" in said
    assert said.count("settings") == 8, "every task once"
    vision = build_table(4, ROWS, [])
    assert "TXT" not in " ".join(vision.remarks)


def test_the_foot_tells_the_mean_of_the_questions_for_rows_that_have_all_six(
    make_record: MakeRecord, table: Table
) -> None:
    (said,) = [text for text in table.remarks if text.startswith("Mean of the six VQA tasks")]
    assert said.startswith("Mean of the six VQA tasks: CLIP 60.00, Tiny 40.00, ")
    one_less = [record for record in _records(make_record, "tiny", 40.0) if record.cell.task != "vqa_target_pos"]
    made = build_table(6, ROWS, [*_records(make_record, "my-clip", 60.0), *one_less])
    (said,) = [text for text in made.remarks if text.startswith("Mean of the six VQA tasks")]
    assert "CLIP 60.00" in said and "Tiny" not in said
    assert not any("six VQA tasks" in text for text in build_table(4, ROWS, []).remarks)


def test_text_comes_task_by_task_and_fits_a_screen(table: Table) -> None:
    lines = to_text(table).splitlines()
    heads = [line.strip() for line in lines if line.strip() in ("Retrieval", "Captioning", "VQA")]
    assert heads == ["Retrieval", "Captioning", "VQA"] and max(map(len, lines)) <= 160
    assert sum(line.startswith(" question only") for line in lines) == 3


def test_seeds_give_mean_and_spread(make_record: MakeRecord) -> None:
    records = [record for seed in (0, 1) for record in _records(make_record, "tiny", 40.0 + seed, seed=seed)]
    made = build_table(6, ROWS, records)
    cell = _cells(made, "tiny")["vqa_target_count"]
    assert cell.value == 40.5 and cell.std == pytest.approx(0.5**0.5) and cell.seeds == (0, 1)
    assert any("20.25 ± 0.35" in text for text in beside_words(made))
