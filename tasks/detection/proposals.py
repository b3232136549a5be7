"""The proposal network: which anchors hold an object, and where its box really is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from adapters.interface import Grid
from adapters.positions import TableMemory
from tasks.detection.anchors import level_anchors
from tasks.detection.assignment import match, sample
from tasks.detection.boxes import UNSCALED, PaddedTargets, decode, encode, large_enough
from tasks.detection.pyramid import Level
from tasks.detection.suppression import Candidates, surest
from tasks.protocol.settings import DetectionSettings

_SMALLEST_SIDE = 1e-3  # in pixels; nothing can be read from less


class Predictions(NamedTuple):
    """What the network says of all anchors: objectness [B, N], deltas [B, N, 4]; `per_level` anchors of each level."""

    objectness: Tensor
    deltas: Tensor
    anchors: Tensor
    per_level: tuple[int, ...]


class Proposals(NamedTuple):
    """Boxes [B, P, 4] in the square, surest first, where `valid` [B, P]."""

    boxes: Tensor
    valid: Tensor


class ProposalNetwork(nn.Module):
    """Shared convolutions over all levels, then objectness and deltas of every anchor."""

    def __init__(self, levels: Sequence[Level], settings: DetectionSettings) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.settings = settings
        channels, anchors = settings.pyramid_channels, len(settings.anchor_ratios)
        layers: list[nn.Module] = []
        for _ in range(settings.rpn_convolutions):
            layers += [nn.Conv2d(channels, channels, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*layers)
        self.objectness = nn.Linear(channels, anchors)
        self.deltas = nn.Linear(channels, 4 * anchors)
        self._memory = TableMemory()

    def forward(self, maps: Sequence[Tensor]) -> Predictions:
        """Objectness and deltas in the order of the anchors: level, row, column, ratio."""
        objectness, deltas = [], []
        for values in maps:
            # Channels last, a convolution with a kernel of one cell is a linear layer.
            shared = self.convolutions(values).permute(0, 2, 3, 1)
            objectness.append(self.objectness(shared).flatten(1))
            deltas.append(self.deltas(shared).reshape(len(values), -1, 4))
        return Predictions(
            torch.cat(objectness, dim=1).float(),
            torch.cat(deltas, dim=1).float(),
            self.anchors(tuple(Grid(*values.shape[2:]) for values in maps), maps[0].device),
            tuple(level.shape[1] for level in objectness),
        )

    def anchors(self, grids: tuple[Grid, ...], device: torch.device) -> Tensor:
        """The anchors [N, 4] of all levels; made once."""

        def make() -> Tensor:
            return torch.cat(
                [
                    level_anchors(
                        grid,
                        spacing=level.spacing,
                        side=self.settings.anchor_scale * level.stride,
                        ratios=self.settings.anchor_ratios,
                        device=device,
                    )
                    for grid, level in zip(grids, self.levels, strict=True)
                ]
            )

        return self._memory.remembered((grids, device), make)

    def losses(self, found: Predictions, targets: PaddedTargets) -> tuple[Tensor, Tensor]:
        """Cross entropy of the objectness and L1 of the deltas, both per sampled anchor of the batch."""
        settings = self.settings
        matches = match(
            found.anchors,
            targets,
            positive_iou=settings.rpn_positive_iou,
            negative_iou=settings.rpn_negative_iou,
            low_quality_iou=settings.rpn_low_quality_iou,
        )
        chosen = sample(
            matches.positive,
            matches.negative,
            count=settings.rpn_samples,
            positive_share=settings.rpn_positive_share,
        )
        sampled = chosen.valid.sum().clamp(min=1)
        errors = binary_cross_entropy_with_logits(
            found.objectness.gather(1, chosen.places), chosen.positive.float(), reduction="none"
        )
        image, place = chosen.positive.nonzero(as_tuple=True)
        anchor = chosen.places[image, place]
        wanted = encode(
            targets.boxes[image, matches.target.expand(len(targets.valid), -1)[image, anchor]],
            found.anchors[anchor],
            UNSCALED,
        )
        distance = (found.deltas[image, anchor] - wanted).abs().sum()
        return errors.masked_fill(~chosen.valid, 0.0).sum() / sampled, distance / sampled

    @torch.no_grad()
    def propose(self, found: Predictions, side: tuple[int, int], counts: tuple[int, int]) -> Proposals:
        """The surest boxes: `counts` per level before suppression, and per image after it; no gradient flows here."""
        before, after = counts
        chosen, start = [], 0
        for count in found.per_level:
            level = found.objectness[:, start : start + count]
            chosen.append(level.topk(min(before, count), dim=1).indices + start)
            start += count
        index = torch.cat(chosen, dim=1)
        levels = torch.cat([torch.full((one.shape[1],), number) for number, one in enumerate(chosen)]).to(index.device)
        deltas = found.deltas.gather(1, index[:, :, None].expand(-1, -1, 4))
        boxes = clipped(decode(deltas, found.anchors[index], UNSCALED), side)
        image, place = large_enough(boxes, _SMALLEST_SIDE).nonzero(as_tuple=True)
        flat = Candidates(boxes[image, place], found.objectness.gather(1, index)[image, place], image, levels[place])
        kept = surest(
            flat,
            images=len(index),
            groups=len(self.levels),
            overlap=self.settings.rpn_suppression_iou,
            limit=after,
        )
        if not len(flat.boxes):
            return Proposals(boxes.new_zeros(len(index), 0, 4), kept.valid[:, :0])
        return Proposals(flat.boxes[kept.places], kept.valid)


def clipped(boxes: Tensor, side: tuple[int, int]) -> Tensor:
    """Boxes [..., 4] within an image of that height and width."""
    height, width = side
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
