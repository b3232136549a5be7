"""mmdet's Faster R-CNN in the place of our detector: same encoder, pyramid, settings and calls; their heads and losses.

What is theirs: anchors, matching, sampling, proposals, RoIAlign, the box head, all four losses, the final suppression.
What is ours on both sides: the encoder with its windows, the pyramid, the loop, the data. A difference between the
scores beyond the spread of the seeds is therefore a difference in what is theirs.

With the same weights the two detect the same, and have the same losses where both look at all samples. Known
differences, none of them removed:

* Whom an anchor belongs to. In both, every target makes the anchors nearest to it positive, from an overlap of
  `rpn_low_quality_iou` on. In mmdet these are then its own, and of several such targets the last one's; in ours, as in
  torchvision, an anchor stays with the target that it overlaps most itself.
* Samples per bin of RoIAlign. Ours are always 2 x 2, the number of torchvision's pyramid pooler. Theirs are as many as
  a bin has cells, rounded up (sampling ratio 0), as in detectron2, in which ViTDet was written.
* In their mean over samples, an image without a positive or without a negative anchor counts one in its place.
* Which samples the losses look at, and the initial values of the heads: each draws them from a generator of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adapters.interface import Encoder
from foundation.seeds import derive_seed
from tasks.detection.backbone import backbone, sources_of
from tasks.detection.channel_norm import ChannelNorm
from tasks.detection.detector import Detected, Targets
from tasks.detection.initial_values import initialise
from tasks.detection.pyramid import FeaturePyramid
from tasks.openmmlab.installation import build_network, require_openmmlab
from tasks.openmmlab.networks import detector_config
from tasks.protocol.settings import DetectionSettings
from tasks.under_heads import UnderHeads

NORM = {"type": ChannelNorm, "eps": 1e-6}
"""The norm of our own box head."""


class PyramidBackbone(nn.Module):
    """Encoder and pyramid as mmdet sees them: images in, a tuple of levels out."""

    def __init__(self, encoder: Encoder, settings: DetectionSettings, *, seed: int) -> None:
        super().__init__()
        self.encoder = backbone(encoder, settings)
        sources = sources_of(self.encoder, settings)
        with torch.device("meta"):  # no random numbers for values that are overwritten anyway
            self.pyramid = FeaturePyramid(sources, settings.pyramid_strides, settings.pyramid_channels)
        initialise({"pyramid": self.pyramid}, seed)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The levels from fine to coarse."""
        return tuple(self.pyramid(self.encoder.maps(images)))


class OpenMMLabDetector(UnderHeads):
    """Answers to the calls of `tasks.detection.detector.Detector`."""

    encoder_path = "network.backbone.encoder"

    def __init__(self, encoder: Encoder, classes: int, settings: DetectionSettings, *, seed: int) -> None:
        super().__init__()
        require_openmmlab()
        from mmdet.registry import MODELS

        levels = PyramidBackbone(encoder, settings, seed=seed)
        config = detector_config(
            settings, classes=classes, levels=levels.pyramid.levels, backbone=lambda: levels, norm=NORM
        )
        self.network = build_network(MODELS, config, derive_seed("openmmlab", seed))

    def losses(self, images: Tensor, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Their losses under their names, each one number."""
        found: dict[str, Any] = self.network.loss(images, _samples(images, targets))  # type: ignore[operator]
        return {name: _total(value) for name, value in found.items() if "loss" in name}

    def forward(self, images: Tensor, targets: Sequence[Targets]) -> Tensor:
        """The sum of the losses."""
        return torch.stack(list(self.losses(images, targets).values())).sum()

    @torch.inference_mode()
    def detect(self, images: Tensor) -> list[Detected]:
        """What is found in each image, surest first."""
        answers = self.network.predict(images, _samples(images), rescale=False)  # type: ignore[operator]
        found = [answer.pred_instances for answer in answers]
        return [Detected(one.bboxes.float(), one.labels, one.scores.float()) for one in found]


def _samples(images: Tensor, targets: Sequence[Targets] | None = None) -> list[Any]:
    """Their records of images that all fill their square, with what is to be found in them."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    side = tuple(images.shape[2:])
    about = {"img_shape": side, "ori_shape": side, "pad_shape": side, "batch_input_shape": side, "scale_factor": (1, 1)}
    samples = []
    for number in range(len(images)):
        sample = DetDataSample(metainfo=about)
        if targets is not None:
            sample.gt_instances = InstanceData(bboxes=targets[number].boxes, labels=targets[number].labels)
        samples.append(sample)
    return samples


def _total(value: Tensor | list[Tensor]) -> Tensor:
    """One number of one loss, which may come per level."""
    parts = value if isinstance(value, list) else [value]
    return torch.stack([part.float().mean() for part in parts]).sum()
