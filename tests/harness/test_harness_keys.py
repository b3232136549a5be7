"""A cell's key: everything that can change its numbers changes it, nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.registry import catalog
from foundation.hashing import hash_value
from harness import keys
from harness.keys import HOME, SCORING_SOURCES, TASK_SOURCES, _expand, key_parts
from harness.request import RunRequest
from results.record import CellId
from tasks.protocol import ClassificationSettings, task_settings
from tasks.registry import get_task
from tests.import_closure import imported_from

CELL = CellId(task="classification", dataset="sar_acd", model="random-mini", profile="mini", seed=0)
CARD = catalog()["random-mini"]
SETTINGS = task_settings("mini", "classification", "mini")
BASE: dict[str, Any] = {
    "cell": CELL,
    "card": CARD,
    "settings": SETTINGS,
    "weights_hash": None,
    "load_mode": "native",
    "made_by": "own",
    "data_hash": "d",
    "split_hash": "s",
    "twin": "none",
    "world": None,
}


def key(**changes: Any) -> str:
    chosen = {**BASE, **changes}
    return hash_value(key_parts(chosen.pop("cell"), chosen.pop("card"), chosen.pop("settings"), **chosen))


def changed_settings() -> list[ClassificationSettings]:
    """One variant per leaf of the settings, so that a forgotten field is found."""
    assert isinstance(SETTINGS, ClassificationSettings)
    variants = []
    for path, value in leaves(SETTINGS.model_dump()):
        data = SETTINGS.model_dump()
        place = data
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = other(value)
        try:
            variant = ClassificationSettings.model_validate(data)
        except ValueError:
            continue  # not every single change is a valid setting
        if variant != SETTINGS:
            variants.append(variant)
    return variants


def leaves(value: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for name, inner in value.items():
        found += leaves(inner, (*path, name)) if isinstance(inner, dict) else [((*path, name), inner)]
    return found


def other(value: Any) -> Any:
    if isinstance(value, str):
        choices = {"adamw": "sgd", "cosine": "poly", "auto": "fp32", "task": "native", "resized": "original"}
        return {**choices, "iteration": "epoch", "class_token": "mean"}.get(value, value + "x")
    if isinstance(value, tuple):
        return tuple(reversed(value)) if len(set(value)) > 1 else ()
    if isinstance(value, int | float):
        return value / 2 if isinstance(value, float) and value else value + 1
    return 0.5


CHANGES: list[dict[str, Any]] = [
    {"cell": CELL.model_copy(update={"seed": 1})},
    {"cell": CELL.model_copy(update={"dataset": "fusar_air"})},
    {"cell": CELL.model_copy(update={"model": "other"})},
    {"cell": CELL.model_copy(update={"profile": "paper"})},
    {"card": CARD.model_copy(update={"architecture": CARD.architecture.model_copy(update={"depth": 5})})},  # type: ignore[union-attr]
    {"card": CARD.model_copy(update={"input": CARD.input.model_copy(update={"mean": (0.1, 0.1, 0.1)})})},  # type: ignore[union-attr]
    {"card": CARD.model_copy(update={"layout": "timm"})},
    {"card": CARD.model_copy(update={"weights": CARD.weights.model_copy(update={"kind": "file"})})},
    {"weights_hash": "w"},
    {"load_mode": "paper_plain"},
    {"made_by": "openmmlab mmdet-3.3.0"},
    {"data_hash": "other"},
    {"split_hash": "other"},
    {"twin": "shuffled_labels"},
    {"world": "sarworld v1 mini seed 0"},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_whatever_can_change_the_numbers_changes_the_key(change: dict[str, Any]) -> None:
    assert key(**change) != key()


def test_every_setting_of_the_protocol_changes_the_key() -> None:
    variants = changed_settings()
    found = {key(settings=variant) for variant in variants}
    assert len(variants) >= 20
    assert len(found) == len(variants) and key() not in found


@pytest.mark.parametrize(
    "change",
    [
        {"card": CARD.model_copy(update={"note": "another note"})},
        {"card": CARD.model_copy(update={"name": "another printed name"})},
        {"card": CARD.model_copy(update={"tables": (4, 6)})},
        {"card": CARD.model_copy(update={"paper_model": "clip"})},
    ],
    ids=["note", "name", "tables", "paper_model"],
)
def test_what_is_only_printed_does_not_change_the_key(change: dict[str, Any]) -> None:
    assert key(**change) == key()


def test_the_circumstances_of_a_run_are_not_part_of_the_key() -> None:
    """No part of the key is named like an option that only says where or how fast cells run."""
    circumstances = {"jobs", "threads", "device", "out", "models", "tasks", "data_root", "weights_root"}
    assert circumstances <= set(RunRequest.model_fields)
    assert not circumstances & set(key_parts(CELL, CARD, SETTINGS, **{k: BASE[k] for k in list(BASE)[3:]}))


@pytest.fixture
def copied_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the listed sources that a test may change."""
    for source in _expand((*keys.ENCODER_SOURCES, *keys.TRAINING_SOURCES, *TASK_SOURCES["classification"])):
        target = tmp_path / source.relative_to(HOME)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    monkeypatch.setattr(keys, "HOME", tmp_path)
    keys.numerics_hash.cache_clear()
    yield tmp_path
    keys.numerics_hash.cache_clear()


def fresh_numerics() -> str:
    keys.numerics_hash.cache_clear()
    return keys.numerics_hash("classification")


def test_a_comment_or_docstring_does_not_cost_a_rerun(copied_sources: Path) -> None:
    before = fresh_numerics()
    source = copied_sources / "tasks" / "augment.py"
    source.write_text('"""Another docstring."""\n# a comment\n' + source.read_text().split('"""', 2)[2])
    assert fresh_numerics() == before


def test_a_change_of_what_the_code_does_costs_a_rerun(copied_sources: Path) -> None:
    before = fresh_numerics()
    source = copied_sources / "tasks" / "augment.py"
    assert "range(10)" in source.read_text()
    source.write_text(source.read_text().replace("range(10)", "range(11)"))
    assert fresh_numerics() != before


HARMLESS = {
    "adapters/__init__.py",  # docstring only
    "adapters/card.py",  # its values are in the key
    "adapters/geometry.py",  # gives the architecture, which is in the key
    "adapters/interface.py",  # types
    "adapters/shipped.py",  # finds the file whose hash is in the key
    "adapters/weights.py",  # finds the file whose hash is in the key
    "foundation/__init__.py",
    "foundation/cache.py",
    "foundation/errors.py",
    "foundation/files.py",
    "foundation/hashing.py",
    "foundation/names.py",
    "foundation/progress.py",
    "tasks/__init__.py",
    "tasks/baselines/__init__.py",
    "tasks/catalog.py",
    "tasks/classification/__init__.py",
    "tasks/classification/data.py",  # decides the parts: keyed by the split's hash
    "tasks/datasets/__init__.py",
    "tasks/datasets/audit.py",  # what is linked acts through the split
    "tasks/datasets/catalogue.py",
    "tasks/datasets/division.py",
    "tasks/datasets/footprints.py",
    "tasks/datasets/linked.py",
    "tasks/datasets/near_duplicates.py",
    "tasks/datasets/split_files.py",
    "tasks/datasets/folders.py",
    "tasks/datasets/fusar_air.py",  # readers: keyed by the data's hash
    "tasks/datasets/fusar_ship.py",
    "tasks/datasets/index.py",
    "tasks/datasets/just_decoded.py",  # hands out what the hash of the pixels says
    "tasks/datasets/sar_acd.py",
    *(
        f"tasks/datasets/{name}.py"
        for name in (
            "air_polarsar_seg",
            "boxes",
            "coco",
            "fusar_air_sense",
            "fusar_map",
            "fusar_ship_sense",
            "options",
            "records",
            "sar_aircraft_few",
            "sense",
            "voc",
        )
    ),
    "tasks/lookahead.py",  # order and content are fixed by its contract, whatever the threads
    "tasks/parts.py",  # keyed by the split's hash
    "tasks/protocol/__init__.py",
    "tasks/protocol/load.py",
    "tasks/protocol/settings.py",  # values are keyed by the settings' hash
    "tasks/splits.py",  # keyed by the split's hash
    "tasks/task.py",  # types
    "results/__init__.py",
    "results/record.py",
}
"""Sources that a classification imports and that act only through what the key holds anyway."""


HARMLESS_FOR_LANGUAGE = {
    "adapters/timm_names.py",  # only where a pre-training starts from a name of timm
    "klip/__init__.py",
    "klip/text.py",  # texts of a pre-training; here only their type
    "klip/training/__init__.py",
    "klip/training/checkpoint.py",  # only where a text file is made, whose hash is in the key
    "tasks/builders/__init__.py",
    "tasks/datasets/images.py",  # reached through the index only
    "tasks/language/__init__.py",
}
LABELS_TO_IGNORE = {
    "tasks/metrics/__init__.py",
    "tasks/metrics/segmentation.py",  # reached through the baselines; no masks are scored here
    "results/statistics.py",  # reached through the former
}
HARMLESS_BESIDES = {
    "classification": {"tasks/datasets/images.py", "tasks/datasets/masks.py"},  # reached through the index only
    "detection": {
        "tasks/datasets/masks.py",
        "tasks/detection/__init__.py",
        "tasks/few_shot.py",  # keyed by the split's hash
        "tasks/metrics/__init__.py",
    },
    "segmentation": {
        "tasks/metrics/__init__.py",
        "tasks/metrics/segmentation.py",  # only its ignore label; the numbers are made when scoring
        "tasks/segmentation/__init__.py",
        "results/statistics.py",  # reached through the former
    },
    "retrieval": HARMLESS_FOR_LANGUAGE | {"tasks/datasets/masks.py", "tasks/retrieval/__init__.py"},
    "caption": HARMLESS_FOR_LANGUAGE
    | LABELS_TO_IGNORE
    | {
        "tasks/datasets/masks.py",
        "tasks/metrics/java_scorers.py",  # only whether its switches are words that it knows
    },
    **dict.fromkeys(
        keys.QUESTIONS,
        HARMLESS_FOR_LANGUAGE
        | LABELS_TO_IGNORE
        | {
            "tasks/metrics/answers.py",  # which task asks for what; the numbers are made when scoring
            "tasks/vqa/__init__.py",
        },
    ),
}
"""The same for one task only."""


def keyed_sources(task: str) -> set[str]:
    listed = _expand((*keys.ENCODER_SOURCES, *keys.TRAINING_SOURCES, *TASK_SOURCES[task]))
    return {path.relative_to(HOME).as_posix() for path in listed}


def reached_sources(task: str) -> set[str]:
    """What answers and what is written down as true."""
    return part_of(task, "fit") | part_of(task, "data") | imported_from("adapters/load.py")


def part_of(task: str, name: str) -> set[str]:
    return imported_from(f"{get_task(task).package.replace('.', '/')}/{name}.py")


@pytest.mark.parametrize("task", TASK_SOURCES)
def test_every_source_that_a_task_imports_is_either_keyed_or_known_to_be_harmless(task: str) -> None:
    harmless = HARMLESS | HARMLESS_BESIDES[task]
    assert reached_sources(task) - keyed_sources(task) - harmless == set()
    assert not keyed_sources(task) & harmless
    assert reached_sources(task) >= HARMLESS_BESIDES[task], "the list names some that are not used"


def test_the_list_of_harmless_sources_names_none_that_is_not_used() -> None:
    assert set.union(*map(reached_sources, TASK_SOURCES)) >= HARMLESS


@pytest.mark.parametrize("task", TASK_SOURCES)
def test_every_source_that_scores_is_keyed_by_predictions_or_by_scores(task: str) -> None:
    scoring = {path.relative_to(HOME).as_posix() for path in _expand(SCORING_SOURCES[task])}
    harmless = HARMLESS | HARMLESS_BESIDES[task] | {"tasks/metrics/__init__.py"}
    assert part_of(task, "score") - scoring - keyed_sources(task) - (harmless - scoring) == set()
    assert not scoring & keyed_sources(task), "predictions do not change when only scores do"
