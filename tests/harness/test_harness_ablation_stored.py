"""Table 8 of stored records: one ablation, one way of reading the data, and what was left out is told."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.registry import catalog
from foundation.errors import CheckError, MissingError, UsageError
from foundation.hashing import hash_value
from harness import ablation
from harness.ablation import Choices, cells_of
from harness.ablation_notes import Note, write_note
from harness.ablation_rows import (
    ROWS,
    TextRow,
    fit_records,
    stored_records,
    stored_table,
)
from harness.execute import Outcome
from harness.plan import Plan, PlannedCell, State
from harness.report import default_table
from harness.request import RunRequest
from results.record import CellId, Failure, Metric, Record
from results.reported import columns
from results.store import Store
from results.tables import Table
from tests.harness.conftest import Harness
from tests.results.conftest import _record

LATER = "2026-02-02T00:00:00+00:00"
LANDFORM = ("vqa_main_land", "vqa_all_land", "vqa_reg_land")


def _stored(
    root: Path,
    *,
    limit: int | None = None,
    twin: str = "none",
    seed: int = 0,
    value: float = 50.0,
    rows: Sequence[TextRow] = ROWS,
    tasks: Sequence[str] = (),
    weights: str | None = None,
    finished: str = "2026-01-01T00:00:00+00:00",
    profile: str = "mini",
    choices: dict[str, str] | None = None,
    world: str | None = "sarworld v2",
) -> Store:
    """Records of an ablation, each row one better than that before; weights are told by a letter."""
    store = Store(root)
    for place, row in enumerate(ROWS):
        for column in columns(8):
            if row not in rows or (tasks and column.task_id not in tasks):
                continue
            made: Record = _record(
                row.id,
                column.task_id,
                column.dataset_id,
                metrics={"accuracy": Metric(value=value + place, low=value - 5, high=value + 10, n=100)},
                profile=profile,
                world=world,
                limit=limit,
                twin=twin,
                seed=seed,
                deviations=("vqa.init_text=model by hand",),
                finished=finished,
            )
            parts = {**made.key_parts, "weights": weights, "choices": choices, "world": world}
            model = made.model.model_copy(update={"weights_hash": weights and _weights(row.id, weights)})
            data = made.data.model_copy(update={"choices": choices or {}})
            key = {"key": hash_value(parts), "key_parts": parts}
            store.write(made.model_copy(update={**key, "model": model, "data": data}))
    return store


def _weights(row: str, letter: str) -> str:
    return hash_value([row, letter])


def _noted(store: Store, letter: str, told: str = "", **absent: str) -> Path:
    models = {row.id: _weights(row.id, letter) for row in ROWS}
    return write_note(store, "table8", Note(models=models, told=(told,) if told else (), absent=absent))


def _values(table: Table) -> list[list[float | None]]:
    return [[cell.value for cell in line.cells] for line in table.lines[: len(ROWS)]]


def _whole(value: float) -> list[list[float | None]]:
    return [[value + place] * 6 for place in range(len(ROWS))]


@pytest.mark.parametrize("noted", [True, False])
def test_two_ablations_never_stand_in_one_table(tmp_path: Path, noted: bool) -> None:
    _stored(tmp_path, value=60, weights="a")
    store = _stored(tmp_path, value=20, weights="b", tasks=["vqa_main_land"], finished=LATER)
    if noted:
        _noted(store, "a", "36 epochs.")
        _noted(store, "b", "3 epochs.")
    made = stored_table(store, None)
    assert _values(made) == _whole(60), "no column of the later one among them"
    (told,) = [text for text in made.remarks if text.startswith("Left out")]
    why = "3 epochs" if noted else "how it was made is not noted"
    assert told == f"Left out: 6 records of another ablation ({why}): vqa_main_land/vqa_landform."
    assert ("36 epochs." in made.remarks) == noted, "how the models were made is told where it is known"
    assert any("is not noted beside the records" in text for text in made.remarks) != noted
    behind = stored_records(store, "mini")
    assert {stored.record.model.weights_hash for stored in behind} == {_weights(row.id, "a") for row in ROWS}
    assert len(behind) == 6 * len(ROWS), "pages show what stands in the table"


def test_of_two_whole_ablations_the_newest_makes_the_table(tmp_path: Path) -> None:
    store = _stored(tmp_path, value=60, weights="a", finished=LATER)
    _stored(tmp_path, value=20, weights="b")
    with pytest.raises(CheckError, match="nothing tells which models belong together") as error:
        stored_table(store, None)
    assert "run the ablation again" in error.value.way_out and default_table(store, None) == (8, [])
    _noted(store, "a")
    _noted(store, "b")
    assert _values(stored_table(store, None)) == _whole(60)


def test_rows_that_were_made_differently_never_stand_in_one_table(tmp_path: Path) -> None:
    # The second one was stopped when half of the rows had been asked: no row of the first may fill the gap.
    store = _stored(tmp_path, value=60, weights="a")
    _stored(tmp_path, value=20, weights="b", rows=ROWS[:3], finished=LATER)
    _noted(store, "b", "3 epochs.")
    made = stored_table(store, None)
    assert _values(made) == _whole(60)
    assert any("18 records of another ablation (3 epochs)" in text for text in made.remarks)
    other = _stored(tmp_path / "other", value=20, weights="b", rows=ROWS[:3])
    _stored(tmp_path / "other", value=60, weights="a", tasks=LANDFORM, finished=LATER)
    _noted(other, "b")
    _noted(other, "a")
    made = stored_table(other, None)
    assert {value for values in _values(made)[3:] for value in values} <= {None, 63.0, 64.0, 65.0}
    assert len({type(values[0]) for values in _values(made)}) == 1, "all rows of a column, or none"


def test_of_one_ablation_all_worlds_but_one_are_left_out(tmp_path: Path) -> None:
    store = _stored(tmp_path, value=60, weights="a")
    _stored(tmp_path, value=20, weights="a", world="sarworld v3", tasks=LANDFORM, finished=LATER)
    _noted(store, "a")
    made = stored_table(store, None)
    assert _values(made) == _whole(60) and made.banner.count("sarworld") == 1


def test_an_ablation_that_cannot_have_all_rows_is_as_whole_as_one_that_has_them(tmp_path: Path) -> None:
    store = _stored(tmp_path, value=20, weights="a")
    _noted(store, "a")
    _stored(tmp_path, value=60, weights="b", world=None, rows=ROWS[:-1], finished=LATER)
    models = {row.id: _weights(row.id, "b") for row in ROWS[:-1]}
    write_note(store, "table8", Note(models=models, absent={ROWS[-1].id: "no clean texts"}))
    made = stored_table(store, None)
    assert _values(made)[:-1] == _whole(60)[:-1] and _values(made)[-1] == [None] * 6, "real data after synthetic ones"
    assert not made.banner and "no clean texts" in made.footnotes


def test_a_damaged_note_is_named(tmp_path: Path) -> None:
    store = _stored(tmp_path, weights="a")
    _noted(store, "a").write_text('{"models": 3}')
    with pytest.raises(CheckError, match="no note of an ablation") as error:
        stored_table(store, None)
    assert "delete the file" in error.value.way_out and "table8-" in error.value.where


def test_a_row_that_could_not_be_made_says_why(tmp_path: Path) -> None:
    store = _stored(tmp_path, weights="a", rows=ROWS[:-1])
    _noted(store, "a", **{ROWS[-1].id: "the corpus has no texts_clean.jsonl"})
    assert "the corpus has no texts_clean.jsonl" in stored_table(store, None).footnotes


def test_of_several_profiles_one_must_be_chosen(tmp_path: Path) -> None:
    _stored(tmp_path, tasks=LANDFORM, profile="paper")
    store = _stored(tmp_path, rows=ROWS[1:])
    cell = CellId(task="vqa_main_land", dataset="vqa_landform", model=ROWS[0].id, profile="paper", seed=0)
    store.write_failure(Failure(cell=cell.model_copy(update={"seed": 1}), key="k" * 64, error="E", what="no memory"))
    with pytest.raises(UsageError, match="several profiles: mini, paper"):
        stored_table(store, None)
    assert "no memory" not in " ".join(stored_table(store, "mini").footnotes), "a failure of another profile"
    assert "seed 1 failed: no memory" in " ".join(stored_table(store, "paper").footnotes)


def test_data_that_were_read_otherwise_stay_out_of_the_table(tmp_path: Path) -> None:
    usual = {"fusar_map.label_map": "map4"}
    asked = {**usual, "fusar_map.split": "7:3"}
    store = _stored(tmp_path, value=20, tasks=LANDFORM, choices=asked, finished=LATER)
    assert _values(stored_table(store, None))[0][3:] == [20.0] * 3, "it is what there is, as in Tables 4 and 6"
    _stored(tmp_path, value=60, choices=usual)
    _stored(tmp_path, value=10, tasks=LANDFORM, choices={**usual, "fusar_map.split_sha256": "f" * 64}, finished=LATER)
    made = stored_table(store, None)
    assert _values(made) == _whole(60)
    (told,) = [text for text in made.remarks if text.startswith("Left out")]
    places = ", ".join(sorted(f"{task}/vqa_landform" for task in LANDFORM))
    assert told == f"Left out: 18 records of data that were read otherwise (--split fusar_map=7:3): {places}."


def test_clean_texts_are_the_first_of_the_order(tmp_path: Path) -> None:
    """Section 14.5: clean >= repaired >= screened >= noisy."""
    made = stored_table(_stored(tmp_path), None)
    order = "KLIP, clean texts (upper bound) >= + reconstruct >= + screen, filter >= HCoT text, within two"
    assert [text for text in made.remarks if order in text]


def test_the_table_is_made_again_from_what_is_stored(tmp_path: Path, harness: Harness) -> None:
    store = _stored(tmp_path / "runs")
    made = stored_table(store, None)
    assert _values(made) == _whole(50)
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
    store = _stored(tmp_path, weights="a", choices={"fusar_map.group": "tile"})
    _stored(tmp_path, value=20, weights="b", finished=LATER)
    asked = cells_of(RunRequest(out=tmp_path, tasks="vqa_main_land"), Choices())
    usual = {
        (column.task_id, column.dataset_id): ablation.ReadAs({"fusar_map.group": "tile"}, "sarworld v2")
        for column in columns(8)
    }

    def further(letter: str | None, usual: dict[tuple[str, str], ablation.ReadAs]) -> list[str]:
        cells = tuple(
            PlannedCell(
                CellId(task="vqa_main_land", dataset="vqa_landform", model=row.id, profile="mini", seed=0),
                catalog()["random-mini"].model_copy(update={"id": row.id}),
                State.DONE,
                weights_hash=letter and _weights(row.id, letter),
            )
            for row in ROWS
        )
        records = [stored.record for stored in fit_records(store, "mini")]
        found = ablation.further_records(records, Outcome(Plan(asked, (), {}, cells, {})), usual)
        return [record.cell.task for record in found]

    assert further("f", usual) == [] == further(None, usual), "these are other models"
    tasks = further("a", usual)  # newer records of other models hide nothing
    assert len(tasks) == 5 * len(ROWS) and "vqa_main_land" not in tasks
    assert further("b", usual) == [], "the data were read in another way"
    assert further("a", dict.fromkeys(usual, ablation.ReadAs({"fusar_map.group": "tile"}, None))) == []
    limited = asked.model_copy(update={"limit": 5})
    assert ablation._further(limited, Outcome(Plan(limited, (), {}, (), {})), store) == []


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
