"""One image file to one 8-bit grey array: the rule of section 2.2 of the task specification for every sample type."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.mean_clip import mean_clip_uint8
from foundation.hashing import hash_lines, hash_sources

_RESOLVED = {"1": "L", "P": "RGB", "CMYK": "RGB"}
"""Kinds of images whose samples are no grey values (palette indices, inks), and what shows the values."""


def read_raw(path: Path) -> NDArray[Any]:
    """The samples as the file holds them, one channel."""
    if path.suffix.lower() in {".tif", ".tiff"}:
        import tifffile

        array = tifffile.imread(path)
    else:
        from PIL import Image

        with Image.open(path) as image:
            mode = _RESOLVED.get(image.mode)
            array = np.asarray(image.convert(mode) if mode else image)
    return _one_channel(array)


def read_grey(path: Path) -> NDArray[np.uint8]:
    """8-bit data pass unchanged; wider and complex data go through the mean clip."""
    return to_grey(read_raw(path))


def to_grey(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The rule for samples that are read already."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if np.iscomplexobj(array):
        array = np.abs(array)
    amplitude = array.astype(np.float32)
    if not np.isfinite(amplitude).all():
        raise ValueError("holds values that are not finite")
    if amplitude.size and amplitude.min() < 0:
        raise ValueError("holds negative values, so it is no amplitude (decibels?)")
    return mean_clip_uint8(amplitude)


@cache
def decoding_hash() -> str:
    """What turns a file into pixels: our sources and the libraries. Caches of pixels and of their hashes hang on it."""
    home = Path(__file__).resolve().parent
    versions = [f"{name} {version(name)}" for name in ("pillow", "tifffile", "numpy")]
    return hash_lines([hash_sources([home / "decode.py", home / "mean_clip.py"]), *versions])


def _one_channel(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim == 3 and array.shape[2] in (3, 4):
        colour = array[..., :3]
        if not (np.array_equal(colour[..., 0], colour[..., 1]) and np.array_equal(colour[..., 1], colour[..., 2])):
            raise ValueError("is a colour image; one SAR channel is expected")
        array = colour[..., 0]
    if array.ndim != 2:
        raise ValueError(f"has the shape {array.shape}; one SAR channel is expected")
    if 0 in array.shape:
        raise ValueError("has no area")
    return array
