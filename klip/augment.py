"""Augmentation that does not make texts wrong (section 2.5), a batch at a time.

Texts speak of positions, counts and sizes, so `safe` moves an image by little and never mirrors it: a crop of 90 to
100 % of the area, brightness, contrast, and now and then another speckle. `blip` is the augmentation of the public
recipe in kind, for comparison. All draws come from the given generator: the same one gives the same images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

Augmentation = Literal["safe", "blip", "none"]

JITTER = 0.2  # section 2.5: brightness and contrast
LOOKS = (4.0, 8.0, 16.0)  # section 2.5
SPECKLED = 0.3  # section 2.5: share of images with additional speckle


class _Crop(NamedTuple):
    scale: tuple[float, float]
    """Share of the area."""
    ratio: tuple[float, float]
    """Width to height."""


_SAFE = _Crop(scale=(0.9, 1.0), ratio=(0.95, 1.05))  # section 2.5
_BLIP = _Crop(scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3))  # section 2.5; ratios of the usual random resized crop

_OPERATIONS = 2  # [B] operations of RandAugment per image
_SHEAR = 0.15  # [B] strength 5 of 10 of the public recipe, whose strongest shear is 0.3
_ROTATE = math.radians(15)  # [B] the strongest is 30 degrees
_TRANSLATE = 0.1  # of the side, in units of half of it: 5 % of the image
_KINDS = 8
"""Operations that two are drawn from: nothing, brightness, contrast, two shears, two shifts, a rotation."""


def augment(pixels: Tensor, generator: Generator, mode: Augmentation) -> Tensor:
    """8-bit images [B, S, S] to float ones, 0 to 1, on the device of `pixels`; the generator must live there too."""
    images = pixels.float().div_(255)
    if mode == "none":
        return images
    if mode == "safe":
        images = _sampled(images, _crop(len(images), _SAFE, generator))
        images = _jittered(images, *_jitter(len(images), generator))
        return _speckled(images, generator).clamp_(0, 1)
    cropped = _crop(len(images), _BLIP, generator) @ _mirrored(len(images), generator)
    for _ in range(_OPERATIONS):
        kind = torch.randint(_KINDS, (len(images),), generator=generator, device=images.device)
        strength = 1 - 2 * torch.randint(2, (len(images),), generator=generator, device=images.device).float()
        cropped = cropped @ _moved(kind, strength)
        images = _jittered(images, 1 + JITTER * strength * (kind == 1), 1 + JITTER * strength * (kind == 2))
    return _sampled(images, cropped).clamp_(0, 1)


def normalise(images: Tensor, mean: float | Sequence[float], std: float | Sequence[float]) -> Tensor:
    """Grey images [B, S, S], 0 to 1, as three normalised channels [B, 3, S, S]."""
    centre = torch.as_tensor(mean, dtype=images.dtype, device=images.device).expand(3).view(1, 3, 1, 1)
    spread = torch.as_tensor(std, dtype=images.dtype, device=images.device).expand(3).view(1, 3, 1, 1)
    return (images[:, None] - centre) / spread


def _uniform(count: int, generator: Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device) * (high - low) + low


def _crop(count: int, crop: _Crop, generator: Generator) -> Tensor:
    """Maps [count, 3, 3] from the output to the image, both from -1 to 1: a random resized crop.

    A crop that would not fit is made as wide, or as high, as the image.
    """
    scale = _uniform(count, generator, *crop.scale)
    ratio = _uniform(count, generator, math.log(crop.ratio[0]), math.log(crop.ratio[1])).exp()
    width = (scale * ratio).sqrt().clamp_(max=1)
    height = (scale / ratio).sqrt().clamp_(max=1)
    maps = torch.zeros(count, 3, 3, device=generator.device)
    maps[:, 0, 0], maps[:, 1, 1], maps[:, 2, 2] = width, height, 1.0
    maps[:, 0, 2] = (1 - width) * _uniform(count, generator, -1, 1)
    maps[:, 1, 2] = (1 - height) * _uniform(count, generator, -1, 1)
    return maps


def _mirrored(count: int, generator: Generator) -> Tensor:
    """Maps of a horizontal flip for every second image."""
    maps = torch.eye(3, device=generator.device).repeat(count, 1, 1)
    maps[:, 0, 0] = torch.where(_uniform(count, generator) < 0.5, -1.0, 1.0)
    return maps


def _moved(kind: Tensor, strength: Tensor) -> Tensor:
    """Maps of the operations 3 to 7; of the others the identity."""
    maps = torch.eye(3, device=kind.device).repeat(len(kind), 1, 1)
    angle = _ROTATE * strength * (kind == 7)
    maps[:, 0, 0] = maps[:, 1, 1] = angle.cos()
    maps[:, 0, 1] = _SHEAR * strength * (kind == 3) - angle.sin()
    maps[:, 1, 0] = _SHEAR * strength * (kind == 4) + angle.sin()
    maps[:, 0, 2] = _TRANSLATE * strength * (kind == 5)
    maps[:, 1, 2] = _TRANSLATE * strength * (kind == 6)
    return maps


def _sampled(images: Tensor, maps: Tensor) -> Tensor:
    shape = (len(images), 1, *images.shape[1:])
    grid = affine_grid(maps[:, :2], list(shape), align_corners=False)
    # Beyond the border the nearest pixel goes on: a black edge would be a shadow.
    return grid_sample(images[:, None], grid, mode="bicubic", padding_mode="border", align_corners=False)[:, 0]


def _jitter(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    return _uniform(count, generator, 1 - JITTER, 1 + JITTER), _uniform(count, generator, 1 - JITTER, 1 + JITTER)


def _jittered(images: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
    """Grey values times `brightness`, then their distance to the image's mean times `contrast`."""
    mean = images.mean(dim=(1, 2)) * brightness
    gain = brightness * contrast
    return torch.addcmul((mean * (1 - contrast))[:, None, None], images, gain[:, None, None])


def _speckled(images: Tensor, generator: Generator) -> Tensor:
    """Further speckle on some images: power times gamma of L looks with mean one, so amplitude times its root."""
    looks = torch.tensor(LOOKS, device=images.device)
    drawn = looks[torch.randint(len(LOOKS), (len(images),), generator=generator, device=images.device)]
    chosen = (_uniform(len(images), generator) < SPECKLED).nonzero()[:, 0]
    shape = drawn[chosen, None, None].expand(-1, *images.shape[1:]).contiguous()
    factor = torch._standard_gamma(shape, generator=generator).div_(shape).sqrt_()
    return images.index_copy(0, chosen, images[chosen].clamp_(min=0).mul_(factor))
