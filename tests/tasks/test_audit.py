"""Leakage audits, disjoint splits and split files, on tiny data sets with planted copies."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foundation.errors import MissingError, UsageError
from tasks.classification.data import build
from tasks.datasets import DataOptions, DatasetIndex, DataSource, read_index
from tasks.datasets.audit import KINDS, Link, Links, _alike_by_hash, audit, counted, disjoint, find_links, split_reasons
from tasks.datasets.division import divide
from tasks.datasets.footprints import Footprint, footprints, of_name, overlaps
from tasks.datasets.linked import grouped, identical_images, joined
from tasks.datasets.options import data_options
from tasks.datasets.records import ImageEntry
from tasks.datasets.split_files import SplitFile, read_split_file, with_parts, write_split_file
from tasks.splits import Split

pytestmark = pytest.mark.usefixtures("own_cache")

WriteImage = Callable[[Path, NDArray[Any]], Path]
Texture = Callable[..., NDArray[np.uint8]]


@pytest.fixture
def copied(tmp_path: Path, write_image: WriteImage, texture: Texture) -> DatasetIndex:
    """Two classes of twelve chips; each chip stands there twice, once whole and once with its borders cut."""
    for label, name in enumerate(("one", "two")):
        for number in range(12):
            chip = np.kron(texture(100 * label + number, 12, 12), np.ones((4, 4), dtype=np.uint8))
            write_image(tmp_path / "air" / name / f"{number:02d}a.png", chip)
            write_image(tmp_path / "air" / name / f"{number:02d}b.png", chip[2:, 2:] if number else chip)
    return read_index(DataSource("fusar_air", tmp_path / "air"))


def _entry(name: str, side: int = 100) -> ImageEntry:
    return ImageEntry(name, name, -1, side, side, "uint8", "", "hash of " + name, 0)


def test_identical_and_cropped_chips_are_found_and_counted(copied: DatasetIndex) -> None:
    found = audit(copied, divide(copied))
    counts = {kind.kind: kind for kind in found.counts}
    assert counts["exact"].pairs == 2 and counts["near"].pairs == 22
    part_of = dict.fromkeys(found.split.train, "train") | dict.fromkeys(found.split.test, "test")
    crossing = [n for n in part_of if n.endswith("a.png") and part_of[n] != part_of[n.replace("a.png", "b.png")]]
    assert counts["exact"].across + counts["near"].across == len(crossing) == len(found.across)
    assert found.touched == len(crossing) > 0


def test_no_link_crosses_a_disjoint_split(copied: DatasetIndex) -> None:
    links = find_links(copied)
    together, parts = disjoint(copied, links)
    again = audit(together, parts)
    assert not again.across and again.touched == 0
    assert sorted((*parts.train, *parts.test)) == sorted(image.image_id for image in copied.images)
    assert len(parts.test) >= 10  # two classes of 24: five at least, in whole pairs
    reasons = split_reasons(together, links, KINDS)
    assert reasons["units"] == 24 and all(len(unit["images"]) == 2 for unit in reasons["joined"])


def test_only_the_kinds_that_are_named_hold_images_together(copied: DatasetIndex) -> None:
    together, _ = disjoint(copied, find_links(copied), ("exact",))
    assert len({image.unit for image in together.images}) == 46
    with pytest.raises(UsageError, match="not kinds"):
        disjoint(copied, Links((), ()), ("nearly",))


def _with_official_parts(index: DatasetIndex) -> DatasetIndex:
    """Even numbers train, 1, 5 and 9 validate and 3, 7 and 11 test; the copies of 2 and 4 test as well."""
    images = []
    for image in index.images:
        number, copy = int(image.image_id[4:6]), image.image_id[6] == "b"
        tests = number % 4 == 3 or (copy and number in (2, 4))
        images.append(image._replace(part="test" if tests else "val" if number % 2 else "train"))
    return replace(index, images=tuple(images), pool=("train",))


def test_an_official_test_part_stays_and_only_what_is_linked_to_it_leaves_the_training_part(
    copied: DatasetIndex,
) -> None:
    index = _with_official_parts(copied)
    usual = divide(index)
    links = find_links(index)
    joined_images, parts = disjoint(index, links)
    assert parts.test == usual.test and len(parts.test) == 16
    gone = {"one/02a.png", "one/04a.png", "two/02a.png", "two/04a.png"}
    assert set(usual.train) - set(parts.train) == gone and len(parts.train) == 16  # nothing that validates comes in
    assert not audit(joined_images, parts).across and len(audit(index, usual).across) == 4
    assert "official test part" in split_reasons(joined_images, links, KINDS)["rule"]
    as_run = divide(with_parts(index, SplitFile(parts, "")))
    assert (as_run.train, as_run.test) == (parts.train, parts.test)


def test_a_training_part_that_is_linked_as_a_whole_is_refused(copied: DatasetIndex) -> None:
    index = _with_official_parts(copied)
    everything = Links((), (tuple(image.image_id for image in index.images),))
    with pytest.raises(MissingError, match="every training image"):
        disjoint(index, everything, ("scene",))


def _hashed(hashes: list[int]) -> DatasetIndex:
    images = tuple(_entry(f"{place:05d}")._replace(difference_hash=value) for place, value in enumerate(hashes))
    return DatasetIndex("fusar_air", Path(), "folders", ("a", "b"), images, (), "")


def test_the_nearest_pairs_by_hash_are_those_of_every_pair_looked_at() -> None:
    rng = np.random.default_rng(1)
    for spread in (1, 3, 6, 9):  # from nearly every pair to few
        hashes = [int(value) for value in rng.integers(0, 2**spread, 40)]
        every = sorted(
            ((hashes[first] ^ hashes[second]).bit_count(), first, second)
            for first in range(40)
            for second in range(first + 1, 40)
        )
        near = [(first, second) for bits, first, second in every if bits <= 4][:160]
        assert _alike_by_hash(_hashed(hashes)) == near


def test_equal_hashes_cost_no_memory_that_grows_with_their_square() -> None:
    index = _hashed([7] * 2000)
    tracemalloc.start()
    found = _alike_by_hash(index)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 8000 and found[0] == (0, 1)
    assert peak < 4e6  # two million pairs would take hundreds of megabytes


def test_identical_images_do_not_crowd_out_those_that_are_nearly_alike() -> None:
    index = _hashed([7] * 100 + [8, 9])
    same = tuple(image._replace(pixel_hash="empty") for image in index.images[:100])
    assert _alike_by_hash(replace(index, images=(*same, *index.images[100:])))[0] == (100, 101)


def test_many_identical_images_are_counted_by_pairs_and_kept_as_a_group() -> None:
    images = tuple(_entry(f"{place:05d}")._replace(pixel_hash="empty") for place in range(3000))
    index = replace(_hashed([]), images=images)
    split = Split(tuple(image.image_id for image in images[1000:]), tuple(image.image_id for image in images[:1000]))
    links = Links((), (), tuple(identical_images(index)))
    tracemalloc.start()
    found = counted(index, split, links)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    exact = next(kind for kind in found.counts if kind.kind == "exact")
    assert exact.pairs == 3000 * 2999 // 2 and exact.across == 1000 * 2000 and exact.test_images == 1000
    assert found.touched == 1000 == len(found.across) and found.across[0] == Link("exact", "00000", "01000", 1.0)
    assert peak < 4e6
    together, _ = disjoint(replace(index, images=(*images, *_others())), links, ("exact",))
    assert len({image.unit for image in together.images if image.pixel_hash == "empty"}) == 1


def _others() -> list[ImageEntry]:
    return [_entry(f"other {number}") for number in range(1000)]


def test_near_duplicates_are_grouped_when_asked_for(copied: DatasetIndex) -> None:
    index = read_index(DataSource("fusar_air", copied.root), DataOptions(group_near_duplicates=True))
    assert ("group_near_duplicates", "yes") in index.choices
    assert index.data_hash == copied.data_hash
    parts = build(index).split
    assert not {name[:-5] for name in parts.train} & {name[:-5] for name in parts.test}
    plain = build(copied).split
    assert {name[:-5] for name in plain.train} & {name[:-5] for name in plain.test}


def test_an_emitted_split_is_the_one_that_is_run(copied: DatasetIndex, tmp_path: Path) -> None:
    joint, parts = disjoint(copied, find_links(copied))
    files = write_split_file(
        tmp_path / "d.json", copied.dataset, copied.data_hash, parts, split_reasons(joint, Links((), ()), KINDS)
    )
    assert [file.name for file in files] == ["d.json", "d.train.txt", "d.test.txt"]
    index = read_index(DataSource("fusar_air", copied.root), DataOptions(split_file=files[0]))
    used = build(index).split
    assert (used.train, used.test) == (parts.train, parts.test)
    assert json.loads(files[0].read_text())["split_hash"] == parts.hash == used.hash
    assert dict(index.choices)["split_sha256"]


def test_a_split_file_that_was_changed_or_is_of_other_data_is_refused(copied: DatasetIndex, tmp_path: Path) -> None:
    parts = divide(copied)
    path, train, _ = write_split_file(tmp_path / "d.json", copied.dataset, copied.data_hash, parts, {})
    with pytest.raises(UsageError, match="a split of fusar_air"):
        read_split_file(path, replace(copied, dataset="sar_acd"))
    with pytest.raises(UsageError, match="are not in fusar_air"):
        read_split_file(path, replace(copied, images=copied.images[1:]))
    with pytest.raises(UsageError, match="made of other data"):
        read_split_file(path, replace(copied, data_hash="0" * 64))
    train.write_text(train.read_text() + "x\n")
    with pytest.raises(MissingError, match="changed"):
        read_split_file(path, copied)
    train.unlink()
    with pytest.raises(MissingError, match="cannot read"):
        read_split_file(path, copied)
    twice = Split((*parts.train, parts.test[0]), parts.test)
    with pytest.raises(MissingError, match="twice"):
        read_split_file(write_split_file(tmp_path / "e.json", copied.dataset, copied.data_hash, twice, {})[0], copied)
    for content in ("", "[]", '{"format": 1}', '{"format": 9}'):
        path.write_text(content)
        with pytest.raises(MissingError):
            read_split_file(path, copied)


def test_images_in_neither_list_take_no_part(copied: DatasetIndex, tmp_path: Path) -> None:
    parts = divide(copied)
    fewer = Split(parts.train[1:], parts.test)
    path, *_ = write_split_file(tmp_path / "d.json", copied.dataset, copied.data_hash, fewer, {})
    used = build(with_parts(copied, read_split_file(path, copied))).split
    assert set(used.train) == set(fewer.train)


def test_links_join_through_others() -> None:
    units = joined("abcdef", [("b", "a"), ("c", "b"), ("e", "f")])
    assert units == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "e", "f": "e"}


def test_groups_that_the_data_set_names_stay_whole_and_keep_their_names(copied: DatasetIndex) -> None:
    first, second, third = (image.image_id for image in copied.images[:3])
    scenes = {first: "scene", second: "scene"}
    images = tuple(image._replace(group=scenes.get(image.image_id, "")) for image in copied.images)
    units = {image.image_id: image.unit for image in grouped(replace(copied, images=images), [(second, third)]).images}
    assert units[first] == units[second] == units[third] == "scene"
    assert identical_images(copied) == [("one/00a.png", "one/00b.png"), ("two/00a.png", "two/00b.png")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("images/P1_0_100_50_150.jpg", Footprint("images/P1", 0, 50, 100, 150)),
        ("images/P1_0_100_50_150_jpg.rf.0a1b.jpg", Footprint("images/P1", 0, 50, 100, 150)),
        ("P1_20_30_120_130.png", Footprint("./P1", 20, 30, 120, 130)),
        ("s_x10_y20.png", Footprint("./s", 10, 20, 110, 120)),
        ("s_r1_c2.png", Footprint("./s", 2, 1, 3, 2, touching=True)),
        ("sar_1024/JiuJiang_01_01_02_03_SAR_001.tif", Footprint("sar_1024/JiuJiang_01_01", 3, 2, 4, 3, touching=True)),
        ("P1_1_2_3_4.png", None),
        ("0001.png", None),
    ],
)
def test_names_tell_the_ground(name: str, expected: Footprint | None) -> None:
    found = of_name(_entry(name))
    assert found == expected or (found and expected and found[1:] == expected[1:])


def test_overlaps_agree_with_every_pair_looked_at() -> None:
    rng = np.random.default_rng(0)
    found = {}
    for number in range(60):
        left, top = (int(value) for value in rng.integers(0, 200, 2))
        found[f"{number:02d}"] = Footprint(f"s{number % 2}", left, top, left + 30, top + 30)
    pairs = {(pair.first, pair.second): pair.share for pair in overlaps(found)}
    for first in found:
        for second in found:
            one, other = found[first], found[second]
            width = min(one.right, other.right) - max(one.left, other.left)
            height = min(one.bottom, other.bottom) - max(one.top, other.top)
            there = first < second and one.scene == other.scene and width > 0 and height > 0
            assert ((first, second) in pairs) is there
            if there:
                assert pairs[first, second] == pytest.approx(width * height / 900, abs=1e-4)


def test_cells_of_a_grid_that_touch_are_neighbours() -> None:
    cells = {
        f"{row}{column}": Footprint("s", column, row, column + 1, row + 1, True)
        for row in range(3)
        for column in range(3)
    }
    pairs = overlaps(cells)
    assert len(pairs) == 20 and all(pair.share == 0 for pair in pairs)  # 12 share a side, 8 a corner


def test_georeferenced_files_tell_their_ground(tmp_path: Path, texture: Texture) -> None:
    import rasterio
    from rasterio.transform import from_origin

    for number, east in enumerate((0, 60, 500)):
        path = tmp_path / "air" / ("one" if number < 2 else "two") / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = {"height": 10, "width": 10, "count": 1, "dtype": "uint8", "crs": "EPSG:32650"}
        with rasterio.open(path, "w", driver="GTiff", transform=from_origin(5e5 + east, 3e6, 10, 10), **shape) as file:
            file.write(texture(number, 10, 10), 1)
    index = read_index(DataSource("fusar_air", tmp_path / "air"))
    (pair,) = overlaps(footprints(index))
    assert (pair.first, pair.second, pair.share) == ("one/0.tif", "one/1.tif", 0.4)


def test_scenes_are_counted_and_not_listed(copied: DatasetIndex) -> None:
    images = tuple(image._replace(group=image.image_id[:3]) for image in copied.images)
    split = Split(("one/00a.png",), ("one/01a.png", "two/01a.png"))
    found = audit(replace(copied, images=images), split)
    counts = {kind.kind: kind for kind in found.counts}
    assert counts["scene"].across == 1 and counts["scene"].test_images == 1 and counts["scene"].share == 50.0
    assert all(isinstance(link, Link) and link.kind != "scene" for link in found.across)


def test_options_are_read_from_text() -> None:
    options = data_options({"split_file": "d.json", "group_near_duplicates": "yes"})
    assert options.split_file == Path("d.json") and options.group_near_duplicates
    with pytest.raises(UsageError, match="yes or no"):
        data_options({"group_near_duplicates": "maybe"})
