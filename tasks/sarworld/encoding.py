"""Pixels as the bytes of PNG, JPEG and TIFF files; nothing but the pixels decides the bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]


def png(pixels: Grey) -> bytes:
    """8-bit PNG, grey or RGB."""
    return _pillow(pixels, "PNG")


def jpeg(grey: Grey, quality: int = 95) -> bytes:
    """8-bit grey JPEG."""
    return _pillow(grey, "JPEG", quality=quality)


def tiff(pixels: NDArray[Any]) -> bytes:
    """TIFF of any sample type; three channels are colours. Compressed without loss."""
    import tifffile

    stream = io.BytesIO()
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(stream, pixels, photometric=photometric, metadata=None, software=False, compression="zlib")
    return stream.getvalue()


def _pillow(pixels: Grey, kind: str, **options: Any) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()
