"""`--implementation openmmlab`: the protocol, data and splits of our tasks through mmdet's and mmseg's networks.

Order, augmentation, schedule, optimiser, checkpoints and the form of the predictions are our own, so a run resumes like
ours and our scorers score it; from the encoder's maps to boxes, masks and losses, everything is theirs. mmengine's
runner is not used here: its checkpoints cannot be read without running code from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapters.interface import LoadedModel
from foundation.errors import UsageError
from tasks.datasets.records import ImageEntry
from tasks.detection import fit as detection
from tasks.detection.data import DetectionData
from tasks.openmmlab.detector import OpenMMLabDetector
from tasks.openmmlab.segmenter import OpenMMLabSegmenter
from tasks.protocol.settings import DetectionSettings, SegmentationSettings
from tasks.segmentation import fit as segmentation
from tasks.segmentation.data import SegmentationData
from tasks.segmentation.tiling import Pixels, TileSet, Tiling
from tasks.task import Outcome
from tasks.training import autocast


def fit_and_predict_boxes(
    loaded: LoadedModel, data: DetectionData, settings: DetectionSettings, **options: Any
) -> Outcome:
    """What `tasks.detection.fit.fit_and_predict` does, with mmdet's heads on the same encoder and pyramid."""
    _require_network(loaded)
    return detection.fit_and_predict(loaded, data, settings, make_model=OpenMMLabDetector, **options)


def fit_and_predict_masks(
    loaded: LoadedModel, data: SegmentationData, settings: SegmentationSettings, **options: Any
) -> Outcome:
    """What `tasks.segmentation.fit.fit_and_predict` does, with mmseg's decoder on the same encoder."""
    _require_network(loaded)
    theirs = segmentation.Network(OpenMMLabSegmenter, MaskTraining, predict_masks)
    return segmentation.fit_and_predict(loaded, data, settings, network=theirs, **options)


class MaskTraining(segmentation.TileTraining):
    """The same tiles in the same order as ours; their loss wants the masks themselves."""

    def targets_of(self, masks: Pixels) -> Tensor:
        """The masks as they are."""
        return torch.from_numpy(np.array(masks))

    def loss(self, micro: segmentation.Batch) -> Tensor:
        """Their cross entropy over the labelled pixels."""
        loss: Tensor = self.model(self.to_input(micro.tiles), micro.targets)
        return loss


def predict_masks(
    model: OpenMMLabSegmenter,
    to_input: Callable[[Tensor], Tensor],
    tiles: TileSet,
    entries: Sequence[ImageEntry],
    tiling: Tiling,
    device: torch.device,
    precision: str,
) -> Iterator[Pixels]:
    """The masks of the images, filled up with zeros to whole windows and cut back (section 5.1)."""
    model.eval()
    for entry, low, high in zip(entries, tiles.first[:-1], tiles.first[1:], strict=True):
        whole = tiling.joined(tiles.pixels[low:high], entry.height, entry.width)
        with autocast(device, precision):
            classes = model.classify(to_input(torch.from_numpy(whole)[None].to(device)))
        mask: Pixels = classes[: entry.height, : entry.width].to(torch.uint8).cpu().numpy()
        yield mask


def _require_network(loaded: LoadedModel) -> None:
    if not loaded.trainable:
        raise UsageError(
            f"{loaded.card.id} is no network; mmdet and mmseg cannot build on it",
            where="--implementation openmmlab",
            way_out="leave it out of --models, or leave --implementation out",
        )
