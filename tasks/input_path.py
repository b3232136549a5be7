"""From 8-bit pixels to an encoder's input, under a task's or the model's own statistics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from adapters.interface import LoadedModel
from adapters.sar_input import encoder_input, native_statistics
from tasks.protocol.settings import Normalisation

HH = 1
"""Channel of a composite that a model with one channel sees (R = cross, G = HH, B = VV: section 5.3)."""

InputPath = Callable[[Tensor], Tensor]


def input_path(loaded: LoadedModel, normalisation: Normalisation) -> InputPath:
    """What turns grey images [B, H, W], or composites [B, H, W, 3], into what this model expects."""
    if normalisation.source == "native":
        mean, std = native_statistics(loaded.contract)
        prepare = partial(encoder_input, contract=loaded.contract, mean=mean, std=std)
    else:
        prepare = partial(encoder_input, contract=loaded.contract, mean=normalisation.mean, std=normalisation.std)

    def to_input(pixels: Tensor) -> Tensor:
        if pixels.ndim == 3:
            return prepare(pixels)
        if loaded.contract.channels != pixels.shape[3]:
            return prepare(pixels[..., HH])
        # Grey goes one way only, so what that way makes of each grey value is looked up, channel by channel.
        values = prepare(torch.arange(256, dtype=torch.uint8, device=pixels.device)[None, None])[0, :, 0]
        return torch.stack([values[c][pixels[..., c].long()] for c in range(pixels.shape[3])], dim=1)

    return to_input
