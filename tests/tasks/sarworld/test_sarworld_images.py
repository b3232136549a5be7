"""Images of all data sets: own draws, own shapes, files of the real kinds, the look that the version stands for."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tasks.sarworld.plan import DATASETS, GRIDS, Item, plan
from tasks.sarworld.render import rounded_hash
from tasks.sarworld.sets.catalogue import maker_of
from tasks.sarworld.sets.chips import COUNTS_PER_AMPLITUDE, chip_bytes, product_of
from tasks.sarworld.sets.maker import Amplitude, drawn, truth

CHIPS = ("fusar_air", "fusar_ship", "sar_acd")


def some(dataset: str, count: int = 4) -> list[Item]:
    """Items spread over the data set; scenes of the coarser sensors."""
    every = [item for item in plan(dataset, "ci") if item.label != "ql1"]
    return every[:: max(1, len(every) // count)][:count]


def image_of(item: Item, seed: int = 0) -> Amplitude:
    """Drawn anew."""
    return drawn(seed, maker_of(item.dataset).ground(item, seed))


@pytest.mark.parametrize("dataset", DATASETS)
def test_an_image_is_finite_positive_amplitude_of_the_planned_size(dataset: str) -> None:
    for item in some(dataset):
        image, grid = image_of(item), item.grid
        assert image.dtype == np.float32
        assert np.isfinite(image).all() and (image > 0).all()
        if dataset != "scenes":
            assert (grid.smallest_px or grid.side_px) <= min(image.shape) and max(image.shape) <= grid.side_px


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_order_of_drawing_changes_nothing(dataset: str) -> None:
    items = some(dataset)
    forward = {item: rounded_hash(image_of(item, 3)) for item in items}
    backward = {item: rounded_hash(image_of(item, 3)) for item in reversed(items)}
    assert forward == backward
    assert len(set(forward.values())) == len(items)


@pytest.mark.parametrize("dataset", DATASETS)
def test_another_seed_is_another_world(dataset: str) -> None:
    item = some(dataset)[0]
    assert rounded_hash(image_of(item, 0)) != rounded_hash(image_of(item, 1))


@pytest.mark.parametrize("dataset", ["fusar_air", "fusar_air_sense", "fusar_map", "corpus", "air_polarsar_seg"])
def test_sizes_with_the_same_pixels_share_their_images(dataset: str) -> None:
    bigger = {item.name: item for item in plan(dataset, "mini")}
    for item in some(dataset):
        if item.name in bigger:
            assert rounded_hash(image_of(item)) == rounded_hash(image_of(bigger[item.name]))


def test_rounded_hashes_ignore_what_nobody_sees_and_nothing_else() -> None:
    image = np.full((4, 4), 0.5, dtype=np.float32)
    assert rounded_hash(image) == rounded_hash(image * np.float32(1 + 1e-6))
    assert rounded_hash(image) != rounded_hash(image * np.float32(1 + 1e-3))
    assert rounded_hash(image) != rounded_hash(image.reshape(2, 8))


@pytest.mark.parametrize("dataset", CHIPS)
def test_the_target_of_a_chip_outshines_its_surroundings(dataset: str) -> None:
    for item in some(dataset, 10):
        image = image_of(item)
        assert image.max() > 6 * np.median(image)


@pytest.mark.parametrize("dataset", CHIPS)
def test_every_chip_shows_one_target_of_its_class_whole(dataset: str) -> None:
    for item in plan(dataset, "ci"):
        row = truth(item, 0, maker_of(dataset).ground(item, 0))
        assert [found.type for found in row.objects] == [item.label]
        x, y, width, height = row.objects[0].box
        assert x >= 0 and y >= 0 and x + width <= row.width and y + height <= row.height


@pytest.mark.parametrize("dataset", ["fusar_air_sense", "fusar_ship_sense", "sar_aircraft_few"])
def test_boxes_hold_what_is_bright(dataset: str) -> None:
    """Inside the boxes there is far more light per pixel than outside, and most boxes hold a local peak."""
    inside, outside, peaks = [], [], []
    for item in plan(dataset, "ci"):
        ground = maker_of(dataset).ground(item, 0)
        image, row = drawn(0, ground), truth(item, 0, ground)
        mask = np.zeros(image.shape, dtype=bool)
        for found in row.objects:
            x, y, width, height = (round(value) for value in found.box)
            mask[y : y + height, x : x + width] = True
            peaks.append(image[y : y + height, x : x + width].max() > 4 * np.median(image))
        if mask.any() and ground.layout.buildings == ():
            inside.append(float((image[mask] ** 2).mean()))
            outside.append(float((image[~mask] ** 2).mean()))
    assert np.median(np.array(inside) / np.array(outside)) > 5
    assert np.mean(peaks) > 0.95


def test_sar_acd_chips_have_their_own_sizes_and_wide_bodies_larger_ones() -> None:
    shapes = {
        name: [image_of(item).shape for item in plan("sar_acd", "ci") if item.label == name]
        for name in ("ARJ21", "A330")
    }
    assert len(set(shapes["ARJ21"])) > 4
    assert np.mean(shapes["A330"]) > 1.3 * np.mean(shapes["ARJ21"])


def test_air_chips_come_from_two_sensors() -> None:
    products = [product_of(item, 0) for item in plan("fusar_air", "ci")]
    assert 0.3 < np.mean([product.id == "ql1" for product in products]) < 0.7
    assert {product.pixel_m for product in products} == {GRIDS["ci"]["fusar_air"].pixel_m}


def test_chips_are_of_the_kinds_of_the_real_data_sets() -> None:
    image = image_of(some("sar_acd")[0])
    with Image.open(io.BytesIO(chip_bytes("sar_acd", image))) as grey:
        assert (grey.format, grey.mode, grey.size) == ("JPEG", "L", image.shape[::-1])
    ship = tifffile.imread(io.BytesIO(chip_bytes("fusar_ship", image)))
    air = tifffile.imread(io.BytesIO(chip_bytes("fusar_air", image)))
    assert (ship.dtype, ship.shape) == (np.uint8, image.shape)
    assert (air.dtype, air.shape) == (np.uint16, image.shape)
    assert np.allclose(air / COUNTS_PER_AMPLITUDE, image, atol=0.5 / COUNTS_PER_AMPLITUDE + 1e-6)


@pytest.mark.parametrize("dataset", DATASETS)
def test_files_hold_what_the_plan_says_and_are_made_alike_each_time(dataset: str, world: Path) -> None:
    from tasks.sarworld.plan import folder_of

    for item in some(dataset, 2):
        maker = maker_of(dataset)
        files = maker.encode(item, 0, maker.ground(item, 0))
        assert set(files) == set(item.files)
        for path, content in files.items():
            assert (world / folder_of(dataset) / path).read_bytes() == content


def test_version_two_looks_as_it_did() -> None:
    # When this fails for a change that was meant, raise WORLD_VERSION and put in the new numbers.
    measured = {}
    for dataset in DATASETS:
        image = image_of([item for item in plan(dataset, "ci") if item.label != "ql1"][7])
        measured[dataset] = [round(float(20 * np.log10(v)), 2) for v in (np.median(image), image.mean(), image.max())]
    assert measured == {name: pytest.approx(numbers, abs=0.02) for name, numbers in LOOKS.items()}


LOOKS = {
    "fusar_air": [-16.13, -10.84, 27.93],
    "fusar_ship": [-19.01, -17.26, 10.67],
    "sar_acd": [-15.41, -10.58, 12.52],
    "fusar_air_sense": [-16.34, -14.14, 17.28],
    "fusar_ship_sense": [-14.84, -10.9, 21.9],
    "sar_aircraft_few": [-11.91, -9.99, 19.74],
    "fusar_map": [-14.49, -11.33, 17.33],
    "air_polarsar_seg": [-12.43, -9.66, 11.84],
    "corpus": [-16.75, -15.46, 20.89],
    "scenes": [-11.24, -7.21, 14.32],
}
