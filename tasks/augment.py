"""Random resized crops and flips, drawn per image, whatever batch it is in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from tasks.protocol.settings import RandomCrop


def random_crop_box(height: int, width: int, crop: RandomCrop, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height, width of a crop: ten tries for the drawn area and ratio, then the largest centred one."""
    area = height * width
    for _ in range(10):
        target = area * rng.uniform(*crop.scale)
        ratio = math.exp(rng.uniform(math.log(crop.ratio[0]), math.log(crop.ratio[1])))
        crop_width, crop_height = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(0, height - crop_height + 1))
            left = int(rng.integers(0, width - crop_width + 1))
            return top, left, crop_height, crop_width
    ratio = min(max(width / height, crop.ratio[0]), crop.ratio[1])
    crop_width = min(width, round(height * ratio))
    crop_height = min(height, round(width / ratio))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def augment(
    images: Sequence[NDArray[np.uint8]],
    size: int,
    crop: RandomCrop,
    flip: float,
    rngs: Sequence[np.random.Generator],
) -> Tensor:
    """Crops, resizes (bicubic, antialiased) and flips each image with its own generator; 8-bit grey [B, size, size]."""
    out = torch.empty((len(images), size, size), dtype=torch.uint8)
    for position, (image, rng) in enumerate(zip(images, rngs, strict=True)):
        top, left, height, width = random_crop_box(image.shape[0], image.shape[1], crop, rng)
        piece = torch.from_numpy(np.array(image[top : top + height, left : left + width]))
        resized = interpolate(piece[None, None].float(), size=(size, size), mode="bicubic", antialias=True)
        grey = resized[0, 0].round_().clamp_(0, 255).to(torch.uint8)
        out[position] = grey.flip(-1) if rng.random() < flip else grey
    return out
