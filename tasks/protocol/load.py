"""Reads a profile: a TOML file, the file it extends below it, and per-backbone changes on top."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foundation.errors import CheckError
from foundation.names import unknown_name
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


@cache
def task_settings(profile: str, task: str, backbone: str = "ViT-Base") -> TaskSettings:
    """The settings of one task for a backbone group; groups without changes of their own get the common ones.

    The six question tasks share the settings named `vqa`.
    """
    return _settings(load_profile(profile), _settings_name(task), backbone)


@cache
def common_settings(profile: str, task: str) -> TaskSettings:
    """The settings of one task without what a backbone changes: what all rows of a table have in common."""
    return _settings(load_profile(profile), _settings_name(task), "")


def _settings_name(task: str) -> str:
    return "vqa" if task.startswith("vqa_") else task


def _settings(profile: Profile, task: str, backbone: str) -> TaskSettings:
    values = dict(profile.tasks[task])
    changes = values.pop("backbone", {})
    values = _merge(values, changes.get(backbone, {}))
    try:
        return _SHAPES[task].model_validate(values)  # type: ignore[return-value]
    except ValidationError as error:
        raise CheckError(
            f"profile {profile.name} does not hold for {task}: {error}", where=f"protocol/{profile.name}.toml"
        ) from error


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
