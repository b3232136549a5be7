"""Hand-made features: the same for the same pixels, blind to quarter turns, and enough to tell textures apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops
from sklearn.linear_model import LogisticRegression

from adapters.interface import FeatureExtractor
from adapters.simple_features import SimpleFeatures
from foundation.errors import UsageError
from foundation.seeds import derive_seed

Image = NDArray[np.uint8]
EXTRACT = SimpleFeatures()


def speckle(seed: int, shape: tuple[int, int] = (64, 64), mean: float = 60.0) -> Image:
    """One-look amplitude speckle."""
    generator = np.random.default_rng(derive_seed("speckle", seed))
    return np.clip(generator.rayleigh(mean / 1.25, shape), 0, 255).astype(np.uint8)


def value(image: Image, name: str) -> float:
    return float(EXTRACT.features([image])[0, EXTRACT.names.index(name)])


def test_there_are_one_to_two_hundred_named_features() -> None:
    assert 100 <= EXTRACT.width == len(set(EXTRACT.names)) <= 200
    assert isinstance(EXTRACT, FeatureExtractor)


def test_the_same_pixels_give_the_same_features_in_any_company() -> None:
    chips = [speckle(seed) for seed in range(70)]  # more than one batch
    together = EXTRACT.features(chips)
    assert together.shape == (70, EXTRACT.width)
    assert together.dtype == np.float64
    assert np.array_equal(together, EXTRACT.features(chips))
    alone = np.concatenate([EXTRACT.features([chip]) for chip in chips])
    np.testing.assert_allclose(together, alone, atol=1e-12)


def test_no_images_give_no_rows() -> None:
    assert EXTRACT.features([]).shape == (0, EXTRACT.width)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    turns=st.integers(1, 3),
    levels=st.sampled_from([1, 2, 16, 256]),
)
def test_quarter_turns_change_only_the_coarse_pixels(
    seed: int, shape: tuple[int, int], turns: int, levels: int
) -> None:
    generator = np.random.default_rng(seed)
    image = (generator.integers(0, levels, shape) * (255 // max(levels - 1, 1))).astype(np.uint8)
    upright, turned = EXTRACT.features([image, np.rot90(image, turns).copy()])
    np.testing.assert_allclose(upright[: EXTRACT.invariant], turned[: EXTRACT.invariant], atol=1e-6)
    assert np.isfinite(upright).all()


def test_the_coarse_pixels_do_see_a_turn() -> None:
    image = np.zeros((64, 64), np.uint8)
    image[:8, :8] = 255
    upright, turned = EXTRACT.features([image, np.rot90(image).copy()])
    assert upright[EXTRACT.invariant] == 1.0
    assert turned[EXTRACT.invariant] == 0.0


@pytest.mark.parametrize("level", [0, 77, 255])
@pytest.mark.parametrize("shape", [(64, 64), (8, 8), (1, 1), (33, 200)])
def test_constant_and_tiny_images_have_finite_features(level: int, shape: tuple[int, int]) -> None:
    features = EXTRACT.features([np.full(shape, level, np.uint8)])[0]
    assert np.isfinite(features).all()
    assert features[EXTRACT.names.index("intensity_mean")] == pytest.approx(level / 255)
    assert features[EXTRACT.names.index("bright_1_area")] == 0


@pytest.mark.parametrize("distance", [1, 2, 4])
@pytest.mark.parametrize("measure", ["contrast", "homogeneity", "energy", "correlation"])
def test_texture_is_that_of_scikit_image(distance: int, measure: str) -> None:
    image = speckle(3)
    # The diagonals lie on the grid: scikit-image rounds d * sqrt(2) / 2, so it is asked for d * sqrt(2).
    straight = graycomatrix(image // 16, [distance], [0, np.pi / 2], 16, symmetric=True, normed=True)
    diagonal = graycomatrix(
        image // 16, [distance * 2**0.5], [np.pi / 4, 3 * np.pi / 4], 16, symmetric=True, normed=True
    )
    expected = np.mean([graycoprops(matrix, measure) for matrix in (straight, diagonal)])
    assert value(image, f"glcm_absolute_{distance}_{measure}") == pytest.approx(expected, rel=1e-9)


def test_local_patterns_are_those_of_a_loop() -> None:
    image = speckle(4)
    histogram = np.zeros(10)
    for row in range(1, 63):
        for column in range(1, 63):
            ring = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
            bits = [image[row + y, column + x] >= image[row, column] for y, x in ring]
            changes = sum(bits[i] != bits[i - 1] for i in range(8))
            histogram[sum(bits) if changes <= 2 else 9] += 1
    ours = [value(image, f"lbp_64_{i}") for i in range(10)]
    np.testing.assert_allclose(ours, histogram / 62**2)


def test_bright_masks_measure_a_known_rectangle() -> None:
    image = np.full((64, 64), 10, np.uint8)
    image[30:34, 16:48] = 200  # 4 x 32, centred
    assert value(image, "bright_1_area") == pytest.approx(4 * 32 / 64**2)
    assert value(image, "bright_1_offset") == pytest.approx(0, abs=1e-9)
    assert value(image, "bright_1_major") == pytest.approx(32 / 64 / 12**0.5)
    assert value(image, "bright_1_minor") == pytest.approx(4 / 64 / 12**0.5)
    assert value(image, "bright_1_elongation") == pytest.approx(1 - 4 / 32)
    assert value(image, "bright_1_contrast") == pytest.approx(np.log(201 / 11))


def test_bright_parts_are_counted() -> None:
    image = np.full((64, 64), 10, np.uint8)
    for corner in (8, 24, 40):
        image[corner : corner + 4, corner : corner + 4] = 200
    assert np.expm1(value(image, "bright_1_components")) == pytest.approx(3)
    assert value(image, "bright_1_largest") == pytest.approx(1 / 3)


@pytest.mark.parametrize(("period", "ring"), [(16, 1), (4, 6)])
def test_the_spectrum_peaks_at_the_frequency_of_the_stripes(period: int, ring: int) -> None:
    stripes = (127 + 100 * np.sin(2 * np.pi * np.arange(64) / period)).astype(np.uint8)
    image = np.tile(stripes, (64, 1))
    powers = [value(image, f"spectrum_{i}") for i in range(12)]
    # 64 / period cycles per image; twelve rings up to 32 cycles.
    assert int(np.argmax(powers)) == ring
    assert value(image, "orientation_3") > 0.9  # nearly all power in one direction


def test_a_larger_copy_of_an_image_is_described_alike() -> None:
    image = speckle(5)
    larger = np.kron(image, np.ones((3, 3), np.uint8))
    original, enlarged = EXTRACT.features([image, larger])
    np.testing.assert_allclose(original, enlarged, atol=1e-6)


def test_two_textures_are_separated_by_a_linear_classifier() -> None:
    def smooth(seed: int) -> Image:
        noise = speckle(seed, (66, 66)).astype(float)
        shifted = [noise[i : i + 64, j : j + 64] for i in range(3) for j in range(3)]
        averaged: Image = np.mean(shifted, axis=0).astype(np.uint8)
        return averaged

    chips = [speckle(seed) for seed in range(40)] + [smooth(seed) for seed in range(100, 140)]
    features = EXTRACT.features(chips)
    labels = np.repeat([0, 1], 40)
    train = np.arange(80) % 2 == 0
    spread = features[train].std(axis=0) + 1e-9
    scaled = (features - features[train].mean(axis=0)) / spread
    classifier = LogisticRegression(max_iter=500).fit(scaled[train], labels[train])
    assert classifier.score(scaled[~train], labels[~train]) == 1.0


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32), np.zeros((0, 4), np.uint8)],
    ids=["colour", "float", "empty"],
)
def test_anything_but_grey_bytes_is_refused(image: NDArray[np.generic]) -> None:
    with pytest.raises(UsageError, match="grey 8-bit"):
        EXTRACT.features([image])  # type: ignore[list-item]
