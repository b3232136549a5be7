"""With the same weights, mmdet's and mmseg's networks and ours compute the same; each is the other's reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from adapters.interface import Encoder, LoadedModel
from foundation.seeds import derive_seed
from tasks.detection.detector import Detector, Targets
from tasks.openmmlab.detector import OpenMMLabDetector
from tasks.openmmlab.segmenter import OpenMMLabSegmenter
from tasks.protocol import DetectionSettings, SegmentationSettings
from tasks.segmentation.loss import class_shares, mask_cross_entropy, upsampled
from tasks.segmentation.network import Segmenter

pytestmark = pytest.mark.usefixtures("openmmlab")

SIDE = 48
EVERYTHING = 10**6
"""As many samples as there are: nothing is left to the lot."""

MakeModel = Callable[[int], LoadedModel]
MakeDetection = Callable[..., DetectionSettings]
MakeSegmentation = Callable[..., SegmentationSettings]


def _encoder(tiny_model: MakeModel) -> Encoder:
    return cast(Encoder, tiny_model(0).encoder)


def _images(count: int) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def detectors(tiny_model: MakeModel, detection_settings: MakeDetection) -> tuple[Detector, OpenMMLabDetector]:
    """Ours with weights that find something, and mmdet's with the same ones; two classes."""
    return _pair(tiny_model, detection_settings)


def _pair(
    tiny_model: MakeModel, detection_settings: MakeDetection, **changes: Any
) -> tuple[Detector, OpenMMLabDetector]:
    settings = detection_settings(
        **changes,
        rpn_samples=EVERYTHING,
        roi_samples=EVERYTHING,
        test_score=0.2,
        rpn_convolutions=2,
        roi_convolutions=2,
        rpn_proposals_train=(60, 40),
        rpn_proposals_test=(60, 40),
    )
    ours = Detector(_encoder(tiny_model), 2, settings, seed=0)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name in ("objectness", "deltas"):  # at the start all anchors look alike
            getattr(ours.proposals, name).weight.normal_(std=0.2, generator=generator)
        ours.box_head.logits.weight.normal_(std=0.2, generator=generator)
        ours.box_head.deltas.weight.normal_(std=0.02, generator=generator)
    theirs = OpenMMLabDetector(_encoder(tiny_model), 2, settings, seed=0)
    _give_detector(ours, theirs, size=settings.roi_size)
    for layer in cast(Any, theirs.network).roi_head.bbox_roi_extractor.roi_layers:
        layer.sampling_ratio = 2  # ours; theirs takes as many samples as a bin has cells
    return ours.eval(), theirs.eval()


def _give_detector(ours: Detector, theirs: OpenMMLabDetector, *, size: int) -> None:
    state = ours.state_dict()
    network = theirs.network
    given = {f"backbone.{name}": value for name, value in state.items() if name.startswith(("encoder.", "pyramid."))}
    for name, value in state.items():
        place, _, leaf = name.rpartition(".")
        part, _, layer = place.partition(".")
        if part == "proposals":
            layers = {"objectness": "rpn_cls", "deltas": "rpn_reg"}
            number = layer.removeprefix("convolutions.")
            target = layers.get(layer) or f"rpn_conv.{int(number) // 2}.conv"
            given[f"rpn_head.{target}.{leaf}"] = value
        elif part == "box_head":
            head = "roi_head.bbox_head."
            if layer.startswith("convolutions."):
                block, kind = divmod(int(layer.removeprefix("convolutions.")), 3)
                given[f"{head}shared_convs.{block}.{('conv', 'ln')[kind]}.{leaf}"] = value
            elif layer == "hidden":
                if leaf == "weight":  # ours reads row, column, channel; theirs channel, row, column
                    value = value.unflatten(1, (size, size, -1)).permute(0, 3, 1, 2).flatten(1)
                given[f"{head}shared_fcs.0.{leaf}"] = value
            else:
                given[f"{head}{ {'logits': 'fc_cls', 'deltas': 'fc_reg'}[layer] }.{leaf}"] = value
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    network.load_state_dict({name: value.reshape(shapes[name]) for name, value in given.items()})  # 1 x 1 convolutions


def _targets() -> list[Targets]:
    """Near the size of an anchor and halfway between none: the two break ties, and call poor matches, differently.

    Every image has a target: one without a positive anchor counts as if it had one where mmdet takes the mean.
    """
    boxes = [[[4.3, 6.1, 12.9, 13.4], [25.7, 20.2, 40.6, 34.9]], [[16.3, 15.8, 32.4, 31.1]], [[8.4, 30.3, 17.1, 38.8]]]
    labels = [[0, 1], [1], [0]]
    return [
        Targets(torch.tensor(box).reshape(-1, 4), torch.tensor(label, dtype=torch.long))
        for box, label in zip(boxes, labels, strict=True)
    ]


def test_both_detectors_find_the_same_boxes(detectors: tuple[Detector, OpenMMLabDetector]) -> None:
    ours, theirs = detectors
    images = _images(3)
    for mine, other in zip(ours.detect(images), theirs.detect(images), strict=True):
        assert len(mine.scores) > 3
        torch.testing.assert_close(mine.scores, other.scores, atol=1e-5, rtol=1e-4)
        assert mine.labels.tolist() == other.labels.tolist()
        torch.testing.assert_close(mine.boxes, other.boxes, atol=1e-3, rtol=1e-4)


def test_both_detectors_have_the_same_losses(detectors: tuple[Detector, OpenMMLabDetector]) -> None:
    ours, theirs = detectors
    images, targets = _images(3), _targets()
    mine, other = ours.losses(images, targets), theirs.losses(images, targets)
    for name, their_name in (
        ("objectness", "loss_rpn_cls"),
        ("proposal_box", "loss_rpn_bbox"),
        ("class", "loss_cls"),
        ("box", "loss_bbox"),
    ):
        assert float(mine[name].detach()) > 0
        torch.testing.assert_close(mine[name], other[their_name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("least", [0.0, 0.3])
def test_both_take_poor_matches_from_the_same_overlap_on(
    least: float, tiny_model: MakeModel, detection_settings: MakeDetection
) -> None:
    ours, theirs = _pair(tiny_model, detection_settings, rpn_low_quality_iou=least)
    small = [torch.tensor([[5.0, 6.0, 8.0, 9.0], [25.7, 20.2, 40.6, 34.9]]), torch.tensor([[16.3, 15.8, 32.4, 31.1]])]
    targets = [Targets(boxes, torch.zeros(len(boxes), dtype=torch.long)) for boxes in small]
    mine, other = ours.losses(_images(2), targets), theirs.losses(_images(2), targets)
    torch.testing.assert_close(mine["objectness"], other["loss_rpn_cls"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mine["proposal_box"], other["loss_rpn_bbox"], atol=1e-5, rtol=1e-4)
    otherwise, _ = _pair(tiny_model, detection_settings, rpn_low_quality_iou=0.3 - least)
    assert float(otherwise.losses(_images(2), targets)["objectness"].detach()) != float(mine["objectness"].detach())


def test_both_detectors_have_the_same_gradients_in_the_encoder(detectors: tuple[Detector, OpenMMLabDetector]) -> None:
    ours, theirs = detectors
    for model in detectors:
        model(_images(3), _targets()).backward()
    mine = {name: value.grad for name, value in cast(nn.Module, ours.encoder).named_parameters()}
    other = {name: value.grad for name, value in cast(Any, theirs.network).backbone.encoder.named_parameters()}
    assert mine.keys() == other.keys()
    seen = [name for name, gradient in mine.items() if gradient is not None and bool(gradient.any())]
    assert len(seen) > 20
    for name in seen:
        torch.testing.assert_close(mine[name], other[name], atol=1e-5, rtol=1e-3)


def test_the_names_of_a_detector_of_theirs_have_the_layers_of_ours(
    detectors: tuple[Detector, OpenMMLabDetector],
) -> None:
    ours, theirs = detectors
    layers = {name.removeprefix("network.backbone."): theirs.layer_id(name) for name, _ in theirs.named_parameters()}
    for name, _ in ours.named_parameters():
        if name.startswith("encoder."):
            assert layers[name] == ours.layer_id(name)
    assert max(layers.values()) == theirs.layer_count + 1 == ours.layer_count + 1
    assert {name.removeprefix("network.backbone.") for name in theirs.no_weight_decay()} == ours.no_weight_decay()


def test_a_batch_without_any_target_trains(detectors: tuple[Detector, OpenMMLabDetector]) -> None:
    nothing = Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    loss = detectors[1](_images(2), [nothing, nothing])
    loss.backward()
    assert torch.isfinite(loss)


@pytest.fixture
def segmenters(
    tiny_model: MakeModel, segmentation_settings: MakeSegmentation
) -> tuple[Segmenter, OpenMMLabSegmenter, SegmentationSettings]:
    """Ours and mmseg's with the same weights; three classes."""
    settings = segmentation_settings()
    ours = Segmenter(_encoder(tiny_model), 3, blocks=settings.decoder_blocks, dropout=0.0, seed=0)
    theirs = OpenMMLabSegmenter(_encoder(tiny_model), 3, settings, seed=0)
    _give_segmenter(ours, theirs)
    return ours.eval(), theirs.eval(), settings


_SEGMENTER = {
    "class_vectors": "cls_emb",
    "embed": "dec_proj",
    "project_patches": "patch_proj",
    "project_classes": "classes_proj",
    "norm": "decoder_norm",
    "class_norm": "mask_norm",
}
_BLOCK = {
    "norm1": "ln1",
    "norm2": "ln2",
    "attn.qkv": "attn.attn.in_proj_",
    "attn.proj": "attn.attn.out_proj",
    "mlp.fc1": "ffn.layers.0.0",
    "mlp.fc2": "ffn.layers.1",
}


def _give_segmenter(ours: Segmenter, theirs: OpenMMLabSegmenter) -> None:
    given = {}
    for name, value in ours.state_dict().items():
        if name.startswith("encoder."):
            given[f"backbone.{name}"] = value
            continue
        place, _, leaf = name.removeprefix("decoder.").rpartition(".")
        if place.startswith("blocks."):
            _, number, layer = place.split(".", 2)
            target = f"layers.{number}.{_BLOCK[layer]}"
        else:
            target = _SEGMENTER[place or leaf]
        ending = "" if not place else leaf if target.endswith("_") else f".{leaf}"
        given[f"decode_head.{target}{ending}"] = value
    theirs.network.load_state_dict(given)


def test_both_segmenters_have_the_same_loss(
    segmenters: tuple[Segmenter, OpenMMLabSegmenter, SegmentationSettings],
) -> None:
    ours, theirs, _ = segmenters
    images = _images(4)
    masks = torch.randint(0, 3, (4, SIDE, SIDE), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    masks[0] = 255
    masks[1, :20] = 255
    logits = ours(images)
    device = torch.device("cpu")
    shares = class_shares(masks.numpy(), 3, ours.encoder.grid_of(SIDE, SIDE), device)  # type: ignore[attr-defined]
    mine = mask_cross_entropy(logits, shares, masks != 255, SIDE)
    torch.testing.assert_close(mine, theirs(images, masks), atol=1e-5, rtol=1e-4)


def test_a_batch_without_labelled_pixels_has_no_loss_in_either(
    segmenters: tuple[Segmenter, OpenMMLabSegmenter, SegmentationSettings],
) -> None:
    loss = segmenters[1](_images(2), torch.full((2, SIDE, SIDE), 255, dtype=torch.uint8))
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_both_segmenters_give_the_same_classes(
    segmenters: tuple[Segmenter, OpenMMLabSegmenter, SegmentationSettings],
) -> None:
    ours, theirs, _ = segmenters
    images = _images(4)
    with torch.inference_mode():
        mine = upsampled(ours(images), SIDE).argmax(dim=0)
    other = torch.stack([theirs.classify(image[None]) for image in images])
    assert len(set(mine.flatten().tolist())) > 1
    assert float((mine == other).float().mean()) > 0.99  # where two classes are equally likely, rounding decides


def test_initial_values_hang_on_the_seed_alone_and_leave_no_trace(
    tiny_model: MakeModel, segmentation_settings: MakeSegmentation
) -> None:
    def head(seed: int) -> Tensor:
        model = OpenMMLabSegmenter(_encoder(tiny_model), 3, segmentation_settings(), seed=seed)
        return cast(Tensor, cast(Any, model.network).decode_head.dec_proj.weight)

    torch.manual_seed(derive_seed("somebody else", 0))
    encoder = _encoder(tiny_model)
    before = torch.get_rng_state()
    OpenMMLabSegmenter(encoder, 3, segmentation_settings(), seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    first = head(1)
    torch.manual_seed(3)
    assert torch.equal(head(1), first)
    assert not torch.equal(head(2), first)


def test_a_configuration_that_ran_before_leaves_nothing_in_the_way(
    tiny_model: MakeModel, detection_settings: MakeDetection
) -> None:
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmseg"):
        OpenMMLabDetector(_encoder(tiny_model), 2, detection_settings(), seed=0)
