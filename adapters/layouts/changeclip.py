"""ChangeCLIP: OpenAI's names under `backbone.`, a feature pyramid beside them, and one quirk.

Upstream adds the class embedding twice, once as the token and once inside the position term (section 9.4 of the
adapter specification); a card with `doubled_class_token` gets the sum, so that the features are upstream's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.layouts import Converted
from adapters.layouts.openai_clip import MARKER, PROJECTION, named_as_ours
from adapters.layouts.tower import NoTowerError, find_tower

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

NAME = "changeclip"
PYRAMID = ("fpn1.", "fpn2.", "fpn3.", "fpn4.")


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """The fine-tuned tower, its class token doubled where the card says so."""
    tower = find_tower(state, MARKER, card, layout=NAME, usual=("backbone.",))
    if not any(name.startswith("fpn") for name in tower.inner) and not tower.prefix.endswith("backbone."):
        raise NoTowerError(
            "neither a backbone nor a feature pyramid of ChangeCLIP is in the file",
            way_out="name the trained change detector, or choose the layout openai_clip for a plain CLIP file",
        )
    converted, dropped = named_as_ours(tower, NAME, PROJECTION + PYRAMID)
    if card.architecture is not None and card.architecture.doubled_class_token and "cls_token" in converted:
        converted["cls_token"] = 2 * converted["cls_token"]
    return Converted(converted, (*dropped, *tower.outside))
