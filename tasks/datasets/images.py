"""The pixels of an image entry: one grey channel, or the three channels of a polarisation composite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.decode import read_raw, to_grey
from tasks.datasets.records import DatasetIndex, ImageEntry


def read_pixels(index: DatasetIndex, entry: ImageEntry) -> NDArray[np.uint8]:
    """8-bit pixels, [height, width] or, of a composite, [height, width, 3]."""
    files = [index.root / name for name in (entry.path, *entry.more)]
    return to_pixels([read_raw(path) for path in files])


def to_pixels(raw: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:
    """8-bit pixels of what one image's files hold.

    Four files are HH, HV, VH, VV and make R = (HV + VH) / 2, G = HH, B = VV (section 5.3). Each channel is brought to
    8 bit by itself: cross-polarised echoes are much weaker and would vanish beside the others.
    """
    if len(raw) == 1:
        return to_grey(raw[0])
    hh, hv, vh, vv = raw
    if not hh.shape == hv.shape == vh.shape == vv.shape:
        raise ValueError(f"has polarisations of different sizes: {[band.shape for band in raw]}")
    cross = (_amplitude(hv) + _amplitude(vh)) / 2
    eight_bit = all(band.dtype == np.uint8 for band in raw)
    red = np.rint(cross).astype(np.uint8) if eight_bit else to_grey(cross)
    return np.stack([red, to_grey(hh), to_grey(vv)], axis=-1)


def _amplitude(band: NDArray[Any]) -> NDArray[np.float32]:
    values = np.abs(band) if np.iscomplexobj(band) else band
    return values.astype(np.float32)
