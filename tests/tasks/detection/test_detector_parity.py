"""The whole of proposals, detections and losses, against torchvision's Faster R-CNN with the same weights.

Three things differ on purpose and are made equal here: torchvision rounds its anchors, so ours are handed to it; its
regression losses are smooth, so they are replaced by L1; its RoIAlign is not shifted by half a cell, so a pooler with
the aligned kernel stands in. Losses look at all samples, for the lots differ.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torchvision.models.convnext import LayerNorm2d
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import roi_align
from torchvision.ops.poolers import LevelMapper

from adapters.card import Architecture
from adapters.encoder import build_vit
from tasks.detection.boxes import Targets
from tasks.detection.detector import Detector
from tasks.protocol import DetectionSettings, task_settings

CLASSES = 3
SIDE = 64
CPU = torch.device("cpu")


def small_settings(**changes: Any) -> DetectionSettings:
    found = task_settings("mini", "detection", "mini")
    assert isinstance(found, DetectionSettings)
    small = {
        "image_size": SIDE,
        "pyramid_channels": 8,
        "roi_hidden": 16,
        "rpn_convolutions": 2,
        "rpn_proposals_train": (60, 40),
        "rpn_proposals_test": (50, 30),
        "test_score": 0.2,
    }
    return found.model_copy(update=small | changes)


def lively_detector(settings: DetectionSettings) -> Detector:
    """Weights large enough that scores and boxes differ from each other."""
    architecture = Architecture(kind="vit", width=16, depth=2, heads=2, patch=8, activation="gelu", image_size=SIDE)
    detector = Detector(build_vit(architecture, image_size=SIDE, seed=0), CLASSES, settings, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in (detector.proposals, detector.box_head):
            for parameter in module.parameters():
                parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    return detector


class OurAnchors(nn.Module):
    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.proposals = detector.proposals

    def forward(self, images: ImageList, maps: Sequence[Tensor]) -> list[Tensor]:
        from adapters.interface import Grid

        anchors = self.proposals.anchors(tuple(Grid(*one.shape[2:]) for one in maps), CPU)
        return [anchors] * len(images.image_sizes)


class AlignedPooler(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, maps: dict[str, Tensor], boxes: list[Tensor], sizes: object) -> Tensor:  # noqa: ARG002
        levels = LevelMapper(2, 4)(boxes)
        image = torch.cat([torch.full((len(one), 1), float(number)) for number, one in enumerate(boxes)])
        regions = torch.cat([image, torch.cat(boxes)], dim=1)
        found = torch.zeros(len(regions), next(iter(maps.values())).shape[1], self.size, self.size)
        for number, one in enumerate(maps.values()):
            mine = levels == number
            scale = one.shape[2] / SIDE
            found[mine] = roi_align(one, regions[mine], self.size, scale, sampling_ratio=2, aligned=True)
        return found


def their_proposals(detector: Detector, settings: DetectionSettings, samples: int = 256) -> RegionProposalNetwork:
    head = RPNHead(settings.pyramid_channels, 3, conv_depth=settings.rpn_convolutions)
    network = RegionProposalNetwork(
        OurAnchors(detector),
        head,
        settings.rpn_positive_iou,
        settings.rpn_negative_iou,
        samples,
        1.0 if samples > 256 else settings.rpn_positive_share,
        {"training": settings.rpn_proposals_train[0], "testing": settings.rpn_proposals_test[0]},
        {"training": settings.rpn_proposals_train[1], "testing": settings.rpn_proposals_test[1]},
        settings.rpn_suppression_iou,
    )
    ours = detector.proposals
    with torch.no_grad():
        for layer in range(settings.rpn_convolutions):
            head.conv[layer][0].load_state_dict(ours.convolutions[2 * layer].state_dict())
        for theirs, mine in ((head.cls_logits, ours.objectness), (head.bbox_pred, ours.deltas)):
            theirs.weight.copy_(mine.weight[:, :, None, None])
            theirs.bias.copy_(mine.bias)
    return network


def their_heads(detector: Detector, settings: DetectionSettings, samples: int = 512) -> RoIHeads:
    channels, size = settings.pyramid_channels, settings.roi_size
    head = FastRCNNConvFCHead(
        (channels, size, size), [channels] * settings.roi_convolutions, [settings.roi_hidden], LayerNorm2d
    )
    predictor = FastRCNNPredictor(settings.roi_hidden, CLASSES + 1)
    ours = detector.box_head
    with torch.no_grad():
        for layer in range(settings.roi_convolutions):
            head[layer][0].load_state_dict(ours.convolutions[3 * layer].state_dict())
            head[layer][1].load_state_dict(ours.convolutions[3 * layer + 1].state_dict())
            head[layer][1].eps = 1e-6
        rows = ours.hidden.weight.view(-1, size, size, channels).permute(0, 3, 1, 2).flatten(1)
        head[-2].weight.copy_(rows)  # theirs counts channels first
        head[-2].bias.copy_(ours.hidden.bias)
        predictor.cls_score.weight.copy_(ours.logits.weight.roll(1, 0))  # theirs has the background first
        predictor.cls_score.bias.copy_(ours.logits.bias.roll(1, 0))
        predictor.bbox_pred.weight[4:].copy_(ours.deltas.weight)
        predictor.bbox_pred.bias[4:].copy_(ours.deltas.bias)
    return RoIHeads(
        AlignedPooler(size),
        head,
        predictor,
        settings.roi_positive_iou,
        settings.roi_positive_iou,
        samples,
        1.0 if samples > 512 else settings.roi_positive_share,
        tuple(1 / one for one in settings.roi_delta_scale),
        settings.test_score,
        settings.test_suppression_iou,
        settings.test_detections,
    )


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


def targets() -> list[Targets]:
    """Three boxes, none, and one of a pixel at the border."""
    return [
        Targets(
            torch.tensor([[4.0, 6, 20, 18], [30, 30, 38, 40], [0, 0, 60, 50]]),
            torch.tensor([0, 2, 1]),
        ),
        Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)),
        Targets(torch.tensor([[63.0, 63, 64, 64]]), torch.tensor([2])),
    ]


def as_theirs(given: Sequence[Targets]) -> list[dict[str, Tensor]]:
    return [{"boxes": one.boxes, "labels": one.labels + 1} for one in given]


def image_list(pixels: Tensor) -> ImageList:
    return ImageList(pixels, [(SIDE, SIDE)] * len(pixels))


def named(maps: Sequence[Tensor]) -> OrderedDict[str, Tensor]:
    return OrderedDict((str(number), one) for number, one in enumerate(maps))


@pytest.mark.parametrize("training", [False, True], ids=["test", "training"])
def test_proposals_are_those_of_torchvision(training: bool) -> None:
    # So many that suppression has the last word in the one case, and the limit in the other.
    settings = small_settings(rpn_proposals_train=(300, 60), rpn_proposals_test=(300, 900))
    detector = lively_detector(settings)
    with torch.no_grad():
        maps = detector.pyramid(detector.encoder.maps(images()))
        counts = settings.rpn_proposals_train if training else settings.rpn_proposals_test
        found = detector.proposals.propose(detector.proposals(maps), (SIDE, SIDE), counts)
        network = their_proposals(detector, settings).train(training)
        expected, _ = network(image_list(images()), named(maps), as_theirs(targets()))
    for boxes, valid, theirs in zip(found.boxes, found.valid, expected, strict=True):
        assert len(theirs) == 60 if training else 60 < len(theirs) < 600
        torch.testing.assert_close(boxes[valid], theirs, rtol=1e-4, atol=1e-4)


def test_detections_are_those_of_torchvision() -> None:
    settings = small_settings()
    detector = lively_detector(settings)
    with torch.no_grad():
        maps = detector.pyramid(detector.encoder.maps(images()))
        proposed = detector.proposals.propose(detector.proposals(maps), (SIDE, SIDE), settings.rpn_proposals_test)
        boxes = [one[valid] for one, valid in zip(*proposed, strict=True)]
        heads = their_heads(detector, settings).eval()
        expected, _ = heads(named(maps), boxes, [(SIDE, SIDE)] * 3)
    found = detector.detect(images())
    assert sum(len(one.labels) for one in found) > 20
    assert len({int(label) for one in found for label in one.labels}) > 1
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.scores, theirs["scores"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.boxes, theirs["boxes"], rtol=1e-4, atol=1e-3)
        assert torch.equal(ours.labels + 1, theirs["labels"])


def test_losses_are_those_of_torchvision_with_l1_in_place_of_smooth_l1(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(given: Tensor, wanted: Tensor, *, beta: float, reduction: str) -> Tensor:
        return l1_loss(given, wanted, reduction=reduction)

    monkeypatch.setattr("torch.nn.functional.smooth_l1_loss", plain)
    everything = 10_000
    settings = small_settings(
        rpn_samples=everything, rpn_positive_share=1.0, roi_samples=everything, roi_positive_share=1.0
    )
    detector = lively_detector(settings)
    maps = detector.pyramid(detector.encoder.maps(images()))
    _, first = their_proposals(detector, settings, everything).train()(
        image_list(images()), named(maps), as_theirs(targets())
    )
    found = detector.proposals(maps)
    with torch.no_grad():
        proposed = detector.proposals.propose(found, (SIDE, SIDE), settings.rpn_proposals_train)
    boxes = [one[valid] for one, valid in zip(*proposed, strict=True)]
    _, second = their_heads(detector, settings, everything).train()(
        named(maps), boxes, [(SIDE, SIDE)] * 3, as_theirs(targets())
    )
    ours = detector.losses(images(), targets())
    expected = {
        "objectness": first["loss_objectness"],
        "proposal_box": first["loss_rpn_box_reg"],
        "class": second["loss_classifier"],
        "box": second["loss_box_reg"],
    }
    assert ours.keys() == expected.keys()
    for name, loss in expected.items():
        assert loss > 0
        torch.testing.assert_close(ours[name], loss, rtol=1e-4, atol=1e-6)


def test_the_gradients_are_those_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(given: Tensor, wanted: Tensor, *, beta: float, reduction: str) -> Tensor:
        return l1_loss(given, wanted, reduction=reduction)

    monkeypatch.setattr("torch.nn.functional.smooth_l1_loss", plain)
    everything = 10_000
    settings = small_settings(
        rpn_samples=everything, rpn_positive_share=1.0, roi_samples=everything, roi_positive_share=1.0
    )
    detector = lively_detector(settings)
    network, heads = their_proposals(detector, settings, everything), their_heads(detector, settings, everything)
    maps = detector.pyramid(detector.encoder.maps(images()))
    boxes, first = network.train()(image_list(images()), named(maps), as_theirs(targets()))
    _, second = heads.train()(named(maps), boxes, [(SIDE, SIDE)] * 3, as_theirs(targets()))
    torch.stack([*first.values(), *second.values()]).sum().backward()  # type: ignore[no-untyped-call]
    expected = {name: one.grad.clone() for name, one in detector.named_parameters() if one.grad is not None}
    detector.zero_grad(set_to_none=True)
    detector(images(), targets()).backward()
    found = {name: one.grad for name, one in detector.named_parameters() if one.grad is not None}
    of_backbone = {name for name in expected if name.startswith(("encoder.", "pyramid."))}
    assert len(of_backbone) > 30
    for name in of_backbone:
        torch.testing.assert_close(found[name], expected[name], rtol=2e-3, atol=1e-4)
