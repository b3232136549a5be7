"""Every written data set passes its own real reader with nothing skipped, and the reader finds the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.decode import read_grey
from tasks.datasets import DataOptions, DatasetIndex, DataSource, read_index
from tasks.datasets.catalogue import READERS
from tasks.datasets.masks import read_mask
from tasks.datasets.records import Remarks
from tasks.sarworld.plan import CITIES, FUSAR_AIR_CLASSES, FUSAR_SHIP_CLASSES, folder_of, plan
from tasks.sarworld.sets.catalogue import maker_of
from tasks.sarworld.truth import LAND_COVERS, Truth

SENSE = ("fusar_air_sense", "fusar_ship_sense")


def read(world: Path, dataset: str, **options: Any) -> DatasetIndex:
    return read_index(DataSource(dataset, world / folder_of(dataset)), DataOptions(**options))


def truths(world: Path, dataset: str) -> dict[str, Truth]:
    lines = (world / folder_of(dataset) / "truth.jsonl").read_text().splitlines()
    rows = [Truth.from_json(json.loads(line)) for line in lines]
    return {row.image_id: row for row in rows}


@pytest.mark.parametrize("dataset", READERS)
def test_the_real_reader_skips_and_mends_nothing(world: Path, dataset: str) -> None:
    index = read(world, dataset)
    expected = 4 * len(plan(dataset, "ci")) if dataset == "air_polarsar_seg" else len(plan(dataset, "ci"))
    assert index.bad == ()
    assert index.remarks == Remarks()
    assert len(index.images) == expected
    assert index.world == "sarworld v2 ci seed 0" and index.synthetic


@pytest.mark.parametrize("dataset", READERS)
def test_truth_is_told_about_every_image(world: Path, dataset: str) -> None:
    told = truths(world, dataset)
    assert list(told) == [item.files[0] for item in plan(dataset, "ci")]
    for image in read(world, dataset).images:
        row = told.get(image.image_id)  # composites and polarisations have names of their own
        if row is not None:
            assert (row.width, row.height) == (image.width, image.height)


@pytest.mark.parametrize(("dataset", "classes"), [(SENSE[0], FUSAR_AIR_CLASSES), (SENSE[1], FUSAR_SHIP_CLASSES)])
def test_coco_boxes_are_those_of_the_truth(world: Path, dataset: str, classes: tuple[str, ...]) -> None:
    index, told = read(world, dataset, label_map="fine"), truths(world, dataset)
    assert index.classes == classes
    by_file = {Path(name).name: row for name, row in told.items()}
    for image in index.images:
        row = by_file[Path(image.path).name]
        assert [(*box[:4], index.classes[box.label]) for box in image.boxes] == [
            (*map(pytest.approx, found.box), found.type) for found in row.objects
        ]
    assert len({image.group for image in index.images}) == len(index.images) / 2
    assert sum(not image.boxes for image in index.images) >= 2  # one image in ten is empty


def test_voc_boxes_hold_those_of_the_truth_within_a_pixel(world: Path) -> None:
    index, told = read(world, "sar_aircraft_few"), truths(world, "sar_aircraft_few")
    for image in index.images:
        found = told[image.path].objects
        assert len(found) == len(image.boxes)
        for box, item in zip(image.boxes, found, strict=True):
            assert index.classes[box.label].replace("/", "") == item.type
            x, y, width, height = item.box
            assert box.x <= x and box.y <= y
            assert x + width <= box.x + box.width + 1e-6 and y + height <= box.y + box.height + 1e-6
            assert box.width - width < 2 and box.height - height < 2
    assert {image.part for image in index.images} == {"train", "val", "test"}
    assert set(index.classes_found) == set(index.classes) and "A320/321" in index.classes


def test_maps_are_those_of_the_ground_plan(world: Path) -> None:
    """The label map of the questions reads back the shares that the truth tells, class by class."""
    index, told = read(world, "fusar_map", label_map="map4_labelled"), truths(world, "fusar_map")
    for image in index.images:
        ids = read_mask(index, image)
        shares = told[image.path].shares.tile
        for label, name in enumerate(index.classes):
            assert name in LAND_COVERS
            assert (ids == label).mean() == pytest.approx(shares[name], abs=1e-4)
    assert {Path(image.path).name.split("_")[0] for image in index.images} <= set(CITIES)
    scenes = read(world, "fusar_map", group="scene")
    assert len({image.group for image in scenes.images}) == 3  # four tiles of each


def test_places_of_polsar_have_four_polarisations_and_one_mask(world: Path) -> None:
    index = read(world, "air_polarsar_seg")
    groups: dict[str, list[str]] = {}
    for image in index.images:
        groups.setdefault(image.group, []).append(image.band)
        assert image.dtype == "uint16"
    assert len(groups) == 10 and all(sorted(bands) == ["HH", "HV", "VH", "VV"] for bands in groups.values())
    ignored = [np.mean(read_mask(index, image) == 255) for image in index.images if image.band == "HH"]
    assert any(share > 0.05 for share in ignored) and any(share == 0 for share in ignored)  # black strips
    assert set(index.classes_found) >= {"housing", "natural", "land use", "water"}


def test_cross_polarised_ratios_tell_classes_apart() -> None:
    """Section 14.4: woodland -6 dB, water -12 dB, buildings -8 dB, above the noise."""
    from tasks.sarworld.ground import COVERS, rasterise
    from tasks.sarworld.sets.polsar import CROSS_DB, polarisations

    sums: dict[str, list[float]] = {}
    for item in plan("air_polarsar_seg", "mini")[:16]:
        ground = maker_of("air_polarsar_seg").ground(item, 0)
        images = polarisations(item, 0, ground)
        cover = rasterise(ground.layout, ground.shape, 8.0).cover
        noise = 10 ** (ground.acquisition.product.noise_floor_db / 10)
        for name in ("woodland", "farmland", "housing"):
            inside = cover == COVERS.index(name)
            if inside.sum() > 500:
                cross = (images["HV"][inside].astype(np.float64) ** 2).mean() - noise
                straight = (images["HH"][inside].astype(np.float64) ** 2).mean() - noise
                sums.setdefault(name, []).append(10 * np.log10(cross / straight))
        woods = cover == COVERS.index("woodland")
        if woods.sum() > 2000:  # where no wall shines into all of them
            alike = np.corrcoef([images[name][woods] for name in ("HV", "VH", "HH")])
            assert alike[0, 1] > 0.7, "one field, but for noise of its own"
            assert alike[0, 1] > alike[0, 2] + 0.2, "the speckle of the co-polarised channel is another one"
    for name, found in sums.items():
        assert np.median(found) == pytest.approx(CROSS_DB[name], abs=0.7), name


@pytest.mark.parametrize("dataset", ["fusar_air_sense", "fusar_map", "sar_acd", "air_polarsar_seg"])
def test_images_use_their_grey_levels(world: Path, dataset: str) -> None:
    index = read(world, dataset)
    for image in index.images[:6]:
        grey = read_grey(index.root / image.path)
        assert len(np.unique(grey)) > 40 and 0 < np.median(grey) < 200


def test_few_shot_pool_and_splits_can_be_made(world: Path) -> None:
    from tasks.splits import Item, split

    for dataset in ("fusar_air_sense", "fusar_map", "air_polarsar_seg"):
        images = read(world, dataset).images
        parts = split(dataset, [Item(image.image_id, image.unit) for image in images])
        groups = {image.image_id: image.unit for image in images}
        assert not {groups[name] for name in parts.train} & {groups[name] for name in parts.test}
        assert parts.train and parts.test
