"""Captions from boxes, which images are taken, and what is written down to score against."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import CheckError, MissingError
from tasks.datasets.composed import part_of
from tasks.datasets.records import Box, DatasetIndex
from tasks.language.texts import CaptionedData, caption_items, chosen_images
from tasks.retrieval.data import build, truth_of
from tasks.splits import Split
from tests.tasks.captioned_pictures import WriteImage, entry, index_of, tiny_language

GREY = np.zeros((20, 30), dtype=np.uint8)


def _index(tmp_path: Path, write: WriteImage, labels: list[int], classes: tuple[str, ...]) -> DatasetIndex:
    boxes = tuple(Box(2.0, 1.0, 4.0, 4.0, label) for label in labels)
    return index_of(tmp_path, [entry(tmp_path, "a", GREY, boxes, write)], classes)


def test_types_are_told_where_there_are_types(tmp_path: Path, write_image: WriteImage) -> None:
    index = _index(tmp_path, write_image, [1, 1, 2], ("ship", "tanker", "tug"))
    (item,) = caption_items(index, index.images)
    assert item.texts[0] == "This scene holds three ships, namely two tanker and one tug; three in the top-left."
    assert [caption.caption_id for caption in item.captions] == [f"fusar_ship_sense/a#C{n}" for n in range(1, 6)]


def test_a_box_that_is_only_a_ship_has_no_type(tmp_path: Path, write_image: WriteImage) -> None:
    index = _index(tmp_path, write_image, [0, 0], ("ship", "tanker"))
    (item,) = caption_items(index, index.images)
    assert item.texts[4] == "The SAR image shows two ships."


def test_an_image_without_targets_says_so(tmp_path: Path, write_image: WriteImage) -> None:
    (item,) = caption_items(index := _index(tmp_path, write_image, [], ("ship",)), index.images)
    assert item.texts[0] == "No ships can be found in this scene." and len(item.texts) == 5


def test_the_domain_is_that_of_the_data_set(tmp_path: Path, write_image: WriteImage) -> None:
    index = _index(tmp_path, write_image, [0], ("A220",))
    image = index.images[0]._replace(image_id="sar_aircraft_few/a")
    assert caption_items(index, [image])[0].texts[4] == "The SAR image shows one aircraft, that is one A220."
    with pytest.raises(CheckError, match="nothing is known of what the boxes of fusar_map hold"):
        caption_items(index, [image._replace(image_id="fusar_map/a")])


SIZES = st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(1, 40), st.integers(1, 20)), min_size=1)


def _split(sizes: dict[str, tuple[int, int]]) -> Split:
    """Both parts, the sources mixed."""

    def part(number: int) -> tuple[str, ...]:
        names = [f"{source}/{image}" for source, both in sizes.items() for image in range(both[number])]
        return tuple(sorted(names, key=lambda name: name[::-1]))

    return Split(part(0), part(1))


@given(SIZES, st.integers(2, 200))
def test_of_every_source_and_part_its_share_is_taken_in_order(sizes: dict[str, tuple[int, int]], wanted: int) -> None:
    split = _split(sizes)
    index = DatasetIndex("rs_captions", Path(), "", (), (), (), "")
    found, whole = chosen_images(index, split, wanted), len(split.train) + len(split.test)
    assert len(found.train) + len(found.test) == min(wanted, whole)
    assert found.train and found.test
    if wanted < whole:
        assert abs(len(found.test) - wanted * len(split.test) / whole) <= 1
    for part, all_of_it in ((found.train, split.train), (found.test, split.test)):
        assert [name for name in all_of_it if name in set(part)] == list(part)
        taken, there = Counter(map(part_of, part)), Counter(map(part_of, all_of_it))
        for source, size in there.items():
            assert abs(taken[source] - len(part) * size / len(all_of_it)) < 1
            own = [name for name in all_of_it if part_of(name) == source]
            assert own[: taken[source]] == [name for name in part if part_of(name) == source]


def test_the_papers_number_gives_the_papers_queries() -> None:
    # Errata B: 161 images and 805 captions were asked about; test parts are rounded up, so they are a bit over a fifth.
    split = _split({"a": (1199, 301), "b": (1201, 301), "c": (1600, 401)})
    index = DatasetIndex("rs_captions", Path(), "", (), (), (), "")
    found = chosen_images(index, split, 805)
    assert (len(found.train), len(found.test)) == (644, 161)
    assert chosen_images(index, split, None) is split
    with pytest.raises(CheckError, match="cannot be both learnt and asked about"):
        chosen_images(index, split, 1)


def test_both_parts_are_built_and_counted(lit: DatasetIndex) -> None:
    data = build(lit, tiny_language("retrieval", 1))
    assert (len(data.train), len(data.test), data.cut) == (96, 24, False)
    assert data.classes == ("fusar_ship_sense",) and data.counts("train") == (96,) and data.counts("test") == (24,)
    assert not {item.image.image_id for item in data.train} & {item.image.image_id for item in data.test}
    assert [item.image.image_id for item in data.test] == list(data.split.test)


def test_a_smaller_number_is_a_part_of_a_larger_one(lit: DatasetIndex) -> None:
    small, large = (build(lit, tiny_language("retrieval", 1, images=number)) for number in (20, 50))
    assert (len(small.train), len(small.test)) == (16, 4) and not small.cut
    assert small.train == large.train[:16] and small.test == large.test[:4]


def test_a_limit_holds_for_each_part(lit: DatasetIndex) -> None:
    data = build(lit, tiny_language("retrieval", 1), limit=3)
    assert (len(data.train), len(data.test), data.cut) == (3, 3, True)


def test_an_index_that_cannot_be_divided_is_refused(tmp_path: Path, write_image: WriteImage) -> None:
    with pytest.raises(MissingError, match="0 images to train and 1 to test"):
        build(_index(tmp_path, write_image, [0], ("ship",)), tiny_language("retrieval", 1))


def test_the_truth_holds_what_scoring_needs(data: CaptionedData) -> None:
    truth = json.loads(json.dumps(truth_of(data)))
    assert truth["dataset"] == "rs_captions" and truth["train_counts"] == [96]
    assert [row["image_id"] for row in truth["test"]] == list(data.split.test)
    first = data.test[0]
    assert [caption["text"] for caption in truth["test"][0]["captions"]] == first.texts
    assert truth["test"][0]["captions"][0]["caption_id"] == f"{first.image.image_id}#C1"
