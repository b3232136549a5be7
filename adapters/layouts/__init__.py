"""Checkpoint layouts: one small pure function each, from a file's tensor names to the canonical ones.

A layout is a module of this folder with `convert(state, card) -> Converted`. It never touches files, devices or
models. The table below is text, so that planning can ask for a layout's existence without importing torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from foundation.names import unknown_name

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard


class Converted(NamedTuple):
    """Tensors under canonical names (section 3.1 of the adapter specification), and what was left out on purpose."""

    state: dict[str, Tensor]
    dropped: tuple[str, ...]


Layout = Callable[[Mapping[str, "Tensor"], "ModelCard"], Converted]

LAYOUTS = {
    "timm": "adapters.layouts.plain",
}
"""Layout name -> module. One line and one file per further layout."""


def layout(name: str) -> Layout:
    """The function that reads this layout."""
    if name not in LAYOUTS:
        raise unknown_name("checkpoint layout", name, LAYOUTS, see="harness list models")
    convert: Layout = import_module(LAYOUTS[name]).convert
    return convert
