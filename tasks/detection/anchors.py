"""Anchor boxes of all levels of a pyramid (section 4.1 of the task specification: one scale, three ratios).

Centres stand at multiples of the level's spacing from the top left corner, as in the libraries that the published
configuration builds on. Sides follow the level's nominal stride, so that encoders with patches of 14 and of 16 pixels
look for boxes of the same sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adapters.interface import Grid


def level_anchors(
    grid: Grid, *, spacing: float, side: float, ratios: Sequence[float], device: torch.device | None = None
) -> Tensor:
    """Anchors [h w A, 4], those of one place together; a ratio is height over width."""
    roots = torch.tensor(ratios, dtype=torch.float64).sqrt()
    half = 0.5 * side * torch.stack([1 / roots, roots], dim=1)
    rows, columns = (spacing * torch.arange(count, dtype=torch.float64) for count in grid)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    centres = torch.stack([x, y], dim=2).reshape(-1, 1, 2)
    return torch.cat([centres - half, centres + half], dim=2).reshape(-1, 4).float().to(device)
