"""Data of a few pixels for both implementations, and the reason why a test is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters.card import Architecture
from adapters.encoder import build_vit
from adapters.interface import LoadedModel
from adapters.load import load
from adapters.registry import catalog
from foundation.errors import MissingError
from tasks.datasets import DataOptions, DatasetIndex, DataSource, read_index
from tasks.datasets.fusar_map import COLOURS
from tasks.openmmlab.installation import SHARED_LIBRARY, is_installed, require_openmmlab
from tasks.protocol import DetectionSettings, SegmentationSettings, task_settings
from tests.tasks.tiny_settings import SIDE, tiny_detection

WriteImage = Callable[[Path, NDArray[Any]], Path]
Corners = list[tuple[int, int, int, int]]

ARCHITECTURE = Architecture(kind="vit", width=32, depth=2, heads=2, patch=8, activation="gelu", image_size=SIDE)


@pytest.fixture(scope="session")
def openmmlab() -> None:
    """Skips a test that needs mmdet and mmsegmentation."""
    if not is_installed():
        pytest.skip("the extra openmmlab (mmdet, mmsegmentation) is not installed")
    try:
        require_openmmlab()
    except MissingError as error:
        if SHARED_LIBRARY not in error.what:
            raise  # installed and broken is no reason to look away
        pytest.skip(f"{error.what}: {error.way_out}")


@pytest.fixture(scope="session")
def tiny_model() -> Callable[[int], LoadedModel]:
    """A ViT of two blocks from scratch."""

    def make(seed: int) -> LoadedModel:
        card = catalog()["random-mini"]
        contract = load(card, image_size=64, seed=0).contract
        return LoadedModel(card, build_vit(ARCHITECTURE, image_size=SIDE, seed=seed), contract)

    return make


@pytest.fixture(scope="session")
def detection_settings() -> Callable[..., DetectionSettings]:
    """The mini profile made small, without a jitter of sizes."""

    def make(epochs: int = 2, **changes: Any) -> DetectionSettings:
        return tiny_detection(epochs, **{"resize_range": (1.0, 1.0), **changes})

    return make


@pytest.fixture(scope="session")
def segmentation_settings() -> Callable[..., SegmentationSettings]:
    """The mini profile with small tiles."""

    def make(epochs: int = 2, **changes: Any) -> SegmentationSettings:
        values = task_settings("mini", "segmentation", "mini").model_dump()
        values.update(tile=SIDE, stride=SIDE)
        values["training"].update(epochs=epochs, batch=8, micro_batch=8)
        values["training"]["schedule"].update(warmup_epochs=0)
        return SegmentationSettings.model_validate({**values, **changes})

    return make


def bright_scene(number: int) -> tuple[NDArray[np.uint8], Corners]:
    """Noise with one bright rectangle in each half, as x, y, width, height."""
    rng = np.random.default_rng([11, number])
    grey = rng.integers(0, 90, (SIDE, SIDE), dtype=np.uint8)
    boxes = []
    for left in (0, SIDE // 2):
        w, h = (int(side) for side in rng.integers(9, 16, 2))
        x, y = left + int(rng.integers(0, SIDE // 2 - w)), int(rng.integers(0, SIDE - h))
        grey[y : y + h, x : x + w] += np.uint8(150)
        boxes.append((x, y, w, h))
    return grey, boxes


def half_and_half(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Dark vegetation beside bright buildings with a strip that is not labelled (class 255)."""
    rng = np.random.default_rng([13, number])
    mask = np.ones((SIDE, SIDE), dtype=np.uint8)
    border = int(rng.integers(SIDE // 4, 3 * SIDE // 4))
    mask[:border] = 0
    mask = mask.T.copy() if number % 2 else mask
    grey = (np.where(mask == 0, 170, 60) + rng.normal(0, 20, mask.shape)).clip(0, 255).astype(np.uint8)
    mask[:, :3] = 255
    return grey, mask


def write_coco(write_image: WriteImage, root: Path, numbers: range, name: str) -> None:
    """Scenes with their boxes as one COCO file."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in numbers:
        grey, boxes = bright_scene(number)
        path = write_image(root / "images" / f"{number:03d}.png", grey)
        images.append({"id": number, "file_name": path.name, "width": SIDE, "height": SIDE})
        for box in boxes:
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": list(box)}
            annotations.append({**entry, "area": box[2] * box[3], "iscrowd": 0})
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "ship"}]}
    (root / "annotations" / name).write_text(json.dumps(content))


@pytest.fixture(scope="session")
def ship_index(write_image: WriteImage, tmp_path_factory: pytest.TempPathFactory) -> DatasetIndex:
    """Forty scenes with two bright targets each: 32 to learn from."""
    root = tmp_path_factory.mktemp("ships")
    write_coco(write_image, root, range(40), "instances_all.json")
    return read_index(DataSource("fusar_ship_sense", root))


@pytest.fixture(scope="session")
def land_index(write_image: WriteImage, tmp_path_factory: pytest.TempPathFactory) -> DatasetIndex:
    """Twenty maps of two kinds of ground, in the layout of FUSAR-Map."""
    root = tmp_path_factory.mktemp("land")
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[0], colours[1] = COLOURS["building"], COLOURS["vegetation"]
    for number in range(20):
        grey, mask = half_and_half(number)
        place = f"Bray_{number % 3 + 1:02d}_01_01_{number:02d}"
        write_image(root / "sar_48" / f"{place}_SAR_{number:03d}.tif", grey)
        write_image(root / "lab_48" / f"{place}_Label_{number:03d}.tif", colours[mask])
    return read_index(DataSource("fusar_map", root), DataOptions(label_map="map4_labelled"))
