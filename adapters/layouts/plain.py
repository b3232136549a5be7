"""timm's own names, which are the canonical ones: nothing to rename.

Also what MAE, DeiT and BLIP towers are written in. Wrappers of distributed training put `module.` in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.layouts import Converted

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

WRAPPER = "module."
HEADS = ("head.", "head_dist.", "fc_norm.", "fc.", "classifier.")
"""Classifiers and the norm in front of them: they belong to the task of the file, not to the encoder."""


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:  # noqa: ARG001 (the form of every layout)
    """Strips the wrapper's prefix and drops classifier heads."""
    kept: dict[str, Tensor] = {}
    dropped = []
    for name, value in state.items():
        name = name.removeprefix(WRAPPER)
        if name.startswith(HEADS):
            dropped.append(name)
        else:
            kept[name] = value
    return Converted(kept, tuple(dropped))
