"""The CFAR detector finds bright targets in speckle, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from foundation.errors import CheckError
from tasks.baselines.cfar import CfarDetector, Labelled, _first_on_each, averaged, contrast, cut_out, labelled, spots
from tasks.baselines.features import simple_features
from tasks.metrics.detection import Box, Detection, DetectionScores, score

Image = NDArray[np.uint8]
Scene = tuple[Image, Labelled]


def scene(number: int, *, side: int = 96, largest: int = 28, noise: bool = False) -> Scene:
    """Speckle with up to three targets of two types, dim solid ones and bright sparse ones, and stray bright points."""
    rng = np.random.default_rng(number)
    image = 25 * np.sqrt(rng.gamma(2.0, 0.5, (side, side)))
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[int] = []
    for _ in range(rng.integers(0, 4)):
        w, h = (int(value) for value in rng.integers(largest // 2, largest, 2))
        x, y = (int(value) for value in rng.integers(4, side - largest - 4, 2))
        if any(x < b[0] + b[2] + 6 and b[0] < x + w + 6 and y < b[1] + b[3] + 6 and b[1] < y + h + 6 for b in boxes):
            continue
        kind = int(rng.integers(2))
        lit = rng.random((h - 4, w - 4)) < (0.9, 0.35)[kind]
        image[y + 2 : y + h - 2, x + 2 : x + w - 2] += (70, 170)[kind] * lit * rng.gamma(3, 1 / 3, lit.shape)
        boxes.append((x, y, w, h))
        labels.append(kind)
    for y, x in rng.integers(0, side - 1, (4, 2)):
        image[y, x] += 120
    if noise:
        image = rng.integers(0, 256, image.shape).astype(np.float64)
    return np.clip(image, 0, 255).astype(np.uint8), labelled(boxes, labels)


def scenes(first: int, count: int, **options: bool) -> list[Scene]:
    return [scene(first + number, **options) for number in range(count)]


def fitted(train: list[Scene], classes: int = 1) -> CfarDetector:
    truth = [own if classes > 1 else labelled(own.boxes.tolist()) for _, own in train]
    return CfarDetector([image for image, _ in train], truth, classes=classes)


def measured(detector: CfarDetector, test: list[Scene]) -> DetectionScores:
    several = detector.classes > 1
    truth, found = [], []
    for number, (_, own) in enumerate(test):
        for (x, y, w, h), label in zip(own.boxes.tolist(), own.labels.tolist(), strict=True):
            truth.append(Box(str(number), label if several else 0, x, y, w, h))
    for number, answer in enumerate(detector.predict([image for image, _ in test])):
        for (x, y, w, h), label, sure in zip(*(part.tolist() for part in answer), strict=True):
            found.append(Detection(str(number), label, x, y, w, h, sure))
    images = [str(number) for number in range(len(test))]
    classes = [f"class {label}" for label in range(detector.classes)]
    return score(truth, found, images=images, classes=classes, intervals=False)


def ap50(detector: CfarDetector, test: list[Scene]) -> float:
    value = measured(detector, test).metrics["ap50"].value
    assert value is not None
    return value


TRAIN, TEST = scenes(0, 40), scenes(1000, 40)


@pytest.fixture(scope="module")
def detector() -> CfarDetector:
    return fitted(TRAIN)


def test_bright_targets_are_found(detector: CfarDetector) -> None:
    assert ap50(detector, TEST) > 80


def test_the_search_knows_what_its_settings_are_worth_on_the_training_part(detector: CfarDetector) -> None:
    assert detector.training_ap50 == pytest.approx(ap50(detector, TRAIN) / 100, abs=1e-9)


def test_a_second_spot_on_the_same_target_is_wrong() -> None:
    assert _first_on_each(np.array([3, -1, 3, 0, -1, 0])).tolist() == [True, False, False, True, False, False]


def test_in_noise_nothing_is_found() -> None:
    assert ap50(fitted(scenes(0, 40, noise=True)), scenes(1000, 40, noise=True)) < 5


def test_two_types_are_told_apart_and_shuffled_types_are_not(detector: CfarDetector) -> None:
    both = fitted(TRAIN, classes=2)
    told_apart = ap50(both, TEST)
    assert told_apart > 75
    assert both.settings == detector.settings
    image = next(image for image, own in TEST if len(own.boxes))
    # Of a doubtful type a doubtful detection: the score is that of the target times that of its type.
    assert both.predict([image])[0].scores.sum() < detector.predict([image])[0].scores.sum()
    rng = np.random.default_rng(0)
    shuffled = [(image, own._replace(labels=rng.integers(0, 2, len(own.labels)))) for image, own in TRAIN]
    assert ap50(fitted(shuffled, classes=2), TEST) < told_apart - 20


def test_fitting_and_predicting_twice_gives_the_same(detector: CfarDetector) -> None:
    again = fitted(TRAIN)
    assert again.settings == detector.settings
    image = TEST[1][0]
    first, second = detector.predict([image])[0], again.predict([image, image])[1]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_boxes_lie_in_the_image_and_scores_fall_from_one_to_zero(detector: CfarDetector) -> None:
    for (image, _), found in zip(TEST, detector.predict([image for image, _ in TEST]), strict=True):
        assert found.boxes.shape == (len(found.labels), 4) and len(found.scores) == len(found.labels) <= 100
        assert (found.boxes[:, :2] >= 0).all() and (found.boxes[:, 2:] > 0).all()
        assert (found.boxes[:, :2] + found.boxes[:, 2:] <= np.array(image.shape[::-1])).all()
        assert ((found.scores > 0) & (found.scores < 1)).all() and (np.diff(found.scores) <= 0).all()


def test_large_targets_are_looked_for_in_averaged_images() -> None:
    large = [scene(number, side=320, largest=110) for number in range(24)]
    detector = fitted(large[:12])
    assert detector.settings is not None and detector.settings.pool > 1
    assert ap50(detector, large[12:]) > 60
    assert detector.training_ap50 == pytest.approx(ap50(detector, large[:12]) / 100, abs=1e-9)


def test_without_a_training_box_nothing_is_found() -> None:
    detector = CfarDetector([TRAIN[0][0]], [labelled([])], classes=3)
    assert detector.settings is None and detector.parameters == 0
    assert [len(found.boxes) for found in detector.predict([TRAIN[1][0]])] == [0]


def test_what_was_chosen_for_it_is_counted() -> None:
    one, several = fitted(TRAIN[:4]), fitted(TRAIN[:4], classes=2)
    assert one.parameters == 9  # pool, two sides of the ring, threshold, gap, margin, two sizes, kind of contrast
    assert several.parameters == 9 + len(simple_features([TRAIN[0][0]])[0]) + 1


def test_one_box_in_the_last_of_many_large_images_is_enough() -> None:
    blank = np.zeros((300, 300), np.uint8)
    bright = blank.copy()
    bright[100:120, 40:70] = 200
    detector = CfarDetector([blank] * 30 + [bright], [labelled([])] * 30 + [labelled([(40, 100, 30, 20)])])
    (found,) = detector.predict([bright])
    assert len(found.boxes) == 1


@pytest.mark.parametrize("shape", [(8, 8), (5, 40), (64, 48)])
def test_constant_and_tiny_images_are_no_trouble(detector: CfarDetector, shape: tuple[int, int]) -> None:
    (found,) = detector.predict([np.full(shape, 90, np.uint8)])
    assert len(found.boxes) == 0


def test_boxes_for_every_image_are_demanded() -> None:
    with pytest.raises(CheckError):
        CfarDetector([TRAIN[0][0]], [])


def test_contrast_is_in_standard_deviations_of_the_ring() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(100, 10, (61, 61)).astype(np.float32)
    image[29:32, 29:32] = 150
    grid = contrast(image, 9, 31)
    assert grid[30, 30] == pytest.approx(5, abs=0.5)
    assert abs(grid[:15].mean()) < 0.2
    # By the definition, for one pixel.
    ring = np.ones((31, 31), dtype=bool)
    ring[11:20, 11:20] = False
    window = image[15:46, 15:46].astype(np.float64)
    expected = (window[14:17, 14:17].mean() - window[ring].mean()) / window[ring].std()
    assert grid[30, 30] == pytest.approx(expected, rel=1e-6)


def test_spots_within_the_gap_are_one_and_their_edges_are_those_of_the_bright_pixels() -> None:
    grid = np.zeros((20, 20))
    grid[2:4, 3:5] = 4.0
    grid[2:4, 8:9] = 6.0
    grid[15, 15] = 9.0
    apart, together = spots(grid, 1.0, 0), spots(grid, 1.0, 2)
    assert apart.edges.tolist() == [[3, 2, 5, 4], [8, 2, 9, 4], [15, 15, 16, 16]]
    assert together.edges.tolist() == [[3, 2, 9, 4], [15, 15, 16, 16]]
    assert together.contrast["peak"].tolist() == [6, 9]
    assert together.contrast["total"].tolist() == [28, 9]
    assert together.contrast["mean"].tolist() == [pytest.approx(28 / 6), 9]
    assert spots(grid, 10.0, 2).edges.shape == (0, 4)


def test_averaging_leaves_out_what_fills_no_block() -> None:
    image = np.arange(35, dtype=np.uint8).reshape(5, 7)
    assert averaged(image, 2).shape == (2, 3)
    assert averaged(image, 2)[0, 0] == pytest.approx((0 + 1 + 7 + 8) / 4)
    assert averaged(image, 6).shape == (5, 7)


@pytest.mark.parametrize("box", [(-3.0, -2.0, 5.0, 6.0), (9.5, 9.5, 0.1, 0.1), (30.0, 30.0, 4.0, 4.0)])
def test_a_cut_out_is_never_empty(box: tuple[float, ...]) -> None:
    assert cut_out(np.zeros((10, 10), np.uint8), np.array(box)).size > 0
