"""Scenes with boxes in COCO files (section 4.2), whole and broken, and the checks of boxes (section 2.1)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from adapters import decode
from foundation.errors import BenchError, MissingError, UsageError
from tasks.datasets import Box, DataOptions, DatasetIndex, DataSource, ImageEntry, read_index
from tasks.datasets.boxes import check_boxes
from tasks.datasets.division import divide
from tasks.datasets.sense import scene_of

pytestmark = pytest.mark.usefixtures("own_cache")

WriteImage = Callable[[Path, NDArray[Any]], Path]
Texture = Callable[..., NDArray[np.uint8]]

WIDTH, HEIGHT = 40, 30


def _read(dataset: str, root: Path, **options: Any) -> DatasetIndex:
    return read_index(DataSource(dataset, root), DataOptions(**options))


def _entry(index: DatasetIndex, name: str) -> ImageEntry:
    (found,) = [image for image in index.images if name in image.image_id]
    return found


def _coco(root: Path, images: Sequence[dict[str, Any]], boxes: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    raw = {
        "images": [{"width": WIDTH, "height": HEIGHT, **image} for image in images],
        "annotations": list(boxes),
        # Ids are not contiguous and not in order (a real file starts at 0, another skips).
        "categories": [{"id": 7, "name": "tanker"}, {"id": 0, "name": "cargo"}, {"id": 90, "name": "a/b"}],
        **more,
    }
    path = root / "annotations" / "instances_all.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(raw))
    return raw


def _scenes(count: int) -> list[dict[str, Any]]:
    return [{"id": 100 + 3 * number, "file_name": f"{number:03d}.png"} for number in range(count)]


@pytest.fixture
def coco(tmp_path: Path, write_image: WriteImage, texture: Texture) -> Path:
    """Six scenes; the last is empty, one box is difficult, one crosses the border by a pixel."""
    root = tmp_path / "fusar_ship_sense"
    for number in range(6):
        write_image(root / "images" / f"{number:03d}.png", texture(number, HEIGHT, WIDTH))
    boxes = [
        {"image_id": 100, "category_id": 90, "bbox": [1.5, 2.25, 10, 8]},
        {"image_id": 100, "category_id": 7, "bbox": [20, 10, 21, 5], "iscrowd": 0},
        {"image_id": 103, "category_id": 0, "bbox": [0, 0, 40, 30], "ignore": 1},
        {"image_id": 106, "category_id": 0, "bbox": [5, 5, 5, 5]},
        {"image_id": 109, "category_id": 0, "bbox": [39.5, 5, 2.4, 5]},
        {"image_id": 112, "category_id": 7, "bbox": [4, 5, 6, 7]},
    ]
    _coco(root, _scenes(6), boxes)
    return root


def _rename_last(name: str, raw: dict[str, Any]) -> None:
    raw["images"][5].update(file_name=name)


def _change(root: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = root / "annotations" / "instances_all.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    return path


# ---- COCO


def test_targets_are_of_one_class_unless_fine_types_are_asked_for(coco: Path) -> None:
    index = _read("fusar_ship_sense", coco)
    assert index.classes == ("ship",) == index.classes_found
    assert {box.label for image in index.images for box in image.boxes} == {0}
    assert _read("fusar_air_sense", coco).classes == ("aircraft",)


def test_fine_types_stand_in_the_order_of_their_ids(coco: Path) -> None:
    index = _read("fusar_ship_sense", coco, label_map="fine")
    assert index.classes == ("cargo", "tanker", "a/b")
    assert _entry(index, "000").boxes == (Box(1.5, 2.25, 10, 8, 2), Box(20, 10, 20, 5, 1))
    assert _entry(index, "001").boxes == (Box(0, 0, 40, 30, 0, difficult=True),)
    assert dict(index.choices) == {"label_map": "fine", "group": "scene"}


def test_boxes_are_clipped_and_slivers_are_dropped_and_counted(coco: Path) -> None:
    index = _read("fusar_ship_sense", coco)
    assert index.remarks.clipped_boxes == 2 and index.remarks.dropped_boxes == 1
    assert _entry(index, "003").boxes == () and index.boxes == 5
    assert index.bad == ()


def test_an_image_without_boxes_is_a_scene_like_any_other(coco: Path) -> None:
    assert _entry(_read("fusar_ship_sense", coco), "005").boxes == ()


@pytest.mark.parametrize("folder", ["", "images", "JPEGImages", "annotations", "all", "images/all", "deep/er"])
def test_images_are_found_in_the_usual_folders(coco: Path, tmp_path: Path, folder: str) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(coco / "annotations", moved / "annotations")
    shutil.copytree(coco / "images", moved / folder, dirs_exist_ok=True)
    there = _read("fusar_ship_sense", moved)
    assert [image.boxes for image in there.images] == [i.boxes for i in _read("fusar_ship_sense", coco).images]


def test_a_linked_image_folder_is_entered(coco: Path, tmp_path: Path) -> None:
    (coco / "images").rename(tmp_path / "elsewhere")
    (coco / "images").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert len(_read("fusar_ship_sense", coco).images) == 6


def test_parts_are_pooled_and_each_finds_the_images_of_its_own_folder(
    tmp_path: Path, write_image: WriteImage, texture: Texture
) -> None:
    for number, part in enumerate(("train", "val")):
        write_image(tmp_path / "images" / part / "1.png", texture(number, HEIGHT, WIDTH))
        _coco(
            tmp_path,
            [{"id": 1, "file_name": "1.png"}],
            [{"image_id": 1, "category_id": 0, "bbox": [number, 1, 5, 5]}],
        )
        (tmp_path / "annotations/instances_all.json").rename(tmp_path / f"annotations/instances_{part}.json")
    index = _read("fusar_ship_sense", tmp_path)
    assert {image.image_id: image.boxes[0].x for image in index.images} == {
        "images/train/1.png": 0,
        "images/val/1.png": 1,
    }


def test_an_image_that_two_files_hold_counts_once_if_they_agree(coco: Path) -> None:
    second = coco / "annotations" / "instances_copy.json"
    shutil.copy(coco / "annotations/instances_all.json", second)
    assert len(_read("fusar_ship_sense", coco).images) == 6
    second.write_text(second.read_text().replace("[5, 5, 5, 5]", "[5, 5, 5, 6]"))
    with pytest.raises(MissingError, match=r"002\.png occurs before with other boxes"):
        _read("fusar_ship_sense", coco)


@pytest.mark.parametrize("key", ["scene", "parent", "scene_id"])
def test_the_image_entry_names_the_parent_scene(coco: Path, key: str) -> None:
    _change(coco, lambda raw: [image.update({key: image["id"] % 2}) for image in raw["images"]])
    index = _read("fusar_ship_sense", coco)
    assert {image.group for image in index.images} == {"0", "1"}
    parts = divide(index)
    groups = {image.image_id: image.group for image in index.images}
    assert not {groups[name] for name in parts.train} & {groups[name] for name in parts.test}
    assert {image.unit for image in _read("fusar_ship_sense", coco, group="image").images} == set(groups)


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        ("GF3_0012_tile07.png", "GF3_0012"),
        ("port_crop_3.tif", "port"),
        ("a_b_patch12.jpg", "a_b"),
        ("S1_x512_y0.png", "S1"),
        ("S1_r02_c11.png", "S1"),
        ("P0003_3000_3800_7800_8600.jpg", "P0003"),
        ("000017.jpg", ""),
        ("ship_0001_02.png", ""),
        ("tile07.png", ""),
    ],
)
def test_a_file_name_may_carry_its_scene(name: str, scene: str) -> None:
    assert scene_of(name) == scene


def test_one_scene_alone_cannot_be_divided(coco: Path) -> None:
    _change(coco, lambda raw: [image.update(scene="one") for image in raw["images"]])
    with pytest.raises(MissingError, match="0 images to train and 6 to test") as caught:
        divide(_read("fusar_ship_sense", coco))
    assert "form 1 units" in caught.value.way_out and "--group" in caught.value.way_out


def test_without_scenes_images_are_divided_four_to_one_with_the_test_part_rounded_up(coco: Path) -> None:
    index = _read("fusar_ship_sense", coco)
    assert len(divide(index).test) == 2  # ceil(6 / 5)
    assert len(divide(_read("fusar_ship_sense", coco, split="1:1")).test) == 3
    assert dict(_read("fusar_ship_sense", coco, split="1:1").choices)["split"] == "1:1"


@pytest.mark.parametrize("split", ["official", "4", "4:0", "a:b", "4:1:1"])
def test_a_split_that_is_none_is_refused(coco: Path, split: str) -> None:
    with pytest.raises(UsageError) as caught:
        _read("fusar_ship_sense", coco, split=split)
    assert "4:1" in caught.value.way_out


def test_a_size_that_the_annotation_states_wrongly_is_counted(coco: Path) -> None:
    _change(coco, lambda raw: raw["images"][0].update(width=41))
    index = _read("fusar_ship_sense", coco)
    assert index.remarks.other_sizes == 1 and len(index.images) == 6


BROKEN: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda raw: raw.pop("annotations"), "three lists"),
    (lambda raw: raw.update(images={}), "three lists"),
    (lambda raw: raw["images"].append({"id": 1}), "not an image"),
    (lambda raw: raw["images"].append("x"), "not an image"),
    (lambda raw: raw["images"].append({**raw["images"][0], "file_name": "other.png"}), "id 100 occurs twice"),
    (lambda raw: raw["annotations"][0].update(image_id=4711), "not a box"),
    (lambda raw: raw["annotations"][0].pop("bbox"), "not a box"),
    (lambda raw: raw["annotations"][0].update(bbox=[1, 2, 3]), "not a box"),
    (lambda raw: raw["annotations"][0].update(bbox=[1, 2, 3, None]), "not a box"),
    (lambda raw: raw["annotations"][0].update(category_id=8), "category 8 is not in"),
    (lambda raw: raw["categories"].append({"id": 7, "name": "barge"}), "category 7 occurs twice"),
    (lambda raw: raw["categories"].append({"name": "barge"}), "not a category"),
]


@pytest.mark.parametrize(("change", "said"), BROKEN)
def test_a_broken_annotation_file_is_named(coco: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    path = _change(coco, change)
    with pytest.raises(MissingError, match=said) as caught:
        _read("fusar_ship_sense", coco)
    assert caught.value.where == str(path) and caught.value.way_out


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"[" * 100_000])
def test_a_file_that_is_no_json_is_named(coco: Path, content: bytes) -> None:
    path = coco / "annotations" / "instances_all.json"
    path.write_bytes(content)
    with pytest.raises(BenchError) as caught:
        _read("fusar_ship_sense", coco)
    assert caught.value.where == str(path)


def test_file_names_never_lead_out_of_the_data_set(coco: Path, write_image: WriteImage, texture: Texture) -> None:
    write_image(coco.parent / "secret.png", texture(1, HEIGHT, WIDTH))
    for name in ("../secret.png", str(coco.parent / "secret.png"), "..\\secret.png"):
        _change(coco, partial(_rename_last, name))
        index = _read("fusar_ship_sense", coco, allow_bad=True)
        assert [bad.path for bad in index.bad] == ["secret.png"] and "not found" in index.bad[0].reason


def test_two_images_of_one_name_are_not_guessed_between(coco: Path, write_image: WriteImage, texture: Texture) -> None:
    for folder in ("one", "two"):
        write_image(coco / folder / "twin.png", texture(1, HEIGHT, WIDTH))
    _change(coco, lambda raw: raw["images"][5].update(file_name="twin.png"))
    index = _read("fusar_ship_sense", coco, allow_bad=True)
    assert "several of this name" in index.bad[0].reason
    _change(coco, lambda raw: raw["images"][5].update(file_name="two/twin.png"))
    assert _entry(_read("fusar_ship_sense", coco), "twin").image_id == "two/twin.png"


def test_images_that_are_all_missing_are_answered_with_the_layout(coco: Path) -> None:
    shutil.rmtree(coco / "images")
    with pytest.raises(MissingError, match="none of the 6 annotated images") as caught:
        _read("fusar_ship_sense", coco)
    assert "instances_<part>.json" in caught.value.way_out and "<root>/Annotations" in caught.value.way_out


def test_a_folder_without_annotations_is_answered_with_both_layouts(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="neither instances_") as caught:
        _read("fusar_air_sense", tmp_path)
    assert "<root>/images/<file_name>" in caught.value.way_out and "<root>/Annotations" in caught.value.way_out


# ---- Bad files


@pytest.mark.parametrize(
    "bbox",
    [[-2.5, 0, 9, 9], [35, 5, 7.5, 5], [3, 26, 5, 6.5], [5, 5, 0, 4], [5, 5, 4, -1], [60, 5, 3, 3], ["nan", 5, 3, 3]],
)
def test_an_image_with_an_impossible_box_is_a_bad_file(coco: Path, bbox: list[Any]) -> None:
    _change(coco, lambda raw: raw["annotations"][3].update(bbox=bbox))
    with pytest.raises(MissingError, match=r"1 of 6 images .* images/002\.png: ValueError: has a box"):
        _read("fusar_ship_sense", coco)
    index = _read("fusar_ship_sense", coco, allow_bad=True)
    assert [bad.path for bad in index.bad] == ["images/002.png"] and len(index.images) == 5


def test_one_bad_file_in_a_hundred_is_left_out(tmp_path: Path, write_image: WriteImage, texture: Texture) -> None:
    for number in range(100):
        write_image(tmp_path / "images" / f"{number:03d}.png", texture(number, HEIGHT, WIDTH))
    (tmp_path / "images/017.png").write_bytes(b"broken")
    _coco(tmp_path, _scenes(100), [])
    index = _read("fusar_ship_sense", tmp_path)
    assert [bad.path for bad in index.bad] == ["images/017.png"] and len(index.images) == 99


BOXES = st.builds(
    Box,
    x=st.floats(-3, 43),
    y=st.floats(-3, 33),
    width=st.floats(-1, 50),
    height=st.floats(-1, 40),
    label=st.just(0),
)


@given(BOXES)
def test_checked_boxes_lie_inside_and_keep_what_was_inside(box: Box) -> None:
    right, bottom = box.x + box.width, box.y + box.height
    outside = max(-box.x, -box.y, right - WIDTH, bottom - HEIGHT)
    if box.width <= 0 or box.height <= 0 or outside > 2:
        with pytest.raises(ValueError, match="has a box"):
            check_boxes([box], WIDTH, HEIGHT)
        return
    kept, clipped, dropped = check_boxes([box], WIDTH, HEIGHT)
    assert clipped == (outside > 0) and len(kept) + dropped == 1
    expected = (max(box.x, 0), max(box.y, 0), min(right, WIDTH), min(bottom, HEIGHT))
    assert dropped == (expected[2] - expected[0] < 1 or expected[3] - expected[1] < 1) or outside <= 0
    for inside in kept:
        found = (inside.x, inside.y, inside.x + inside.width, inside.y + inside.height)
        assert found == pytest.approx(expected)
        assert check_boxes([inside], WIDTH, HEIGHT) == ((inside,), 0, 0)


# ---- The index


def test_a_second_look_opens_no_image_and_sees_the_same(coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _read("fusar_ship_sense", coco)

    def opened(path: Path) -> Any:
        raise AssertionError(f"{path} was opened again")

    monkeypatch.setattr(decode, "read_raw", opened)
    assert _read("fusar_ship_sense", coco) == first


def test_readers_leave_their_input_as_it_is(coco: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in coco.rglob("*")}

    before = state()
    _read("fusar_ship_sense", coco)
    assert state() == before
