"""The maps that a detector's pyramid stands on: windows for a plain ViT, an encoder's own maps for all others."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import torch
from torch import nn

from adapters.encoder import PlainViT
from adapters.interface import Encoder, FeatureMap
from adapters.windows import WindowedViT
from foundation.errors import UsageError
from tasks.detection.pyramid import Source
from tasks.protocol.settings import DetectionSettings


def backbone(encoder: Encoder, settings: DetectionSettings) -> Encoder:
    """A plain ViT with attention in windows (section 4.1 of the task specification); any other encoder as it is."""
    if isinstance(encoder, PlainViT):
        return cast(Encoder, WindowedViT(encoder, window=settings.window, global_blocks=settings.global_blocks))
    return encoder


def sources_of(encoder: Encoder, settings: DetectionSettings) -> list[Source]:
    """Channels and strides of the maps. An encoder does not state them, so it is shown one empty image."""
    if isinstance(encoder, WindowedViT):
        return [Source(encoder.width, encoder.stride)]
    with torch.no_grad():
        maps = _maps_of_nothing(encoder, settings)
    if not maps:
        raise UsageError(
            f"{type(encoder).__name__} gives no feature maps", way_out="a detector needs an encoder with maps"
        )
    return [Source(one.values.shape[1], one.stride) for one in maps]


def freeze_unused(encoder: Encoder, settings: DetectionSettings, used: Collection[int]) -> None:
    """Freezes what the maps numbered `used` do not depend on, such as stages coarser than the pyramid."""
    if isinstance(encoder, WindowedViT):
        return  # it knows itself what it does not run
    trained = [parameter for _, parameter in encoder.named_parameters() if parameter.requires_grad]
    if not trained:
        return
    maps = _maps_of_nothing(encoder, settings)
    total = torch.stack([maps[number].values.sum() for number in used]).sum()
    reached = torch.autograd.grad(total, trained, allow_unused=True)
    for parameter, gradient in zip(trained, reached, strict=True):
        parameter.requires_grad_(gradient is not None)


def _maps_of_nothing(encoder: Encoder, settings: DetectionSettings) -> list[FeatureMap]:
    """The maps of one empty image, without a trace in the encoder."""
    module = cast(nn.Module, encoder)
    training = module.training
    side = max(settings.image_size // encoder.stride, 1) * encoder.stride
    parameter = next(module.parameters(), torch.zeros(()))
    encoder.eval()
    try:
        return encoder.maps(torch.zeros(1, encoder.in_channels, side, side).to(parameter))
    finally:
        encoder.train(training)
