"""SARATR-X and other HiViT files: upstream's names are ours.

The file's `norm` belongs to the decoder's side (it norms three levels side by side), so it is left out with the
decoder (section 9.15 of the adapter specification).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.layouts import Converted
from adapters.layouts.plain import HEADS
from adapters.layouts.tower import NoTowerError, find_tower

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

NAME = "hivit"
MARKER = "patch_embed.proj.weight"
TABLE = "absolute_pos_embed"
OTHERS = ("norm.", "mask_token", "decoder_", "sarfeature", *HEADS)


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """Stem and main stage."""
    tower = find_tower(state, MARKER, card, layout=NAME, usual=("",))
    if TABLE not in tower.inner:
        raise NoTowerError(
            f"no {TABLE!r} in the file: this is not a HiViT",
            way_out="choose the layout timm for a plain vision transformer",
        )
    kept = {name: value for name, value in tower.inner.items() if not name.startswith(OTHERS)}
    dropped = [tower.prefix + name for name in tower.inner if name.startswith(OTHERS)]
    return Converted(kept, (*dropped, *tower.outside))
