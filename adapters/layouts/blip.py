"""BLIP's own files, and FUSAR-KLIP's, which keep the same names: the tower is timm's under `visual_encoder.`.

Momentum copies end in `_m` and are never taken; queues, text encoder, decoder and heads are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.layouts import Converted
from adapters.layouts.plain import MARKER
from adapters.layouts.tower import NoTowerError, find_tower

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

NAME = "blip"


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """The tower alone."""
    tower = find_tower(state, MARKER, card, layout=NAME, usual=("visual_encoder.",))
    if not tower.prefix:
        raise NoTowerError("the file is a bare encoder, not BLIP's", way_out="choose the layout timm")
    return Converted(tower.inner, tuple(tower.outside))
