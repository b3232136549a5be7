"""The detector against torchvision's Faster R-CNN with the same backbone, anchors and head sizes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.bench.interleave import Timing, interleaved

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.detection.detector import Detector, Targets
    from tasks.protocol.settings import DetectionSettings

CLASSES = 7
PEER = "torchvision"


def training_step(turns: int) -> dict[str, Timing]:
    """Losses and gradients of one batch of the mini settings, from the maps of the same encoder and pyramid."""
    import torch

    settings, ours, images, targets = _case()
    peer = torchvision_twin(ours, settings)
    theirs = [{"boxes": one.boxes, "labels": one.labels + 1} for one in targets]
    separate = list(images)
    ours.train()
    peer.train()

    def our_step() -> None:
        ours.zero_grad(set_to_none=True)
        ours(images, targets).backward()

    def peer_step() -> None:
        peer.zero_grad(set_to_none=True)
        torch.stack(list(peer(separate, theirs).values())).sum().backward()  # type: ignore[no-untyped-call]

    def backbone_alone() -> None:
        ours.zero_grad(set_to_none=True)
        maps = ours.pyramid(ours.encoder.maps(images))
        torch.stack([one.square().sum() for one in maps]).sum().backward()  # type: ignore[no-untyped-call]

    return interleaved({"ours": our_step, PEER: peer_step, "backbone alone": backbone_alone}, turns=turns)


def detection(turns: int) -> dict[str, Timing]:
    """What is found in one batch of the mini settings."""
    import torch

    settings, ours, images, _ = _case()
    peer = torchvision_twin(ours, settings)
    separate = list(images)
    ours.eval()
    peer.eval()

    def theirs() -> None:
        with torch.inference_mode():
            peer(separate)

    return interleaved({"ours": lambda: ours.detect(images), PEER: theirs}, turns=turns)


DETECTION_MEASUREMENTS: dict[str, tuple[Callable[[int], dict[str, Timing]], str]] = {
    "detection-step": (training_step, PEER),
    "detection": (detection, PEER),
}
"""Name to the measurement and the peer that the others are divided by."""


def torchvision_twin(ours: Detector, settings: DetectionSettings) -> Any:
    """Torchvision's Faster R-CNN over the very encoder and pyramid of `ours`, with heads of the same sizes."""
    from torchvision.models.convnext import LayerNorm2d
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
    from torchvision.models.detection.rpn import RPNHead
    from torchvision.ops import MultiScaleRoIAlign

    channels, size = settings.pyramid_channels, settings.roi_size
    sides = tuple((settings.anchor_scale * stride,) for stride in settings.pyramid_strides)
    ratios = (settings.anchor_ratios,) * len(sides)
    return FasterRCNN(
        _backbone(ours, channels),
        min_size=settings.image_size,
        max_size=settings.image_size,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        _skip_resize=True,
        rpn_anchor_generator=AnchorGenerator(sides, ratios),
        rpn_head=RPNHead(channels, len(settings.anchor_ratios), conv_depth=settings.rpn_convolutions),
        rpn_pre_nms_top_n_train=settings.rpn_proposals_train[0],
        rpn_post_nms_top_n_train=settings.rpn_proposals_train[1],
        rpn_pre_nms_top_n_test=settings.rpn_proposals_test[0],
        rpn_post_nms_top_n_test=settings.rpn_proposals_test[1],
        rpn_batch_size_per_image=settings.rpn_samples,
        box_roi_pool=MultiScaleRoIAlign([str(number) for number in range(len(sides))], size, sampling_ratio=2),
        box_head=FastRCNNConvFCHead(
            (channels, size, size), [channels] * settings.roi_convolutions, [settings.roi_hidden], LayerNorm2d
        ),
        box_predictor=FastRCNNPredictor(settings.roi_hidden, CLASSES + 1),
        box_batch_size_per_image=settings.roi_samples,
        box_score_thresh=settings.test_score,
        box_nms_thresh=settings.test_suppression_iou,
        box_detections_per_img=settings.test_detections,
    )


def _backbone(ours: Detector, channels: int) -> Any:
    from torch import nn

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.pyramid = ours.encoder, ours.pyramid
            self.out_channels = channels

        def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
            maps = self.pyramid(self.encoder.maps(images))
            return OrderedDict((str(number), one) for number, one in enumerate(maps))

    return Backbone()


def _case() -> tuple[DetectionSettings, Detector, Tensor, list[Targets]]:
    """A batch of the mini settings on one thread: noise with three boxes per image."""
    import torch

    from adapters.load import load
    from adapters.registry import catalog
    from tasks.detection.detector import Detector, Targets
    from tasks.protocol import DetectionSettings, task_settings

    torch.set_num_threads(1)
    settings = task_settings("mini", "detection", "mini")
    assert isinstance(settings, DetectionSettings)
    loaded = load(catalog()["random-mini"], image_size=settings.image_size, seed=0)
    ours = Detector(loaded.encoder, CLASSES, settings, seed=0)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    side, batch = settings.image_size, settings.training.micro_batch
    targets = []
    for _ in range(batch):
        corner = torch.rand(3, 2, generator=generator) * 0.75 * side
        extent = (0.05 + 0.2 * torch.rand(3, 2, generator=generator)) * side
        labels = torch.randint(CLASSES, (3,), generator=generator)
        targets.append(Targets(torch.cat([corner, corner + extent], dim=1), labels))
    return settings, ours, torch.randn(batch, 3, side, side, generator=generator), targets
