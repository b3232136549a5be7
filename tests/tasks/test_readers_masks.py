"""Segmentation data sets in their layouts (sections 5.2 and 5.3): tiles, places, polarisations, colours."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from adapters import decode
from adapters.mean_clip import mean_clip_uint8
from foundation.errors import BenchError, MissingError, UsageError
from tasks.datasets import DataOptions, DatasetIndex, DataSource, masks, read_index
from tasks.datasets.division import divide
from tasks.datasets.images import read_pixels, to_pixels
from tasks.datasets.masks import colours_to_ids, read_mask
from tasks.datasets.records import IGNORE, Colour

pytestmark = pytest.mark.usefixtures("own_cache")

WriteImage = Callable[[Path, NDArray[Any]], Path]
Texture = Callable[..., NDArray[np.uint8]]

HEIGHT, WIDTH = 6, 10
MAP_COLOURS = {  # section 5.2
    "unlabelled": (0, 0, 0),
    "building": (255, 0, 0),
    "vegetation": (0, 255, 0),
    "water": (0, 0, 255),
    "road": (255, 255, 0),
}
POL_COLOURS = {  # section 5.3
    "industrial": (0, 0, 255),
    "natural": (0, 255, 0),
    "land use": (255, 0, 0),
    "water": (0, 255, 255),
    "other": (255, 255, 255),
    "housing": (255, 255, 0),
}
BANDS = ("HH", "HV", "VH", "VV")


def _read(dataset: str, root: Path, **options: Any) -> DatasetIndex:
    return read_index(DataSource(dataset, root), DataOptions(**options))


def _columns(colours: list[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """A mask with one column of each colour, the first colour repeated to the full width."""
    row = np.array([*colours, *[colours[0]] * (WIDTH - len(colours))], dtype=np.uint8)
    return np.broadcast_to(row, (HEIGHT, WIDTH, 3)).copy()


# ---- FUSAR-Map


def _write_map(
    root: Path, write_image: WriteImage, texture: Texture, sar: str = "sar_1024", lab: str = "lab_1024"
) -> Path:
    """Eight tiles of four scenes in two cities; every mask has one column of each colour."""
    mask = _columns(list(MAP_COLOURS.values()))
    number = 0
    for city in ("JiuJiang", "Wu_Han"):
        for image in ("01", "02"):
            for column in (1, 2):
                number += 1
                place = f"{city}_{image}_01_01_{column:02d}"
                write_image(root / sar / f"{place}_SAR_{number:03d}.tif", texture(number, HEIGHT, WIDTH))
                write_image(root / lab / f"{place}_Label_{number:03d}.tif", mask)
    return root


@pytest.fixture
def tiles(tmp_path: Path, write_image: WriteImage, texture: Texture) -> Path:
    return _write_map(tmp_path / "fusar_map", write_image, texture)


@pytest.mark.parametrize(
    ("sar", "lab"), [("sar_1024", "lab_1024"), ("SAR_1024", "LAB_1024"), ("sar_512", "lab_512"), ("Sar_64", "Lab_64")]
)
def test_folders_are_found_in_any_case_and_of_any_side(
    tmp_path: Path, write_image: WriteImage, texture: Texture, sar: str, lab: str
) -> None:
    index = _read("fusar_map", _write_map(tmp_path / "other", write_image, texture, sar, lab))
    assert len(index.images) == 8 == index.masks and not index.bad
    assert index.images[0].mask == f"{lab}/JiuJiang_01_01_01_01_Label_001.tif"


# The table of section 5.2: unlabelled, building, vegetation, water, road.
TABLE: dict[str, tuple[tuple[str, ...], list[int]]] = {
    "map4": (("background", "building", "vegetation", "road"), [0, 1, 2, 0, 3]),
    "map4_labelled": (("building", "vegetation", "water", "road"), [IGNORE, 0, 1, 2, 3]),
    "map5": (("background", "building", "vegetation", "water", "road"), [0, 1, 2, 3, 4]),
}


@pytest.mark.parametrize("label_map", TABLE)
def test_label_maps_give_the_ids_of_the_specification(tiles: Path, label_map: str) -> None:
    classes, ids = TABLE[label_map]
    index = _read("fusar_map", tiles, label_map=label_map)
    assert index.classes == classes == index.classes_found
    found = read_mask(index, index.images[0])
    assert found.dtype == np.uint8 and found.shape == (HEIGHT, WIDTH)
    assert (found == np.array([*ids, *[ids[0]] * (WIDTH - 5)], dtype=np.uint8)).all()
    expected = tuple(int((found == label).sum()) for label in range(len(classes)))
    assert index.images[0].class_pixels == expected


def test_four_names_are_the_default_map(tiles: Path) -> None:
    index = _read("fusar_map", tiles)
    assert index.label_map == "map4" and dict(index.choices) == {"label_map": "map4", "group": "tile"}


def test_near_colours_count_as_what_they_are_near_to_and_others_are_ignored_and_counted(
    tiles: Path, write_image: WriteImage
) -> None:
    mask = _columns([(0, 0, 0), (225, 30, 30), (224, 0, 0), (30, 225, 30), (128, 128, 128), (31, 0, 0)])
    write_image(tiles / "lab_1024/JiuJiang_01_01_01_01_Label_001.tif", mask)
    index = _read("fusar_map", tiles, label_map="map5")
    assert read_mask(index, index.images[0])[0, :6].tolist() == [0, 1, IGNORE, 2, IGNORE, IGNORE]
    assert index.remarks.unknown_pixels == 3 * HEIGHT and not index.bad


def test_tiles_of_one_scene_stay_together_when_asked(tiles: Path) -> None:
    apart = _read("fusar_map", tiles)
    assert {image.group for image in apart.images} == {""} and len(divide(apart).test) == 2  # ceil(8 / 5)
    together = _read("fusar_map", tiles, group="scene")
    group = {image.image_id: image.group for image in together.images}
    assert set(group.values()) == {"JiuJiang_01", "JiuJiang_02", "Wu_Han_01", "Wu_Han_02"}
    parts = divide(together)
    assert not {group[name] for name in parts.train} & {group[name] for name in parts.test}
    assert len(parts.test) == 2 and dict(together.choices)["group"] == "scene"
    assert together.data_hash == apart.data_hash, "the same data, divided otherwise"


def test_seven_to_three_is_a_choice(tiles: Path) -> None:
    index = _read("fusar_map", tiles, split="7:3")
    assert len(divide(index).test) == 3 and dict(index.choices)["split"] == "7:3"  # ceil(0.3 x 8)


def test_a_tile_without_label_or_with_another_name_is_a_bad_file(
    tiles: Path, write_image: WriteImage, texture: Texture
) -> None:
    (tiles / "lab_1024/JiuJiang_01_01_01_01_Label_001.tif").unlink()
    write_image(tiles / "sar_1024/tile_7.tif", texture(7, HEIGHT, WIDTH))
    with pytest.raises(MissingError, match="2 of 9 images"):
        _read("fusar_map", tiles)
    bad = {file.path.split("/")[1]: file.reason for file in _read("fusar_map", tiles, allow_bad=True).bad}
    assert bad["JiuJiang_01_01_01_01_SAR_001.tif"] == "has no label in lab_1024"
    assert bad["tile_7.tif"].startswith("is not named")


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.zeros((HEIGHT, WIDTH), dtype=np.uint8), "no 8-bit colour mask"),
        (np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint16), "no 8-bit colour mask"),
        (np.zeros((HEIGHT, WIDTH + 1, 3), dtype=np.uint8), "its mask 11 x 6"),
        (None, "Error"),
    ],
)
def test_a_mask_that_does_not_fit_is_a_bad_file(
    tiles: Path, write_image: WriteImage, mask: NDArray[Any] | None, said: str
) -> None:
    path = tiles / "lab_1024" / "JiuJiang_01_01_01_01_Label_001.tif"
    if mask is None:
        path.write_bytes(b"no tiff")
    else:
        write_image(path, mask)
    (bad,) = _read("fusar_map", tiles, allow_bad=True).bad
    assert bad.path == "sar_1024/JiuJiang_01_01_01_01_SAR_001.tif" and said in bad.reason


def test_masks_stored_as_planes_are_read_all_the_same(tiles: Path) -> None:
    before = _read("fusar_map", tiles)
    mask = _columns(list(MAP_COLOURS.values()))
    import tifffile

    path = tiles / "lab_1024" / "JiuJiang_01_01_01_01_Label_001.tif"
    tifffile.imwrite(path, np.moveaxis(mask, -1, 0).copy(), photometric="rgb", planarconfig="separate")
    assert _read("fusar_map", tiles).data_hash == before.data_hash


def test_wrong_layouts_are_answered_with_the_right_one(
    tiles: Path, tmp_path: Path, write_image: WriteImage, texture: Texture
) -> None:
    (tmp_path / "empty").mkdir()
    half = tmp_path / "half"
    shutil.copytree(tiles / "sar_1024", half / "sar_1024")
    shutil.copytree(tiles / "lab_1024", half / "lab_512")
    two = _write_map(tmp_path / "two", write_image, texture)
    _write_map(two, write_image, texture, "sar_512", "lab_512")
    unlabelled = tmp_path / "unlabelled"
    shutil.copytree(tiles, unlabelled)
    for path in (unlabelled / "lab_1024").iterdir():
        path.unlink()
    for root, said in {
        tmp_path / "empty": "no folders sar_",
        half: "no folders sar_",
        two: "several sides: 512, 1024",
        unlabelled: "none of the 8 tiles",
    }.items():
        with pytest.raises(MissingError, match=said) as caught:
            _read("fusar_map", root)
        assert "<root>/sar_1024/<City>" in caught.value.way_out


@pytest.mark.parametrize("options", [{"split": "official"}, {"group": "city"}])
def test_choices_that_the_map_does_not_have_are_refused(tiles: Path, options: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        _read("fusar_map", tiles, **options)
    assert caught.value.way_out


# ---- AIR-PolSAR-Seg


@pytest.fixture
def places(tmp_path: Path, write_image: WriteImage) -> Path:
    """Six places, two of them in the official test part; place 1 is there in both folders, and is two places."""
    root = tmp_path / "AIR-PolSAR-Seg"
    mask = _columns([*POL_COLOURS.values(), (0, 0, 0)])
    for folder, numbers in {"train_set": (1, 2, 3, 4), "test_set": (1, 6)}.items():
        for number in numbers:
            for position, band in enumerate(BANDS):
                rng = np.random.default_rng([number, position, len(folder)])
                slice_ = rng.integers(5, 3000, (HEIGHT, WIDTH), dtype=np.uint16)
                write_image(root / folder / f"AIR-PolarSAR-Seg-{number}_{band}.tiff", slice_)
            write_image(root / folder / f"AIR-PolarSAR-Seg-{number}_gt.png", mask)
    return root


def test_each_polarisation_is_an_image_with_the_shared_mask(places: Path) -> None:
    index = _read("air_polarsar_seg", places)
    assert len(index.images) == 24 == index.masks and {image.band for image in index.images} == set(BANDS)
    assert len({image.mask for image in index.images}) == 6 == len({image.group for image in index.images})
    assert index.images[0].dtype == "uint16" and not index.bad
    assert dict(index.choices) == {"label_map": "polsar6", "polarisation": "each"}


def test_ids_follow_the_order_of_the_specification_and_black_is_ignored(places: Path) -> None:
    index = _read("air_polarsar_seg", places)
    assert index.classes == tuple(POL_COLOURS)
    assert read_mask(index, index.images[0])[0, :7].tolist() == [0, 1, 2, 3, 4, 5, IGNORE]
    assert index.remarks.unknown_pixels == 0, "black is known"


def test_classes_may_stand_in_another_order(places: Path) -> None:
    order = ("water", "housing", "industrial", "natural", "land use", "other")
    index = _read("air_polarsar_seg", places, class_order=order)
    assert index.classes == order
    assert read_mask(index, index.images[0])[0, :7].tolist() == [2, 3, 4, 0, 5, 1, IGNORE]
    assert index.data_hash != _read("air_polarsar_seg", places).data_hash
    with pytest.raises(UsageError, match="not an order"):
        _read("air_polarsar_seg", places, class_order=order[1:])


def test_places_are_never_divided(places: Path) -> None:
    index = _read("air_polarsar_seg", places)
    group = {image.image_id: image.group for image in index.images}
    parts = divide(index)
    assert not {group[name] for name in parts.train} & {group[name] for name in parts.test}
    assert len(parts.test) == 8  # ceil(24 / 5) = 5 images, in whole places of four
    other = divide(_read("air_polarsar_seg", places, polarisation="pseudo"))
    assert len(other.test) == 2 and set(other.test) == {group[name] for name in parts.test}


def test_official_folders_count_when_asked_for(places: Path) -> None:
    parts = divide(_read("air_polarsar_seg", places, split="official", polarisation="HH"))
    assert {name.split("/")[0] for name in parts.train} == {"train_set"} and len(parts.train) == 4
    assert {name.split("/")[0] for name in parts.test} == {"test_set"} and len(parts.test) == 2


def test_one_folder_is_enough_unless_the_official_split_is_asked_for(places: Path) -> None:
    shutil.rmtree(places / "test_set")
    assert len(_read("air_polarsar_seg", places).images) == 16
    with pytest.raises(MissingError, match="needs train_set and test_set"):
        _read("air_polarsar_seg", places, split="official")


def test_folders_are_found_in_any_case(places: Path) -> None:
    before = len(_read("air_polarsar_seg", places).images)
    (places / "train_set").rename(places / "Train_Set")
    assert len(_read("air_polarsar_seg", places).images) == before


def test_rotated_extra_files_are_passed_over(places: Path) -> None:
    before = _read("air_polarsar_seg", places)
    for name in ("HH.tiff", "gt.png"):
        source = places / "train_set" / f"AIR-PolarSAR-Seg-1_{name}"
        for extra in (f"AIR-PolarSAR-Seg-1_rot90_{name}", f"AIR-PolarSAR-Seg-1_Rot_{name}", f"rot_1_{name}"):
            shutil.copy(source, places / "train_set" / extra)
    assert _read("air_polarsar_seg", places) == before


def test_one_polarisation_alone(places: Path) -> None:
    index = _read("air_polarsar_seg", places, polarisation="HH")
    assert len(index.images) == 6 and {image.band for image in index.images} == {"HH"}


def test_a_composite_has_the_channels_of_the_specification(places: Path) -> None:
    index = _read("air_polarsar_seg", places, polarisation="pseudo")
    assert len(index.images) == 6
    entry = next(image for image in index.images if image.image_id == "train_set/AIR-PolarSAR-Seg-2")
    raw = {band: decode.read_raw(places / f"{entry.image_id}_{band}.tiff").astype(np.float32) for band in BANDS}
    channels: tuple[NDArray[Any], ...] = ((raw["HV"] + raw["VH"]) / 2, raw["HH"], raw["VV"])
    pixels = read_pixels(index, entry)
    assert pixels.dtype == np.uint8 and pixels.shape == (HEIGHT, WIDTH, 3)
    for channel, expected in enumerate(channels):
        assert (pixels[..., channel] == mean_clip_uint8(expected)).all()


def test_a_composite_of_eight_bit_files_passes_unchanged(texture: Texture) -> None:
    hh, hv, vh, vv = (texture(number) for number in range(4))
    pixels = to_pixels([hh, hv, vh, vv])
    assert (pixels[..., 1] == hh).all() and (pixels[..., 2] == vv).all()
    assert np.abs(pixels[..., 0] - (hv.astype(float) + vh) / 2).max() <= 0.5
    with pytest.raises(ValueError, match="different sizes"):
        to_pixels([hh, hv, vh, vv[1:]])


@pytest.mark.parametrize("band", ["VH", "VV"])
def test_any_polarisation_matters_to_a_composite(places: Path, write_image: WriteImage, band: str) -> None:
    before = _read("air_polarsar_seg", places, polarisation="pseudo")
    write_image(places / f"train_set/AIR-PolarSAR-Seg-2_{band}.tiff", np.full((HEIGHT, WIDTH), 9, dtype=np.uint16))
    after = _read("air_polarsar_seg", places, polarisation="pseudo")
    assert before.data_hash != after.data_hash
    changed = [a.image_id for a, b in zip(before.images, after.images, strict=True) if a != b]
    assert changed == ["train_set/AIR-PolarSAR-Seg-2"]


@pytest.mark.parametrize(("polarisation", "left"), [("each", 23), ("pseudo", 5), ("HH", 6)])
def test_a_missing_polarisation_is_a_bad_file_where_it_is_needed(places: Path, polarisation: str, left: int) -> None:
    (places / "train_set/AIR-PolarSAR-Seg-2_VH.tiff").unlink()
    index = _read("air_polarsar_seg", places, polarisation=polarisation, allow_bad=True)
    assert len(index.images) == left
    assert [bad.reason for bad in index.bad] == ([] if polarisation == "HH" else ["has no VH"])


def test_slices_and_masks_need_each_other(places: Path) -> None:
    (places / "train_set/AIR-PolarSAR-Seg-2_gt.png").unlink()
    for band in BANDS:
        (places / f"train_set/AIR-PolarSAR-Seg-3_{band}.tiff").unlink()
    index = _read("air_polarsar_seg", places, allow_bad=True)
    assert len(index.images) == 16
    assert [bad.reason for bad in index.bad].count("has no mask ..._gt.png") == 4
    assert ("train_set/AIR-PolarSAR-Seg-3_gt.png", "is a mask without slices") in index.bad


def test_nothing_to_segment_is_answered_with_the_layout(places: Path) -> None:
    for path in places.glob("*/*_gt.png"):
        path.unlink()
    with pytest.raises(MissingError, match="no slice with a mask") as caught:
        _read("air_polarsar_seg", places)
    assert "{train_set,test_set}" in caught.value.way_out


def test_an_unknown_polarisation_is_answered_with_the_known_ones(places: Path) -> None:
    with pytest.raises(UsageError, match="polarisation 'VV'") as caught:
        _read("air_polarsar_seg", places, polarisation="VV")
    assert "each, pseudo, HH" in caught.value.way_out


# ---- Colours


PALETTE = tuple(Colour(rgb, label) for label, rgb in enumerate([*POL_COLOURS.values(), (0, 0, 0)]))


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=30))
def test_colours_become_ids_as_a_plain_search_for_the_nearest_says(colours: list[tuple[int, int, int]]) -> None:
    found = colours_to_ids(np.array([colours], dtype=np.uint8), PALETTE)
    expected = []
    for colour in colours:
        distance = {entry: max(abs(a - b) for a, b in zip(colour, entry.rgb, strict=True)) for entry in PALETTE}
        nearest = min(PALETTE, key=distance.__getitem__)
        expected.append(nearest.class_id if distance[nearest] <= 30 else IGNORE)
    assert found.ids[0].tolist() == expected
    assert found.unknown == expected.count(IGNORE)


@pytest.mark.parametrize("palette", [(), PALETTE * 2, (Colour((0, 0, 0), 0), Colour((60, 60, 60), 1))])
def test_a_palette_that_cannot_tell_its_colours_apart_is_refused(palette: tuple[Colour, ...]) -> None:
    with pytest.raises(UsageError):
        colours_to_ids(np.zeros((1, 1, 3), dtype=np.uint8), palette)


def test_palette_images_and_alpha_are_read_as_colours(tmp_path: Path) -> None:
    from PIL import Image

    mask = Image.fromarray(_columns(list(POL_COLOURS.values())))
    expected = masks.decode_mask(Path(_saved(mask, tmp_path / "rgb.png")), PALETTE).ids
    for mode in ("P", "RGBA"):
        path = _saved(mask.convert(mode), tmp_path / f"{mode}.png")
        assert (masks.decode_mask(path, PALETTE).ids == expected).all()


def _saved(image: Any, path: Path) -> Path:
    image.save(path)
    return path


# ---- The index


def test_masks_enter_the_data_hash_through_what_they_mean(tiles: Path, write_image: WriteImage) -> None:
    path = tiles / "lab_1024" / "JiuJiang_01_01_01_01_Label_001.tif"
    before = _read("fusar_map", tiles)
    mask = _columns(list(MAP_COLOURS.values()))
    mask[0, 0] = (250, 3, 3)
    write_image(path, mask)
    changed = _read("fusar_map", tiles)
    mask[0, 0] = (255, 0, 0)
    write_image(path, mask)
    same_meaning = _read("fusar_map", tiles)
    assert before.data_hash != changed.data_hash == same_meaning.data_hash
    assert _read("fusar_map", tiles, label_map="map5").data_hash != changed.data_hash


def test_a_second_look_opens_nothing(tiles: Path, places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [_read("fusar_map", tiles), _read("air_polarsar_seg", places, polarisation="pseudo")]

    def opened(*_: object) -> Any:
        raise AssertionError("a file was opened again")

    monkeypatch.setattr(decode, "read_raw", opened)
    monkeypatch.setattr(masks, "decode_mask", opened)
    assert [_read("fusar_map", tiles), _read("air_polarsar_seg", places, polarisation="pseudo")] == first


def test_a_mask_that_is_gone_is_named(tiles: Path) -> None:
    index = _read("fusar_map", tiles)
    (tiles / index.images[0].mask).unlink()
    with pytest.raises(BenchError, match="cannot read the mask") as caught:
        read_mask(index, index.images[0])
    assert caught.value.where == str(tiles / index.images[0].mask)


def test_an_image_without_mask_has_none_to_read(tiles: Path) -> None:
    index = _read("fusar_map", tiles)
    with pytest.raises(UsageError, match="has no mask"):
        read_mask(index, index.images[0]._replace(mask=""))
