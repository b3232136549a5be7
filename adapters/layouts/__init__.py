"""Checkpoint layouts: one small pure function each, from a file's tensor names to the canonical ones.

A layout is a module of this folder with `convert(state, card) -> Converted`. It never touches files, devices or
models. The table below is text, so that planning can ask for a layout's existence without importing torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from foundation.errors import BenchError
from foundation.names import unknown_name

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard


class Converted(NamedTuple):
    """Tensors under canonical names (section 3.1 of the adapter specification), and what was left out on purpose."""

    state: dict[str, Tensor]
    dropped: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What a reader of the numbers should know of this file."""


class Recognised(NamedTuple):
    """A layout that a file's names fit, and what its shapes speak of, in words."""

    layout: str
    description: str


Layout = Callable[[Mapping[str, "Tensor"], "ModelCard"], Converted]

LAYOUTS = {
    "hivit": "adapters.layouts.hivit",
    "sar_jepa": "adapters.layouts.sar_jepa",
    "prithvi": "adapters.layouts.prithvi",
    "moco_v3": "adapters.layouts.moco_v3",
    "blip": "adapters.layouts.blip",
    "hf_blip": "adapters.layouts.hf_blip",
    "bita": "adapters.layouts.bita",
    "changeclip": "adapters.layouts.changeclip",
    "mmseg_vit": "adapters.layouts.mmseg_vit",
    "hf_clip": "adapters.layouts.hf_clip",
    "openai_clip": "adapters.layouts.openai_clip",
    "hf_vit": "adapters.layouts.hf_vit",
    "flax_npz": "adapters.layouts.flax_npz",
    "timm": "adapters.layouts.plain",
}
"""Layout name -> module, the particular before the general. One line and one file per further layout."""


def layout(name: str) -> Layout:
    """The function that reads this layout."""
    if name not in LAYOUTS:
        raise unknown_name("checkpoint layout", name, LAYOUTS, see="harness list models")
    convert: Layout = import_module(LAYOUTS[name]).convert
    return convert


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Recognised, ...]:
    """The layouts that a file with tensors of these names and shapes can be read by, the most particular first.

    Each comes with a description of the encoder found in it; empty where no layout finds one.
    """
    import torch

    from adapters.card import ModelCard, WeightSource
    from adapters.layouts.description import described

    # A card that states nothing: layouts then tell what there is, not what is wanted.
    anything = ModelCard(
        id="any", name="any", backbone="other", kind="any", architecture=None, weights=WeightSource(kind="none")
    )
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    found = []
    for name in LAYOUTS:
        try:
            converted = layout(name)(state, anything)
        except BenchError:
            continue
        words = described({key: tuple(value.shape) for key, value in converted.state.items()}, name, shapes)
        if words:
            found.append(Recognised(name, words))
    return tuple(found)
