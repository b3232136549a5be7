"""Random views of grey images, whole batches at a time, every choice from the generator that is given.

Cropping, flipping and resizing is one product with a matrix on each side: row i of a matrix says which source lines
make line i of the view. Enlarging is bilinear and shrinking reads every pixel, as in Pillow and in torch's resizing
with anti-aliasing. A blur is such a pair of matrices too. Colour jitter of hue and saturation and turning grey do
nothing to one channel and are left out (section 12 of the KLIP specification).

Accepted trade-off: brightness comes before contrast, where the original recipes draw their order.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from klip.unimodal.settings import ViewSettings

_RECIPE_SIDE = 224
"""Side of the images that lengths in pixels of the recipes are meant for."""


class Boxes(NamedTuple):
    """Crops in the source, in pixels [B]: first corner and sides, fractions allowed."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


def view(pixels: Tensor, size: int, settings: ViewSettings, generator: torch.Generator, which: int = 0) -> Tensor:
    """Views [B, size, size] in 0..1 of 8-bit images [B, H, W]; `which` is 0 for the first view, 1 for the second."""
    images = pixels.float() / 255
    count = len(images)
    boxes = random_boxes(count, images.shape[1], images.shape[2], settings, generator)
    flip = _drawn(count, generator) < settings.flip
    images = crop(images, boxes, flip.to(images.device), size)
    images = _jittered(images, settings, generator)
    if settings.blur[which]:
        lo, hi = (sigma * size / _RECIPE_SIDE for sigma in settings.blur_sigma)
        sigma = lo + (hi - lo) * _drawn(count, generator)
        chosen = _drawn(count, generator) < settings.blur[which]
        images = torch.where(_aside(chosen, images), blurred(images, sigma.to(images.device)), images)
    if settings.solarise[which]:
        chosen = _drawn(count, generator) < settings.solarise[which]
        images = torch.where(_aside(chosen, images) & (images >= 0.5), 1 - images, images)
    return images


def random_boxes(count: int, height: int, width: int, settings: ViewSettings, generator: torch.Generator) -> Boxes:
    """Crops with an area and a ratio drawn from the settings, each as if tried until it fits: sides are cut to it."""
    area = _between(_drawn(count, generator), *settings.scale) * height * width
    log_lo, log_hi = math.log(settings.ratio[0]), math.log(settings.ratio[1])
    ratio = torch.exp(_between(_drawn(count, generator), log_lo, log_hi))
    wide = torch.sqrt(area * ratio).clamp(1, width)
    high = torch.sqrt(area / ratio).clamp(1, height)
    top = _drawn(count, generator) * (height - high)
    left = _drawn(count, generator) * (width - wide)
    return Boxes(top, left, high, wide)


def crop(images: Tensor, boxes: Boxes, flip: Tensor, size: int) -> Tensor:
    """The boxes of images [B, H, W] as [B, size, size], mirrored left to right where `flip` [B] says so."""
    device = images.device
    rows = _resampling(boxes.top.to(device), boxes.height.to(device), images.shape[1], size)
    columns = _resampling(boxes.left.to(device), boxes.width.to(device), images.shape[2], size)
    columns = torch.where(flip.view(-1, 1, 1), columns.flip(1), columns)
    return rows @ images @ columns.transpose(1, 2)


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of images [B, S, S] with a width in pixels of its own for each [B]; borders weigh what is there."""
    at = torch.arange(images.shape[1], device=images.device, dtype=images.dtype)
    distance = (at[:, None] - at[None, :]).square()
    weights = torch.exp(-0.5 * distance / sigma.clamp(min=1e-3).square().view(-1, 1, 1))
    weights = weights / weights.sum(dim=2, keepdim=True)
    return weights @ images @ weights.transpose(1, 2)


def _resampling(start: Tensor, length: Tensor, source: int, size: int) -> Tensor:
    """[B, size, source]: weights of source pixels, a triangle at least a pixel wide, cut at the borders of the box."""
    scale = (length / size).view(-1, 1, 1)
    reach = scale.clamp(min=1.0)
    at = torch.arange(size, device=start.device, dtype=torch.float32).view(1, -1, 1)
    centre = start.view(-1, 1, 1) + (at + 0.5) * scale
    pixel = torch.arange(source, device=start.device, dtype=torch.float32).view(1, 1, -1) + 0.5
    weights = (1 - (pixel - centre).abs() / reach).clamp(min=0)
    first, last = start.view(-1, 1, 1), (start + length).view(-1, 1, 1)
    weights = weights * ((pixel > first - 0.5) & (pixel < last + 0.5))
    return weights / weights.sum(dim=2, keepdim=True)


def _jittered(images: Tensor, settings: ViewSettings, generator: torch.Generator) -> Tensor:
    if not settings.brightness and not settings.contrast:
        return images
    count = len(images)
    chosen = _aside(_drawn(count, generator) < settings.jitter, images)
    bright = _aside(_between(_drawn(count, generator), 1 - settings.brightness, 1 + settings.brightness), images)
    strong = _aside(_between(_drawn(count, generator), 1 - settings.contrast, 1 + settings.contrast), images)
    lit = (images * bright).clamp(0, 1)
    mean = lit.mean(dim=(1, 2), keepdim=True)
    return torch.where(chosen, (mean + (lit - mean) * strong).clamp(0, 1), images)


def _drawn(count: int, generator: torch.Generator) -> Tensor:
    """Numbers between 0 and 1, drawn where the generator lives: on the CPU, so that a GPU sees the same views."""
    return torch.rand(count, generator=generator, device=generator.device)


def _between(drawn: Tensor, lo: float, hi: float) -> Tensor:
    return lo + (hi - lo) * drawn


def _aside(values: Tensor, images: Tensor) -> Tensor:
    """[B] on the images' device, shaped to stand beside [B, H, W]."""
    return values.to(images.device).view(-1, 1, 1)
