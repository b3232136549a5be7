"""`harness run --ablation table8`: trainings that differ in their texts alone, the six questions, the table."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest

from foundation.errors import MissingError, UsageError
from harness import ablation, cli_options
from harness.ablation import Choices, cells_of, prepare, recipes
from harness.ablation_rows import (
    MODELS,
    ROWS,
    absent_rows,
    rows_of,
    table_of,
)
from harness.execute import Outcome
from harness.options import make_ablation
from harness.plan import Plan
from harness.request import RunRequest
from results.reported import columns
from results.store import Store
from tasks.catalog import TASKS
from tests.harness.conftest import Harness
from tests.klip.small_corpus import record, write_corpus, write_lines

SMALL = ("batch_size_per_device=8",)


def _corpus(folder: Path, count: int = 24) -> Path:
    records = [record(number, Count=f"{number} ships") for number in range(count)]
    corpus = write_corpus(folder, records, side=64)
    write_lines(corpus / "texts_template.jsonl", [{**entry, "Region": "a harbour"} for entry in records])
    write_lines(corpus / "texts_clean.jsonl", [{**entry, "Environment": "open sea"} for entry in records])
    (corpus / "synthetic.json").write_text('{"dataset": "corpus", "world_version": 2, "size": "ci", "seed": 0}')
    return corpus


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_rows_differ_in_their_texts_alone(size: str) -> None:
    from klip.configuration import pretraining_settings
    from klip.settings import flat

    made = recipes(size)
    assert [name for name in made if name in MODELS] == [row.id for row in ROWS]
    found = {}
    for row in ROWS:
        arguments = made[row.id].arguments
        changes = [after for before, after in pairwise(arguments) if before == "--set"]
        found[row.id] = dict(flat(pretraining_settings("recommended", size, None, changes)))
        assert ("--vocabulary", "VOCABULARY") in pairwise(arguments)
    first, *others = found.values()
    differing = {key for other in others for key in first if first[key] != other[key]}
    assert differing == {"data.text", "scio.enabled", "scio.reconstruct", "scio.control"}
    told = {
        name: (values["data.text"], values["scio.enabled"], values["scio.reconstruct"], values["scio.control"])
        for name, values in found.items()
    }
    assert told == {  # section 9 of the KLIP specification
        "table8-template": ("template", False, True, "none"),
        "table8-hcot": ("corpus", False, True, "none"),
        "table8-screen": ("corpus", True, False, "none"),
        "table8-reconstruct": ("corpus", True, True, "none"),
        "table8-random": ("corpus", True, False, "random"),
        "table8-clean": ("corpus", False, True, "none"),
    }
    assert {values["scio.screen"] for values in found.values()} == {True}
    named = {row.id: made[row.id].arguments for row in ROWS if "--texts" in made[row.id].arguments}
    assert list(named) == ["table8-clean"]
    assert ("--texts", "CORPUS/texts_clean.jsonl") in pairwise(named["table8-clean"])


def test_the_same_epochs_in_every_row() -> None:
    from klip import zoo

    order = ablation._order(RunRequest(), Choices(epochs=12), Path("corpus"))
    for name in order.recipes:
        command = " ".join(zoo.command_of(name, order))
        assert "epochs=12" in command or command.endswith("--epochs 12")


def test_cells_are_those_of_the_six_questions_with_each_rows_own_text_side(tmp_path: Path) -> None:
    asked = cells_of(RunRequest(out=tmp_path, seeds=(0, 1)), Choices())
    assert asked.models.split(",") == [row.id for row in ROWS] and asked.tasks == "vqa" and asked.seeds == (0, 1)
    assert asked.by_hand == (("vqa.init_text", "model"),)
    assert asked.model_files[0] == tmp_path / "ablation/table8-tiny/models/table8-template.toml"
    other = cells_of(RunRequest(out=tmp_path, tasks="vqa_main_land"), Choices(work=tmp_path / "w", size="base"))
    assert other.tasks == "vqa_main_land" and tmp_path / "w/table8-base/models" in other.model_files[0].parents


@pytest.mark.parametrize(
    ("changes", "choices", "said"),
    [
        ({"models": "random-mini"}, {}, "models of its own"),
        ({"model_files": (Path("a.toml"),)}, {}, "models of its own"),
        ({"tasks": "sar_acd,vqa"}, {}, "questions alone, not classification"),
        ({"by_hand": (("vqa.init_text", "random"),)}, {}, "starts from its own text side"),
        ({"load_mode": "resampled16"}, {}, "as it is"),
        ({}, {"size": "large"}, "size"),
        ({}, {"name": "table9"}, "unknown ablation"),
    ],
)
def test_what_would_be_another_ablation_is_refused(changes: Any, choices: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        cells_of(RunRequest(**changes), Choices(**choices))


def test_options_of_pre_training_need_an_ablation() -> None:
    nothing = {"work": None, "epochs": None, "size": None, "corpus": None}
    assert make_ablation(None, nothing) is None
    assert make_ablation("table8", nothing | {"epochs": 3}) == Choices(epochs=3)
    with pytest.raises(UsageError, match="only an ablation pre-trains: --epochs, --size"):
        make_ablation(None, nothing | {"epochs": 3, "size": "tiny"})
    with pytest.raises(UsageError, match="unknown ablation"):
        make_ablation("table7", nothing)


def test_without_a_corpus_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no corpus to pre-train with") as error:
        prepare(RunRequest(data_root=tmp_path), Choices())
    assert "--corpus" in error.value.way_out
    corpus = _corpus(tmp_path / "corpus")
    (corpus / "texts_template.jsonl").unlink()
    order = ablation._order(RunRequest(out=tmp_path), Choices(), corpus)
    with pytest.raises(MissingError, match="no template texts"):
        ablation._share_vocabulary(order, say=lambda _: None)


def test_one_vocabulary_for_all_rows_and_none_for_another_corpus(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "corpus")
    order = ablation._order(RunRequest(out=tmp_path), Choices(), corpus)
    said: list[str] = []
    ablation._share_vocabulary(order, say=said.append)
    assert order.vocabulary is not None and said == [f"one vocabulary for all rows: {order.vocabulary}"]
    before = order.vocabulary.read_bytes()
    assert b"\nharbour\n" in before and b"[MASK]" in before
    ablation._share_vocabulary(order, say=said.append)
    assert order.vocabulary.read_bytes() == before and len(said) == 1
    write_lines(corpus / "texts.jsonl", [record(0, Region="zeppelin"), record(1, Region="zeppelin")])
    with pytest.raises(UsageError, match="another corpus"):
        ablation._share_vocabulary(order, say=said.append)


def test_a_plan_names_the_trainings_that_are_left(harness: Harness, tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "corpus")
    shown = harness("plan", "--ablation", "table8", "--corpus", corpus, "--epochs", "6", "--json")
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    assert [one["id"] for one in found["models"] if one["id"] in MODELS] == [row.id for row in ROWS]
    assert not any(one["ready"] for one in found["models"]) and found["cells"] is None
    commands = {one["id"]: one["command"] for one in found["models"]}
    assert "scio.control=random" in commands["table8-random"]
    assert "--texts CORPUS/texts_clean.jsonl" in commands["table8-clean"]
    assert not (tmp_path / "runs").exists(), "a plan leaves nothing behind"
    refused = harness("run", "--work", "here")
    assert refused.returncode == 2 and "add --ablation table8" in refused.stderr


@pytest.mark.parametrize(
    ("choices", "name"),
    [
        ({}, "table8-mini"),
        ({"split_file": {"fusar_map": "x.json"}}, "table8-mini-own-split"),
        ({"group_near_duplicates": {"": "yes"}}, "table8-mini-own-split"),
        ({"split": {"fusar_map": "7:3"}}, "table8-mini-split-fusar-map-7-3"),
        ({"split": {"": "7:3"}}, "table8-mini-split-7-3"),
        (
            {"split_file": {"fusar_map": "x.json"}, "voc_origin": {"": "0"}},
            "table8-mini-own-split-voc-origin-0",
        ),
    ],
)
def test_a_table_of_another_split_has_a_name_of_its_own(choices: dict[str, dict[str, str]], name: str) -> None:
    asked = cells_of(RunRequest(data_choices=choices), Choices())
    assert ablation.table_name(asked) == name
    if name != "table8-mini":
        assert ablation._further(asked, Outcome(Plan(asked, (), {}, (), {})), Store(Path("nowhere"))) == []


def test_only_a_corpus_with_clean_texts_has_their_row(tmp_path: Path) -> None:
    assert rows_of(None) == rows_of(tmp_path / "nowhere") == ROWS
    corpus = _corpus(tmp_path / "corpus")
    assert rows_of(corpus) == ROWS and absent_rows(corpus) == {}
    (corpus / "texts_clean.jsonl").unlink()
    request = RunRequest(out=tmp_path)
    assert "table8-clean" not in cells_of(request, Choices(), corpus).models
    assert "table8-clean" not in ablation._order(request, Choices(), corpus).recipes
    why = absent_rows(corpus)
    made = table_of([], absent=why)
    assert why == {"table8-clean": "the corpus has no texts_clean.jsonl"}
    line = next(line for line in made.lines if line.row.model == "table8-clean")
    assert {cell.reason for cell in line.cells} == {why["table8-clean"]}


def test_the_help_leaves_the_epochs_to_the_recipe() -> None:
    told = get_args(cli_options.Epochs)[1].help
    assert "by default what its recipe says" in told and not any(sign.isdigit() for sign in told)


def test_data_that_is_not_there_is_told_before_any_training(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    request = RunRequest(out=tmp_path / "runs", data_root=tmp_path / "data")
    with pytest.raises(MissingError, match="none of them is under the data root"):
        ablation.run(request, Choices(corpus=_corpus(tmp_path / "corpus")), quiet=True)
    assert not list((tmp_path / "runs").rglob("*.pt"))


def test_columns_of_the_language_tables_are_cells_of_the_catalogue() -> None:
    for number in (6, 8):
        for column in columns(number):
            task = TASKS[column.task_id]
            assert column.dataset_id in task.datasets and column.metric_id in task.metrics


@pytest.mark.slow  # a training and a cell for every row, in processes of their own
def test_a_small_ablation_from_texts_to_the_table(tmp_path: Path, tiny_vision_root: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_vision_root / "fusar_map", data / "fusar_map")
    request = RunRequest(out=tmp_path / "runs", data_root=data, tasks="vqa_main_land", limit=4, device="cpu")
    choices = Choices(epochs=3, corpus=_corpus(tmp_path / "corpus"), changes=SMALL)
    done = ablation.run(request, choices, quiet=True)
    assert done.outcome.exit_code == 0 and done.outcome.failures == []
    assert [name for name in done.trained if name in MODELS] == [row.id for row in ROWS]
    lines = {line.row.model: line for line in done.written.table.lines}
    main = [column.column.column for column in done.written.table.columns].index("vqa_main_land")
    for row in ROWS:
        cell = lines[row.id].cells[main]
        assert cell.value is not None and "limited to 4 images" in done.written.table.footnotes[(cell.note or 0) - 1]
    assert "Text side: the model's own." in " ".join(done.written.table.remarks)
    assert {file.name for file in done.written.files} == {f"table8-mini-limit4.{form}" for form in ("md", "csv", "tex")}
    assert not (tmp_path / "runs/reports/table6-mini-limit4-by-hand.md").exists()
    planned, asked = prepare(request, choices)
    assert asked is not None and all(one.ready for one in planned)
    assert done.written.table.remarks[0].startswith("Every row is KLIP tiny, pre-trained for 3 epochs with seed 0")
    assert "on a synthetic corpus (dataset corpus, seed 0, size ci, world_version 2)" in done.written.table.remarks[0]

    corpus = choices.corpus
    assert corpus is not None
    marker, clean = corpus / "synthetic.json", (corpus / "texts_clean.jsonl").read_text()
    kept = marker.read_text()
    marker.unlink()  # as a real corpus: what is there is known by its content
    planned, asked = prepare(request, choices)
    assert asked is not None and all(one.ready for one in planned)
    (corpus / "texts_clean.jsonl").write_text(clean.replace("open sea", "a lake"))
    planned, asked = prepare(request, choices)
    assert asked is None and [one.id for one in planned if not one.ready] == ["table8-clean"]
    (corpus / "texts_clean.jsonl").write_text(clean)
    marker.write_text(kept)

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs/cells").rglob("record.json")}
    again = ablation.run(request, choices, quiet=True)
    assert again.outcome.computed == 0 and len(before) == len(ROWS)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for old, new in zip(done.written.files, again.written.files, strict=True):
        assert old == new
