"""From stored boxes to AP50: the cases that section 11.2 settles, from the outside."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from foundation.errors import CheckError
from tasks.detection.score import METRICS, curves, detections, score, true_boxes
from tasks.metrics.detection import Detection

CLASSES = ["cargo", "tanker", "tug"]


def _truth(**changes: Any) -> dict[str, Any]:
    """Three images; the last is empty, and no tug is to be found."""
    test = [
        {"image_id": "a", "width": 50, "height": 40, "boxes": [[2, 3, 10, 8, 0, False], [30, 20, 12, 9, 1, True]]},
        {"image_id": "b", "width": 50, "height": 40, "boxes": [[0, 0, 50, 40, 0, False]]},
        {"image_id": "c", "width": 50, "height": 40, "boxes": []},
    ]
    threshold = [{"image_id": row["image_id"], "boxes": []} for row in test]
    return {"classes": CLASSES, "train_counts": [5, 3, 0], "test": test, "threshold": threshold, **changes}


def _perfect(truth: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"image_id": row["image_id"], "boxes": [[x, y, w, h, label, 0.9] for x, y, w, h, label, _ in row["boxes"]]}
        for row in truth["test"]
    ]


def _nothing(truth: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"image_id": row["image_id"], "boxes": []} for row in truth["test"]]


def _random_case(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rng = np.random.default_rng(seed)

    def boxes(count: int) -> list[list[float]]:
        return [[*rng.uniform(0, 30, 2).tolist(), *rng.uniform(4, 20, 2).tolist()] for _ in range(count)]

    test, rows = [], []
    for number in range(6):
        own = [[*box, int(rng.integers(3)), False] for box in boxes(int(rng.integers(0, 5)))]
        near = [[*np.abs(np.array(box[:4]) + rng.normal(0, 2, 4)).tolist(), box[4], float(rng.random())] for box in own]
        wild = [[*box, int(rng.integers(3)), float(rng.random())] for box in boxes(int(rng.integers(0, 3)))]
        test.append({"image_id": f"{number}", "width": 50, "height": 50, "boxes": own})
        rows.append({"image_id": f"{number}", "boxes": near + wild})
    return _truth(test=test, threshold=_nothing({"test": test})), rows


def _by_coco(library: str, truth: dict[str, Any], rows: list[dict[str, Any]]) -> list[float]:
    """AP50, AP50:95 and recall by a library that is handed the rows without any code of ours in between."""
    if library == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluation
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluation
    names = [row["image_id"] for row in truth["test"]]
    annotations = [
        {"image_id": names.index(row["image_id"]) + 1, "category_id": label + 1, "bbox": box, "area": box[2] * box[3]}
        for row in truth["test"]
        for *box, label, _ in row["boxes"]
    ]
    expected = {
        "info": {},
        "images": [{"id": number + 1} for number in range(len(names))],
        "categories": [{"id": label + 1} for label in range(len(CLASSES))],
        "annotations": [{"id": number + 1, "iscrowd": 0, **one} for number, one in enumerate(annotations)],
    }
    found = [
        {"image_id": names.index(row["image_id"]) + 1, "category_id": label + 1, "bbox": box, "score": sure}
        for row in rows
        for *box, label, sure in row["boxes"]
    ]
    coco = COCO()
    coco.dataset = expected
    coco.createIndex()
    evaluation = Evaluation(coco, coco.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    recall = np.asarray(evaluation.eval["recall"])[:, :, 0, -1]
    asked = precision[0, 0] >= 0
    return [
        100 * float(precision[0][:, asked].mean()),
        100 * float(precision[:, :, asked].mean()),
        100 * float(recall[:, asked].mean()),
    ]


@pytest.mark.parametrize("library", ["pycocotools", "faster_coco_eval"])
def test_stored_rows_are_worth_what_the_libraries_say(library: str, capsys: pytest.CaptureFixture[str]) -> None:
    compared = 0
    for seed in range(110):
        truth, rows = _random_case(seed)
        if not any(row["boxes"] for row in truth["test"]) or not any(row["boxes"] for row in rows):
            continue
        stored = json.loads(json.dumps(rows))
        ours = score(stored, truth)["metrics"] if seed < 10 else _values_only(stored, truth)
        assert [ours[name].value for name in METRICS] == pytest.approx(_by_coco(library, truth, rows), abs=1e-9)
        compared += 1
    assert compared >= 100


def _values_only(rows: list[dict[str, Any]], truth: dict[str, Any]) -> dict[str, Any]:
    """Without the interval, which takes most of the time."""
    from tasks.metrics import detection

    images = [row["image_id"] for row in truth["test"]]
    scored = detection.score(
        true_boxes(truth), detections(rows, images), images=images, classes=CLASSES, intervals=False
    )
    return scored.metrics


def test_a_perfect_predictor_has_a_hundred_and_a_silent_one_nothing() -> None:
    truth = _truth()
    perfect, silent = score(_perfect(truth), truth), score(_nothing(truth), truth)
    assert [perfect["metrics"][name].value for name in METRICS] == pytest.approx([100, 100, 100])
    assert [silent["metrics"][name].value for name in METRICS] == [0, 0, 0]
    assert next(iter(perfect["metrics"])) == "ap50", "the headline comes first"
    assert silent["metrics"]["ap50"].low == silent["metrics"]["ap50"].high == 0


def test_without_true_boxes_there_is_no_score_and_no_baseline() -> None:
    truth = _truth(test=[{"image_id": "c", "width": 5, "height": 5, "boxes": []}])
    truth["threshold"] = _nothing(truth)
    found = score([{"image_id": "c", "boxes": [[0, 0, 2, 2, 0, 0.5]]}], truth)
    assert {metric.value for metric in found["metrics"].values()} == {None}
    assert found["metrics"]["ap50"].reason == "no ground truth"
    assert set(found["baselines"].chance.values()) == set(found["baselines"].majority.values()) == {None}
    assert found["details"]["precision_at_recall"] == dict.fromkeys(CLASSES)


def test_the_trivial_baseline_is_the_threshold_detector_of_the_truth() -> None:
    truth = _truth()
    truth["threshold"] = _perfect(truth)
    truth["threshold"][0]["boxes"].pop()  # the only tanker
    found = score(_nothing(truth), truth)
    assert found["baselines"].majority["ap50"] == pytest.approx(50)
    assert found["baselines"].chance == dict.fromkeys(METRICS, 0)
    assert "threshold detector" in found["details"]["majority_is"]


def test_details_say_how_each_class_did() -> None:
    truth = _truth()
    rows = _perfect(truth)
    rows[0]["boxes"][1][4] = 2  # the tanker is called a tug
    details = score(rows, truth)["details"]
    assert details["absent_classes"] == ["tug"] and details["detections"] == 3
    assert details["per_class"]["cargo"] == {
        "ap50": pytest.approx(100),
        "ap50_95": pytest.approx(100),
        "recall100": pytest.approx(100),
        "boxes": 2,
        "detections": 2,
    }
    assert details["per_class"]["tanker"]["ap50"] == 0 and details["per_class"]["tug"]["ap50"] is None
    assert details["per_class"]["tug"]["detections"] == 1
    json.dumps(details)


def test_the_mean_of_a_curve_is_the_average_precision() -> None:
    for seed in range(40):
        truth, rows = _random_case(seed)
        images = [row["image_id"] for row in truth["test"]]
        drawn = curves(true_boxes(truth), detections(rows, images), CLASSES)
        per_class = score(rows, truth)["details"]["per_class"] if seed < 8 else None
        for name, curve in drawn.items():
            if curve is not None:
                assert len(curve) == 101
                assert all(left >= right for left, right in itertools.pairwise(curve))
            if per_class is not None:
                expected = per_class[name]["ap50"]
                assert (curve is None) == (expected is None)
                assert curve is None or float(np.mean(curve)) == pytest.approx(expected, abs=1e-3)


def test_a_curve_is_drawn_of_the_detections_that_are_scored() -> None:
    # Without a finite score a detection is no detection; in any order it must not get between the others.
    truth = _truth()
    rows = _perfect(truth)
    rows[0]["boxes"][:0] = [[20, 0, 5, 5, 0, float("nan")]] * 3
    rows[1]["boxes"].append([0, 0, float("inf"), 5, 0, 0.95])
    found = score(rows, truth)["details"]
    for name in ("cargo", "tanker"):
        assert float(np.mean(found["precision_at_recall"][name])) == pytest.approx(found["per_class"][name]["ap50"])
    assert found["per_class"]["cargo"]["ap50"] < 100  # the impossible box is wrong, and surest


@pytest.mark.parametrize("side", [1e6, 1e160, 1.7e308])
def test_a_box_larger_than_any_image_is_wrong_and_not_ignored(side: float) -> None:
    truth = _truth()
    rows = _perfect(truth)
    rows[2]["boxes"] = [[0, 0, side, side, 0, 0.95]]
    found = score(rows, truth)
    assert found["details"]["per_class"]["cargo"]["ap50"] == pytest.approx(100 * 2 / 3)
    assert found["warnings"] == ["1 detections with an impossible box count as false positives"]


def test_the_order_of_the_lines_is_of_no_consequence() -> None:
    truth, rows = _random_case(3)
    assert score(rows[::-1], truth) == score(rows, truth)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("a", []), ("b", []), ("b", [])], "answered twice"),
        ([("a", []), ("b", [])], "different images, 1 in all, e.g. c"),
        ([("a", []), ("b", []), ("c", []), ("d", [])], "e.g. d"),
        ([("a", []), ("b", []), ("c", [[0, 0, 1, 1, 0]])], "not a detection"),
        ([("a", []), ("b", []), ("c", [[0, 0, 1, 1, 0.5, 0.5]])], "not a detection"),
        ([("a", []), ("b", []), ("c", [[0, 0, 1, "1", 0, 0.5]])], "not a detection"),
        ([("a", []), ("b", []), ("c", ["abcdef"])], "not a detection"),
        ([("a", []), ("b", []), ("c", [[0, 0, 1, 1, float("nan"), 0.5]])], "not a detection"),
        ([("a", []), ("b", []), ("c", [[0, 0, 1, 1, 3, 0.5]])], "label 3"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(rows: list[tuple[str, list[Any]]], said: str) -> None:
    with pytest.raises(CheckError, match=said):
        score([{"image_id": name, "boxes": boxes} for name, boxes in rows], _truth())


def test_answers_that_make_no_sense_never_help() -> None:
    truth = _truth()
    rows = _perfect(truth)
    rows[2]["boxes"] = [[0, 0, 5, 5, 0, float("nan")], [0, 0, float("inf"), 5, 0, 0.99]]
    found = score(rows, truth)
    value = found["metrics"]["ap50"].value
    assert value is not None and value < 100 and len(found["warnings"]) == 2


def test_stored_detections_come_back_to_the_last_bit() -> None:
    sure = float(np.float32(1) / np.float32(3))
    rows = json.loads(json.dumps([{"image_id": "a", "boxes": [[1.25, 2, 3, 4, 1, sure]]}]))
    assert detections(rows, ["a"]) == [Detection("a", 1, 1.25, 2.0, 3.0, 4.0, sure)]


def test_difficult_boxes_are_like_others_unless_the_truth_says_otherwise() -> None:
    """The tanker of the first image is difficult, and nobody finds it."""
    truth = _truth()
    rows = [{**row, "boxes": [box for box in row["boxes"] if box[4] != 1]} for row in _perfect(truth)]
    strict, lenient = score(rows, truth), score(rows, _truth(ignore_difficult=True))
    assert strict["metrics"]["ap50"].value == 50.0
    assert lenient["metrics"]["ap50"].value == 100.0
    assert strict["details"]["precision_at_recall"]["tanker"] == [0.0] * 101
    assert lenient["details"]["precision_at_recall"]["tanker"] is None
    assert lenient["details"]["absent_classes"] == ["tanker", "tug"]


def test_who_finds_an_ignored_box_is_neither_right_nor_wrong() -> None:
    truth = _truth(ignore_difficult=True)
    assert score(_perfect(truth), truth)["metrics"]["ap50"].value == 100.0
    elsewhere = [{**row, "boxes": [*row["boxes"], [0, 0, 3, 3, 0, 0.95]]} for row in _perfect(truth)]
    assert (score(elsewhere, truth)["metrics"]["ap50"].value or 0) < 100.0


def test_where_all_boxes_are_ignored_nothing_is_defined() -> None:
    truth = _truth(ignore_difficult=True)
    for row in truth["test"]:
        row["boxes"] = [[*box[:5], True] for box in row["boxes"]]
    scored = score(_nothing(truth), truth)
    assert scored["metrics"]["ap50"].value is None and scored["baselines"].chance["ap50"] is None
