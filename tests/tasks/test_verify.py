"""What a data set is checked for, and what its readers make of the odd files of real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foundation.errors import MissingError
from tasks.datasets import DataOptions, DatasetIndex, DataSource, fusar_ship, read_index
from tasks.datasets.division import divide
from tasks.datasets.records import Remarks
from tasks.datasets.sense import scene_of
from tasks.datasets.verify import Check, verify
from tasks.datasets.voc import read_voc
from tasks.splits import Split

pytestmark = pytest.mark.usefixtures("own_cache")

WriteImage = Callable[[Path, NDArray[Any]], Path]
Texture = Callable[..., NDArray[np.uint8]]


def _checks(index: DatasetIndex, split: Split | None = None) -> dict[str, Check]:
    return {check.name: check for check in verify(index, split or divide(index)).checks}


def test_counts_and_sizes_are_those_of_the_images(shape_index: DatasetIndex) -> None:
    found = verify(shape_index, divide(shape_index))
    assert found.holds and (found.images, found.train, found.test) == (60, 48, 12)
    assert found.widths == (24, 24, 24) and found.dtypes == {"uint8": 60}
    assert [(row.name, row.part, row.images) for row in found.classes][:2] == [
        ("corner", "train", 16),
        ("corner", "test", 4),
    ]
    assert sum(row.images for row in found.classes) == 60


def test_a_group_in_both_parts_is_an_error(shape_index: DatasetIndex) -> None:
    images = tuple(image._replace(group="all") for image in shape_index.images)
    check = _checks(replace(shape_index, images=images), divide(shape_index))["groups"]
    assert check.verdict == "failed" and "1 groups stand in both parts" in check.text


def test_a_class_without_training_images_is_an_error(shape_index: DatasetIndex) -> None:
    parts = divide(shape_index)
    train = tuple(name for name in parts.train if not name.startswith("edge"))
    check = _checks(shape_index, Split(train, parts.test))["classes"]
    assert check.verdict == "failed" and "edge in train" in check.text


def test_identical_images_in_both_parts_are_named(shape_index: DatasetIndex) -> None:
    images = tuple(image._replace(pixel_hash="same") for image in shape_index.images)
    check = _checks(replace(shape_index, images=images), divide(shape_index))["identical images"]
    assert check.verdict == "note" and check.text.startswith("12 test images")


def test_parts_that_cannot_be_made_are_an_error(shape_index: DatasetIndex) -> None:
    found = verify(shape_index, MissingError("no parts", way_out="x"))
    assert not found.holds and found.split_hash == ""


def test_a_real_data_set_has_its_published_size(shape_index: DatasetIndex) -> None:
    check = _checks(replace(shape_index, dataset="fusar_map"), divide(shape_index))["published size"]
    assert check.verdict == "failed" and "60 images instead of 610" in check.text
    rendered = replace(shape_index, dataset="fusar_map", world="sarworld v1 ci seed 0")
    assert "published size" not in _checks(rendered, divide(shape_index))


@pytest.mark.parametrize(("unknown", "verdict"), [(0, "ok"), (10, "note"), (20_000, "failed")])
def test_unknown_colours_are_counted(shape_index: DatasetIndex, unknown: int, verdict: str) -> None:
    images = tuple(image._replace(mask="m.png", class_pixels=(1, 2, 3)) for image in shape_index.images)
    index = replace(shape_index, images=images, remarks=Remarks(unknown_pixels=unknown))
    assert _checks(index, divide(shape_index))["colours"].verdict == verdict


def test_one_bad_file_in_a_hundred_is_noted_and_more_are_an_error(
    tmp_path: Path, write_image: WriteImage, texture: Texture
) -> None:
    for number in range(99):
        write_image(tmp_path / "air" / "ab"[number % 2] / f"{number}.png", texture(number))
    (tmp_path / "air" / "a" / "bad.png").write_bytes(b"no image")
    options = DataOptions(allow_bad=True)
    assert _checks(read_index(DataSource("fusar_air", tmp_path / "air"), options))["files"].verdict == "note"
    (tmp_path / "air" / "a" / "empty.png").write_bytes(b"")
    found = verify(index := read_index(DataSource("fusar_air", tmp_path / "air"), options), divide(index))
    assert not found.holds and [path for path, _ in found.bad] == ["a/bad.png", "a/empty.png"]


def test_exports_of_annotation_tools_keep_the_scene_in_the_name() -> None:
    assert scene_of("P0040_3600_4400_3600_4400_jpg.rf.e646779a8813402d5eeb67a5728a5084.jpg") == "P0040"
    assert scene_of("harbour_tile3_png.rf.00ff.png") == "harbour"


@pytest.mark.parametrize(
    "shape",
    [
        "<rotated_bndbox><x1>5</x1><y1>9</y1><x2>12</x2><y2>4</y2><x3>20</x3><y3>8</y3><x4>9</x4><y4>30</y4></rotated_bndbox>",
        "<segm><point>5,9</point><point>12,4</point><point>20,8</point><point>9,30</point></segm>",
        "<bndbox><xmin>5</xmin><ymin>4</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>",
    ],
)
def test_turned_boxes_and_outlines_become_their_extent(tmp_path: Path, shape: str) -> None:
    """SSDD has its ships in all three forms."""
    path = tmp_path / "1.xml"
    path.write_text(f"<annotation><scene>P1</scene><object><name>ship</name>{shape}</object></annotation>")
    found = read_voc(path, origin=1)
    assert found.boxes[0][:4] == (4, 3, 16, 27) and found.scene == "P1"


@pytest.mark.parametrize(
    "shape", ["", "<segm/>", "<segm><point>5</point></segm>", "<rotated_bndbox><x1>5</x1></rotated_bndbox>"]
)
def test_an_object_without_a_whole_outline_is_refused(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "1.xml"
    path.write_text(f"<annotation><object><name>ship</name>{shape}</object></annotation>")
    with pytest.raises(ValueError, match="ship"):
        read_voc(path, origin=1)


def test_marine10_mixes_ships_and_clutter(tmp_path: Path, write_image: WriteImage, texture: Texture) -> None:
    root = tmp_path / "fusar_ship"
    for label, folders in enumerate(fusar_ship.MARINE10.values()):
        for number in range(5):
            write_image(root.joinpath(*folders) / f"{label}_{number}.tiff", texture(10 * label + number))
    write_image(root / "ShipCategory" / "Cargo" / "BulkCarrier" / "b.tiff", texture(999))
    index = read_index(DataSource("fusar_ship", root), DataOptions("marine10"))
    assert index.classes == (
        *("Bridges", "Cargo", "CoastalLands_island", "Fishing", "LandPatches"),
        *("OtherShip", "SeaClutterWaves", "SeaPatches", "StrongFalseAlarms", "Tanker"),
    )
    assert [row.images for row in verify(index, divide(index)).classes] == [4, 1] * 10
    (root / "MarineCategory" / "sea").rename(root / "MarineCategory" / "lake")
    with pytest.raises(MissingError, match="SeaPatches of marine10"):
        read_index(DataSource("fusar_ship", root), DataOptions("marine10"))
