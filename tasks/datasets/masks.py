"""Colour-coded mask files to class ids (sections 5.2 and 5.3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.errors import BenchError, UsageError
from tasks.datasets.records import IGNORE, DatasetIndex, ImageEntry, Palette

NEAR = 30
"""A colour means what a palette colour means that differs by at most this in every channel (section 5.2)."""


class DecodedMask(NamedTuple):
    """Class ids with 255 for ignored pixels, and how many pixels had a colour that means nothing."""

    ids: NDArray[np.uint8]
    unknown: int


def read_mask(index: DatasetIndex, entry: ImageEntry) -> NDArray[np.uint8]:
    """The class ids of an image's pixels, 255 where they are ignored; unknown colours were counted by the index."""
    if not entry.mask:
        raise UsageError(f"{entry.image_id} has no mask", where=index.dataset, way_out="ask for masks of segmentation")
    path = index.root / entry.mask
    try:
        return decode_mask(path, index.palette).ids
    except (OSError, ValueError) as error:
        raise BenchError(f"cannot read the mask: {error}", where=str(path), way_out="fetch the file anew") from error


def decode_mask(path: Path, palette: Palette) -> DecodedMask:
    """The class ids of a mask file."""
    return colours_to_ids(_read_colours(path), palette)


def colours_to_ids(colours: NDArray[np.uint8], palette: Palette) -> DecodedMask:
    """Class ids by the nearest colour within 30 per channel.

    Palette colours are more than 60 apart in some channel, so at most one of them is that near.

    Args:
        colours: [height, width, 3].
        palette: At most eight colours.
    """
    near = _near(palette)  # bit i: palette colour i is near in this channel
    bits = near[0][colours[..., 0]] & near[1][colours[..., 1]] & near[2][colours[..., 2]]
    meaning = np.full(256, IGNORE, dtype=np.uint8)
    for position, colour in enumerate(palette):
        meaning[1 << position] = colour.class_id
    ids: NDArray[np.uint8] = meaning[bits]
    return DecodedMask(ids, int((bits == 0).sum()))


def _near(palette: Palette) -> NDArray[np.uint8]:
    if not 0 < len(palette) <= 8:
        raise UsageError(f"a palette has one to eight colours, not {len(palette)}")
    colours = np.array([colour.rgb for colour in palette], dtype=np.int16)
    distances = np.abs(colours[:, None] - colours[None]).max(axis=-1)
    if len(palette) > 1 and distances[~np.eye(len(palette), dtype=bool)].min() <= 2 * NEAR:
        raise UsageError(f"two colours of the palette are within {2 * NEAR} of each other: {palette}")
    values = np.arange(256, dtype=np.int16)
    within = np.abs(values[None, None] - colours[..., None]) <= NEAR  # colour, channel, value
    weights = (1 << np.arange(len(palette))).astype(np.uint8)
    bits: NDArray[np.uint8] = (within * weights[:, None, None]).sum(axis=0).astype(np.uint8)
    return bits


def _read_colours(path: Path) -> NDArray[np.uint8]:
    array: NDArray[Any]
    if path.suffix.lower() in {".tif", ".tiff"}:
        import tifffile

        array = tifffile.imread(path)
    else:
        from PIL import Image

        with Image.open(path) as image:
            array = np.asarray(image.convert("RGB") if image.mode in {"P", "RGBA"} else image)
    if array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[2] not in (3, 4):
        array = np.moveaxis(array, 0, -1)  # channels stored as planes
    if array.ndim != 3 or array.shape[2] not in (3, 4) or array.dtype != np.uint8:
        raise ValueError(f"is no 8-bit colour mask: {array.dtype} of shape {array.shape}")
    if 0 in array.shape:
        raise ValueError("has no area")
    return np.ascontiguousarray(array[..., :3])
