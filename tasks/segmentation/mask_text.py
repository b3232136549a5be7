"""Masks as text: an 8-bit grey PNG in base64, the form of stored predictions and truth."""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CheckError

Mask = NDArray[np.uint8]

_WAY_OUT = "store each mask as the base64 of an 8-bit grey PNG of the image's size"


def mask_to_text(mask: Mask) -> str:
    """The text of a mask [height, width]; nothing but its values goes into it."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(mask)).save(buffer, format="PNG", compress_level=6)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def mask_from_text(text: object, *, what: str, size: tuple[int, int] | None = None) -> Mask:
    """The mask of a text.

    Args:
        text: As it was stored.
        what: Whose mask it is, for the message.
        size: Height and width that it must have; looked at before anything is unpacked.
    """
    from PIL import Image

    if not isinstance(text, str):
        raise CheckError(f"{what} is no text but {type(text).__name__}", way_out=_WAY_OUT)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise CheckError(f"{what} is not base64: {error}", way_out=_WAY_OUT) from error
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.mode != "L":
                raise CheckError(f"{what} is a PNG of mode {image.mode}, not of 8-bit grey", way_out=_WAY_OUT)
            if size is not None and (image.height, image.width) != size:
                raise CheckError(
                    f"{what} has {image.width} x {image.height} pixels, the image {size[1]} x {size[0]}",
                    way_out=_WAY_OUT,
                )
            return np.array(image, dtype=np.uint8)
    except CheckError:
        raise
    except Exception as error:  # Pillow raises everything, from OSError to struct.error
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckError(f"{what} is no PNG: {reason}", way_out=_WAY_OUT) from error
