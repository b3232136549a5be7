"""MoCo v3: upstream evaluates the base encoder, not the momentum one; its projector stands where a head would.

Third-party conversions with bare names are accepted (section 9.11 of the adapter specification).
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

NAME = "moco_v3"
PROJECTOR = "head."


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """The base encoder without its projector."""
    tower = find_tower(state, MARKER, card, layout=NAME, usual=("base_encoder.", ""))
    if card.architecture is None and tower.prefix != "base_encoder.":
        raise NoTowerError("no base encoder in the file", way_out="choose the layout timm")
    kept = {name: value for name, value in tower.inner.items() if not name.startswith(PROJECTOR)}
    dropped = [tower.prefix + name for name in tower.inner if name.startswith(PROJECTOR)]
    return Converted(kept, (*dropped, *tower.outside))
