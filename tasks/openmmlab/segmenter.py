"""mmseg's Segmenter in the place of ours: same encoder and settings; their decoder, loss, and sliding window."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from adapters.interface import Encoder, Features
from foundation.seeds import derive_seed
from tasks.openmmlab.installation import build_network, require_openmmlab
from tasks.openmmlab.networks import segmenter_config
from tasks.protocol.settings import SegmentationSettings
from tasks.segmentation.network import heads_of
from tasks.under_heads import UnderHeads


def on_grid(features: Features) -> Tensor:
    """The tokens as one map [B, D, h, w]."""
    return features.tokens.transpose(1, 2).reshape(len(features.tokens), -1, *features.grid)


class TokenMap(nn.Module):
    """An encoder as mmseg sees it: images in, its last tokens on their grid out."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """One map [B, D, h, w]."""
        features: Features = self.encoder(images)
        return (on_grid(features),)


class OpenMMLabSegmenter(UnderHeads):
    """An encoder under mmseg's mask transformer; to the optimiser it answers like our own `Segmenter`."""

    encoder_path = "network.backbone.encoder"
    undecayed = frozenset({"network.decode_head.cls_emb"})

    def __init__(self, encoder: Encoder, classes: int, settings: SegmentationSettings, *, seed: int) -> None:
        super().__init__()
        require_openmmlab()
        from mmseg.registry import MODELS

        config = segmenter_config(
            settings,
            classes=classes,
            width=encoder.width,
            heads=heads_of(encoder.width),
            backbone=lambda: TokenMap(encoder),
        )
        self.network = build_network(MODELS, config, derive_seed("openmmlab", seed))

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Their loss of images [B, C, S, S] with masks [B, S, S]."""
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        samples = []
        for mask in masks:
            sample = SegDataSample()
            sample.gt_sem_seg = PixelData(data=mask[None].long())
            samples.append(sample)
        found: dict[str, Any] = self.network.loss(images, samples)  # type: ignore[operator]
        return cast(Tensor, found["decode.loss_ce"]).float()

    @torch.inference_mode()
    def classify(self, image: Tensor) -> Tensor:
        """The class [H, W] of every pixel of one image [1, C, H, W]; windows are theirs to place and to average."""
        about = {"ori_shape": image.shape[2:], "img_shape": image.shape[2:], "pad_shape": image.shape[2:]}
        logits: Tensor = self.network.inference(image, [about])  # type: ignore[operator]
        return logits[0].argmax(dim=0)
