"""Pixels that the index has just decoded, kept for whoever asks first: with an empty cache an image is decoded once.

They are known by their hash, so what is handed out is what the file held when it was indexed. What was asked for is in
the cache of pixels afterwards and is let go. Accepted trade-off: other processes do not see them and decode anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

BUDGET = 128 * 2**20
"""Bytes that are kept at most; the oldest images go first."""


class JustDecoded:
    """Pixels by their hash, each handed out once."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self.held = 0
        """Bytes."""
        self._pixels: dict[str, Pixels] = {}
        self._lock = threading.Lock()

    def keep(self, pixel_hash: str, pixels: Pixels) -> None:
        """Remembers the pixels of that hash."""
        with self._lock:
            self._let_go(pixel_hash)
            self._pixels[pixel_hash] = pixels
            self.held += pixels.nbytes
            while self.held > self.budget:
                self._let_go(next(iter(self._pixels)))

    def take(self, pixel_hash: str, decode: Callable[[], Pixels]) -> Pixels:
        """The pixels of that hash, decoded where they are not remembered; they are forgotten now."""
        with self._lock:
            pixels = self._let_go(pixel_hash)
        return decode() if pixels is None else pixels

    def _let_go(self, pixel_hash: str) -> Pixels | None:
        pixels = self._pixels.pop(pixel_hash, None)
        self.held -= 0 if pixels is None else pixels.nbytes
        return pixels


JUST_DECODED = JustDecoded()
