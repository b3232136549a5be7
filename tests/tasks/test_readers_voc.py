"""SAR-AIRcraft-1.0 and scenes in VOC folders (sections 4.1 to 4.3): boxes, official parts, broken annotations."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters import decode
from foundation.errors import MissingError, UsageError
from tasks.datasets import Box, DataOptions, DatasetIndex, DataSource, ImageEntry, read_index
from tasks.datasets.division import divide
from tasks.datasets.voc import parse_xml, read_voc

pytestmark = pytest.mark.usefixtures("own_cache")

WriteImage = Callable[[Path, NDArray[Any]], Path]
Texture = Callable[..., NDArray[np.uint8]]
Corners = tuple[str, float, float, float, float]

WIDTH, HEIGHT = 40, 30
AIRCRAFT7 = ("A220", "A320/321", "A330", "ARJ21", "Boeing737", "Boeing787", "other")  # section 4.3


def _read(dataset: str, root: Path, **options: Any) -> DatasetIndex:
    return read_index(DataSource(dataset, root), DataOptions(**options))


def _entry(index: DatasetIndex, name: str) -> ImageEntry:
    (found,) = [image for image in index.images if name in image.image_id]
    return found


def _xml(objects: Sequence[Corners], size: tuple[int, int] = (WIDTH, HEIGHT), difficult: str = "") -> str:
    body = "".join(
        f"<object><name>{name}</name>{difficult}<bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for name, left, top, right, bottom in objects
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{body}</annotation>"


# ---- VOC


@pytest.fixture
def voc(tmp_path: Path, write_image: WriteImage, texture: Texture) -> Path:
    """SAR-AIRcraft-1.0 with eight images and its lists; 1 and 2 are tested, 7 and 8 validate."""
    root = tmp_path / "SAR-AIRcraft-1.0"
    for number in range(1, 9):
        write_image(root / "JPEGImages" / f"{number:07d}.jpg", texture(number, HEIGHT, WIDTH))
        path = root / "Annotations" / f"{number:07d}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(_xml([(AIRCRAFT7[number % 7], number, 2, number + 9, 11)]))
    lists = {"train": range(3, 7), "val": (7, 8), "trainval": range(3, 9), "test": (1, 2)}
    for name, numbers in lists.items():
        path = root / "ImageSets" / "Main" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{number:07d}\n" for number in numbers))
    return root


def _parts(index: DatasetIndex) -> tuple[list[int], list[int]]:
    parts = divide(index)
    return tuple(sorted(int(Path(name).stem) for name in part) for part in (parts.train, parts.test))  # type: ignore[return-value]


def test_corners_are_inclusive_and_counted_from_the_origin(voc: Path) -> None:
    assert _entry(_read("sar_aircraft_few", voc), "3.jpg").boxes == (Box(2, 1, 10, 10, 3),)
    zero = _read("sar_aircraft_few", voc, voc_origin=0)
    assert _entry(zero, "3.jpg").boxes == (Box(3, 2, 10, 10, 3),)
    assert dict(zero.choices)["voc_origin"] == "0"
    with pytest.raises(UsageError, match="voc-origin 2"):
        _read("sar_aircraft_few", voc, voc_origin=2)


def test_the_classes_are_those_of_the_specification_slash_included(voc: Path) -> None:
    index = _read("sar_aircraft_few", voc)
    assert index.classes == AIRCRAFT7
    assert index.classes[_entry(index, "1.jpg").boxes[0].label] == "A320/321"


@pytest.mark.parametrize("spelling", ["A320/321", "A320321", "A320-321", " a320/321 "])
def test_a_class_is_known_however_its_signs_are_written(voc: Path, spelling: str) -> None:
    (voc / "Annotations/0000003.xml").write_text(_xml([(spelling, 1, 1, 9, 9)]))
    assert _entry(_read("sar_aircraft_few", voc), "3.jpg").boxes[0].label == 1


def test_official_parts_count_and_the_pool_is_train_alone(voc: Path) -> None:
    index = _read("sar_aircraft_few", voc)
    assert _parts(index) == ([3, 4, 5, 6], [1, 2])
    assert dict(index.choices) == {"label_map": "aircraft7", "split": "official", "voc_origin": "1", "pool": "train"}


@pytest.mark.parametrize("missing", ["", "train", "val", "trainval"])
def test_the_larger_pool_has_the_validation_part(voc: Path, missing: str) -> None:
    (voc / "ImageSets/Main" / f"{missing}.txt").unlink(missing_ok=True)
    if missing == "val":
        assert _parts(_read("sar_aircraft_few", voc)) == ([3, 4, 5, 6], [1, 2])
    assert _parts(_read("sar_aircraft_few", voc, pool="trainval")) == ([3, 4, 5, 6, 7, 8], [1, 2])


def test_four_to_one_passes_over_the_lists_and_needs_none(voc: Path) -> None:
    asked = _read("sar_aircraft_few", voc, split="4:1")
    shutil.rmtree(voc / "ImageSets")
    fallen_back = _read("sar_aircraft_few", voc)
    assert divide(asked) == divide(fallen_back) and len(divide(asked).test) == 2  # ceil(8 / 5)
    assert dict(asked.choices)["split"] == "4:1" and "split" not in dict(fallen_back.choices)
    with pytest.raises(MissingError, match="no lists"):
        _read("sar_aircraft_few", voc, split="official")


def test_lists_may_have_endings_flags_and_blank_lines(voc: Path) -> None:
    (voc / "ImageSets/Main/test.txt").write_bytes(b"\xef\xbb\xbf0000001.jpg\r\n\r\n0000002  1\r\n")
    assert _parts(_read("sar_aircraft_few", voc)) == ([3, 4, 5, 6], [1, 2])


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("content", [None, ""])
def test_a_missing_or_empty_list_is_named(voc: Path, part: str, content: str | None) -> None:
    path = voc / "ImageSets" / "Main" / f"{part}.txt"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(MissingError, match=f"part {part} is missing or empty") as caught:
        _read("sar_aircraft_few", voc)
    assert caught.value.where == str(path) and "--split 4:1" in caught.value.way_out


def test_an_image_in_two_parts_is_refused(voc: Path) -> None:
    (voc / "ImageSets/Main/test.txt").write_text("0000001\n0000003\n")
    with pytest.raises(MissingError, match="0000003 is listed in train and in test"):
        _read("sar_aircraft_few", voc)


def test_a_listed_image_that_is_not_there_is_a_bad_file(voc: Path) -> None:
    with (voc / "ImageSets/Main/train.txt").open("a") as stream:
        stream.write("0000099\n")
    index = _read("sar_aircraft_few", voc, allow_bad=True)
    assert [tuple(bad) for bad in index.bad] == [("JPEGImages/0000099.jpg", "is in train.txt and not there")]


def test_an_unknown_pool_is_answered_with_the_known_ones(voc: Path) -> None:
    with pytest.raises(UsageError, match="pool 'all'") as caught:
        _read("sar_aircraft_few", voc, pool="all")
    assert "train, trainval" in caught.value.way_out


def test_a_data_set_without_boxes_folders_is_answered_with_the_layout(voc: Path) -> None:
    shutil.rmtree(voc / "Annotations")
    with pytest.raises(MissingError, match="no folder of images beside") as caught:
        _read("sar_aircraft_few", voc)
    assert "<root>/JPEGImages/<id>.jpg" in caught.value.way_out


ENTITY = '<!DOCTYPE annotation [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>'
OUTSIDE_FILE = '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/hostname">]><annotation>&a;</annotation>'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("<annotation>", "is no XML"),
        ("no xml at all", "is no XML"),
        ("<kml/>", "no annotation but <kml>"),
        ("<annotation><object><bndbox/></object></annotation>", "without a name"),
        ("<annotation><object><name>A220</name></object></annotation>", "without bndbox: A220"),
        ("<annotation><object><name>A220</name><bndbox/></object></annotation>", "xmin None in a box of A220"),
        (_xml([("A220", 1, 1, 9, 9)]).replace("<xmax>9", "<xmax>nine"), "xmax 'nine'"),
        (_xml([("A380", 1, 1, 9, 9)]), "unknown class 'A380'"),
        (_xml([("A220", 9, 9, 1, 1)]), "without area"),
        (ENTITY, "declares the entity 'a'"),
        (OUTSIDE_FILE, "declares the entity 'a'"),
    ],
)
def test_a_broken_annotation_makes_a_bad_file(voc: Path, content: str, said: str) -> None:
    (voc / "Annotations/0000004.xml").write_text(content)
    with pytest.raises(MissingError, match=r"1 of 8 images"):
        _read("sar_aircraft_few", voc)
    (bad,) = _read("sar_aircraft_few", voc, allow_bad=True).bad
    assert bad.path == "JPEGImages/0000004.jpg" and said in bad.reason and str(voc) not in bad.reason


def test_an_annotation_without_objects_is_an_image_without_targets(voc: Path) -> None:
    whole = _read("sar_aircraft_few", voc).data_hash
    (voc / "Annotations/0000004.xml").write_text(_xml([]))
    index = _read("sar_aircraft_few", voc)
    assert _entry(index, "4.jpg").boxes == () and not index.bad
    (voc / "Annotations/0000004.xml").write_text("")
    empty = _read("sar_aircraft_few", voc, allow_bad=True)
    assert len({whole, index.data_hash, empty.data_hash}) == 3


def test_an_image_and_an_annotation_need_each_other(voc: Path) -> None:
    (voc / "Annotations/0000004.xml").unlink()
    (voc / "JPEGImages/0000005.jpg").unlink()
    index = _read("sar_aircraft_few", voc, allow_bad=True)
    assert {bad.path: bad.reason for bad in index.bad} == {
        "JPEGImages/0000004.jpg": "has no annotation",
        "Annotations/0000005.xml": "has no image",
    }


@pytest.mark.parametrize(
    ("tag", "difficult"),
    [
        ("", False),
        ("<difficult>0</difficult>", False),
        ("<difficult> 1 </difficult>", True),
        ("<Difficult>1</Difficult>", True),
    ],
)
def test_difficult_targets_are_kept_and_marked(tmp_path: Path, tag: str, difficult: bool) -> None:
    path = tmp_path / "a.xml"
    path.write_text(_xml([("A220", 1, 1, 9, 9)], difficult=tag))
    (box,) = read_voc(path, origin=1).boxes
    assert box.difficult is difficult


def test_plain_documents_are_read_whole() -> None:
    top = parse_xml(b"<?xml version='1.0' encoding='UTF-8'?><!DOCTYPE a><a x='1'>one<b>two</b></a>")
    assert (top.tag, top.get("x"), top.text, top.findtext("b")) == ("a", "1", "one", "two")


@pytest.mark.parametrize(
    "names", [("JPEGImages", "Annotations"), ("images", "annotations"), ("JPEGIMAGES", "ANNOTATIONS")]
)
def test_scenes_may_come_as_a_voc_folder(voc: Path, tmp_path: Path, names: tuple[str, str]) -> None:
    root = tmp_path / "fusar_air_sense"
    for name, source in zip(names, ("JPEGImages", "Annotations"), strict=True):
        shutil.copytree(voc / source, root / name)
    assert _read("fusar_air_sense", root).classes == ("aircraft",)
    fine = _read("fusar_air_sense", root, label_map="fine")
    assert fine.classes == tuple(sorted(AIRCRAFT7)) and fine.boxes == 8
    assert dict(fine.choices) == {"label_map": "fine", "group": "scene", "voc_origin": "1"}


def test_a_voc_folder_of_rotated_boxes_says_what_it_lacks(voc: Path) -> None:
    for path in (voc / "Annotations").iterdir():
        path.write_text(path.read_text().replace("bndbox", "robndbox"))
    with pytest.raises(MissingError, match="without bndbox"):
        _read("fusar_air_sense", voc)


# ---- The index


def test_a_second_look_opens_no_image_and_sees_the_same(voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _read("sar_aircraft_few", voc)

    def opened(path: Path) -> Any:
        raise AssertionError(f"{path} was opened again")

    monkeypatch.setattr(decode, "read_raw", opened)
    assert _read("sar_aircraft_few", voc) == first


def test_readers_leave_their_input_as_it_is(voc: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in voc.rglob("*")}

    before = state()
    _read("sar_aircraft_few", voc)
    assert state() == before


def test_annotations_enter_the_data_hash(voc: Path) -> None:
    before = _read("sar_aircraft_few", voc)
    path = voc / "Annotations" / "0000003.xml"
    hashes = {before.data_hash}
    for content in (
        _xml([("ARJ21", 3, 2, 12, 12)]),
        _xml([("A330", 3, 2, 12, 11)]),
        _xml([("ARJ21", 3, 2, 12, 11)], difficult="<difficult>1</difficult>"),
    ):
        path.write_text(content)
        hashes.add(_read("sar_aircraft_few", voc).data_hash)
    hashes.add(_read("sar_aircraft_few", voc, voc_origin=0).data_hash)
    assert len(hashes) == 5
    path.write_text(_xml([("ARJ21", 3, 2, 12, 11)]))
    assert _read("sar_aircraft_few", voc).data_hash == before.data_hash
