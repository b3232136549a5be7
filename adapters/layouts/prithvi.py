"""Prithvi-EO-1.0 (100M), under its old bare names and under the newer `encoder.`.

Two things differ from MAE. The patch kernel has a time axis of one frame, which is removed: a convolution over one
frame is a convolution over an image. The stored position table is for three frames and follows from a formula that
the encoder has for any grid (section 9.5 of the adapter specification), so it is left out; a card that asks for a
learned table gets the rows of the first frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.layouts import Converted
from adapters.layouts.plain import MARKER
from adapters.layouts.tower import NoTowerError, find_tower
from foundation.errors import CellError

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

NAME = "prithvi"
FRAMES = 3  # of pre-training
TABLE_TOLERANCE = 1e-3  # a table that went through half precision still counts as the same
OTHERS = ("mask_token", "decoder_", "decoder.")


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """The encoder for one frame."""
    tower = find_tower(state, MARKER, card, layout=NAME, usual=("", "encoder.", "backbone."))
    kernel = tower.inner[MARKER]
    if kernel.ndim != 5:
        raise NoTowerError(
            f"the patch kernel {tuple(kernel.shape)} has no time axis: this is not Prithvi",
            way_out="choose the layout timm for a plain vision transformer",
        )
    if kernel.shape[2] != 1:
        raise CellError(
            f"the patch kernel spans {kernel.shape[2]} frames, and an image is one",
            way_out="use a file with patches of one frame, as Prithvi-EO-1.0 has",
        )
    dropped = [tower.prefix + name for name in tower.inner if name.startswith(OTHERS)]
    kept = {name: value for name, value in tower.inner.items() if not name.startswith(OTHERS)}
    kept[MARKER] = kernel.squeeze(2)
    notes: tuple[str, ...] = ()
    if "pos_embed" in kept:
        table = _one_frame(kept.pop("pos_embed"), card)
        if card.architecture is None or card.architecture.position != "sincos3d":
            kept["pos_embed"] = table
        else:
            dropped.append(f"{tower.prefix}pos_embed")
            notes = _compared(table, card.architecture.image_size // card.architecture.patch)
    return Converted(kept, (*dropped, *tower.outside), notes)


def _one_frame(table: Tensor, card: ModelCard) -> Tensor:
    """The class row and the rows of the first frame."""
    rows = table.shape[1] - 1
    cells = rows // FRAMES
    if card.architecture is not None:
        cells = (card.architecture.image_size // card.architecture.patch) ** 2
    return table[:, : 1 + cells] if 0 < cells < rows and rows % cells == 0 else table


def _compared(stored: Tensor, side: int) -> tuple[str, ...]:
    """A note where the stored table is not the one that the encoder makes."""
    from adapters.interface import Grid
    from adapters.positions import sincos3d_table

    ours = sincos3d_table(Grid(side, side), stored.shape[-1], class_token=True)
    if stored.is_meta or (stored.shape == ours.shape and (stored - ours).abs().max() <= TABLE_TOLERANCE):
        return ()
    return ("the file's position table is not the sine-cosine table of Prithvi, which the encoder uses",)
