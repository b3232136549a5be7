"""Data sets of texts and questions: the images, boxes, masks and splits of their parts under one name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foundation.errors import CheckError, MissingError
from tasks.builders.captions import parse_caption
from tasks.builders.landform import LAND_COVERS, count_covers
from tasks.catalog import COMPOSED, DATASETS
from tasks.datasets import DataOptions, DatasetIndex, DataSource, read_index
from tasks.datasets.composed import DOMAINS, Part, compose, part_of, parts_of
from tasks.datasets.division import divide
from tasks.datasets.images import read_pixels
from tasks.datasets.masks import read_mask
from tasks.language.texts import caption_items

WriteImage = Callable[[Path, NDArray[Any]], Path]
Texture = Callable[..., NDArray[np.uint8]]
Change = Callable[[Path], object]

WIDTH, HEIGHT, SCENES = 40, 30, 10
WITH_BOXES = COMPOSED["rs_captions"]
MAP_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 0, 0))  # section 5.2, unlabelled last


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, write_image: WriteImage, texture: Texture) -> Path:
    """Three data sets with boxes and one with masks, a handful of images each."""
    root = tmp_path_factory.mktemp("data")
    for first, name in ((0, "fusar_air_sense"), (100, "fusar_ship_sense")):
        boxes = []
        for number in range(SCENES):
            # Two images of each scene, so that a split that divides scenes would be noticed.
            name_of = f"scene{number // 2}_tile{number % 2}.png"
            write_image(root / name / "images" / name_of, texture(first + number, HEIGHT, WIDTH))
            boxes += [
                {"image_id": number, "category_id": 4 + n % 2, "bbox": [3 + 9 * n, 4, 8, 9]} for n in range(number % 3)
            ]
        images = [
            {"id": n, "file_name": f"scene{n // 2}_tile{n % 2}.png", "width": WIDTH, "height": HEIGHT}
            for n in range(SCENES)
        ]
        categories = [{"id": 4, "name": "large one"}, {"id": 5, "name": "small one"}]
        content = {"images": images, "annotations": boxes, "categories": categories}
        (root / name / "instances_all.json").write_text(json.dumps(content))
    _write_air_f(root / "SAR-AIRcraft-1.0", write_image, texture)
    for number in range(SCENES):
        place = f"Town_01_01_01_{number:02d}"
        colours = [MAP_COLOURS[(number + column) % 5] for column in range(8)]
        labels = np.repeat(np.array(colours, dtype=np.uint8)[None], 6, axis=0)
        write_image(root / "fusar_map/sar_1024" / f"{place}_SAR_{number:03d}.tif", texture(300 + number, 6, 8))
        write_image(root / "fusar_map/lab_1024" / f"{place}_Label_{number:03d}.tif", labels)
    return root


def _write_air_f(root: Path, write_image: WriteImage, texture: Texture) -> None:
    """Eight images with official parts: 1 and 2 are tested, 7 and 8 validate."""
    for number in range(1, 9):
        write_image(root / "JPEGImages" / f"{number:07d}.jpg", texture(200 + number, HEIGHT, WIDTH))
        box = "<bndbox><xmin>5</xmin><ymin>3</ymin><xmax>14</xmax><ymax>12</ymax></bndbox>"
        body = f"<object><name>{'A330' if number % 2 else 'A220'}</name>{box}</object>"
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
        path = root / "Annotations" / f"{number:07d}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"<annotation>{size}{body}</annotation>")
    for name, numbers in {"train": range(3, 7), "val": (7, 8), "test": (1, 2)}.items():
        path = root / "ImageSets" / "Main" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{number:07d}\n" for number in numbers))


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(original, tmp_path / "data")


def _source(root: Path, name: str) -> DataSource:
    return DataSource(name, root / DATASETS[name].folder)


def _composed(root: Path, dataset: str = "rs_captions", names: Sequence[str] = (), **options: Any) -> DatasetIndex:
    chosen = names or parts_of(dataset)
    return compose(dataset, root, [Part(_source(root, name), DataOptions(**options)) for name in chosen])


def test_every_image_of_every_part_is_there_once(original: Path) -> None:
    index = _composed(original)
    expected = [f"{name}/{image.image_id}" for name in WITH_BOXES for image in _alone(original, name).images]
    assert [image.image_id for image in index.images] == expected and len(set(expected)) == 2 * SCENES + 8
    assert {part_of(image.image_id) for image in index.images} == set(WITH_BOXES) == set(DOMAINS)


def _alone(root: Path, name: str, **options: Any) -> DatasetIndex:
    return read_index(_source(root, name), DataOptions(**options))


def test_an_image_keeps_its_pixels_and_knows_its_scene(original: Path) -> None:
    index = _composed(original)
    for image in index.images:
        name = part_of(image.image_id)
        (before,) = [old for old in _alone(original, name).images if f"{name}/{old.image_id}" == image.image_id]
        assert (original / image.path).is_file() and image.pixel_hash == before.pixel_hash
        assert np.array_equal(read_pixels(index, image), read_pixels(_alone(original, name), before))
        assert image.group == (f"{name}/{before.group}" if before.group else "")


def test_real_and_synthetic_parts_are_never_mixed(root: Path) -> None:
    facts = {"world_version": 1, "size": "ci", "seed": 0, "complete": True}
    (root / DATASETS["fusar_ship_sense"].folder / "synthetic.json").write_text(json.dumps(facts))
    with pytest.raises(CheckError, match=r"fusar_air_sense: real, fusar_ship_sense: sarworld v1 ci seed 0"):
        _composed(root)
    assert _composed(root, names=["fusar_ship_sense"]).world == "sarworld v1 ci seed 0"


def test_scenes_of_the_same_name_in_two_parts_stay_two_scenes(original: Path) -> None:
    groups = {image.group for image in _composed(original).images if image.group}
    assert len(groups) == 2 * SCENES // 2


def test_boxes_keep_their_class_under_the_common_names(original: Path) -> None:
    index = _composed(original)
    assert index.classes[:2] == ("aircraft", "ship") and "A330" in index.classes and index.has_boxes
    for name in WITH_BOXES:
        alone = _alone(original, name)
        for image, before in zip((i for i in index.images if part_of(i.image_id) == name), alone.images, strict=True):
            assert [box[:4] for box in image.boxes] == [box[:4] for box in before.boxes]
            told = [index.classes[box.label] for box in image.boxes]
            assert told == [alone.classes[box.label] for box in before.boxes]


def test_captions_name_types_only_where_the_boxes_have_them(original: Path) -> None:
    def types(index: DatasetIndex) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for item in caption_items(index, index.images):
            said = {fact.name for text in item.texts for fact in parse_caption(text) if fact.kind == "type"}
            found.setdefault(part_of(item.image.image_id), set()).update(said)
        return found

    assert types(_composed(original)) == {
        "fusar_air_sense": set(),
        "fusar_ship_sense": set(),
        "sar_aircraft_few": {"A330", "A220"},
    }
    fine = types(_composed(original, names=("fusar_ship_sense",), label_map="fine"))
    assert fine == {"fusar_ship_sense": {"large one", "small one"}}


def test_an_image_of_which_some_targets_have_no_type_is_told_without_types(root: Path) -> None:
    path = root / "fusar_ship_sense" / "instances_all.json"
    content = json.loads(path.read_text())
    content["categories"][1]["name"] = "ship"
    path.write_text(json.dumps(content))
    index = _composed(root, names=("fusar_ship_sense",), label_map="fine")
    for item in caption_items(index, index.images):
        told = {fact.name for text in item.texts for fact in parse_caption(text) if fact.kind == "type"}
        assert told == ({"large one"} if len(item.image.boxes) == 1 else set())


@pytest.mark.parametrize("dataset", COMPOSED)
def test_what_another_task_tests_with_is_never_learnt_here(original: Path, dataset: str) -> None:
    parts = divide(_composed(original, dataset))
    tested, trained = set(parts.test), set(parts.train)
    for name in parts_of(dataset):
        alone = divide(_alone(original, name))
        assert {f"{name}/{image}" for image in alone.test} <= tested
        assert {f"{name}/{image}" for image in alone.train} <= trained
    assert not tested & trained


def test_the_validation_part_of_a_data_set_with_official_parts_is_left_out(original: Path) -> None:
    index = _composed(original)
    parts = divide(index)
    unused = {image.image_id for image in index.images} - {*parts.train, *parts.test}
    assert {Path(name).stem for name in unused} == {"0000007", "0000008"}
    more = [Part(_source(original, "sar_aircraft_few"), DataOptions(pool="trainval"))]
    assert len(divide(compose("rs_captions", original, more)).train) == 6


def test_the_ratio_of_the_protocol_and_that_of_the_user_reach_the_parts(original: Path) -> None:
    source = _source(original, "fusar_map")
    four = compose("vqa_landform", original, [Part(source)], ratio=(4, 1))
    assert len(divide(four).test) == 2 == len(divide(four, ratio=(1, 1)).test)  # it is divided once, by its parts
    assert len(divide(compose("vqa_landform", original, [Part(source)], ratio=(1, 1))).test) == 5
    seven = compose("vqa_landform", original, [Part(source, DataOptions(split="7:3"))], ratio=(4, 1))
    assert len(divide(seven).test) == 3 and ("fusar_map.split", "7:3") in seven.choices


def test_land_covers_are_those_that_questions_are_about(original: Path) -> None:
    index = _composed(original, "vqa_landform")
    assert index.classes == LAND_COVERS and ("fusar_map.label_map", "map4_labelled") in index.choices
    for number, image in enumerate(index.images):
        colours = [(number + column) % 5 for column in range(8)]
        expected = tuple(6 * colours.count(cover) for cover in range(4))
        assert count_covers(read_mask(index, image)).tile.covers == expected


def test_another_label_map_is_taken_where_it_is_asked_for(original: Path) -> None:
    index = _composed(original, "vqa_landform", label_map="map5")
    assert index.classes[0] == "background" and ("fusar_map.label_map", "map5") in index.choices


def test_a_part_that_is_missing_is_named(original: Path) -> None:
    index = _composed(original, names=("fusar_ship_sense",))
    assert ("without", "fusar_air_sense, sar_aircraft_few") in index.choices
    assert "without" not in dict(_composed(original).choices)


def test_without_any_part_the_error_says_what_to_put_where(original: Path) -> None:
    with pytest.raises(MissingError, match="vqa_targets") as caught:
        compose("vqa_targets", original, [])
    assert all(name in caught.value.way_out for name in WITH_BOXES) and str(original) in caught.value.where


def _another_pixel(root: Path) -> None:
    from PIL import Image

    path = root / "SAR-AIRcraft-1.0/JPEGImages/0000003.jpg"
    Image.fromarray(np.full((HEIGHT, WIDTH), 7, dtype=np.uint8)).save(path)


def _another_box(root: Path) -> None:
    path = root / "fusar_ship_sense/instances_all.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][0] += 1
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("change", [_another_pixel, _another_box])
def test_the_data_hash_moves_with_every_part(root: Path, change: Change) -> None:
    before = _composed(root).data_hash
    assert before == _composed(root, names=tuple(reversed(WITH_BOXES))).data_hash
    change(root)
    assert _composed(root).data_hash != before


def test_the_data_hash_says_which_parts_there_are(original: Path) -> None:
    hashes = {_composed(original, names=WITH_BOXES[:count]).data_hash for count in (1, 2, 3)}
    assert len(hashes) == 3


def test_bad_files_are_told_with_the_part_that_has_them(root: Path) -> None:
    (root / "fusar_air_sense/images/scene0_tile0.png").write_bytes(b"no image")
    with pytest.raises(MissingError, match="1 of 10 images of fusar_air_sense"):
        _composed(root)
    index = _composed(root, allow_bad=True)
    assert [bad.path.partition("/")[0] for bad in index.bad] == ["fusar_air_sense"]
    assert len(index.images) == 2 * SCENES + 7


def test_what_was_mended_is_counted_over_all_parts(root: Path) -> None:
    for name in ("fusar_air_sense", "fusar_ship_sense"):
        path = root / name / "instances_all.json"
        content = json.loads(path.read_text())
        content["annotations"][0]["bbox"] = [WIDTH - 8, 4, 9, 9]  # a pixel outside
        path.write_text(json.dumps(content))
    assert _composed(root).remarks.clipped_boxes == 2


def test_one_data_set_is_made_of_itself() -> None:
    assert parts_of("sar_acd") == ("sar_acd",) and parts_of("vqa_landform") == ("fusar_map",)
