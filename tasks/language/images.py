"""Images of language tasks: whole, squeezed into the square, and disturbed in intensity alone.

No flip, crop, rotation or shear: texts speak of positions and counts (decision 6 of the task specification).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.progress import Progress, silent
from foundation.seeds import derive_seed
from tasks.datasets.records import DatasetIndex, ImageEntry
from tasks.images import ImageSource, load_whole
from tasks.task import Twin

Squares = NDArray[np.uint8]
_GREYS = np.arange(256, dtype=np.float32)


def squares(
    index: DatasetIndex,
    images: Sequence[ImageEntry],
    size: int,
    *,
    twin: Twin = "none",
    seed: int = 0,
    progress: Progress = silent,
) -> Squares:
    """Images [N, size, size]; noise of the same shape for the noise twin."""
    if twin == "noise_images":
        noise = [
            np.random.default_rng(derive_seed("noise", seed, image.image_id)).integers(0, 256, (size, size), np.uint8)
            for image in images
        ]
        return np.stack(noise) if noise else np.empty((0, size, size), dtype=np.uint8)
    sources = [ImageSource(index.root / image.path, image.pixel_hash) for image in images]
    return load_whole(sources, size, progress)


def jittered(images: Squares, strength: float, generators: Sequence[np.random.Generator]) -> Tensor:
    """Brightness and contrast of each image changed by up to `strength`; every pixel stays where it is."""
    if not strength:
        return torch.from_numpy(np.array(images))
    changed = np.empty_like(images)
    for row, (image, generator) in enumerate(zip(images, generators, strict=True)):
        brightness, contrast = generator.uniform(1 - strength, 1 + strength, 2)
        centre = float(image.mean())
        table = np.clip((_GREYS - centre) * contrast + centre * brightness, 0, 255).astype(np.uint8)
        changed[row] = table[image]
    return torch.from_numpy(changed)
