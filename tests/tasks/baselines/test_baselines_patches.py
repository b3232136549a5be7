"""The patch segmenter tells kinds of ground apart by their texture, and learns nothing from destroyed data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foundation.errors import CellError, CheckError
from tasks.baselines.patches import PATCH, WINDOWS, PatchSegmenter, feature_names, patch_features, patch_shares
from tasks.metrics.segmentation import IGNORE, Confusion, score

Image = NDArray[np.uint8]
Tile = tuple[Image, Image]

CLASSES = 3


def tile(number: int, side: int = 64) -> Tile:
    """Stripes of three kinds of ground; two have the same mean, and only spread tells them apart."""
    rng = np.random.default_rng(number)
    borders = np.sort(rng.integers(8, side - 8, 2))
    kinds = rng.permutation(CLASSES)
    mask = np.broadcast_to(kinds[np.searchsorted(borders, np.arange(side), side="right")], (side, side))
    level, spread = np.array([25, 60, 60])[mask], np.array([8, 8, 30])[mask]
    image = np.clip(rng.normal(level, spread), 0, 255).astype(np.uint8)
    labels = mask.astype(np.uint8)
    labels[rng.random(labels.shape) < 0.05] = IGNORE
    return (image, labels) if rng.random() < 0.5 else (image.T.copy(), labels.T.copy())


def measured(train: list[Tile], test: list[Tile]) -> dict[str, float]:
    model = PatchSegmenter([image for image, _ in train], [mask for _, mask in train], classes=CLASSES)
    confusion = Confusion(CLASSES)
    for mask, predicted in zip([m for _, m in test], model.predict([i for i, _ in test]), strict=True):
        confusion.update(mask, predicted)
    metrics = score(confusion, ["a", "b", "c"], intervals=False).metrics
    return {name: metric.value for name, metric in metrics.items() if metric.value is not None}


TRAIN, TEST = [tile(number) for number in range(20)], [tile(number) for number in range(100, 120)]


def test_textures_are_told_apart() -> None:
    found = measured(TRAIN, TEST)
    assert found["oa"] > 85 and found["miou"] > 75


def test_borders_are_drawn_where_they_are() -> None:
    images, masks = [image for image, _ in TRAIN], [mask for _, mask in TRAIN]
    model = PatchSegmenter(images, masks, classes=CLASSES)
    rng = np.random.default_rng(0)
    columns = np.arange(64)
    for border in (16, 48):
        level = np.where(columns < border, 25, 60)
        tiles = [np.clip(rng.normal(level, 8, (64, 64)), 0, 255).astype(np.uint8) for _ in range(8)]
        assert np.mean([mask == 0 for mask in model.predict(tiles)]) * 64 == pytest.approx(border, abs=0.5)


def test_masks_of_other_tiles_teach_nothing() -> None:
    shifted = [(image, mask) for (image, _), (_, mask) in zip(TRAIN, TRAIN[1:] + TRAIN[:1], strict=True)]
    assert (
        measured(shifted, TEST)["oa"] < 50
    )  # chance is a third; the largest class of a stripe pattern is a little more


def test_noise_for_images_teaches_nothing() -> None:
    def noise(tiles: list[Tile]) -> list[Tile]:
        rng = np.random.default_rng(0)
        return [(rng.integers(0, 256, image.shape, dtype=np.uint8), mask) for image, mask in tiles]

    assert measured(noise(TRAIN), noise(TEST))["oa"] < 45


def test_fitting_twice_gives_the_same() -> None:
    images, masks = [image for image, _ in TRAIN[:6]], [mask for _, mask in TRAIN[:6]]
    first, second = (PatchSegmenter(images, masks, classes=CLASSES).predict(images[:2]) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("shape", [(5, 5), (8, 8), (9, 30), (64, 48), (100, 65)])
def test_every_pixel_gets_a_class_whatever_the_size(shape: tuple[int, int]) -> None:
    images, masks = [image for image, _ in TRAIN[:4]], [mask for _, mask in TRAIN[:4]]
    (mask,) = PatchSegmenter(images, masks, classes=CLASSES).predict([np.full(shape, 60, np.uint8)])
    assert mask.shape == shape and mask.dtype == np.uint8 and mask.max() < CLASSES


def test_training_masks_of_one_class_are_answered_with_it() -> None:
    images = [image for image, _ in TRAIN[:2]]
    model = PatchSegmenter(images, [np.full(image.shape, 1, np.uint8) for image in images], classes=CLASSES)
    assert set(np.unique(model.predict(images)[0])) == {1} and model.parameters == 0


def test_its_parameters_are_those_of_the_linear_classifier() -> None:
    images, masks = [image for image, _ in TRAIN[:4]], [mask for _, mask in TRAIN[:4]]
    model = PatchSegmenter(images, masks, classes=CLASSES)
    assert model.parameters == (len(feature_names()) + 1) * CLASSES


def test_training_masks_without_labels_are_refused() -> None:
    blank = np.full((16, 16), IGNORE, np.uint8)
    with pytest.raises(CellError, match="no labelled pixels"):
        PatchSegmenter([blank], [blank], classes=CLASSES)
    with pytest.raises(CheckError):
        PatchSegmenter([blank], [blank[:8]], classes=CLASSES)
    with pytest.raises(CheckError, match="class 7"):
        patch_shares(np.full((8, 8), 7, np.uint8), CLASSES)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 5))
def test_the_statistics_are_those_of_the_windows(seed: int, rows: int, columns: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (rows * PATCH, columns * PATCH), dtype=np.uint8)
    features = patch_features(image)
    assert features.shape == (rows, columns, len(feature_names()))
    names = feature_names()
    mirrored = np.pad(image, 16, mode="symmetric") if min(image.shape) >= 16 else None
    for side in WINDOWS:
        if side > PATCH and mirrored is None:
            continue
        values = image if mirrored is None else mirrored
        start = 16 * (mirrored is not None) - (side - PATCH) // 2
        window = values[start : start + side, start : start + side].astype(np.float64)
        assert features[0, 0, names.index(f"mean_{side}")] == pytest.approx(np.log1p(window.mean()))
        assert features[0, 0, names.index(f"std_{side}")] == pytest.approx(np.log1p(window.std()), abs=1e-6)
        assert features[0, 0, names.index(f"log_mean_{side}")] == pytest.approx(np.log1p(window).mean())


def test_the_shares_of_a_patch_leave_ignored_pixels_out() -> None:
    mask = np.full((8, 12), IGNORE, np.uint8)
    mask[:4, :8] = 1
    mask[4:, :4] = 2
    assert patch_shares(mask, 3).tolist() == [[[0, 0.5, 0.25], [0, 0, 0]]]
