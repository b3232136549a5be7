"""Arrays of pixels that are made once and shared by all models through the page cache: nothing is decoded per epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.decode import decoding_hash
from foundation.cache import cache_root
from foundation.files import exclusive, write_atomic
from foundation.hashing import hash_lines, hash_sources

Pixels = NDArray[np.uint8]


def cached_array(
    kind: str,
    parts: Sequence[str],
    shape: tuple[int, ...],
    fill: Callable[[Pixels], None],
    *,
    sources: Sequence[Path],
) -> Pixels:
    """A read-only array, from the cache where it is there and whole.

    Args:
        kind: What it holds, in a word; part of the file's name.
        parts: Everything its content hangs on: sizes, options, the hash of every image, in order.
        shape: Its shape.
        fill: Writes the content into an empty array.
        sources: The code that decides the content; another version makes another file.
    """
    name = hash_lines([kind, decoding_hash(), _code(tuple(sources)), str(shape), *parts])
    path = cache_root() / "images" / f"{name[:24]}-{kind}.npy"
    with exclusive(path.with_suffix(".lock")):
        if path.exists():
            try:
                return _stored(path, shape)
            except (OSError, ValueError, EOFError):
                path.unlink(missing_ok=True)  # damaged: it can be made again
        pixels: Pixels = np.empty(shape, dtype=np.uint8)
        fill(pixels)
        write_atomic(path, lambda stream: np.save(stream, pixels))
        return _stored(path, shape)


@cache
def _code(sources: tuple[Path, ...]) -> str:
    return hash_sources(sources)


def _stored(path: Path, shape: tuple[int, ...]) -> Pixels:
    loaded: Pixels = np.load(path, mmap_mode="r")
    if loaded.shape != shape or loaded.dtype != np.uint8:
        raise ValueError(f"holds {loaded.dtype} of shape {loaded.shape}")
    return loaded
