"""Models of the catalogue in OpenMMLab's own configurations: as backbones, in the shipped examples, in their runner."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from adapters.card import Architecture
from adapters.encoder import PlainViT, build_vit
from adapters.windows import WindowedViT
from foundation.errors import UsageError
from tasks.detection.detector import Detector
from tasks.detection.pyramid import Level
from tasks.openmmlab import configs
from tasks.openmmlab.backbone import SAREncoder
from tasks.openmmlab.networks import detector_config, segmenter_config
from tasks.optimiser import build_optimiser, set_rate
from tasks.protocol import DetectionSettings, SegmentationSettings, task_settings
from tests.tasks.openmmlab.conftest import half_and_half, write_coco

WriteImage = Callable[[Path, NDArray[Any]], Path]
EXAMPLES = Path(configs.__file__).parent
DETECTION, SEGMENTATION = EXAMPLES / "faster_rcnn_sar_encoder.py", EXAMPLES / "segmenter_sar_encoder.py"


def _executed(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), content)
    return content


def _without_scopes(config: Any) -> Any:
    """Names as they are within one library."""
    if isinstance(config, dict):
        return {key: _without_scopes(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [_without_scopes(value) for value in config]
    return config.removeprefix("mmdet.").removeprefix("mmseg.") if isinstance(config, str) else config


def test_one_map_is_the_tokens_on_their_grid() -> None:
    backbone = SAREncoder("random-mini", image_size=64, out="map").eval()
    images = torch.randn(2, 3, 64, 48)
    (found,) = backbone(images)
    features = cast(PlainViT, backbone.encoder)(images)
    assert found.shape == (2, 128, 8, 6)
    assert torch.equal(found[0, :, 2, 3], features.tokens[0, 2 * 6 + 3])


def test_a_hierarchical_network_shows_all_its_stages() -> None:
    found = SAREncoder("resnet18-scratch", image_size=64, out="stages")(torch.zeros(1, 3, 64, 64))
    assert [tuple(one.shape[1:]) for one in found[-4:]] == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]


def test_the_pyramid_is_that_of_our_detector() -> None:
    settings = cast(DetectionSettings, task_settings("mini", "detection"))
    backbone = SAREncoder(
        "random-mini",
        image_size=settings.image_size,
        out="pyramid",
        strides=settings.pyramid_strides,
        channels=settings.pyramid_channels,
        window=settings.window,
        global_blocks=settings.global_blocks,
    ).eval()
    other = SAREncoder("random-mini", image_size=settings.image_size)
    ours = Detector(cast(Any, other.encoder), 1, settings, seed=0).eval()
    images = torch.randn(1, 3, settings.image_size, settings.image_size)
    found = backbone(images)
    expected = ours.pyramid(ours.encoder.maps(images))
    assert len(found) == len(settings.pyramid_strides)
    for mine, theirs in zip(expected, found, strict=True):
        assert torch.equal(mine, theirs)


def test_a_file_of_ones_own_is_loaded(tmp_path: Path) -> None:
    architecture = Architecture(kind="vit", width=192, depth=12, heads=3, patch=16, activation="gelu", image_size=32)
    published = build_vit(architecture, image_size=32, seed=7)
    torch.save(published.state_dict(), tmp_path / "mine.pth")
    backbone = SAREncoder(f"mine={tmp_path / 'mine.pth'}:vit_tiny_patch16_224", image_size=32).eval()
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(
        backbone(images)[0].flatten(2).transpose(1, 2), published.eval()(images).tokens, atol=1e-5, rtol=1e-4
    )


def test_a_frozen_encoder_neither_learns_nor_drops_anything() -> None:
    backbone = SAREncoder(
        "random-mini", image_size=64, out="pyramid", strides=(8,), channels=8, frozen=True, drop_path=0.5
    ).train()
    images = torch.randn(2, 3, 64, 64)
    first, second = backbone(images)[0], backbone(images)[0]
    assert torch.equal(first, second)
    first.sum().backward()
    learns = {name.partition(".")[0] for name, value in backbone.named_parameters() if value.grad is not None}
    assert learns == {"pyramid"}
    assert not any(value.requires_grad for value in backbone.encoder.parameters())


def test_windows_are_a_choice() -> None:
    windowed = SAREncoder("random-mini", image_size=64, out="pyramid", window=2, global_blocks=(3,))
    whole = SAREncoder("random-mini", image_size=64, out="pyramid")
    assert cast(WindowedViT, windowed.encoder).window == 2
    assert cast(WindowedViT, whole.encoder).window >= 8  # the grid itself


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("all", {}, "a backbone is one"),
        ("simple-features", {}, "no network"),
        ("random-mini", {"out": "everything"}, "out = "),
    ],
)
def test_what_cannot_be_a_backbone_is_refused(model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SAREncoder(model, image_size=64, **options)


def test_channels_that_nothing_can_be_made_of_are_refused() -> None:
    with pytest.raises(UsageError, match="5 channels"):
        SAREncoder("random-mini", image_size=64)(torch.zeros(1, 5, 64, 64))


def test_the_example_of_mmdet_has_the_settings_of_the_paper_profile() -> None:
    settings = cast(DetectionSettings, task_settings("paper", "detection"))
    example = _executed(DETECTION)
    model = example["model"]
    expected = detector_config(
        settings,
        classes=len(example["class_names"]),
        levels=[Level(stride, stride) for stride in settings.pyramid_strides],
        backbone=model["backbone"],
        norm={"type": "SARChannelNorm", "eps": 1e-6},
    )
    shown = {name: value for name, value in model.items() if name != "data_preprocessor"}
    assert _without_scopes(shown) == _without_scopes(expected)
    backbone = model["backbone"]
    assert (backbone["image_size"], backbone["window"]) == (settings.image_size, settings.window)
    assert tuple(backbone["global_blocks"]) == settings.global_blocks
    assert backbone["drop_path"] == settings.encoder.drop_path
    assert tuple(model["data_preprocessor"]["mean"]) == settings.normalisation.mean
    optimiser, paramwise = example["optim_wrapper"]["optimizer"], example["optim_wrapper"]["paramwise_cfg"]
    assert (optimiser["lr"], optimiser["weight_decay"]) == (
        settings.training.optimiser.rate,
        settings.training.optimiser.weight_decay,
    )
    assert paramwise["layer_decay"] == settings.training.optimiser.layer_decay
    assert tuple(paramwise["no_decay"]) == settings.training.optimiser.no_decay
    warmup, steps = example["param_scheduler"]
    assert (warmup["end"], warmup["start_factor"]) == (
        settings.training.schedule.warmup_epochs,
        settings.training.schedule.warmup_factor,
    )
    assert tuple(steps["milestones"]) == settings.training.schedule.milestones
    assert example["train_cfg"]["max_epochs"] == settings.training.epochs


def test_the_example_of_mmseg_has_the_settings_of_the_paper_profile() -> None:
    settings = cast(SegmentationSettings, task_settings("paper", "segmentation"))
    example = _executed(SEGMENTATION)
    model = example["model"]
    expected = segmenter_config(
        settings, classes=len(example["class_names"]), width=768, heads=12, backbone=model["backbone"]
    )
    shown = {name: value for name, value in model.items() if name not in ("data_preprocessor", "train_cfg")}
    assert _without_scopes(shown) == _without_scopes(expected)
    assert tuple(model["data_preprocessor"]["mean"]) == settings.normalisation.mean
    assert example["optim_wrapper"]["optimizer"]["lr"] == settings.training.optimiser.rate
    (schedule,) = example["param_scheduler"]
    assert (schedule["power"], schedule["eta_min"]) == (
        settings.training.schedule.power,
        settings.training.schedule.floor,
    )
    assert (example["epochs"], example["batch"]) == (settings.training.epochs, settings.training.batch)


def _edited(path: Path, folder: Path, changes: dict[str, str]) -> Path:
    """The example with other values in the block that one edits."""
    lines = path.read_text().splitlines()
    for name, value in changes.items():
        (place,) = [number for number, line in enumerate(lines) if line.startswith(f"{name} = ")]
        lines[place] = f"{name} = {value}"
    copied = folder / path.name
    copied.write_text("\n".join(lines) + "\n")
    return copied


def _trained(config: Path, folder: Path) -> Any:
    from mmengine.config import Config
    from mmengine.runner import Runner

    settings = Config.fromfile(config)
    settings.work_dir = str(folder / "work")
    settings.log_level = "ERROR"
    settings.default_hooks = {"checkpoint": None}
    runner = Runner.from_cfg(settings)
    before = copy.deepcopy(runner.model.state_dict())
    runner.train()
    after = runner.model.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values() if value.is_floating_point())
    changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert "backbone" in changed and len(changed) > 1
    return runner


@pytest.mark.slow
@pytest.mark.usefixtures("openmmlab")
def test_the_example_of_mmdet_trains_and_is_evaluated_in_their_runner(write_image: WriteImage, tmp_path: Path) -> None:
    for part, numbers in (("train", range(4)), ("test", range(4, 6))):
        write_coco(write_image, tmp_path, numbers, f"instances_{part}.json")
    changes = {
        "model_name": '"random-mini"',
        "data_root": repr(f"{tmp_path}/"),
        "class_names": '("ship",)',
        "image_size": "64",
        "batch": "2",
        "workers": "0",
        "epochs": "1",
        "milestones": "[1]",
        "warmup_epochs": "1",
        "strides": "[4, 8, 16]",
        "box_strides": "[4, 8, 16]",
        "channels": "16",
        "anchor_scale": "2.0",
        "window": "4",
        "global_blocks": "[1, 3]",
    }
    runner = _trained(_edited(DETECTION, tmp_path, changes), tmp_path)
    assert runner.iter == 2
    assert "coco/bbox_mAP_50" in runner.message_hub.log_scalars.keys() | _logged(runner)
    rates = {group["rate_scale"] for group in runner.optim_wrapper.optimizer.param_groups}
    assert 1.0 in rates and len(rates) == 6  # embeddings, four blocks, the rest


@pytest.mark.slow
@pytest.mark.usefixtures("openmmlab")
def test_the_example_of_mmseg_trains_and_is_evaluated_in_their_runner(write_image: WriteImage, tmp_path: Path) -> None:
    for part, numbers in (("train", range(4)), ("test", range(4, 6))):
        for number in numbers:
            grey, mask = half_and_half(number)
            write_image(tmp_path / "images" / part / f"{number}.png", grey)
            write_image(tmp_path / "masks" / part / f"{number}.png", mask)
    changes = {
        "model_name": '"random-mini"',
        "width": "128",
        "heads": "2",
        "data_root": repr(f"{tmp_path}/"),
        "class_names": '("building", "vegetation")',
        "tile": "48",
        "batch": "2",
        "workers": "0",
        "epochs": "1",
    }
    runner = _trained(_edited(SEGMENTATION, tmp_path, changes), tmp_path)
    assert runner.iter == 2
    assert "mIoU" in _logged(runner)


def _logged(runner: Any) -> set[str]:
    """Names of what the evaluation has found."""
    return {name.removeprefix("val/") for name in runner.message_hub.log_scalars}


@pytest.mark.usefixtures("openmmlab")
def test_rates_by_depth_are_those_of_our_own_optimiser() -> None:
    from tasks.openmmlab.layer_decay import SARLayerDecay

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = SAREncoder("random-mini", image_size=64, out="pyramid", channels=8)
            self.head = nn.Linear(8, 2)

    network = Network()
    settings = cast(DetectionSettings, task_settings("paper", "detection")).training.optimiser
    wrapped = SARLayerDecay(
        {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": settings.rate, "weight_decay": 0.1}},
        {"layer_decay": settings.layer_decay, "no_decay": list(settings.no_decay)},
    )(network)
    backbone = network.backbone
    expected = build_optimiser(
        network,
        settings,
        layer_id=lambda name: backbone.layer_id(name[9:]) if name.startswith("backbone.") else backbone.layer_count + 1,
        layer_count=backbone.layer_count,
        positions={f"backbone.{name}" for name in backbone.no_weight_decay()},
    )
    set_rate(expected, settings.rate)

    def groups(optimiser: torch.optim.Optimizer) -> list[tuple[float, float, list[int]]]:
        return [
            (group["lr"], group["weight_decay"], [id(parameter) for parameter in group["params"]])
            for group in optimiser.param_groups
        ]

    assert groups(wrapped.optimizer) == groups(expected)
    with pytest.raises(UsageError, match="SAREncoder"):
        SARLayerDecay({"optimizer": {"type": "AdamW", "lr": 1.0}})(nn.Linear(1, 1))
