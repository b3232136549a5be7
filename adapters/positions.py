"""Absolute position tables: fixed by formula, or kept as weights and resized to the grid at hand.

Which table is resized and which is made anew follows section 3.2 of the adapter specification: stored tables are
resized, sine-cosine ones too, because MAE and MoCo v3 order theirs differently; only the three-dimensional table of
Prithvi is made from its formula for every grid and is no weight at all.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from adapters.interface import Grid
from foundation.errors import UsageError

_WAVELENGTHS = 10_000.0  # base of the rates, in MAE as in Prithvi
_AXIS_SIXTEENTHS = 6  # of the width, for the column and for the row in Prithvi; time has the remaining 4 (section 9.5)


def resize_positions(table: Tensor, *, old: Grid, new: Grid, class_token: bool) -> Tensor:
    """A position table [1, N, D] for another grid: bicubic over the grid rows, the class row kept."""
    resized: Tensor = resample_abs_pos_embed(
        table, new_size=list(new), old_size=list(old), num_prefix_tokens=int(class_token)
    )
    return resized


def sincos_table(grid: Grid, width: int, *, class_token: bool) -> Tensor:
    """The fixed table of MAE: one half of the width for the column, one for the row; each sines, then cosines.

    (Section 3.2 of the adapter specification; MoCo v3 orders its table otherwise, and stores it.)
    """
    if width % 4:
        raise UsageError(f"a sine-cosine table needs a width that 4 divides, not {width}", way_out="change the width")
    rows, columns = _cells(grid)
    table = torch.cat([_waves(columns, width // 2), _waves(rows, width // 2)], dim=1)
    return _finished(table, class_token=class_token)


def sincos3d_table(grid: Grid, width: int, *, class_token: bool, frames: int = 1) -> Tensor:
    """The fixed table of Prithvi: 6/16 of the width for the column, 6/16 for the row, 4/16 for the time.

    Tokens are ordered by time, row and column, and the class row is zero (section 9.5 of the adapter specification).
    """
    if width % 16:
        raise UsageError(
            f"a sine-cosine table over space and time needs a width that 16 divides, not {width}",
            way_out="change the width",
        )
    axis = _AXIS_SIXTEENTHS * width // 16
    rows, columns = (cell.repeat(frames) for cell in _cells(grid))
    times = torch.arange(frames, dtype=torch.float64).repeat_interleave(grid.h * grid.w)
    table = torch.cat([_waves(columns, axis), _waves(rows, axis), _waves(times, width - 2 * axis)], dim=1)
    return _finished(table, class_token=class_token)


class TableMemory:
    """Remembers tables made for a grid while no gradient is wanted, and only as long as their source stays as it is."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Tensor] = {}

    def forget(self) -> None:
        """Drops all tables."""
        self._known.clear()

    def resized(self, table: Tensor, *, old: Grid, new: Grid, class_token: bool, training: bool) -> Tensor:
        """`table` for the grid `new`: differentiable where gradients are wanted, else remembered."""
        if new == old:
            return table

        def make() -> Tensor:
            return resize_positions(table, old=old, new=new, class_token=class_token)

        if training or (torch.is_grad_enabled() and table.requires_grad):
            return make()
        # The version counts writes in place, so weights loaded later are not answered with an old table.
        # Inference tensors count nothing; they cannot be written to either.
        version = None if table.is_inference() else table._version
        return self.remembered((new, table.device, table.dtype, table.data_ptr(), version), make)

    def remembered(self, key: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        """The table known under `key`, made first where it is not."""
        if key not in self._known:
            # Tensors made in inference mode could not be used for training later.
            with torch.inference_mode(False), torch.no_grad():
                self._known[key] = make()
        return self._known[key]


def _cells(grid: Grid) -> tuple[Tensor, Tensor]:
    """Row and column of every cell, in row order."""
    rows, columns = torch.meshgrid(
        torch.arange(grid.h, dtype=torch.float64), torch.arange(grid.w, dtype=torch.float64), indexing="ij"
    )
    return rows.reshape(-1), columns.reshape(-1)


def _waves(position: Tensor, width: int) -> Tensor:
    """[N, width]: sines, then cosines, of ever longer waves."""
    half = width // 2
    rates = _WAVELENGTHS ** -(torch.arange(half, dtype=torch.float64) / half)
    angle = position.reshape(-1, 1) * rates
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def _finished(table: Tensor, *, class_token: bool) -> Tensor:
    if class_token:
        table = torch.cat([torch.zeros(1, table.shape[1], dtype=table.dtype), table])
    return table.float().unsqueeze(0)
