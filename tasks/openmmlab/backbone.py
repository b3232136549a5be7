"""Any model of the catalogue as a backbone of an OpenMMLab configuration; imports torch, nothing of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from adapters.interface import Encoder, Features, LoadedModel, LoadMode
from adapters.load import load
from adapters.registry import select
from foundation.errors import UsageError
from tasks.detection.pyramid import FeaturePyramid
from tasks.openmmlab.detector import PyramidBackbone
from tasks.openmmlab.segmenter import on_grid
from tasks.protocol import task_settings
from tasks.protocol.settings import DetectionSettings
from tasks.under_heads import UnderHeads

Output = Literal["map", "stages", "pyramid"]
"""map: the last tokens, final norm included, on their grid (what Segmenter decodes); stages: the maps of all stages,
from fine to coarse (what a neck of theirs wants of a hierarchical network; a plain ViT has one); pyramid: the simple
feature pyramid of our detector, window attention included, so that their detectors need no neck."""


class SAREncoder(UnderHeads):
    """An encoder of the catalogue, its weights in place, that answers with a tuple of maps.

    Args:
        model: What `--models` takes, naming one model: an id, `name=path:architecture`, `timm:NAME@pretrained` ...
        image_size: Side of the images, for the table of positions; other sizes are resized to on the fly.
        out: Which maps; see `Output`.
        weights_root: Folder of the downloaded weights.
        load_mode: How the weights are fitted to the encoder.
        dropout: In the MLPs and projections, while training.
        drop_path: Stochastic depth at the last block.
        frozen: Keeps the encoder as it was loaded; a pyramid above it still learns.
        seed: Initial values of what no weight file fills.
        strides: Of the pyramid's levels.
        channels: Of the pyramid's levels.
        window: Side of the attention windows of a plain ViT, in patches; None: attention across the whole image.
        global_blocks: Blocks that stay global where there are windows.
    """

    def __init__(
        self,
        model: str,
        *,
        image_size: int,
        out: Output = "map",
        weights_root: str | Path | None = None,
        load_mode: LoadMode = "native",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        frozen: bool = False,
        seed: int = 0,
        strides: Sequence[int] = (4, 8, 16, 32, 64),
        channels: int = 256,
        window: int | None = None,
        global_blocks: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if out not in ("map", "stages", "pyramid"):
            raise UsageError(f"out = {out!r} of SAREncoder", way_out='choose "map", "stages" or "pyramid"')
        self.loaded = _load_one(
            model,
            image_size=image_size,
            seed=seed,
            weights_root=Path(weights_root) if weights_root is not None else None,
            dropout=dropout,
            drop_path=drop_path,
            mode=load_mode,
        )
        self.out: Output = out
        self.frozen = frozen
        encoder = cast(Encoder, self.loaded.encoder)
        self.in_channels = encoder.in_channels
        self.pyramid: FeaturePyramid | None = None
        if out == "pyramid":
            # The detector's own, so that both are the same network; it reads no other setting than these.
            settings = task_settings("paper", "detection").model_copy(
                update={
                    "image_size": image_size,
                    "window": window or image_size,
                    "global_blocks": tuple(global_blocks),
                    "pyramid_strides": tuple(strides),
                    "pyramid_channels": channels,
                }
            )
            levels = PyramidBackbone(encoder, cast(DetectionSettings, settings), seed=seed)
            encoder, self.pyramid = levels.encoder, levels.pyramid
        self.encoder = cast(nn.Module, encoder)
        if frozen:
            self.encoder.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps [B, D, h, w] of normalised images [B, C, H, W].

        Their loaders repeat grey images into three channels; an encoder of one channel takes the mean of them.
        """
        images = self._channels_of(images)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            if self.out == "map":
                features: Features = self.encoder(images)
                return (on_grid(features),)
            maps = cast(Encoder, self.encoder).maps(images)
        return tuple(found.values for found in maps) if self.pyramid is None else tuple(self.pyramid(maps))

    def train(self, mode: bool = True) -> SAREncoder:
        """A frozen encoder stays in evaluation: no dropout, no statistics."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def _channels_of(self, images: Tensor) -> Tensor:
        if images.shape[1] == self.in_channels:
            return images
        if self.in_channels == 1:
            return images.mean(dim=1, keepdim=True)
        if images.shape[1] == 1:
            return images.expand(-1, self.in_channels, -1, -1)
        raise UsageError(
            f"images of {images.shape[1]} channels, but the encoder takes {self.in_channels}",
            where=self.loaded.card.id,
            way_out="load them with as many channels, or choose another model",
        )


def _load_one(
    model: str,
    *,
    image_size: int,
    seed: int,
    weights_root: Path | None,
    dropout: float,
    drop_path: float,
    mode: LoadMode,
) -> LoadedModel:
    cards = select(model)
    if len(cards) != 1:
        raise UsageError(
            f"{model!r} names {len(cards)} models; a backbone is one",
            where="SAREncoder",
            way_out=f"name one of them, for example {cards[0].id}",
        )
    loaded = load(
        cards[0],
        image_size=image_size,
        seed=seed,
        weights_root=weights_root,
        dropout=dropout,
        drop_path=drop_path,
        mode=mode,
    )
    if not loaded.trainable:
        raise UsageError(
            f"{loaded.card.id} is no network; it cannot be a backbone", way_out="see `harness list models`"
        )
    return loaded
