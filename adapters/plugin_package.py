"""A package of one's own for a model: the template with another name."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

from adapters.catalogue import shipped_cards
from foundation.errors import UsageError, storage_error
from foundation.files import write_bytes
from foundation.rooms import FLOORS

TEMPLATE = Path(__file__).with_name("plugin_template")
PLACEHOLDER = "my-sar-model"

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LEFT_BEHIND = {"__pycache__", ".pytest_cache"}


def write_plugin(name: str, folder: Path) -> list[Path]:
    """Writes a package for the model `name` into `folder`, which must be new or empty; returns its files."""
    module = _module(name)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError("the folder is not empty", where=str(folder), way_out="choose a new one with --out")
    except OSError as error:
        raise storage_error(error, folder) from error
    written = []
    for source in sorted(TEMPLATE.rglob("*")):
        inside = source.relative_to(TEMPLATE)
        if source.is_dir() or _LEFT_BEHIND & set(inside.parts):
            continue
        target = folder / _renamed(inside.as_posix(), name, module)
        write_bytes(target, _renamed(source.read_text(encoding="utf-8"), name, module).encode())
        written.append(target)
    return written


def _module(name: str) -> str:
    """The importable name; refuses what would stand in the way of something else."""
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"not a possible name for a package: {name!r}",
            way_out="use lower-case letters, digits and single hyphens, starting with a letter",
        )
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or module in FLOORS:
        raise UsageError(f"{module!r} is the name of a module already", way_out="choose another name")
    if name in {card.id for card in shipped_cards()}:
        raise UsageError(f"the name {name!r} belongs to the catalogue", way_out="choose another name")
    return module


def _renamed(text: str, name: str, module: str) -> str:
    printed = name.replace("-", " ").capitalize()
    text = text.replace(PLACEHOLDER, name).replace(PLACEHOLDER.replace("-", "_"), module)
    return text.replace("My SAR model", printed)
