"""Images with something to learn (bright and dark halves, bars, discs), and modules to learn it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from klip.unimodal.baseline import Baseline, InputStatistics
from klip.unimodal.run import IMAGE_METHODS
from klip.unimodal.settings import BaselineSettings, settings_of

SMALL = (
    "tower.width=32",
    "tower.depth=2",
    "tower.heads=2",
    "tower.image_size=32",
    "mae.decoder_width=32",
    "mae.decoder_depth=1",
    "mae.decoder_heads=2",
    "moco.hidden=64",
    "moco.out=16",
    "jepa.window=2",
    "jepa.predictor_width=32",
    "jepa.predictor_depth=1",
    "jepa.predictor_heads=2",
    "jepa.half_sizes=[2, 4]",
)
"""A tower of 32 x 2 for images of 32 pixels: 4 x 4 patches."""


def structured(count: int, side: int = 64, seed: int = 0, speckle: float = 0.1) -> NDArray[np.uint8]:
    """[count, side, side]: a slope, a bar and a disc, each somewhere else."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    pixels = np.empty((count, side, side))
    for i in range(count):
        angle, place = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.8, 2)
        across = np.cos(angle) * (rows - place[0]) + np.sin(angle) * (columns - place[1])
        image = 0.3 + 0.3 * np.tanh(4 * across)
        image += 0.3 * (np.abs(across - 0.2) < 0.05)
        centre = rng.uniform(0.2, 0.8, 2)
        image += 0.4 * ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 0.02)
        pixels[i] = image * (1 + speckle * rng.standard_normal((side, side)))
    return (pixels.clip(0, 1) * 255).astype(np.uint8)


def small_settings(method: str, *changes: str, size: str = "tiny") -> BaselineSettings:
    """A method with a very small tower."""
    return settings_of(method, size, changes=(*SMALL, *changes))


def small_module(method: str, *changes: str) -> Any:
    """The module of an image method; statistics that do nothing."""
    settings = small_settings(method, *changes)
    channels = settings.tower.channels
    return IMAGE_METHODS[method](settings, InputStatistics((0.5,) * channels, (0.25,) * channels))


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def learnt(module: Baseline, pixels: NDArray[np.uint8], steps: int, *, rate: float, batch: int = 32) -> list[float]:
    """Losses of a bare loop over random batches."""
    optimiser = torch.optim.AdamW([one for one in module.parameters() if one.requires_grad], lr=rate, fused=True)
    generator, losses = seeded(), []
    for step in range(steps):
        rows = torch.randint(len(pixels), (batch,), generator=generator)
        found: dict[str, Tensor] = module(module.views_of(torch.from_numpy(pixels[rows.numpy()]), generator), generator)
        found["loss"].backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        module.follow(step + 1, steps)
        losses.append(float(found["loss"].detach()))
    return losses
