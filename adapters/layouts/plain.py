"""timm's own names, which are the canonical ones: nothing to rename.

Also what MAE, DeiT and BLIP towers are written in. A prefix of whatever kind is taken off where the file holds one
encoder; networks of timm that are no vision transformers keep their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.layouts import Converted
from adapters.layouts.tower import find_tower, unwrapped

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

NAME = "timm"
MARKER = "patch_embed.proj.weight"
HEADS = ("head.", "head_dist.", "fc_norm.", "fc.", "classifier.")
"""Classifiers and the norm in front of them: they belong to the task of the file, not to the encoder."""


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """Strips prefixes and drops classifier heads."""
    names = unwrapped(state)
    outside: dict[str, Tensor] = {}
    if card.prefix is not None or any(name.endswith(f".{MARKER}") for name in names):
        _, names, outside = find_tower(names, MARKER, card, layout=NAME, usual=("",))
    return without_heads(names, outside)


def without_heads(inner: Mapping[str, Tensor], outside: Mapping[str, Tensor]) -> Converted:
    """The encoder's tensors and, under their own names, those beside it; classifiers are left out."""
    kept: dict[str, Tensor] = {}
    dropped = []
    for name, value in inner.items():
        if name.startswith(HEADS):
            dropped.append(name)
        else:
            kept[name] = value
    for name, value in outside.items():
        # A name outside the encoder that reads like one inside would be taken for it.
        if name in kept:
            dropped.append(name)
        else:
            kept[name] = value
    return Converted(kept, tuple(dropped))
