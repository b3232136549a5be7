"""SAR-JEPA: timm's names, a table of relative positions in every block, decoder and gradient kernels beside them.

The file stores an absolute position table that upstream never adds, neither in pre-training nor in fine-tuning
(section 9.9 of the adapter specification): it is left out. Only a card that asks for a learned table, as pipelines
built on a plain ViT do, gets it, without the relative ones.
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

NAME = "sar_jepa"
RELATIVE = "rpe_k.lookup_table_weight"
OTHERS = ("mask_token", "encoder_pred.", "decoder_", "sarfeature")


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """The encoder with its relative positions."""
    tower = find_tower(state, MARKER, card, layout=NAME, usual=("",))
    if not any(name.endswith(RELATIVE) for name in tower.inner):
        raise NoTowerError(
            "no tables of relative positions in the file: this is not SAR-JEPA",
            way_out="choose the layout timm for a plain vision transformer",
        )
    absolute = card.architecture is not None and card.architecture.position == "learned"
    dropped = [name for name in tower.inner if name.startswith(OTHERS)]
    dropped += [] if absolute else ["pos_embed"] if "pos_embed" in tower.inner else []
    kept = {name: value for name, value in tower.inner.items() if name not in set(dropped)}
    return Converted(kept, (*dropped, *tower.outside))
