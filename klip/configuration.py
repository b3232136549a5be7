"""Settings from a file and from `--set key=value`, for every command of this room.

What stands later wins: preset and size, then the file, then `--set` in its order. Nothing heavy is imported.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from foundation.errors import CheckError, MissingError, UsageError
from foundation.names import unknown_name
from klip.settings import PRESETS, SIZES, PretrainingSettings

Kind = TypeVar("Kind", bound=BaseModel)


def pretraining_settings(
    preset: str = "paper", size: str = "base", file: Path | None = None, changes: Sequence[str] = ()
) -> PretrainingSettings:
    """The settings of KLIP that a command line asks for."""
    for kind, name, known in (("preset", preset, PRESETS), ("size", size, SIZES)):
        if name not in known:
            raise unknown_name(kind, name, known, see="klip settings --help")
    base = merged(SIZES[size], PRESETS[preset])
    return configured(PretrainingSettings, base, file=file, changes=changes, see="klip settings")


def configured(
    kind: type[Kind], base: Mapping[str, Any], *, file: Path | None = None, changes: Sequence[str] = (), see: str
) -> Kind:
    """Settings of a kind: `base`, over it the file, over it the changes; `see` is the command that lists the keys."""
    values = merged(base, read_file(file)) if file is not None else dict(base)
    given = [_change(text, see) for text in changes]
    for change in given:
        values = merged(values, change)
    require_known(kind, values, see)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"settings that cannot be meant: {place + ': ' if place else ''}{reason}",
            where=" ".join([*([str(file)] if file else []), *(f"--set {text}" for text in changes)]),
            way_out=f"see `{see}` for the keys and their values",
        ) from error


def read_file(path: Path) -> dict[str, Any]:
    """A settings file: TOML, or JSON as `klip settings --json` prints it; a run.json works too."""
    if not path.is_file():
        raise MissingError("no such settings file", where=str(path), way_out="give a .toml or .json file")
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise CheckError(f"cannot be read: {error}", where=str(path), way_out="mend the file") from error
    if isinstance(data, dict) and isinstance(data.get("settings"), dict):
        data = data["settings"]
    if not isinstance(data, dict):
        raise CheckError("not a table of settings", where=str(path), way_out="write key = value, or [group] tables")
    return _nested(data)


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """One table over another, group by group."""
    result = dict(base)
    for key, value in change.items():
        before = result.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        result[key] = merged(before, value) if both else value  # type: ignore[arg-type]  # both are tables
    return result


def keys(kind: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key of a kind of settings."""
    for name, field in kind.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{key}.")
        else:
            yield key


def _change(text: str, see: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not (key.strip() and equals and value.strip()):
        raise UsageError(
            f"not a setting: {text!r}", way_out=f"write --set key=value, e.g. optim.lr=1e-4; see `{see}` for the keys"
        )
    return _nested({key.strip(): _value(value.strip())})


def _nested(data: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as tables."""
    result: dict[str, Any] = {}
    for key, value in data.items():
        change: Any = _nested(value) if isinstance(value, dict) else value
        for part in reversed(str(key).split(".")):
            change = {part: change}
        result = merged(result, change)
    return result


def _value(text: str) -> Any:
    """A value as TOML writes it; what is none is text, so that names need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def require_known(kind: type[BaseModel], values: Mapping[str, Any], see: str) -> None:
    """Refuses keys that no setting of this kind has."""
    known = set(keys(kind))
    for key in _flat(values):
        if key not in known and not any(other.startswith(f"{key}.") for other in known):
            raise unknown_name("setting", key, known, see=see)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
