"""The record schema: documented, closed, and honest about what is undefined."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable

import pytest
from pydantic import BaseModel, ValidationError

import results.record as schema
from results.record import CellId, Metric, Record

MODELS = [
    model
    for _, model in inspect.getmembers(schema, inspect.isclass)
    if issubclass(model, BaseModel) and model.__module__ == schema.__name__ and not model.__name__.startswith("_")
]
FIELDS = [(model, name) for model in MODELS for name in model.model_fields]


def test_the_search_for_fields_finds_the_schema() -> None:
    assert Record in MODELS and len(FIELDS) > 60


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=[f"{model.__name__}.{name}" for model, name in FIELDS])
def test_every_field_of_a_record_is_documented(model: type[BaseModel], name: str) -> None:
    assert len(model.model_fields[name].description or "") >= 5


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_part_of_a_record_is_frozen_and_closed(model: type[BaseModel]) -> None:
    assert model.__doc__
    assert model.model_config["frozen"] and model.model_config["extra"] == "forbid"


def test_a_record_survives_json(make_record: Callable[..., Record]) -> None:
    record = make_record(values={"top1": 200 / 3, "top3": None})
    assert Record.model_validate(json.loads(record.model_dump_json())) == record


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_know_are_refused_at_once(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Metric(value=value)


def test_an_undefined_metric_needs_a_reason() -> None:
    with pytest.raises(ValidationError, match="reason"):
        Metric(value=None)
    assert Metric(value=None, reason="no ground truth").value is None


def test_an_interval_has_two_ends_in_order() -> None:
    with pytest.raises(ValidationError, match="two ends"):
        Metric(value=1.0, low=0.5)
    with pytest.raises(ValidationError, match="backwards"):
        Metric(value=1.0, low=2.0, high=0.5)


def test_a_cell_prints_as_its_name() -> None:
    cell = CellId(task="vqa", dataset="vqa_main_land", model="mini:klip", profile="mini", seed=2)
    assert str(cell) == "vqa/vqa_main_land/mini:klip/mini/seed-2"
