"""`harness run --ablation table8`: five trainings that differ in their texts alone, the six questions, the table."""

from __future__ import annotations

import csv
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from adapters.registry import catalog
from foundation.errors import MissingError, UsageError
from harness import ablation
from harness.ablation import Choices, cells_of, prepare, recipes
from harness.ablation_rows import MODELS, ROWS, stored_records, stored_table
from harness.execute import Outcome
from harness.options import make_ablation
from harness.plan import Plan, PlannedCell, State
from harness.report import default_table
from harness.request import RunRequest
from results.record import CellId, Metric, Record
from results.reported import columns
from results.store import Store
from tasks.catalog import TASKS
from tests.harness.conftest import Harness
from tests.klip.small_corpus import record, write_corpus, write_lines
from tests.results.conftest import _record

SMALL = ("batch_size_per_device=8",)


def _corpus(folder: Path, count: int = 24) -> Path:
    records = [record(number, Count=f"{number} ships") for number in range(count)]
    corpus = write_corpus(folder, records, side=64)
    write_lines(corpus / "texts_template.jsonl", [{**entry, "Region": "a harbour"} for entry in records])
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
    }
    assert {values["scio.screen"] for values in found.values()} == {True}


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
    assert "scio.control=random" in found["models"][-1]["command"]
    assert not (tmp_path / "runs").exists(), "a plan leaves nothing behind"
    refused = harness("run", "--work", "here")
    assert refused.returncode == 2 and "add --ablation table8" in refused.stderr


def _stored(root: Path, *, limit: int | None = None, twin: str = "none", seed: int = 0) -> Store:
    store = Store(root)
    for place, row in enumerate(ROWS):
        for column in columns(8):
            metrics = {"accuracy": Metric(value=50.0 + place, low=45.0, high=60.0, n=100)}
            made: Record = _record(
                row.id,
                column.task_id,
                column.dataset_id,
                metrics=metrics,
                profile="mini",
                world="sarworld v2",
                limit=limit,
                twin=twin,
                seed=seed,
                deviations=("vqa.init_text=model by hand",),
            )
            store.write(made)
    return store


def test_the_table_is_made_again_from_what_is_stored(tmp_path: Path, harness: Harness) -> None:
    store = _stored(tmp_path / "runs")
    made = stored_table(store, None)
    assert [line.cells[0].value for line in made.lines[:5]] == [50.0, 51.0, 52.0, 53.0, 54.0]
    assert default_table(store, None) == (8, []), "rows of the ablation are no rows of Table 6"
    shown = harness("report", "--out", tmp_path / "runs")
    assert shown.returncode == 0, shown.stderr
    assert "random removal" in shown.stdout and "table8-mini.csv" in shown.stdout
    with (tmp_path / "runs/reports/table8-mini.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["reported"] for row in rows if row["model"] == "table8-random"} == {""}
    assert {row["reported"] for row in rows if row["column"] == "vqa_reg_land" and row["reported"]} == {
        *("78.96", "85.52", "88.39", "93.58")
    }


def test_limited_and_destroyed_cells_never_make_the_table(tmp_path: Path) -> None:
    for limit, twin in ((5, "none"), (None, "noise_images")):
        with pytest.raises(MissingError, match="no finished cell of the ablation"):
            stored_table(_stored(tmp_path / f"{limit}-{twin}", limit=limit, twin=twin), None)
    names = [
        ablation.table_name(RunRequest(limit=limit, twin=twin))
        for limit, twin in ((None, "none"), (5, "none"), (None, "noise_images"))
    ]
    assert names == ["table8-mini", "table8-mini-limit5", "table8-mini-noise_images"]
    by_hand = cells_of(RunRequest(by_hand=(("vqa.training.epochs", "2"),)), Choices())
    assert ablation.table_name(by_hand) == "table8-mini-by-hand"
    assert ablation.table_name(cells_of(RunRequest(), Choices())) == "table8-mini"


def test_records_with_other_settings_by_hand_do_not_make_the_table(tmp_path: Path) -> None:
    store = _stored(tmp_path)
    text = ("vqa.init_text=model by hand", "vqa.training.epochs=2 by hand")
    metrics = {"accuracy": Metric(value=99.0, n=100)}
    store.write(
        _record(ROWS[0].id, "vqa_reg_land", "vqa_landform", metrics=metrics, profile="mini", deviations=text, seed=1)
    )
    made = stored_table(store, "mini")
    assert [cell.value for cell in made.lines[0].cells] == [50.0] * 6
    with pytest.raises(MissingError, match="no finished cell of the ablation"):
        stored_table(store, "paper")


def test_questions_that_were_not_asked_again_keep_their_numbers_of_the_same_models(tmp_path: Path) -> None:
    store = _stored(tmp_path)
    asked = cells_of(RunRequest(out=tmp_path, tasks="vqa_main_land"), Choices())

    def further(weights: str | None) -> list[str]:
        cells = tuple(
            PlannedCell(
                CellId(task="vqa_main_land", dataset="vqa_landform", model=row.id, profile="mini", seed=0),
                catalog()["random-mini"].model_copy(update={"id": row.id}),
                State.DONE,
                weights_hash=weights,
            )
            for row in ROWS
        )
        found = ablation._further(asked, Outcome(Plan(asked, (), {}, cells, {})), store)
        return [record.cell.task for record in found]

    assert further("f" * 64) == [], "these are other models"
    before = stored_records(store, "mini")[0].record
    for stored in stored_records(store, "mini"):
        model = stored.record.model.model_copy(update={"weights_hash": "f" * 64})
        store.write(stored.record.model_copy(update={"model": model}))
    tasks = further("f" * 64)
    assert len(tasks) == 5 * len(ROWS) and "vqa_main_land" not in tasks and before.model.weights_hash is None
    limited = asked.model_copy(update={"limit": 5})
    assert ablation._further(limited, Outcome(Plan(limited, (), {}, (), {})), store) == []


def test_data_that_is_not_there_is_told_before_any_training(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    request = RunRequest(out=tmp_path / "runs", data_root=tmp_path / "data")
    with pytest.raises(MissingError, match="none of them is under the data root"):
        ablation.run(request, Choices(corpus=_corpus(tmp_path / "corpus")), quiet=True)
    assert not list((tmp_path / "runs").rglob("*.pt"))


@pytest.mark.parametrize(
    ("tasks", "number", "further"),
    [
        (("classification/fusar_air/top1",), 4, []),
        (("caption/rs_captions/bleu_4",), 6, []),
        (("caption/rs_captions/bleu_4", "classification/fusar_air/top1"), 4, [6]),
    ],
)
def test_the_table_that_is_shown_is_one_that_has_numbers(
    tmp_path: Path, harness: Harness, tasks: tuple[str, ...], number: int, further: list[int]
) -> None:
    store = Store(tmp_path / "runs")
    for place in tasks:
        task, dataset, metric = place.split("/")
        store.write(_record("random-mini", task, dataset, values={metric: 50.0}, profile="mini"))
    assert default_table(store, None) == (number, further)
    shown = harness("report", "--out", tmp_path / "runs", "--json")
    found = json.loads(shown.stdout)
    assert (found["table"], found["further_tables"]) == (number, further), shown.stderr
    assert ("harness report --table 6" in harness("report", "--out", tmp_path / "runs").stdout) == bool(further)


def test_only_tables_from_records_are_reported(harness: Harness, tmp_path: Path) -> None:
    done = harness("report", "--table", "7", "--out", tmp_path)
    assert done.returncode == 2 and "unknown table: '7'" in done.stderr


def test_columns_of_the_language_tables_are_cells_of_the_catalogue() -> None:
    for number in (6, 8):
        for column in columns(number):
            task = TASKS[column.task_id]
            assert column.dataset_id in task.datasets and column.metric_id in task.metrics


@pytest.mark.slow  # seven trainings and as many cells as rows, in processes of their own
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

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs/cells").rglob("record.json")}
    again = ablation.run(request, choices, quiet=True)
    assert again.outcome.computed == 0 and len(before) == len(ROWS)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for old, new in zip(done.written.files, again.written.files, strict=True):
        assert old == new
