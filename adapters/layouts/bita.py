"""BITA: its checkpoint keeps what was trained, of the vision side one layer norm; the tower is LAVIS's.

The runner removes frozen parameters before saving, and the tower is frozen, so usually `ln_vision` alone is there and
the blocks come from the companion file. A tower under `visual_encoder.` is preferred where there is one (section 9.14
of the adapter specification). `ln_vision` norms all tokens after the last block, which is our final norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.layouts import Converted
from adapters.layouts.openai_clip import MARKER, PROJECTION, named_as_ours
from adapters.layouts.tower import find_tower, shortened, unwrapped
from foundation.errors import CellError

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

NAME = "bita"
NORM = "ln_vision."


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """The trained norm, and the tower if the file has it."""
    names = unwrapped(state)
    norm = {name.replace(NORM, "norm."): value for name, value in names.items() if name.startswith(NORM)}
    if not norm:
        raise CellError(
            f"no layer norm {NORM[:-1]!r} in the file; its names start with {shortened(names)}",
            way_out="name BITA's own checkpoint_best.pth; the tower alone is the companion file",
        )
    others = {name: value for name, value in names.items() if not name.startswith(NORM)}
    if not any(name.endswith(f".{MARKER}") for name in others):
        return Converted(norm, tuple(others))
    tower = find_tower(others, MARKER, card, layout=NAME, usual=("visual_encoder.",))
    blocks, dropped = named_as_ours(tower, NAME, (*PROJECTION, "ln_post."))
    return Converted(blocks | norm, (*dropped, *tower.outside))
