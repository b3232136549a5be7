"""The box head: what each region shows, and a better box for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tasks.detection.assignment import match, sample
from tasks.detection.boxes import PaddedTargets, decode, encode, large_enough
from tasks.detection.channel_norm import ChannelNorm
from tasks.detection.proposals import Proposals, clipped
from tasks.detection.pyramid import COARSEST_REGION_STRIDE, Level
from tasks.detection.regions import region_features
from tasks.detection.suppression import Candidates, surest
from tasks.protocol.settings import DetectionSettings

_NORM_EPS = 1e-6  # as in ViTDet's norms over channels
_SMALLEST_SIDE = 1e-2  # in pixels, of what is called a detection


class Detected(NamedTuple):
    """What was found in one image, surest first: boxes [K, 4], labels [K], scores [K]."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor


class Regions(NamedTuple):
    """The regions that training looks at: boxes [R, 4], image [R], label [R] (`classes`: background), deltas [R, 4].

    The deltas mean something where the label is no background.
    """

    boxes: Tensor
    image: Tensor
    label: Tensor
    deltas: Tensor


class Answers(NamedTuple):
    """Logits [R, classes + 1], background last, and deltas [R, classes, 4]."""

    logits: Tensor
    deltas: Tensor


class BoxHead(nn.Module):
    """Convolutions over the aligned region, one fully connected layer, class and box per class."""

    def __init__(self, classes: int, levels: Sequence[Level], settings: DetectionSettings) -> None:
        super().__init__()
        self.classes = classes
        self.settings = settings
        self.levels = tuple(level for level in levels if level.stride <= COARSEST_REGION_STRIDE)
        channels, size = settings.pyramid_channels, settings.roi_size
        layers: list[nn.Module] = []
        for _ in range(settings.roi_convolutions):
            layers += [
                nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
                ChannelNorm(channels, eps=_NORM_EPS),
                nn.ReLU(),  # not in place: of a view, that would copy the gradient three times
            ]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(size * size * channels, settings.roi_hidden)
        self.logits = nn.Linear(settings.roi_hidden, classes + 1)
        self.deltas = nn.Linear(settings.roi_hidden, 4 * classes)

    def forward(self, maps: Sequence[Tensor], boxes: Tensor, image: Tensor) -> Answers:
        """Looks at boxes [R, 4] of the images [R]."""
        aligned = region_features(maps[: len(self.levels)], self.levels, boxes, image, self.settings.roi_size)
        shown = self.convolutions(aligned).permute(0, 2, 3, 1).flatten(1)  # row, column, channel: no copy
        hidden = self.hidden(shown).relu_()
        return Answers(self.logits(hidden).float(), self.deltas(hidden).float().view(len(boxes), self.classes, 4))

    @torch.no_grad()
    def sampled(self, proposals: Proposals, targets: PaddedTargets) -> Regions:
        """Proposals and the targets themselves, a part of them by lot, with what each should be called."""
        settings = self.settings
        candidates = torch.cat([proposals.boxes, targets.boxes], dim=1)
        present = torch.cat([proposals.valid, targets.valid], dim=1)
        matches = match(
            candidates,
            targets,
            positive_iou=settings.roi_positive_iou,
            negative_iou=settings.roi_positive_iou,
            low_quality_iou=None,
        )
        chosen = sample(
            matches.positive & present,
            matches.negative & present,
            count=settings.roi_samples,
            positive_share=settings.roi_positive_share,
        )
        image, place = chosen.valid.nonzero(as_tuple=True)
        index = chosen.places[image, place]
        boxes = candidates[image, index]
        if not targets.valid.shape[1]:
            background = torch.full_like(image, self.classes)
            return Regions(boxes, image, background, torch.zeros_like(boxes))
        target = matches.target[image, index]
        label = targets.labels[image, target].masked_fill(~chosen.positive[image, place], self.classes)
        # Of a region without a target the deltas may be infinite; they are never looked at.
        return Regions(boxes, image, label, encode(targets.boxes[image, target], boxes, settings.roi_delta_scale))

    def losses(self, maps: Sequence[Tensor], regions: Regions) -> tuple[Tensor, Tensor]:
        """Cross entropy of the classes and L1 of the deltas, both per region."""
        answers = self(maps, regions.boxes, regions.image)
        count = max(len(regions.label), 1)
        class_loss = cross_entropy(answers.logits, regions.label, reduction="sum") / count
        (positive,) = (regions.label < self.classes).nonzero(as_tuple=True)
        given = answers.deltas[positive, regions.label[positive]]
        return class_loss, (given - regions.deltas[positive]).abs().sum() / count

    @torch.no_grad()
    def detect(self, maps: Sequence[Tensor], proposals: Proposals, side: tuple[int, int]) -> list[Detected]:
        """The surest boxes of every image after suppression within each class."""
        settings = self.settings
        owner, place = proposals.valid.nonzero(as_tuple=True)
        given = proposals.boxes[owner, place]
        answers = self(maps, given, owner)
        scores = answers.logits.softmax(dim=1)[:, : self.classes]
        boxes = clipped(decode(answers.deltas, given[:, None], settings.roi_delta_scale), side)
        sure = (scores >= settings.test_score) & large_enough(boxes, _SMALLEST_SIDE)
        region, label = sure.nonzero(as_tuple=True)
        found = Candidates(boxes[region, label], scores[region, label], owner[region], label)
        kept = surest(
            found,
            images=len(proposals.valid),
            groups=self.classes,
            overlap=settings.test_suppression_iou,
            limit=settings.test_detections,
        )
        chosen = [index[valid] for index, valid in zip(kept.places, kept.valid, strict=True)]
        return [Detected(found.boxes[index], label[index], found.scores[index]) for index in chosen]
