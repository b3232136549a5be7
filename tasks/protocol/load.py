"""Reads a profile: a TOML file, the file it extends below it, and per-backbone changes on top."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foundation.errors import CheckError, UsageError
from foundation.names import unknown_name
from results.record import BY_HAND
from tasks.protocol.settings import (
    CaptionSettings,
    ClassificationSettings,
    DetectionSettings,
    RetrievalSettings,
    SegmentationSettings,
    TaskSettings,
    VqaSettings,
)

PROFILES = ("paper", "released", "mini")
BACKBONES = ("ViT-Base", "ViT-Large")
"""The groups of the paper's Table 4, which may have settings of their own."""

_SHAPES: dict[str, type[BaseModel]] = {
    "classification": ClassificationSettings,
    "detection": DetectionSettings,
    "segmentation": SegmentationSettings,
    "retrieval": RetrievalSettings,
    "caption": CaptionSettings,
    "vqa": VqaSettings,
}


class SplitSettings(BaseModel):
    """The split rule in force (section 2.4 of the task specification)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    ratio: tuple[int, int] = Field(description="train to test")
    official: tuple[str, ...] = Field(description="data sets whose own split is used where it is shipped")


class Profile(BaseModel):
    """One whole protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    version: int = Field(ge=1, description="rises with every change of a value")
    about: str
    split: SplitSettings
    tasks: dict[str, dict[str, Any]] = Field(description="settings by task, before per-backbone changes")


@cache
def load_profile(name: str) -> Profile:
    """Reads and validates a profile, every task of it."""
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES, see="harness list profiles")
    raw = _read(name)
    tasks = {task: raw.pop(task) for task in _SHAPES if task in raw}
    lacking = sorted(set(_SHAPES) - set(tasks))
    if lacking:
        raise CheckError(f"profile {name} lacks settings for {', '.join(lacking)}", where=f"protocol/{name}.toml")
    try:
        profile = Profile(tasks=tasks, **raw)
    except ValidationError as error:
        raise CheckError(f"profile {name} does not hold: {error}", where=f"protocol/{name}.toml") from error
    for task in tasks:
        _require_known(profile, task)
        for backbone in BACKBONES:
            _settings(profile, task, backbone)
    return profile


ByHand = tuple[tuple[str, str], ...]
"""Values that a user sets instead of the profile's: (`task.key.key`, TOML value)."""


@cache
def task_settings(profile: str, task: str, backbone: str = "ViT-Base", by_hand: ByHand = ()) -> TaskSettings:
    """The settings of one task for a backbone group; groups without changes of their own get the common ones.

    The six question tasks share the settings named `vqa`.
    """
    return _settings(load_profile(profile), _settings_name(task), backbone, by_hand)


@cache
def common_settings(profile: str, task: str, by_hand: ByHand = ()) -> TaskSettings:
    """The settings of one task without what a backbone changes: what all rows of a table have in common."""
    return _settings(load_profile(profile), _settings_name(task), "", by_hand)


def parse_by_hand(items: Sequence[str]) -> ByHand:
    """`segmentation.augment=true`, `detection.training.epochs=3`: the task's settings must know the key."""
    chosen: dict[str, str] = {}
    for item in items:
        path, equals, value = item.partition("=")
        task, dot, _ = path.partition(".")
        if not (equals and value and dot):
            raise UsageError(f"not a setting: {item!r}", way_out="write --set TASK.KEY=VALUE, e.g. detection.window=7")
        if task not in _SHAPES:
            raise unknown_name("task with settings", task, _SHAPES, see="harness list paper")
        chosen[path] = value
    return tuple(sorted(chosen.items()))


def deviations_by_hand(task: str, by_hand: ByHand) -> tuple[str, ...]:
    """How a record says that a setting of this task is not the profile's."""
    return tuple(f"{path}={value}{BY_HAND}" for path, value in by_hand if path.startswith(f"{_settings_name(task)}."))


def _settings_name(task: str) -> str:
    return "vqa" if task.startswith("vqa_") else task


def _settings(profile: Profile, task: str, backbone: str, by_hand: ByHand = ()) -> TaskSettings:
    values = dict(profile.tasks[task])
    changes = values.pop("backbone", {})
    values = _merge(values, changes.get(backbone, {}))
    mine = {path.partition(".")[2]: value for path, value in by_hand if path.partition(".")[0] == task}
    for path, value in mine.items():
        keys = path.split(".")
        change: Any = _toml_value(value)
        for key in reversed(keys):
            change = {key: change}
        values = _merge(values, change)
    try:
        return _SHAPES[task].model_validate(values)  # type: ignore[return-value]
    except ValidationError as error:
        if mine:
            first = error.errors()[0]
            raise UsageError(
                f"{task} cannot be set so: {'.'.join(map(str, first['loc']))}: {first['msg']}",
                where=" ".join(f"--set {task}.{path}={value}" for path, value in mine.items()),
                way_out=f"see harness list {profile.name} for the keys and the values of the profile",
            ) from error
        raise CheckError(
            f"profile {profile.name} does not hold for {task}: {error}", where=f"protocol/{profile.name}.toml"
        ) from error


def _toml_value(text: str) -> Any:
    """A value as TOML writes it; what is none is taken as text, so that names need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _require_known(profile: Profile, task: str) -> None:
    """A misspelt backbone group would otherwise change nothing, in silence."""
    odd = sorted(set(profile.tasks[task].get("backbone", {})) - set(BACKBONES))
    if odd:
        raise CheckError(
            f"profile {profile.name} has settings of {task} for unknown backbones: {', '.join(odd)}",
            where=f"protocol/{profile.name}.toml",
            way_out=f"known are {', '.join(BACKBONES)}",
        )


def _read(name: str) -> dict[str, Any]:
    raw = tomllib.loads(files("tasks.protocol").joinpath(f"{name}.toml").read_text(encoding="utf-8"))
    below = raw.pop("extends", None)
    return _merge(_read(below), raw) if below else raw


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
