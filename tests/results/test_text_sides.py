"""The line of a table that says where the parts started that read and write texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from foundation.errors import CheckError
from foundation.files import canonical_json
from results.record import Record
from results.rows import TableRow
from results.tables import Table, build_table

MakeRecord = Callable[..., Record]

BERT, OWN, RANDOM, LACKING = "from bert", "the model's own", "at random", "at random, the model has none of its own"
SETTINGS = {"init_text": "model"}


def record(make: MakeRecord, model: str, start: str, task: str = "retrieval", **more: Any) -> Record:
    dataset = {"retrieval": "rs_captions", "caption": "rs_captions"}.get(task, "vqa_landform")
    values = {"retrieval": {"i2t_r1": 10.0}, "caption": {"bleu_4": 10.0}}.get(task, {"accuracy": 10.0})
    chosen = {"settings": SETTINGS, **more}
    made = make(model, task, dataset, values=values, chance={}, majority={}, **chosen)
    return made.model_copy(update={"model": made.model.model_copy(update={"text_start": start})})


def lines(*records: Record) -> list[str]:
    return [remark for remark in table(*records).remarks if remark.startswith("Text side")]


def table(*records: Record) -> Table:
    models = dict.fromkeys(one.cell.model for one in records)
    return build_table(6, [TableRow(name, name, "ViT-Base") for name in models], records)


def test_one_start_for_all_is_said_once(make_record: MakeRecord) -> None:
    every = [record(make_record, model, BERT, task) for model in "ab" for task in ("retrieval", "vqa_main_land")]
    assert lines(*every) == ["Text side: from bert."]


def test_models_with_different_starts_in_a_column_are_named(make_record: MakeRecord) -> None:
    found = [
        record(make_record, model, start, task)
        for task in ("retrieval", "caption")
        for model, start in (("a", OWN), ("b", LACKING), ("c", OWN))
    ]
    assert lines(*found) == [f"Text side: {OWN} (a c), {LACKING} (b)."]


def test_tasks_with_different_starts_are_told_apart(make_record: MakeRecord) -> None:
    found = [
        record(make_record, "a", BERT, "retrieval", settings={"init_text": "bert"}),
        record(make_record, "a", OWN, "caption"),
        record(make_record, "b", LACKING, "caption"),
    ]
    assert lines(*found) == [
        f"Text side: of retrieval/rs_captions {BERT}; of caption/rs_captions {OWN} (a), {LACKING} (b)."
    ]


def test_models_without_a_text_side_and_vision_tables_say_nothing(make_record: MakeRecord) -> None:
    assert lines(record(make_record, "features", "")) == []
    assert lines(record(make_record, "features", ""), record(make_record, "a", RANDOM)) == ["Text side: at random."]
    vision = build_table(4, [TableRow("mine", "mine", "ViT-Base")], [make_record()])
    assert not any("Text side" in remark for remark in vision.remarks)


def test_seeds_of_a_model_are_one_model(make_record: MakeRecord) -> None:
    seeds = [record(make_record, "a", OWN, seed=seed) for seed in (0, 1)]
    assert lines(*seeds, record(make_record, "b", RANDOM)) == [f"Text side: {OWN} (a), {RANDOM} (b)."]


def test_a_column_never_mixes_two_settings_of_the_start(make_record: MakeRecord) -> None:
    other = record(make_record, "b", BERT, settings={"init_text": "bert"})
    with pytest.raises(CheckError, match="mix settings"):
        table(record(make_record, "a", OWN), other)


def test_records_from_before_the_field_are_read(make_record: MakeRecord) -> None:
    old = make_record().model_dump(mode="json")
    del old["model"]["text_start"]
    assert Record.model_validate_json(canonical_json(old)).model.text_start == ""
