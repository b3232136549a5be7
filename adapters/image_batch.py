"""What every encoder asks of a batch of images before it looks at one."""

from __future__ import annotations

from torch import Tensor

from adapters.interface import Grid
from foundation.errors import UsageError


def require_images(images: Tensor, channels: int) -> None:
    """Refuses whatever is not [B, `channels`, H, W]."""
    if images.ndim != 4 or images.shape[1] != channels:
        raise UsageError(
            f"images of shape {tuple(images.shape)} where [B, {channels}, H, W] is expected",
            way_out=f"prepare the images with the card's input contract ({channels} channels)",
        )


def token_grid(height: int, width: int, patch: int, *, where: str) -> Grid:
    """The grid of patches of an image; sides that the patch does not divide are refused."""
    if height % patch or width % patch or not height or not width:
        near = sorted({max(patch, side // patch * patch + more) for side in (height, width) for more in (0, patch)})
        raise UsageError(
            f"an image of {height} x {width} pixels cannot be cut into patches of {patch}",
            where=where,
            way_out=f"use sides that {patch} divides, for example {' or '.join(map(str, near))}",
        )
    return Grid(height // patch, width // patch)
