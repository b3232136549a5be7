"""The registry knows exactly the tasks that the catalogue calls built, and every part of each is there."""

from __future__ import annotations

import pytest

from foundation.errors import UsageError
from tasks import registry
from tasks.catalog import TASKS
from tasks.datasets.options import TEXT_OPTIONS, DataOptions, data_options
from tasks.protocol import common_settings
from tasks.registry import get_task

BUILT = [task for task, info in TASKS.items() if info.built]


@pytest.mark.parametrize("task", BUILT)
def test_every_built_task_has_all_its_parts(task: str) -> None:
    found = get_task(task)
    assert callable(found.build) and callable(found.fit_and_predict) and callable(found.score)


def test_a_task_that_is_not_built_or_not_known_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(registry._PACKAGES, "caption")
    with pytest.raises(UsageError, match=TASKS["caption"].title):
        get_task("caption")
    with pytest.raises(UsageError, match="no task 'captions'"):
        get_task("captions")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("profile", ["paper", "released", "mini"])
def test_settings_know_the_size_of_the_input_and_can_be_had_for_another(profile: str, task: str) -> None:
    settings = common_settings(profile, task)
    smaller = settings.resized(settings.input_size - 16)
    assert smaller.input_size == settings.input_size - 16
    assert type(smaller) is type(settings) and smaller.training == settings.training


def test_no_pixel_falls_between_smaller_tiles() -> None:
    settings = common_settings("paper", "segmentation").resized(252)
    assert settings.stride == 252  # type: ignore[union-attr]


def test_options_of_readers_are_given_as_text() -> None:
    chosen = data_options({"group": "scene", "voc_origin": "0", "class_order": "water, road"}, allow_bad=True)
    assert chosen == DataOptions(allow_bad=True, group="scene", voc_origin=0, class_order=("water", "road"))
    assert set(TEXT_OPTIONS) | {"allow_bad"} == set(DataOptions._fields)


def test_an_origin_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="origin"):
        data_options({"voc_origin": "2"})
