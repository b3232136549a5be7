"""Chips: own draws, own shapes, targets that can be seen, files of the real kinds."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from tasks.sarworld import chips as rendering
from tasks.sarworld.chips import amplitude, generator, product_of, rounded_hash
from tasks.sarworld.encoding import COUNTS_PER_AMPLITUDE, ENCODERS
from tasks.sarworld.layouts import DATASETS, GRIDS, Chip, plan


def some_chips(dataset: str, count: int = 6) -> list[Chip]:
    """Chips spread over the classes."""
    every = plan(dataset, "ci")
    return every[:: max(1, len(every) // count)][:count]


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_chip_is_finite_positive_amplitude_of_the_planned_size(dataset: str) -> None:
    for chip in some_chips(dataset, 12):
        image = amplitude(chip, seed=0)
        grid = GRIDS["ci"][dataset]
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert (image > 0).all()
        assert grid.smallest_px <= min(image.shape)
        assert max(image.shape) <= grid.chip_px


def test_sar_acd_chips_have_their_own_sizes_and_wide_bodies_larger_ones() -> None:
    shapes = {
        name: [amplitude(c, 0).shape for c in plan("sar_acd", "ci") if c.label == name] for name in ("ARJ21", "A330")
    }
    assert len(set(shapes["ARJ21"])) > 4
    assert np.mean(shapes["A330"]) > 1.3 * np.mean(shapes["ARJ21"])


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_order_of_drawing_changes_nothing(dataset: str) -> None:
    chips = some_chips(dataset)
    forward = {chip: rounded_hash(amplitude(chip, 3)) for chip in chips}
    backward = {chip: rounded_hash(amplitude(chip, 3)) for chip in reversed(chips)}
    assert forward == backward
    assert len(set(forward.values())) == len(chips)


@pytest.mark.parametrize("dataset", DATASETS)
def test_another_seed_is_another_world(dataset: str) -> None:
    chip = some_chips(dataset)[0]
    assert rounded_hash(amplitude(chip, 0)) != rounded_hash(amplitude(chip, 1))


def test_chips_added_to_a_data_set_leave_the_others_as_they_are() -> None:
    few, many = plan("fusar_air", "ci"), plan("fusar_air", "mini")
    shared = [chip for chip in few if chip.path in {other.path for other in many}]
    assert len(shared) == len(few)
    bigger = {chip.path: chip for chip in many}
    for chip in shared[::20]:  # both sizes have the same pixels
        assert rounded_hash(amplitude(chip, 0)) == rounded_hash(amplitude(bigger[chip.path], 0))


def test_a_layer_that_draws_more_leaves_the_other_layers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = some_chips("fusar_ship")[0]
    before = rendering._ship_scene(chip, 0, product_of(chip, 0), rendering.view_of(chip, 0, product_of(chip, 0)))
    real = generator

    def greedy(chip: Chip, seed: int, layer: str) -> np.random.Generator:
        rng = real(chip, seed, layer)
        if layer == "clutter":
            rng.random(1000)
        return rng

    monkeypatch.setattr(rendering, "generator", greedy)
    after = rendering._ship_scene(chip, 0, product_of(chip, 0), rendering.view_of(chip, 0, product_of(chip, 0)))
    assert (before[1].scatterers.rcs_db == after[1].scatterers.rcs_db).all()
    assert (before[2].classes == after[2].classes).all()


def test_rounded_hashes_ignore_what_nobody_sees_and_nothing_else() -> None:
    image = np.full((4, 4), 0.5, dtype=np.float32)
    assert rounded_hash(image) == rounded_hash(image * np.float32(1 + 1e-6))
    assert rounded_hash(image) != rounded_hash(image * np.float32(1 + 1e-3))
    assert rounded_hash(image) != rounded_hash(image.reshape(2, 8))


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_target_outshines_its_surroundings(dataset: str) -> None:
    for chip in some_chips(dataset, 10):
        image = amplitude(chip, 0)
        assert image.max() > 6 * np.median(image)


def test_ships_lie_where_their_outline_is() -> None:
    for chip in some_chips("fusar_ship", 12):
        product = product_of(chip, 0)
        shape, target, _, _ = rendering._ship_scene(chip, 0, product, rendering.view_of(chip, 0, product))
        half = np.array(shape[::-1]) / 2 * product.pixel_m
        left, low, right, high = target.box()
        assert max(-left, right) <= half[0]
        assert max(-low, high) <= half[1]


def test_air_chips_come_from_two_sensors() -> None:
    products = [product_of(chip, 0) for chip in plan("fusar_air", "ci")]
    share = np.mean([product.id == "ql1" for product in products])
    assert 0.3 < share < 0.7
    assert {product.pixel_m for product in products} == {GRIDS["ci"]["fusar_air"].pixel_m}


def test_files_are_of_the_kinds_of_the_real_data_sets() -> None:
    image = amplitude(some_chips("sar_acd")[0], 0)
    with Image.open(io.BytesIO(ENCODERS["sar_acd"](image))) as grey:
        assert (grey.format, grey.mode, grey.size) == ("JPEG", "L", image.shape[::-1])
    ship = tifffile.imread(io.BytesIO(ENCODERS["fusar_ship"](image)))
    air = tifffile.imread(io.BytesIO(ENCODERS["fusar_air"](image)))
    assert (ship.dtype, ship.shape) == (np.uint8, image.shape)
    assert (air.dtype, air.shape) == (np.uint16, image.shape)
    assert np.allclose(air / COUNTS_PER_AMPLITUDE, image, atol=0.5 / COUNTS_PER_AMPLITUDE + 1e-6)


@pytest.mark.parametrize("dataset", DATASETS)
def test_encoding_the_same_pixels_gives_the_same_bytes(dataset: str) -> None:
    image = amplitude(some_chips(dataset)[1], 0)
    assert ENCODERS[dataset](image) == ENCODERS[dataset](image.copy())


def test_version_one_looks_as_it_did() -> None:
    # When this fails for a change that was meant, raise WORLD_VERSION and put in the new numbers.
    measured = {}
    for dataset in DATASETS:
        image = amplitude(plan(dataset, "ci")[7], 0)
        measured[dataset] = [round(float(20 * np.log10(v)), 2) for v in (np.median(image), image.mean(), image.max())]
    assert measured == {name: pytest.approx(numbers, abs=0.02) for name, numbers in LOOKS.items()}


LOOKS = {
    "fusar_air": [-13.99, -12.1, 12.82],
    "fusar_ship": [-15.35, -14.43, 7.3],
    "sar_acd": [-12.8, -10.65, 15.78],
}
