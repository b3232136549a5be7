"""The detector: an encoder under a feature pyramid, a proposal network and a box head.

Faster R-CNN with ViTDet's pyramid (section 4.1 of the task specification). All images are squares of one size, padded
below and to the right, so everything is done for a whole batch at once: anchors are made once, and matching, sampling,
suppression and the alignment of regions know no loop over images or levels. Losses are computed in single precision.

Accepted trade-off: proposals and detections are clipped to the padded square, not to the image in it; whoever knows
the image clips again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from adapters.interface import Encoder
from tasks.detection.backbone import backbone, freeze_unused, sources_of
from tasks.detection.box_head import BoxHead, Detected
from tasks.detection.boxes import Targets, padded
from tasks.detection.initial_values import initialise
from tasks.detection.proposals import ProposalNetwork
from tasks.detection.pyramid import FeaturePyramid
from tasks.protocol.settings import DetectionSettings
from tasks.under_heads import UnderHeads

__all__ = ["Detected", "Detector", "Targets"]


class Detector(UnderHeads):
    """Faster R-CNN on any encoder, which it takes over."""

    def __init__(self, encoder: Encoder, classes: int, settings: DetectionSettings, *, seed: int) -> None:
        super().__init__()
        self.encoder = backbone(encoder, settings)
        self.settings = settings
        sources = sources_of(self.encoder, settings)
        with torch.device("meta"):  # no random numbers for values that are overwritten anyway
            self.pyramid = FeaturePyramid(sources, settings.pyramid_strides, settings.pyramid_channels)
            self.proposals = ProposalNetwork(self.pyramid.levels, settings)
            self.box_head = BoxHead(classes, self.pyramid.levels, settings)
        freeze_unused(self.encoder, settings, self.pyramid.used)
        initialise({"pyramid": self.pyramid, "proposals": self.proposals, "box_head": self.box_head}, seed)

    def forward(self, images: Tensor, targets: Sequence[Targets]) -> Tensor:
        """The sum of the four losses of images [B, C, S, S]."""
        return torch.stack(list(self.losses(images, targets).values())).sum()

    def losses(self, images: Tensor, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """The four losses by name: objectness, proposal_box, class, box."""
        maps = self.pyramid(self.encoder.maps(images))
        wanted = padded(targets, images.device)
        found = self.proposals(maps)
        objectness, proposal_box = self.proposals.losses(found, wanted)
        proposed = self.proposals.propose(found, _side(images), self.settings.rpn_proposals_train)
        regions = self.box_head.sampled(proposed, wanted)
        class_loss, box = self.box_head.losses(maps, regions)
        return {"objectness": objectness, "proposal_box": proposal_box, "class": class_loss, "box": box}

    @torch.inference_mode()
    def detect(self, images: Tensor) -> list[Detected]:
        """What is found in each of the images [B, C, S, S]; the network should be in evaluation mode."""
        maps = self.pyramid(self.encoder.maps(images))
        proposed = self.proposals.propose(self.proposals(maps), _side(images), self.settings.rpn_proposals_test)
        return self.box_head.detect(maps, proposed, _side(images))


def _side(images: Tensor) -> tuple[int, int]:
    return cast(tuple[int, int], tuple(images.shape[2:]))
