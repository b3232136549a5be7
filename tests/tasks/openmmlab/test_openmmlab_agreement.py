"""The same protocol through mmdet and mmseg: the same form of answers, and scores within the seeds' spread of ours."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.encoder import build_vit
from adapters.interface import LoadedModel
from adapters.load import load
from adapters.registry import catalog
from foundation.errors import MissingError, UsageError
from tasks.datasets import DataOptions, DatasetIndex, DataSource, read_index
from tasks.detection import data as boxes
from tasks.detection import fit as our_boxes
from tasks.detection.score import score as score_boxes
from tasks.openmmlab import installation, operators
from tasks.openmmlab.fit import fit_and_predict_boxes, fit_and_predict_masks
from tasks.openmmlab.installation import require_openmmlab
from tasks.protocol import DetectionSettings, SegmentationSettings
from tasks.segmentation import data as masks
from tasks.segmentation import fit as our_masks
from tasks.segmentation.score import score as score_masks
from tasks.task import Outcome
from tests.tasks.openmmlab.conftest import ARCHITECTURE, WriteImage, half_and_half
from tests.tasks.tiny_settings import SIDE

MakeModel = Callable[[int], LoadedModel]
Fit = Callable[..., Outcome]
SEEDS = (0, 1, 2)
ROUNDING = 3.0
"""Points that scores of eight images or fewer may differ by when the seeds happen to agree to the last digit."""
LARGEST_SPREAD = 15.0
"""Points between the seeds of one implementation; among scores that lie further apart nothing would stand out."""


def _agree(ours: list[float], theirs: list[float]) -> bool:
    """Means no further apart than the scores of one implementation are among themselves, and these not far apart."""
    spread = max(max(scores) - min(scores) for scores in (ours, theirs))
    return spread <= LARGEST_SPREAD and abs(float(np.mean(ours)) - float(np.mean(theirs))) <= spread + ROUNDING


def test_the_comparison_tells_two_implementations_apart() -> None:
    assert _agree([80.0, 84.0, 82.0], [81.0, 85.0, 86.0])
    assert not _agree([80.0, 84.0, 82.0], [70.0, 74.0, 72.0])
    assert not _agree([80.0, 84.0, 20.0], [81.0, 85.0, 86.0])


@pytest.mark.slow
@pytest.mark.usefixtures("openmmlab")
def test_detectors_agree_within_the_spread_of_the_seeds(
    tiny_model: MakeModel, ship_index: DatasetIndex, detection_settings: Callable[..., DetectionSettings]
) -> None:
    settings = detection_settings(10)
    data = boxes.build(ship_index, settings)
    truth = boxes.truth_of(data)

    def scores(fit: Fit, **options: Any) -> list[float]:
        return [
            score_boxes(fit(tiny_model(seed), data, settings, seed=seed, **options).predictions, truth)["metrics"][
                "ap50"
            ].value
            or 0.0
            for seed in SEEDS
        ]

    ours, theirs = scores(our_boxes.fit_and_predict), scores(fit_and_predict_boxes)
    assert 40 < min(float(np.mean(ours)), float(np.mean(theirs))) < 95, (ours, theirs)  # at 100 all would agree
    assert _agree(ours, theirs), (ours, theirs)


@pytest.mark.slow
@pytest.mark.usefixtures("openmmlab")
def test_segmenters_agree_within_the_spread_of_the_seeds(
    tiny_model: MakeModel, land_index: DatasetIndex, segmentation_settings: Callable[..., SegmentationSettings]
) -> None:
    settings = segmentation_settings(6)
    data = masks.build(land_index, settings)
    truth = masks.truth_of(data)

    def scores(fit: Fit, **options: Any) -> list[float]:
        return [
            score_masks(fit(tiny_model(seed), data, settings, seed=seed, **options).predictions, truth)["metrics"][
                "miou"
            ].value
            or 0.0
            for seed in SEEDS
        ]

    ours, theirs = scores(our_masks.fit_and_predict), scores(fit_and_predict_masks)
    assert min(float(np.mean(ours)), float(np.mean(theirs))) > 60, (ours, theirs)
    assert _agree(ours, theirs), (ours, theirs)
    assert not _agree(ours, scores(fit_and_predict_masks, twin="noise_images")), "the comparison sees nothing"


@pytest.mark.usefixtures("openmmlab")
def test_masks_answer_for_every_test_image_at_its_size(
    tiny_model: MakeModel, land_index: DatasetIndex, segmentation_settings: Callable[..., SegmentationSettings]
) -> None:
    settings = segmentation_settings(1, tile=32, stride=24)  # windows that overlap, and a border to fill up
    data = masks.build(land_index, settings)
    outcome = fit_and_predict_masks(tiny_model(0), data, settings, seed=0)
    assert [row["image_id"] for row in outcome.predictions] == list(data.split.test)
    score_masks(outcome.predictions, masks.truth_of(data))  # refuses masks of another size
    assert json.loads(json.dumps(outcome.predictions)) == outcome.predictions


@pytest.mark.usefixtures("openmmlab")
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_run_that_is_taken_up_again_ends_where_an_unbroken_one_does(
    task: str,
    tiny_model: MakeModel,
    ship_index: DatasetIndex,
    land_index: DatasetIndex,
    detection_settings: Callable[..., DetectionSettings],
    segmentation_settings: Callable[..., SegmentationSettings],
    tmp_path: Path,
) -> None:
    if task == "detection":
        fit: Fit = fit_and_predict_boxes
        settings: Any = detection_settings(2)
        data: Any = boxes.build(ship_index, settings, limit=8)
    else:
        fit, settings = fit_and_predict_masks, segmentation_settings(2)
        data = masks.build(land_index, settings, limit=8)

    def stop(done: int, total: int, note: str = "") -> None:
        if note == "epoch 2/2":
            raise KeyboardInterrupt

    options = {"seed": 0, "checkpoint": tmp_path / "checkpoint", "key": "k"}
    with pytest.raises(KeyboardInterrupt):
        fit(tiny_model(0), data, settings, progress=stop, **options)
    resumed = fit(tiny_model(0), data, settings, **options)
    whole = fit(tiny_model(0), data, settings, seed=0)
    assert resumed.resumed_from_epoch == 1 and whole.resumed_from_epoch is None
    assert resumed.predictions == whole.predictions
    assert resumed.losses == whole.losses


@pytest.mark.usefixtures("openmmlab")
def test_turned_tiles_are_learnt_from(
    tiny_model: MakeModel, land_index: DatasetIndex, segmentation_settings: Callable[..., SegmentationSettings]
) -> None:
    data = masks.build(land_index, segmentation_settings())
    plain, turned = (
        fit_and_predict_masks(tiny_model(0), data, segmentation_settings(4, augment=augment), seed=0)
        for augment in (False, True)
    )
    assert turned.losses != plain.losses and turned.losses[-1] < turned.losses[0]


@pytest.mark.usefixtures("openmmlab")
def test_an_encoder_of_one_channel_sees_one_polarisation_and_their_segmenter_says_so(
    tmp_path: Path, write_image: WriteImage, segmentation_settings: Callable[..., SegmentationSettings]
) -> None:
    for number in range(10):
        grey, mask = half_and_half(number)
        for band in ("HH", "HV", "VH", "VV"):
            write_image(tmp_path / "train_set" / f"AIR-PolarSAR-Seg-{number}_{band}.tiff", grey.astype(np.uint16))
        colours = np.array([(0, 0, 255), (0, 255, 0)], dtype=np.uint8)[mask % 2]
        write_image(tmp_path / "train_set" / f"AIR-PolarSAR-Seg-{number}_gt.png", colours)
    index = read_index(DataSource("air_polarsar_seg", tmp_path), DataOptions(polarisation="pseudo"))
    data = masks.build(index, segmentation_settings(1))
    architecture = ARCHITECTURE.model_copy(update={"in_channels": 1})
    card = catalog()["random-mini"]
    contract = load(card, image_size=SIDE, seed=0).contract
    contract = contract.model_copy(update={"channels": 1, "mean": (0.5,), "std": (0.5,)})
    loaded = LoadedModel(card, build_vit(architecture, image_size=SIDE, seed=0), contract)
    for fit in (our_masks.fit_and_predict, fit_and_predict_masks):
        outcome = fit(loaded, data, segmentation_settings(1), seed=0)
        assert outcome.warnings == ["the model does not take three channels: of each composite it saw HH alone"]


@pytest.mark.usefixtures("openmmlab")
def test_noise_in_place_of_images_brings_their_segmenter_down(
    tiny_model: MakeModel, land_index: DatasetIndex, segmentation_settings: Callable[..., SegmentationSettings]
) -> None:
    settings = segmentation_settings(4)
    data = masks.build(land_index, settings)
    outcome = fit_and_predict_masks(tiny_model(0), data, settings, seed=0, twin="noise_images")
    value = score_masks(outcome.predictions, masks.truth_of(data))["metrics"]["miou"].value
    assert value is not None and value < 50


def test_hand_made_features_are_refused(
    ship_index: DatasetIndex, detection_settings: Callable[..., DetectionSettings]
) -> None:
    settings = detection_settings()
    loaded = load(catalog()["simple-features"], image_size=64, seed=0)
    with pytest.raises(UsageError, match="no network"):
        fit_and_predict_boxes(loaded, boxes.build(ship_index, settings), settings, seed=0)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "installed_versions", lambda: (("mmengine", "0.10.7"),))
    with pytest.raises(MissingError, match="not installed") as caught:
        require_openmmlab()
    assert "fusar-klip-bench[openmmlab]" in caught.value.way_out
    assert "mmengine 0.10.7" in str(caught.value.where)


def test_a_library_that_the_system_lacks_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(name: str) -> Any:
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(installation, "is_installed", lambda: True)
    monkeypatch.setattr(operators, "install_operators", lambda: "torchvision")
    monkeypatch.setattr(importlib, "import_module", failing)
    with pytest.raises(MissingError, match=r"libGL\.so\.1") as caught:
        require_openmmlab()
    assert "apt install libgl1" in caught.value.way_out


@pytest.mark.usefixtures("openmmlab")
def test_each_task_has_its_stand_in_and_others_are_refused() -> None:
    assert installation.fit_of("detection") is fit_and_predict_boxes
    assert installation.fit_of("segmentation") is fit_and_predict_masks
    with pytest.raises(UsageError, match="no openmmlab implementation of classification"):
        installation.require_installed("classification")


def test_planning_needs_neither_torch_nor_theirs() -> None:
    code = (
        "import sys; from tasks.openmmlab.installation import installed_versions, is_installed; is_installed();"
        "print([name for name in ('torch', 'numpy', 'mmengine', 'mmcv') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("openmmlab")
def test_a_record_can_name_versions_and_operators() -> None:
    implementation = require_openmmlab()
    assert dict(implementation.versions)["mmdet"]
    assert implementation.operators in ("mmcv", "torchvision")
    assert f"operators of {implementation.operators}" in str(implementation)
