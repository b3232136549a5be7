"""A mask for every image: logits of its tiles, averaged where tiles overlap, cut to its size (section 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.datasets.records import ImageEntry
from tasks.segmentation.loss import likeliest, upsampled
from tasks.segmentation.tiling import Pixels, TileSet, Tiling
from tasks.training import autocast

BATCH = 32


def predict(
    model: nn.Module,
    to_input: Callable[[Tensor], Tensor],
    tiles: TileSet,
    entries: Sequence[ImageEntry],
    tiling: Tiling,
    device: torch.device,
    precision: str,
) -> Iterator[Pixels]:
    """The masks [height, width] of the images, in their order."""
    model.eval()

    def maps_of(low: int, high: int) -> Iterator[tuple[int, Tensor]]:
        """Row of the first tile of a batch, and the logits [K, B, side, side] of its pixels."""
        for start in range(low, high, BATCH):
            some = torch.from_numpy(np.array(tiles.pixels[start : min(start + BATCH, high)])).to(device)
            with torch.inference_mode(), autocast(device, precision):
                logits = model(to_input(some))
            with torch.inference_mode():
                yield start, upsampled(logits.float(), tiling.side)

    if tiling.stride < tiling.side:
        for entry, low, high in zip(entries, tiles.first[:-1], tiles.first[1:], strict=True):
            total = _overlaid(maps_of(int(low), int(high)), int(low), tiling, entry)
            yield likeliest(total[:, None])[0].cpu().numpy()
        return
    labels = np.empty((len(tiles.pixels), tiling.side, tiling.side), dtype=np.uint8)
    for start, maps in maps_of(0, len(labels)):
        labels[start : start + maps.shape[1]] = likeliest(maps).cpu().numpy()
    for entry, low, high in zip(entries, tiles.first[:-1], tiles.first[1:], strict=True):
        yield _side_by_side(labels[low:high], tiling, entry)


def _side_by_side(labels: Pixels, tiling: Tiling, entry: ImageEntry) -> Pixels:
    rows, columns = len(tiling.starts(entry.height)), len(tiling.starts(entry.width))
    whole = labels.reshape(rows, columns, tiling.side, tiling.side).swapaxes(1, 2)
    mask: NDArray[np.uint8] = whole.reshape(rows * tiling.side, columns * tiling.side)
    return mask[: entry.height, : entry.width]


def _overlaid(batches: Iterator[tuple[int, Tensor]], first: int, tiling: Tiling, entry: ImageEntry) -> Tensor:
    """Mean logits [K, height, width] of all windows that see a pixel."""
    rows, columns = tiling.starts(entry.height), tiling.starts(entry.width)
    corners = [(y, x) for y in rows for x in columns]
    total = windows = None
    for start, maps in batches:
        if total is None or windows is None:
            total = maps.new_zeros((len(maps), rows[-1] + tiling.side, columns[-1] + tiling.side))
            windows = torch.zeros_like(total[0])
        for position in range(maps.shape[1]):
            y, x = corners[start - first + position]
            total[:, y : y + tiling.side, x : x + tiling.side] += maps[:, position]
            windows[y : y + tiling.side, x : x + tiling.side] += 1
    assert total is not None and windows is not None  # every image has a tile
    return (total / windows)[:, : entry.height, : entry.width]
