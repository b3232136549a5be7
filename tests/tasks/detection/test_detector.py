"""The detector as a whole: every encoder, every kind of target, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.card import Architecture
from adapters.encoder import build_vit
from adapters.hivit import build_hivit
from adapters.interface import Encoder, FeatureMap, Features, Grid
from adapters.timm_encoder import build_timm
from adapters.windows import WindowedViT
from foundation.errors import UsageError
from tasks.detection.backbone import sources_of
from tasks.detection.detector import Detected, Detector, Targets
from tasks.metrics.detection import Box, Detection, score
from tasks.optimiser import build_optimiser
from tasks.protocol import DetectionSettings, task_settings

CLASSES = 2
SIDE = 64


def small_settings(**changes: Any) -> DetectionSettings:
    found = task_settings("mini", "detection", "mini")
    assert isinstance(found, DetectionSettings)
    small = {
        "image_size": SIDE,
        "pyramid_channels": 16,
        "roi_hidden": 32,
        "roi_convolutions": 1,
        "roi_samples": 32,
        "rpn_proposals_train": (60, 40),
        "rpn_proposals_test": (50, 30),
    }
    return found.model_copy(update=small | changes)


def vit(patch: int = 8, side: int = SIDE, **facts: object) -> Encoder:
    geometry = {"kind": "vit", "width": 32, "depth": 2, "heads": 2, "patch": patch, "activation": "gelu"}
    return build_vit(Architecture.model_validate(geometry | facts), image_size=side, seed=0)


def hivit() -> Encoder:
    architecture = Architecture(
        kind="hivit",
        width=16,
        depth=2,
        heads=2,
        patch=16,
        activation="gelu",
        class_token=False,
        position="sincos2d",
    )
    return build_hivit(architecture, image_size=SIDE, seed=0)


def convolutional() -> Encoder:
    return build_timm(Architecture(kind="timm", timm_name="resnet10t"), image_size=SIDE, seed=0)


def detector(encoder: Encoder | None = None, *, seed: int = 0, **changes: Any) -> Detector:
    return Detector(encoder or vit(), CLASSES, small_settings(**changes), seed=seed)


def scene(number: int, boxes: list[tuple[int, int, int, int, int]], side: int = SIDE) -> tuple[Tensor, Targets]:
    """Noise with bright squares of class 0 and striped ones of class 1, given as x, y, w, h, class."""
    pixels = 0.1 * torch.randn(3, side, side, generator=torch.Generator().manual_seed(number))
    for x, y, width, height, label in boxes:
        pixels[:, y : y + height, x : x + width] = 1.0
        if label == 1:
            pixels[:, y : y + height : 2, x : x + width] = -1.0
    corners = [[x, y, x + width, y + height] for x, y, width, height, _ in boxes]
    return pixels, Targets(
        torch.tensor(corners, dtype=torch.float32).reshape(-1, 4), torch.tensor([box[4] for box in boxes]).long()
    )


def batch() -> tuple[Tensor, list[Targets]]:
    scenes = [
        scene(0, [(4, 6, 14, 10, 0), (36, 30, 12, 16, 1)]),
        scene(1, [(20, 20, 9, 9, 1)]),
        scene(2, []),
        scene(3, [(0, 0, 12, 12, 0), (52, 50, 12, 14, 1), (30, 4, 16, 8, 0)]),  # two of them at the border
    ]
    return torch.stack([pixels for pixels, _ in scenes]), [targets for _, targets in scenes]


ENCODERS = {
    "plain": vit,
    "relative": lambda: vit(position="irpe_k"),
    "an earlier layer": lambda: vit(feature_layer=1),
    "no class token": lambda: vit(class_token=False, position="sincos3d"),
    "clip": lambda: vit(pre_norm=True, activation="quick_gelu", patch_bias=False),
    "patches of 16": lambda: vit(patch=16),
    "patches of 32": lambda: vit(patch=32),
    "hivit": hivit,
    "convolutional": convolutional,
}


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_trains_detects_and_is_reached_by_the_gradient(name: str) -> None:
    found = detector(ENCODERS[name]())
    images, targets = batch()
    losses = found.losses(images, targets)
    assert list(losses) == ["objectness", "proposal_box", "class", "box"]
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    silent = [
        name
        for name, parameter in found.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.isfinite().all())
    ]
    assert silent == []
    unreached = {name for name, one in found.named_parameters() if one.requires_grad and not one.grad.any()}  # type: ignore[union-attr]
    # In a ResNet, norms that start at zero hide what lies before them until the first step.
    assert not {name for name in unreached if not name.startswith("encoder.network.")}
    for one in found.eval().detect(images):
        assert len(one.boxes) == len(one.labels) == len(one.scores) <= found.settings.test_detections
        assert bool((one.boxes >= 0).all() and (one.boxes <= SIDE).all())
        assert bool((one.labels < CLASSES).all())
        assert torch.equal(one.scores, one.scores.sort(descending=True).values)


def test_patches_of_14_use_the_strides_that_they_have() -> None:
    found = detector(vit(patch=14, side=56), image_size=60)
    images = torch.randn(2, 3, 56, 56)
    targets = [Targets(torch.tensor([[10.0, 10, 30, 24]]), torch.tensor([1]))] * 2
    assert bool(found(images, targets).isfinite())
    assert [level.spacing for level in found.pyramid.levels] == [3.5, 7, 14]
    assert all(bool((one.boxes <= 56).all()) for one in found.eval().detect(images))


@pytest.mark.parametrize(
    "targets",
    [
        [[], [], [], []],
        [[[5.0, 5, 6, 6]], [], [], []],
        [[[0.0, 0, 1, 1]], [[63.0, 63, 64, 64]], [[0.0, 0, 64, 64]], []],
        [[[0.0, 10, 8, 30]], [[56.0, 10, 64, 30]], [[10.0, 0, 30, 8]], [[10.0, 56, 30, 64]]],
        [[[10.0, 10, 20, 20]] * 40, [], [], [[63.99, 63.98, 64, 64]]],
    ],
    ids=["no boxes at all", "one pixel", "corners and everything", "at the borders", "many equal ones"],
)
def test_any_targets_give_finite_losses_and_gradients(targets: list[list[list[float]]]) -> None:
    found = detector()
    given = [
        Targets(torch.tensor(boxes).reshape(-1, 4), torch.zeros(len(boxes), dtype=torch.long)) for boxes in targets
    ]
    losses = found.losses(batch()[0], given)
    assert all(bool(loss.isfinite()) for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(bool(one.grad.isfinite().all()) for one in found.parameters() if one.grad is not None)
    if not any(targets):
        assert losses["proposal_box"].item() == losses["box"].item() == 0
        assert losses["objectness"].item() > 0


def test_nothing_above_the_score_is_an_empty_answer() -> None:
    found = detector(test_score=1.0).eval().detect(batch()[0])
    assert [len(one.labels) for one in found] == [0, 0, 0, 0]
    assert found[0].boxes.shape == (0, 4)


def test_images_are_looked_at_alone() -> None:
    found = detector().eval()
    images, _ = batch()
    order = torch.tensor([2, 0, 3, 1])
    permuted = found.detect(images[order])
    together = found.detect(images)
    for place, number in enumerate(order.tolist()):
        alone = found.detect(images[number : number + 1])[0]
        for other in (permuted[place], together[number]):
            torch.testing.assert_close(other.scores, alone.scores, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(other.boxes, alone.boxes, rtol=1e-4, atol=1e-3)


def test_the_loss_does_not_depend_on_the_order_of_the_images() -> None:
    # All anchors and proposals are looked at, for the lots hang on the place.
    everything: dict[str, Any] = {
        "rpn_samples": 10_000,
        "rpn_positive_share": 1.0,
        "roi_samples": 10_000,
        "roi_positive_share": 1.0,
    }
    found = detector(**everything)
    images, targets = batch()
    order = [2, 0, 3, 1]
    forward = found.losses(images, targets)
    permuted = found.losses(images[order], [targets[number] for number in order])
    for name, loss in forward.items():
        torch.testing.assert_close(permuted[name], loss, rtol=1e-4, atol=1e-6)


def test_the_same_seed_gives_the_same_detector_and_the_same_losses() -> None:
    state = torch.random.get_rng_state()
    first, again, other = detector(seed=0), detector(seed=0), detector(seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)  # building draws nothing from the global state
    for (name, one), two in zip(first.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    assert not torch.equal(first.box_head.hidden.weight, other.box_head.hidden.weight)
    losses = []
    for one in (first, again):
        torch.manual_seed(3)
        losses.append(one(*batch()))
    assert torch.equal(*losses)


def test_no_two_parameters_of_the_heads_start_alike() -> None:
    found = detector(roi_convolutions=2)
    random = [
        one.flatten()[:100]
        for name, one in found.named_parameters()
        if not name.startswith("encoder.") and one.ndim > 1 and one.numel() >= 100
    ]
    for index, one in enumerate(random):
        assert not any(torch.equal(one, other) for other in random[index + 1 :])
        assert 0 < one.std() < 0.5


def test_rates_fall_with_depth_and_position_terms_are_not_decayed() -> None:
    found = detector()
    assert found.layer_count == 2
    assert found.layer_id("encoder.vit.patch_embed.proj.weight") == 0
    assert found.layer_id("encoder.terms.1.rel_pos_w") == found.layer_id("encoder.vit.blocks.1.norm1.bias") == 2
    assert found.layer_id("pyramid.branches.0.0.weight") == found.layer_id("box_head.logits.bias") == 3
    settings = small_settings().training.optimiser.model_copy(update={"layer_decay": 0.5, "weight_decay": 0.1})
    optimiser = build_optimiser(
        found,
        settings,
        layer_id=found.layer_id,
        layer_count=found.layer_count,
        positions=found.no_weight_decay(),
    )
    groups = {
        id(parameter): (group["weight_decay"], group["rate_scale"])
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    parameters = dict(found.named_parameters())
    expected = {
        "encoder.vit.pos_embed": (0, 0.125),
        "encoder.terms.0.rel_pos_h": (0, 0.25),
        "encoder.vit.blocks.1.mlp.fc1.weight": (0.1, 0.5),
        "encoder.vit.blocks.1.norm1.weight": (0, 0.5),
        "pyramid.branches.0.1.weight": (0.1, 1),
        "pyramid.branches.0.2.weight": (0, 1),  # a norm over channels
        "box_head.hidden.weight": (0.1, 1),
    }
    assert {name: groups[id(parameters[name])] for name in expected} == expected
    assert id(parameters["encoder.vit.cls_token"]) not in groups


def test_half_precision_keeps_the_losses_single() -> None:
    found = detector()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = found.losses(*batch())
        detected = found.eval().detect(batch()[0])
    assert all(loss.dtype == torch.float32 and bool(loss.isfinite()) for loss in losses.values())
    assert all(one.boxes.dtype == one.scores.dtype == torch.float32 for one in detected)


def test_a_plain_vit_gets_windows_and_others_keep_their_maps() -> None:
    settings = small_settings(window=4, global_blocks=(1,))
    plain = Detector(vit(), CLASSES, settings, seed=0)
    assert isinstance(plain.encoder, WindowedViT)
    assert (plain.encoder.window, plain.encoder.global_blocks) == (4, (1,))
    network = convolutional()
    assert [source.stride for source in sources_of(network, settings)] == [2, 4, 8, 16, 32]
    assert network.training  # type: ignore[attr-defined]
    assert Detector(network, CLASSES, settings, seed=0).encoder is network


def test_what_no_level_is_made_from_is_frozen() -> None:
    network = convolutional()
    found = Detector(network, CLASSES, small_settings(), seed=0)  # strides 4, 8 and 16
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in network.named_parameters() if name.startswith("network.layer4.")}
    assert all(parameter.grad is None for parameter in found.parameters())
    whole = convolutional()
    Detector(whole, CLASSES, small_settings(pyramid_strides=(4, 8, 16, 32)), seed=0)
    assert all(parameter.requires_grad for _, parameter in whole.named_parameters())


class Blind(torch.nn.Module):
    """An encoder of somebody else that forgot its maps."""

    width, stride, layer_count, in_channels = 4, 8, 1, 3

    def forward(self, images: Tensor) -> Features:
        return Features(images.new_zeros(1, 4), None, images.new_zeros(1, 1, 4), Grid(1, 1))

    def maps(self, images: Tensor) -> list[FeatureMap]:  # noqa: ARG002
        return []

    def layer_id(self, parameter_name: str) -> int:  # noqa: ARG002
        return 0

    def no_weight_decay(self) -> set[str]:
        return set()


def test_an_encoder_without_maps_is_refused() -> None:
    with pytest.raises(UsageError, match="no feature maps"):
        detector(Blind())


def average_precision(found: list[Detected], targets: list[Targets]) -> float:
    truth = [
        Box(str(image), int(label), float(x), float(y), float(right - x), float(bottom - y))
        for image, target in enumerate(targets)
        for (x, y, right, bottom), label in zip(target.boxes, target.labels, strict=True)
    ]
    detections = [
        Detection(str(image), int(label), float(x), float(y), float(right - x), float(bottom - y), float(sure))
        for image, one in enumerate(found)
        for (x, y, right, bottom), label, sure in zip(*one, strict=True)
    ]
    names = [str(image) for image in range(len(targets))]
    value = score(truth, detections, images=names, classes=["bright", "striped"]).metrics["ap50"].value
    assert value is not None
    return value


@pytest.mark.slow
def test_four_images_are_learnt_by_heart() -> None:
    found = detector()
    images, targets = batch()
    optimiser = torch.optim.AdamW(found.parameters(), lr=2e-3, weight_decay=0.0)
    torch.manual_seed(0)
    before = average_precision(found.eval().detect(images), targets)
    losses = []
    found.train()
    for _ in range(150):
        optimiser.zero_grad()
        loss = found(images, targets)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    assert last < first / 5
    after = average_precision(found.eval().detect(images), targets)
    assert before < 20
    assert after > 95
