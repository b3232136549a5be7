"""Tiny detection data, written as the folders of data sets where the test says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from tasks.datasets import DataOptions, DatasetIndex, DataSource, read_index
from tasks.protocol import DetectionSettings
from tests.tasks.detection.pictures import Picture, draw, random_pictures
from tests.tasks.tiny_settings import tiny_detection

WriteImage = Callable[[Path, NDArray[Any]], Path]
WriteScenes = Callable[..., DatasetIndex]
MakeSettings = Callable[..., DetectionSettings]


def _write_coco(write_image: WriteImage, root: Path, pictures: Sequence[Picture], **options: Any) -> DatasetIndex:
    names = sorted({name for picture in pictures for name in picture.names}) or ["ship"]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures):
        path = write_image(root / "images" / f"{number:03d}.png", draw(number, picture))
        if not picture.whole:
            path.write_bytes(path.read_bytes()[:200])
        images.append({"id": number, "file_name": path.name, "width": picture.width, "height": picture.height})
        kinds = picture.names or (names[0],) * len(picture.boxes)
        annotations += [
            {"id": len(annotations) + place, "image_id": number, "category_id": names.index(kind), "bbox": list(box)}
            for place, (box, kind) in enumerate(zip(picture.boxes, kinds, strict=True))
        ]
    folder = root / "annotations"
    folder.mkdir(parents=True, exist_ok=True)
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances_all.json").write_text(json.dumps(content))
    return read_index(DataSource("fusar_ship_sense", root), DataOptions(**options))


@pytest.fixture
def write_scenes(write_image: WriteImage, tmp_path: Path) -> WriteScenes:
    """Writes pictures as the data set fusar_ship_sense and reads it."""

    def write(pictures: Sequence[Picture], **options: Any) -> DatasetIndex:
        return _write_coco(write_image, tmp_path / "fusar_ship_sense", pictures, **options)

    return write


@pytest.fixture(scope="session")
def bright_index(write_image: WriteImage, tmp_path_factory: pytest.TempPathFactory) -> DatasetIndex:
    """A data set that can be learnt: forty scenes with two bright targets each."""
    root = tmp_path_factory.mktemp("bright") / "fusar_ship_sense"
    return _write_coco(write_image, root, random_pictures(40))


@pytest.fixture(scope="session")
def tiny_settings() -> MakeSettings:
    """The mini profile at 48 pixels, so small that a training takes a second or two."""
    return tiny_detection
