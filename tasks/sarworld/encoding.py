"""Chips as the bytes of the files that the real data sets have: 8-bit JPEG, 8-bit TIFF, 16-bit TIFF."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

JPEG_QUALITY = 95
COUNTS_PER_AMPLITUDE = 2000.0
"""Of a 16-bit chip: tarmac lies near 250 counts, and 30 dB, brighter than any target, just fits."""
# Share of a chip's pixels below the white level. Published SAR-ACD chips saturate in 0.1 to 0.4 % of their pixels; ours
# in more, or else a single glint would leave the aircraft dark and the classes beyond a small network's reach.
_AIRCRAFT_WHITE, _SHIP_WHITE = 0.985, 0.998


def jpeg(amplitude: NDArray[np.float32]) -> bytes:
    """8-bit grey JPEG scaled to the chip's peak, as the published SAR-ACD chips are."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(_peak_uint8(amplitude, _AIRCRAFT_WHITE)).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def tiff8(amplitude: NDArray[np.float32]) -> bytes:
    """8-bit TIFF scaled to the chip's peak: dark sea, bright ship."""
    return _tiff(_peak_uint8(amplitude, _SHIP_WHITE))


def tiff16(amplitude: NDArray[np.float32]) -> bytes:
    """16-bit TIFF of amplitude counts, the same scale on all chips."""
    return _tiff(np.rint(np.minimum(amplitude * COUNTS_PER_AMPLITUDE, 65535)).astype(np.uint16))


def _peak_uint8(amplitude: NDArray[np.float32], white: float) -> NDArray[np.uint8]:
    peak = max(float(np.quantile(amplitude, white)), 1e-12)
    grey: NDArray[np.uint8] = np.rint(np.minimum(amplitude / peak, 1.0) * 255).astype(np.uint8)
    return grey


def _tiff(pixels: NDArray[Any]) -> bytes:
    import tifffile

    stream = io.BytesIO()
    # No description and no software tag: nothing but the pixels decides the bytes.
    tifffile.imwrite(stream, pixels, photometric="minisblack", metadata=None, software=False)
    return stream.getvalue()


ENCODERS = {"sar_acd": jpeg, "fusar_ship": tiff8, "fusar_air": tiff16}
"""What each data set's files are."""
