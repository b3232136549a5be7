"""Data sets in their real layouts (sections 3.2 to 3.4), whole and broken, and the index over them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters import decode
from foundation.errors import BenchError, MissingError, UsageError
from foundation.hashing import hash_bytes
from tasks.catalog import DATASETS
from tasks.classification.data import build
from tasks.datasets import DataOptions, DatasetIndex, DataSource, find_source, fusar_ship, read_index
from tasks.datasets.catalogue import MARKER, READERS
from tasks.datasets.index import difference_hash, duplicates_across

pytestmark = pytest.mark.usefixtures("own_cache")

Grey = NDArray[np.uint8]
WriteImage = Callable[[Path, NDArray[Any]], Path]
Texture = Callable[..., Grey]

ACD_CLASSES = ("A220", "A320321", "A330", "ARJ21", "Boeing737", "Boeing787")  # section 3.4
SHIP_CATEGORIES = (  # section 3.2
    *("Cargo", "DiveVessel", "Dredger", "Fishing", "HighSpeedCraft", "LawEnforce", "Other", "Passenger"),
    *("PortTender", "Reserved", "SAR", "Tanker", "Tug", "Unspecified", "WingInGrnd"),
)


@pytest.fixture
def acd(tmp_path: Path, write_image: WriteImage, texture: Texture) -> Path:
    """SAR-ACD with two chips per class, each of its own size."""
    root = tmp_path / "sar_acd"
    for label, name in enumerate(ACD_CLASSES):
        for number in (1, 2):
            chip = texture(10 * label + number, 8 + label, 10 + number)
            write_image(root / "images" / name / f"{number:03d}.jpg", chip)
    return root


@pytest.fixture
def ships(tmp_path: Path, write_image: WriteImage, texture: Texture) -> Path:
    """FUSAR-SHIP with its outer level, sub-categories, clutter, table, and chips of several sample types."""
    root = tmp_path / "fusar_ship"
    kinds: list[Any] = [np.uint8, np.uint16, np.float32]
    number = 0
    for name, count in {"Cargo": 6, "Tanker": 5, "Fishing": 7, "SAR": 3}.items():
        for chip in range(count):
            number += 1
            path = root / "ShipCategory" / name / f"Sub{chip % 2}" / f"Ship_C01S{chip % 2:02d}N{number:04d}.tiff"
            write_image(path, texture(number).astype(kinds[number % 3]))
    write_image(root / "MarineCategory" / "sea" / "Sea_0001.tiff", texture(99))
    (root / "meta.csv").write_text("id,mmsi,path\n1,2,Cargo\\Sub0\n")
    return root


@pytest.fixture
def air(tmp_path: Path, write_image: WriteImage, texture: Texture) -> Path:
    """FUSAR-AIR as plain class folders, one of every accepted format."""
    root = tmp_path / "fusar_air"
    for label, name in enumerate(("tanker", "fighter", "transport")):
        for number, ending in enumerate(("tif", "tiff", "png", "jpg", "bmp", "JPG")):
            write_image(root / name / f"{number}.{ending}", texture(10 * label + number))
    return root


def _read(dataset: str, root: Path, **options: Any) -> DatasetIndex:
    return read_index(DataSource(dataset, root), DataOptions(**options))


def _labelled(index: DatasetIndex) -> dict[str, str]:
    return {image.image_id: index.classes[image.label] for image in index.images}


# ---- SAR-ACD


def test_sar_acd_is_read_in_its_layout(acd: Path) -> None:
    index = _read("sar_acd", acd)
    assert index.classes == ACD_CLASSES
    assert _labelled(index) == {f"images/{name}/{n:03d}.jpg": name for name in ACD_CLASSES for n in (1, 2)}
    first = index.images[0]
    assert (first.width, first.height, first.dtype, first.band) == (11, 8, "uint8", "HH")
    assert index.bad == () and not index.synthetic


@pytest.mark.parametrize("name", ["images", "images/ARJ21"])
def test_a_missing_folder_is_answered_with_the_layout(acd: Path, name: str) -> None:
    shutil.rmtree(acd / name)
    with pytest.raises(MissingError, match="not found") as caught:
        _read("sar_acd", acd)
    assert caught.value.where == str(acd / name) and "<root>/images/<class>/<nnn>.jpg" in caught.value.way_out


@pytest.mark.parametrize("leftover", [None, "._001.jpg", "readme.txt"])
def test_an_empty_class_folder_is_no_class(acd: Path, leftover: str | None) -> None:
    for path in (acd / "images/A330").iterdir():
        path.unlink()
    if leftover:
        (acd / "images/A330" / leftover).write_bytes(b"x")
    with pytest.raises(MissingError, match="A330 holds no images"):
        _read("sar_acd", acd)


def test_hidden_files_and_other_files_are_passed_over(acd: Path) -> None:
    before = _read("sar_acd", acd)
    for name in ("images/A220/._001.jpg", "images/A220/.thumbs/001.jpg", "images/A220/notes.txt", "images/.DS_Store"):
        (acd / name).parent.mkdir(exist_ok=True)
        (acd / name).write_bytes(b"not an image")
    (acd / "images/.git").mkdir()
    assert _read("sar_acd", acd) == before


def test_folders_that_are_no_class_are_left_alone(acd: Path, write_image: WriteImage, texture: Texture) -> None:
    write_image(acd / "images/C919/001.jpg", texture(1))
    assert "C919" not in _read("sar_acd", acd).classes


# ---- FUSAR-SHIP


def test_fusar_ship_is_read_in_its_layout(ships: Path) -> None:
    index = _read("fusar_ship", ships)
    assert index.classes == SHIP_CATEGORIES
    counts = {name: list(_labelled(index).values()).count(name) for name in ("Cargo", "Tanker", "Fishing", "SAR")}
    assert counts == {"Cargo": 6, "Tanker": 5, "Fishing": 7, "SAR": 3}
    assert len(index.images) == 21, "clutter is no ship"
    assert {image.dtype for image in index.images} == {"uint8", "uint16", "float32"}
    assert "ShipCategory/Cargo/Sub0/Ship_C01S00N0001.tiff" in _labelled(index)


def test_an_archive_of_ships_alone_omits_a_level(ships: Path, tmp_path: Path) -> None:
    shutil.copytree(ships / "ShipCategory", tmp_path / "ships_alone")
    alone, whole = _read("fusar_ship", tmp_path / "ships_alone"), _read("fusar_ship", ships)
    assert {f"ShipCategory/{name}": label for name, label in _labelled(alone).items()} == _labelled(whole)


def test_label_maps_are_those_of_the_specification(ships: Path) -> None:
    tiny = {"DiveVessel", "HighSpeedCraft", "PortTender", "SAR", "WingInGrnd"}
    assert fusar_ship.LABEL_MAPS["ship15"] == SHIP_CATEGORIES
    assert fusar_ship.LABEL_MAPS["ship10"] == tuple(name for name in SHIP_CATEGORIES if name not in tiny)
    seven = ("Cargo", "Dredger", "Fishing", "LawEnforce", "Passenger", "Tanker", "Tug")
    assert fusar_ship.LABEL_MAPS["ship7"] == seven
    ten = _read("fusar_ship", ships, label_map="ship10")
    assert "SAR" not in ten.classes and len(ten.images) == 18 and ten.label_map == "ship10"


@pytest.mark.parametrize("dataset", READERS)
def test_an_unknown_label_map_is_refused_with_the_known_ones(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ship99") as caught:
        _read(dataset, tmp_path, label_map="ship99")
    assert READERS[dataset].label_map in caught.value.way_out


def test_a_folder_without_categories_is_answered_with_the_layout(tmp_path: Path) -> None:
    (tmp_path / "Plane").mkdir()
    with pytest.raises(MissingError, match="none of its category folders") as caught:
        _read("fusar_ship", tmp_path)
    assert "<root>/ShipCategory/<Category>" in caught.value.way_out


def test_tiny_categories_are_dropped_from_the_task_and_named(ships: Path) -> None:
    data = build(_read("fusar_ship", ships))
    assert data.classes == ("Cargo", "Fishing", "Tanker")
    assert set(data.dropped_classes) == set(SHIP_CATEGORIES) - set(data.classes)
    assert data.counts("test") == (2, 2, 1) and data.counts("train") == (4, 5, 4)
    assert {chip.label for chip in (*data.train, *data.test)} == {0, 1, 2}
    for chip in (*data.train, *data.test):
        assert data.classes[chip.label] in chip.path.parts


def test_exact_duplicates_of_ships_stay_together(tmp_path: Path, write_image: WriteImage, texture: Texture) -> None:
    for label, name in enumerate(("Cargo", "Tug")):
        for number in range(12):
            for copy in ("a", "b"):
                write_image(tmp_path / name / f"{number:02d}{copy}.tiff", texture(100 * label + number))
    index = _read("fusar_ship", tmp_path)
    data = build(index)
    assert not {chip.pixel_hash for chip in data.train} & {chip.pixel_hash for chip in data.test}
    assert duplicates_across(index, data.split.train, data.split.test)[0] == 0
    # The same images as FUSAR-AIR, where nothing is known of duplicates: they are divided, and counted.
    other = _read("fusar_air", tmp_path)
    parts = build(other)
    across = sum(a.pixel_hash == b.pixel_hash for a in parts.train for b in parts.test)
    assert across > 0
    assert duplicates_across(other, parts.split.train, parts.split.test)[0] == across


# ---- FUSAR-AIR


def test_fusar_air_is_read_from_class_folders(air: Path) -> None:
    index = _read("fusar_air", air)
    assert index.classes == ("fighter", "tanker", "transport")
    assert len(index.images) == 18
    assert all(image_id.startswith(f"{name}/") for image_id, name in _labelled(index).items())


def test_fusar_air_in_two_parts_is_pooled(air: Path, tmp_path: Path) -> None:
    for name in ("tanker", "fighter", "transport"):
        shutil.copytree(air / name, tmp_path / "parts" / "train" / name)
    shutil.copytree(air / "tanker", tmp_path / "parts" / "test" / "tanker")
    index = _read("fusar_air", tmp_path / "parts")
    assert index.classes == ("fighter", "tanker", "transport")
    assert len(index.images) == 24
    labels = _labelled(index)
    assert labels["train/tanker/0.tif"] == labels["test/tanker/0.tif"] == "tanker"


def test_classes_txt_fixes_the_order(air: Path) -> None:
    alphabetical = _labelled(_read("fusar_air", air))
    (air / "classes.txt").write_text("transport\n\n tanker \nfighter\n")
    index = _read("fusar_air", air)
    assert index.classes == ("transport", "tanker", "fighter")
    assert _labelled(index) == alphabetical


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("transport\ntanker\n", "fighter"),
        ("transport\ntanker\nfighter\nglider\n", "glider"),
        ("transport\ntanker\nfighter\nfighter\n", "fighter"),
        ("", "fighter, tanker, transport"),
    ],
)
def test_classes_txt_that_disagrees_with_the_folders_is_refused(air: Path, content: str, named: str) -> None:
    (air / "classes.txt").write_text(content)
    with pytest.raises(MissingError, match=named) as caught:
        _read("fusar_air", air)
    assert caught.value.where.endswith("classes.txt")


def test_one_class_is_nothing_to_tell_apart(tmp_path: Path, write_image: WriteImage, texture: Texture) -> None:
    write_image(tmp_path / "only" / "1.png", texture(1))
    with pytest.raises(MissingError, match="1 class folders"):
        _read("fusar_air", tmp_path)


def test_too_few_classes_of_five_images_are_refused(tmp_path: Path, write_image: WriteImage, texture: Texture) -> None:
    for number in range(9):
        write_image(tmp_path / ("many" if number < 6 else "few") / f"{number}.png", texture(number))
    with pytest.raises(MissingError, match="two are needed"):
        build(_read("fusar_air", tmp_path))


def test_a_limit_takes_the_first_images_of_both_parts(air: Path) -> None:
    index = _read("fusar_air", air)
    whole, limited = build(index), build(index, limit=2)
    assert limited.split.train == whole.split.train[:2] and limited.split.test == whole.split.test[:2]
    assert limited.train == whole.train[:2] and limited.test == whole.test[:2]
    assert limited.classes == whole.classes


# ---- Bad files


def _many(root: Path, count: int, bad: int, write_image: WriteImage, texture: Texture) -> None:
    for number in range(count):
        path = write_image(root / ("left" if number % 2 else "right") / f"{number:03d}.png", texture(number, 3, 4))
        if number < bad:
            path.write_bytes(path.read_bytes()[:40])


def test_one_bad_file_in_a_hundred_is_left_out_and_named(
    tmp_path: Path, write_image: WriteImage, texture: Texture
) -> None:
    _many(tmp_path, 100, 1, write_image, texture)
    index = _read("fusar_air", tmp_path)
    assert len(index.images) == 99
    assert [bad.path for bad in index.bad] == ["right/000.png"]
    assert "Error" in index.bad[0].reason and str(tmp_path) not in index.bad[0].reason


def test_more_than_one_per_cent_of_bad_files_stops_unless_allowed(
    tmp_path: Path, write_image: WriteImage, texture: Texture
) -> None:
    _many(tmp_path, 100, 2, write_image, texture)
    with pytest.raises(MissingError, match=r"2 of 100 images .* left/001\.png.*right/000\.png") as caught:
        _read("fusar_air", tmp_path)
    assert "--allow-bad" in caught.value.way_out
    allowed = _read("fusar_air", tmp_path, allow_bad=True)
    assert len(allowed.images) == 98 and len(allowed.bad) == 2


def test_nothing_but_bad_files_is_refused_even_if_allowed(
    tmp_path: Path, write_image: WriteImage, texture: Texture
) -> None:
    _many(tmp_path, 4, 4, write_image, texture)
    with pytest.raises(MissingError, match="no readable image"):
        _read("fusar_air", tmp_path, allow_bad=True)


def test_colour_images_are_bad_files(air: Path, write_image: WriteImage) -> None:
    write_image(air / "tanker" / "photo.png", np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8))
    index = _read("fusar_air", air, allow_bad=True)
    assert [bad.path for bad in index.bad] == ["tanker/photo.png"] and "colour" in index.bad[0].reason


# ---- The index


def test_readers_leave_their_input_as_it_is(ships: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in ships.rglob("*")}

    before = state()
    _read("fusar_ship", ships)
    assert state() == before


def test_a_second_look_opens_no_image(air: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _read("fusar_air", air)

    def decoded(path: Path) -> Any:
        raise AssertionError(f"{path} was opened again")

    monkeypatch.setattr(decode, "read_raw", decoded)
    assert _read("fusar_air", air) == first


def test_a_changed_file_is_seen(air: Path, write_image: WriteImage, texture: Texture) -> None:
    first = _read("fusar_air", air)
    path = write_image(air / "tanker" / "2.png", texture(500))
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000))
    second = _read("fusar_air", air)
    assert second.data_hash != first.data_hash
    changed = {new.image_id for old, new in zip(first.images, second.images, strict=True) if old != new}
    assert changed == {"tanker/2.png"}


def test_added_and_removed_files_are_seen(air: Path, write_image: WriteImage, texture: Texture) -> None:
    hashes = [_read("fusar_air", air).data_hash]
    write_image(air / "tanker" / "new.png", texture(7))
    hashes.append(_read("fusar_air", air).data_hash)
    (air / "tanker" / "new.png").rename(air / "fighter" / "new.png")
    hashes.append(_read("fusar_air", air).data_hash)
    (air / "fighter" / "new.png").unlink()
    assert len(set(hashes)) == 3 and _read("fusar_air", air).data_hash == hashes[0]


def test_the_data_hash_knows_contents_and_not_places_or_times(air: Path, tmp_path: Path) -> None:
    copied = tmp_path / "elsewhere"
    shutil.copytree(air, copied, copy_function=shutil.copyfile)
    here, there = _read("fusar_air", air), _read("fusar_air", copied)
    assert here.data_hash == there.data_hash and here.images == there.images
    assert build(here).split == build(there).split


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b'{"classes": ["a"]}', b'{"images": [[1]], "bad": []}'])
def test_a_damaged_index_is_made_again(air: Path, own_cache: Path, damage: bytes) -> None:
    first = _read("fusar_air", air)
    (note,) = (own_cache / "index").glob("*.json")
    note.write_bytes(damage)
    assert _read("fusar_air", air) == first
    assert json.loads(note.read_bytes())["data_hash"] == first.data_hash


def test_difference_hashes_tell_near_from_far(texture: Texture) -> None:
    chip = texture(3, 40, 50)
    brighter = (chip.astype(int) * 9 // 10 + 20).astype(np.uint8)
    distances = [
        (difference_hash(chip) ^ difference_hash(other)).bit_count() for other in (chip, brighter, texture(4, 40, 50))
    ]
    assert distances[0] == 0 and distances[1] <= 4 < distances[2]


def test_near_duplicates_across_the_parts_are_counted_as_pairs(air: Path) -> None:
    index = _read("fusar_air", air)
    flat = [0b0, 0b1111, 0b11111, 2**64 - 1, 2**64 - 1 - 0b1, 2**63]
    images = tuple(
        _with_hashes(image, flat[number % len(flat)], str(number % 4)) for number, image in enumerate(index.images)
    )
    index = replace(index, images=images)
    train, test = [image.image_id for image in images[:11]], [image.image_id for image in images[11:]]
    pairs = [(a, b) for a in images[:11] for b in images[11:]]
    exact = sum(a.pixel_hash == b.pixel_hash for a, b in pairs)
    near = sum((a.difference_hash ^ b.difference_hash).bit_count() <= 4 for a, b in pairs)
    assert duplicates_across(index, train, test) == (exact, near)
    assert 0 < near < len(pairs)


def _with_hashes(image: Any, difference: int, pixels: str) -> Any:
    return image._replace(difference_hash=difference, pixel_hash=hash_bytes(pixels.encode()))


# ---- Where data come from


def test_a_marker_makes_data_synthetic_even_when_it_comes_later(air: Path) -> None:
    assert not _read("fusar_air", air).synthetic
    (air / MARKER).write_text('{"synthetic": true, "world_version": 3, "size": "mini", "seed": 7}')
    index = _read("fusar_air", air)
    assert index.synthetic and index.world == "sarworld v3 mini seed 7"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"synthetic": true}'])
def test_a_damaged_marker_never_passes_for_real_data(air: Path, content: str) -> None:
    (air / MARKER).write_text(content)
    with pytest.raises(BenchError) as caught:
        _read("fusar_air", air)
    assert caught.value.where.endswith(MARKER) and caught.value.way_out


@pytest.mark.parametrize("dataset", READERS)
def test_a_data_set_is_found_under_its_names(dataset: str, tmp_path: Path) -> None:
    for name in {DATASETS[dataset].folder, dataset, dataset.replace("_", "-")}:
        (tmp_path / name / name).mkdir(parents=True)
        assert find_source(dataset, tmp_path / name) == DataSource(dataset, tmp_path / name / name)


@pytest.mark.parametrize("dataset", DATASETS)
def test_data_that_are_not_there_are_answered_with_their_source(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="not under the data root") as caught:
        find_source(dataset, tmp_path)
    assert DATASETS[dataset].source in caught.value.way_out and "--data-root" in caught.value.way_out
    assert caught.value.exit_code == 3
