"""AP50 and its family: the cases that the specification settles, and agreement with two other implementations."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foundation.errors import CheckError
from tasks.metrics.detection import (
    Box,
    Detection,
    DetectionScores,
    ResampledAP50,
    coco_detections,
    coco_ground_truth,
    match,
    overlaps,
    score,
)
from tasks.metrics.precision_recall import RECALLS, interpolated

IMAGES = ("b", "a", "c")


def certain(box: Box, score: float = 0.9) -> Detection:
    """The detection that hits a box exactly."""
    return Detection(box.image_id, box.label, box.x, box.y, box.w, box.h, score)


def measured(truth: list[Box], found: list[Detection], classes: int = 2, **options: Any) -> DetectionScores:
    options = {"images": IMAGES, "intervals": False, **options}
    return score(truth, found, classes=[f"class {label}" for label in range(classes)], **options)


def random_case(
    seed: int, *, ties: bool = True, coarse: bool = False
) -> tuple[list[Box], list[Detection], list[str], int]:
    """Some images empty, some classes rare, detections near the boxes, invented ones, and equal scores.

    Coarse boxes lie on a grid, so that a detection often overlaps several boxes equally well.
    """
    rng = np.random.default_rng(seed)

    def sureness() -> float:
        return round(float(rng.random()), 1 if ties else 12)

    images = [f"image {i}" for i in rng.permutation(rng.integers(1, 8))]
    classes = int(rng.integers(1, 4))

    def rounded(box: NDArray[np.float64]) -> tuple[float, float, float, float]:
        # Small images: boxes crowd.
        x, y, w, h = np.maximum(np.round(box / 8) * (1, 1, 2, 2), (0, 0, 2, 2)) if coarse else box
        return float(x), float(y), float(w), float(h)

    truth, found = [], []
    for image in images:
        for _ in range(rng.integers(0, 6)):
            x, y, w, h = rounded(rng.uniform((0, 0, 4, 4), (80, 80, 40, 40)))
            truth.append(Box(image, int(rng.integers(classes)), x, y, w, h, bool(rng.random() < 0.3)))
            for _ in range(rng.integers(0, 3)):
                moved = np.abs(np.array([x, y, w, h]) + (rng.integers(-1, 2, 4) if coarse else rng.normal(0, 3, 4)))
                label = truth[-1].label if rng.random() < 0.8 else int(rng.integers(classes))
                mx, my, mw, mh = moved.tolist()
                found.append(Detection(image, label, mx, my, mw, mh, sureness()))
        for _ in range(rng.integers(0, 4)):
            x, y, w, h = rounded(rng.uniform((0, 0, 4, 4), (80, 80, 40, 40)))
            found.append(Detection(image, int(rng.integers(classes)), x, y, w, h, sureness()))
    return truth, [found[i] for i in rng.permutation(len(found))], images, classes


def by_pycocotools(
    truth: list[Box], found: list[Detection], images: list[str], classes: int, ignore_difficult: bool
) -> tuple[list[float], list[float], list[float]]:
    """AP50, AP50:95 and recall by class, -1 where there is no box; detections in canonical order."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    ordered = sorted(found, key=lambda d: (-d.score, d.image_id, d.label, d.x, d.y, d.w, d.h))
    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO()
        expected.dataset = coco_ground_truth(sorted(truth), images, classes, ignore_difficult=ignore_difficult)
        expected.createIndex()
        evaluation = COCOeval(expected, expected.loadRes(coco_detections(ordered, images)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    recall = evaluation.eval["recall"][:, :, 0, -1]
    labels = range(classes)
    return (
        [100 * precision[0, :, label].mean() for label in labels],
        [100 * precision[:, :, label].mean() for label in labels],
        [100 * recall[:, label].mean() for label in labels],
    )


def test_pycocotools_agrees_on_a_hundred_random_cases() -> None:
    compared = 0
    for seed in range(120):
        truth, found, images, classes = random_case(seed, coarse=seed % 2 == 1)
        ignore = seed % 3 == 0
        scores = measured(truth, found, classes, images=images, ignore_difficult=ignore)
        if not found or scores.metrics["ap50"].value is None:
            continue
        reference = by_pycocotools(truth, found, images, classes, ignore)
        for name, values in zip(("ap50", "ap50_95", "recall100"), reference, strict=True):
            ours = [getattr(row, name) for row in scores.per_class.values()]
            assert [value is None for value in ours] == [value < 0 for value in values]
            defined = [value for value in values if value >= 0]
            assert np.allclose([value for value in ours if value is not None], defined, rtol=0, atol=1e-9)
            assert scores.metrics[name].value == pytest.approx(np.mean(defined), abs=1e-9)
        compared += 1
    assert compared >= 100


def test_the_own_matches_of_the_interval_give_the_same_ap50() -> None:
    for seed in range(200, 300):
        truth, found, images, classes = random_case(seed, coarse=seed % 4 < 2)
        ignore = seed % 2 == 0
        value = measured(truth, found, classes, images=images, ignore_difficult=ignore).metrics["ap50"].value
        own = ResampledAP50(truth, found, images=images, classes=classes, ignore_difficult=ignore)
        everything = own(np.arange(len(images)))
        assert (math.isnan(everything) and value is None) or value == pytest.approx(everything, abs=1e-9)


def test_a_resampled_image_counts_like_a_copy_of_it() -> None:
    # Among equal scores the place of a copy is arbitrary, so there are none here.
    for seed in range(300, 330):
        truth, found, images, classes = random_case(seed, ties=False)
        chosen = np.random.default_rng(seed).integers(0, len(images), len(images))
        drawn = ResampledAP50(truth, found, images=images, classes=classes)(chosen)
        copies = [(f"{images[index]} copy {copy}", images[index]) for copy, index in enumerate(chosen)]
        copied = measured(
            [box._replace(image_id=name) for name, image in copies for box in truth if box.image_id == image],
            [d._replace(image_id=name) for name, image in copies for d in found if d.image_id == image],
            classes,
            images=[name for name, _ in copies],
        )
        value = copied.metrics["ap50"].value
        assert (math.isnan(drawn) and value is None) or value == pytest.approx(drawn, abs=1e-9)


def test_many_draws_at_once_are_worth_what_each_is_worth_alone() -> None:
    for seed in range(330, 430):
        truth, found, images, classes = random_case(seed, coarse=seed % 4 < 2)
        own = ResampledAP50(truth, found, images=images, classes=classes, ignore_difficult=seed % 2 == 0)
        draws = np.random.default_rng(seed).integers(0, len(images), size=(20, len(images)))
        np.testing.assert_allclose(own.many(draws), [own(draw) for draw in draws], rtol=0, atol=1e-9)


def test_exact_detections_are_worth_a_hundred_and_none_are_worth_nothing() -> None:
    truth = [Box("a", 0, 1, 2, 10, 10), Box("a", 1, 30, 30, 5, 8), Box("b", 0, 0, 0, 20, 7)]
    perfect = measured(truth, [certain(box) for box in truth])
    assert {name: metric.value for name, metric in perfect.metrics.items()} == pytest.approx(
        {"ap50": 100, "ap50_95": 100, "recall100": 100}
    )
    assert {name: metric.value for name, metric in measured(truth, []).metrics.items()} == {
        "ap50": 0,
        "ap50_95": 0,
        "recall100": 0,
    }


def test_without_true_boxes_the_score_is_undefined_and_says_why() -> None:
    scores = measured([], [Detection("a", 0, 0, 0, 5, 5, 0.5)])
    assert {(metric.value, metric.reason) for metric in scores.metrics.values()} == {(None, "no ground truth")}
    assert scores.absent_classes == ("class 0", "class 1")


def test_only_ignored_boxes_are_no_ground_truth() -> None:
    truth = [Box("a", 0, 1, 2, 10, 10, difficult=True)]
    assert measured(truth, [], ignore_difficult=True).metrics["ap50"].value is None
    assert measured(truth, []).metrics["ap50"].value == 0


def test_detections_in_an_image_without_boxes_are_false_positives() -> None:
    truth = [Box("a", 0, 1, 2, 10, 10)]
    surer = Detection("c", 0, 0, 0, 5, 5, 0.95)
    assert measured(truth, [certain(truth[0]), surer], 1).metrics["ap50"].value == pytest.approx(50)


def test_a_class_without_test_boxes_is_left_out_and_named() -> None:
    truth = [Box("a", 0, 1, 2, 10, 10)]
    scores = measured(truth, [certain(truth[0]), Detection("a", 1, 1, 2, 10, 10, 0.99)])
    assert scores.metrics["ap50"].value == pytest.approx(100)
    assert scores.metrics["ap50"].reason == "1 classes without test boxes left out"
    assert scores.absent_classes == ("class 1",)
    assert scores.per_class["class 1"] == (None, None, None, 0, 1)


def test_a_class_with_boxes_but_no_detections_counts_as_zero() -> None:
    truth = [Box("a", 0, 1, 2, 10, 10), Box("a", 1, 40, 40, 10, 10)]
    scores = measured(truth, [certain(truth[0])])
    assert scores.metrics["ap50"].value == pytest.approx(50)
    assert scores.per_class["class 1"].ap50 == 0


def test_difficult_boxes_are_normal_boxes_unless_they_are_ignored() -> None:
    truth = [Box("a", 0, 1, 2, 10, 10), Box("a", 0, 40, 40, 10, 10, difficult=True)]
    easy, hard = certain(truth[0], 0.5), certain(truth[1], 0.9)
    assert measured(truth, [easy], 1).metrics["ap50"].value == pytest.approx(100 * 51 / 101)
    assert measured(truth, [easy], 1, ignore_difficult=True).metrics["ap50"].value == pytest.approx(100)
    assert measured(truth, [easy, hard], 1, ignore_difficult=True).metrics["ap50"].value == pytest.approx(100)


def test_equal_scores_are_ordered_by_what_the_detections_say() -> None:
    truth = [Box("b", 0, 1, 2, 10, 10)]
    right, wrong_before, wrong_behind = (
        certain(truth[0], 0.5),
        Detection("a", 0, 1, 2, 10, 10, 0.5),
        Detection("c", 0, 1, 2, 10, 10, 0.5),
    )
    for found in ([right, wrong_before], [wrong_before, right]):
        assert measured(truth, found, 1).metrics["ap50"].value == pytest.approx(50)
    for found in ([right, wrong_behind], [wrong_behind, right]):
        assert measured(truth, found, 1).metrics["ap50"].value == pytest.approx(100)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_the_order_of_the_input_is_of_no_consequence(seed: int, shuffler: Any) -> None:
    truth, found, images, classes = random_case(seed, coarse=seed % 2 == 1)
    expected = measured(truth, found, classes, images=images)
    for items in (truth, found, images):
        shuffler.shuffle(items)
    assert measured(truth, found, classes, images=images) == expected


def test_a_hundred_and_first_detection_of_an_image_does_not_count() -> None:
    truth = [Box("a", 0, 50, 50, 10, 10)]
    far = [Detection("a", 0, i, 0, 2, 2, 0.9) for i in range(100)]
    assert measured(truth, [*far[:99], certain(truth[0], 0.1)], 1).metrics["recall100"].value == pytest.approx(100)
    assert measured(truth, [*far, certain(truth[0], 0.1)], 1).metrics["recall100"].value == 0


def brute_force_ap(right: list[bool], wanted: int) -> float:
    """For each of 101 recalls the best precision at that recall or beyond, by the definition."""
    points = [(sum(right[: k + 1]) / wanted, sum(right[: k + 1]) / (k + 1)) for k in range(len(right))]
    best = [max((p for recall, p in points if recall >= at), default=0.0) for at in RECALLS]
    return sum(best) / 101


@given(st.lists(st.booleans(), max_size=8), st.integers(0, 4))
def test_the_area_under_the_curve_is_that_of_the_definition(right: list[bool], missed: int) -> None:
    wanted = sum(right) + missed
    if wanted:
        found = np.array(right, dtype=np.float64)
        assert interpolated(found, 1 - found, wanted) == pytest.approx(brute_force_ap(right, wanted), abs=1e-12)


def test_a_curve_reckoned_by_hand() -> None:
    # right, wrong, right of two boxes: precision 1 up to recall 0.5 (51 points), then 2/3 (50 points)
    truth = [Box("a", 0, 0, 0, 10, 10), Box("a", 0, 30, 0, 10, 10)]
    found = [certain(truth[0], 0.9), Detection("a", 0, 60, 60, 10, 10, 0.8), certain(truth[1], 0.7)]
    assert measured(truth, found, 1).metrics["ap50"].value == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)


def test_a_second_detection_of_one_box_is_wrong() -> None:
    truth = [Box("a", 0, 0, 0, 10, 10), Box("a", 0, 30, 0, 10, 10)]
    twice = [certain(truth[0], 0.9), certain(truth[0], 0.8), certain(truth[1], 0.7)]
    assert match(twice, truth).right.tolist() == [True, False, True]


def test_of_equally_good_boxes_the_last_in_their_order_is_taken_however_they_stand_in_the_file() -> None:
    left, right = Box("a", 0, 2, 0, 10, 10), Box("a", 0, 6, 0, 10, 10)
    between, more_left = Detection("a", 0, 4, 0, 10, 10, 0.9), Detection("a", 0, 0, 0, 10, 10, 0.8)
    for truth in ([left, right], [right, left]):
        assert match([between, more_left], truth).right.tolist() == [True, True]
        assert measured(truth, [between, more_left], 1).metrics["ap50"].value == pytest.approx(100)


def test_overlap_is_intersection_over_union() -> None:
    truth = [Box("a", 0, 0, 0, 10, 10), Box("a", 0, 100, 100, 1, 1)]
    found = [Detection("a", 0, 5, 0, 10, 10, 1.0), Detection("a", 0, 0, 0, 0, 0, 1.0)]
    assert overlaps(found, truth).tolist() == [[pytest.approx(1 / 3), 0], [0, 0]]


def test_answers_that_make_no_sense_never_help_and_are_counted() -> None:
    truth = [Box("a", 0, 0, 0, 10, 10)]
    nonsense = [
        Detection("a", 0, 0, 0, 10, 10, math.nan),
        Detection("a", 0, math.inf, 0, 10, 10, 0.95),
        Detection("a", 0, 10, 10, -10, -10, 0.95),
    ]
    scores = measured(truth, [*nonsense, certain(truth[0])], 1)
    assert scores.metrics["ap50"].value == pytest.approx(100 / 3)
    assert scores.warnings == (
        "1 detections without a finite score are left out",
        "2 detections with an impossible box count as false positives",
    )
    assert measured(truth, nonsense[:1], 1).metrics["ap50"].value == 0


@pytest.mark.parametrize(
    ("truth", "found", "images"),
    [
        ([Box("z", 0, 0, 0, 1, 1)], [], IMAGES),
        ([], [Detection("z", 0, 0, 0, 1, 1, 0.5)], IMAGES),
        ([Box("a", 2, 0, 0, 1, 1)], [], IMAGES),
        ([], [Detection("a", -1, 0, 0, 1, 1, 0.5)], IMAGES),
        ([Box("a", 0, 0, 0, 0, 1)], [], IMAGES),
        ([], [], ("a", "a")),
    ],
)
def test_what_cannot_be_scored_is_refused(truth: list[Box], found: list[Detection], images: tuple[str, ...]) -> None:
    with pytest.raises(CheckError):
        measured(truth, found, images=images)


def test_the_interval_holds_the_value_and_is_the_same_every_time() -> None:
    truth, found, images, classes = random_case(5)
    first = measured(truth, found, classes, images=images, intervals=True).metrics["ap50"]
    assert first.value is not None and first.low is not None and first.high is not None
    assert first.low <= first.value <= first.high and first.low < first.high
    assert measured(truth, found, classes, images=images, intervals=True).metrics["ap50"] == first
