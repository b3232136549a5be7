"""Stored masks against stored truth: perfect answers, empty ones, wrong ones, and what costs nothing."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from foundation.errors import CheckError
from tasks.datasets.records import IGNORE
from tasks.segmentation.mask_text import mask_from_text, mask_to_text
from tasks.segmentation.score import METRICS, score

Mask = NDArray[np.uint8]


def _mask(number: int, classes: int = 3, shape: tuple[int, int] = (9, 7)) -> Mask:
    return np.random.default_rng(number).integers(0, classes, shape, dtype=np.uint8)


def _truth(masks: list[Mask], classes: int = 3, train: list[int] | None = None, units: int = 0) -> dict[str, Any]:
    return {
        "classes": [f"c{label}" for label in range(classes)],
        "train_counts": train or [1] * classes,
        "test": [
            {"image_id": f"i{n}", "unit": f"u{n % units}" if units else f"i{n}", "mask": mask_to_text(mask)}
            for n, mask in enumerate(masks)
        ],
    }


def _said(masks: list[Mask]) -> list[dict[str, Any]]:
    return [{"image_id": f"i{number}", "mask": mask_to_text(mask)} for number, mask in enumerate(masks)]


def test_a_perfect_predictor_scores_a_hundred_in_everything() -> None:
    masks = [_mask(n) for n in range(4)]
    found = score(_said(masks), _truth(masks))
    assert list(found["metrics"]) == list(METRICS) and METRICS[0] == "oa"
    assert {metric.value for metric in found["metrics"].values()} == {100.0}
    assert found["details"]["pixels"] == 4 * 63 and found["details"]["scored_classes"] == 3
    assert found["warnings"] == []


def test_the_order_of_the_answers_does_not_matter() -> None:
    masks, answers = [_mask(n) for n in range(4)], [_mask(n + 10) for n in range(4)]
    said = _said(answers)
    assert score(said, _truth(masks)) == score(said[::-1], _truth(masks))


def test_ignored_pixels_are_not_scored_whatever_is_said_of_them() -> None:
    mask = _mask(0)
    truth = mask.copy()
    truth[2:5] = IGNORE
    answer = mask.copy()
    answer[2:5] = (mask[2:5] + 1) % 3
    found = score(_said([answer]), _truth([truth]))
    assert found["metrics"]["miou"].value == 100.0 and found["details"]["pixels"] == 6 * 7


def test_only_ignored_pixels_give_no_number_but_the_reason() -> None:
    found = score(_said([_mask(0)]), _truth([np.full((9, 7), IGNORE, dtype=np.uint8)]))
    assert all(metric.value is None and metric.reason for metric in found["metrics"].values())
    assert "nothing can be scored" in found["warnings"][0]
    assert set(found["baselines"].majority.values()) == {None}


def test_a_mask_of_one_class_is_scored_over_what_is_labelled_or_said() -> None:
    truth = np.ones((9, 7), dtype=np.uint8)
    right = score(_said([truth]), _truth([truth]))
    assert right["metrics"]["miou"].value == 100.0 and right["details"]["scored_classes"] == 1
    assert right["warnings"] == ["no test pixels of c0, c2"]
    half = truth.copy()
    half[:, :3] = 0
    wrong = score(_said([half]), _truth([truth]))
    assert wrong["details"]["scored_classes"] == 2  # a class that is only said counts with 0
    assert wrong["metrics"]["miou"].value == pytest.approx(100 * (4 / 7) / 2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_the_majority_baseline_is_the_largest_training_class_everywhere(number: int, classes: int) -> None:
    rng = np.random.default_rng(number)
    masks = [_mask(number + n, classes) for n in range(3)]
    counts = [int(count) for count in rng.integers(1, 100, classes)]
    truth = _truth(masks, classes, counts)
    most = counts.index(max(counts))
    same = score(_said([np.full_like(mask, most) for mask in masks]), truth)
    majority = same["baselines"].majority
    assert majority == {name: metric.value for name, metric in same["metrics"].items()}
    share = float(np.mean([mask == most for mask in masks]))
    assert majority["oa"] == pytest.approx(100 * share)
    if all((np.stack(masks) == label).any() for label in range(classes)):
        assert majority["miou"] == pytest.approx(100 * share / classes)  # section 11.8


def test_chance_is_what_even_guessing_gives() -> None:
    rng = np.random.default_rng(0)
    masks = [rng.choice(4, (300, 300), p=(0.6, 0.3, 0.07, 0.03)).astype(np.uint8) for _ in range(3)]
    guesses = [rng.integers(0, 4, mask.shape, dtype=np.uint8) for mask in masks]
    found = score(_said(guesses), _truth(masks, 4))
    assert found["baselines"].chance["oa"] == 25.0
    for name in METRICS:
        assert found["baselines"].chance[name] == pytest.approx(found["metrics"][name].value, abs=0.3)


def test_a_class_without_training_pixels_is_named() -> None:
    found = score(_said([_mask(0)]), _truth([_mask(0)], train=[5, 0, 5]))
    assert found["warnings"] == ["no training pixels of c1"]


def test_the_interval_draws_places_not_their_polarisations() -> None:
    rng = np.random.default_rng(0)
    masks = [_mask(n) for n in range(12)]
    # Every place is answered alike in all its images: within a place there is nothing to be sure of.
    answers = [mask if n % 3 else rng.integers(0, 3, mask.shape, dtype=np.uint8) for n, mask in enumerate(masks)]
    alone, together = score(_said(answers), _truth(masks)), score(_said(answers), _truth(masks, units=3))
    assert alone["metrics"]["oa"].value == together["metrics"]["oa"].value
    spread = [found["metrics"]["oa"] for found in (alone, together)]
    assert all(metric.n == 12 and metric.low is not None and metric.high is not None for metric in spread)
    assert spread[1].high - spread[1].low > 1.3 * (spread[0].high - spread[0].low)  # type: ignore[operator]
    assert spread[1].interval.endswith("over 3 units")


def test_missing_additional_and_repeated_answers_are_refused() -> None:
    masks = [_mask(n) for n in range(3)]
    said, truth = _said(masks), _truth(masks)
    for answers, words in (
        (said[:2], "different images"),
        ([*said, {"image_id": "other", "mask": said[0]["mask"]}], "different images"),
        ([*said[:2], said[0]], "twice"),
        ([*said[:2], {}], "lacks image_id"),
    ):
        with pytest.raises(CheckError, match=words):
            score(answers, truth)


def _png(samples: Any, mode: str | None = None, form: str = "PNG") -> str:
    buffer = io.BytesIO()
    image = Image.fromarray(samples)
    (image.convert(mode) if mode else image).save(buffer, format=form)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (7, "no text"),
        (None, "no text"),
        ("no base64!", "base64"),
        (base64.b64encode(b"no picture").decode(), "no PNG"),
        (mask_to_text(_mask(0))[:40], "PNG|base64"),
        (_png(_mask(0), "RGB"), "mode RGB"),
        (_png(_mask(0), form="BMP"), "no PNG"),
        (mask_to_text(_mask(0, shape=(7, 9))), "pixels"),
        (mask_to_text(np.full((9, 7), 3, dtype=np.uint8)), "class 3"),
        (mask_to_text(np.full((9, 7), IGNORE, dtype=np.uint8)), "class 255"),
    ],
)
def test_an_answer_that_is_no_mask_of_the_image_is_refused(text: object, words: str) -> None:
    with pytest.raises(CheckError, match=words):
        score([{"image_id": "i0", "mask": text}], _truth([_mask(0)]))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # that is the point
def test_the_size_is_looked_at_before_anything_is_unpacked() -> None:
    huge = mask_to_text(np.zeros((20_000, 8_000), dtype=np.uint8))
    with pytest.raises(CheckError, match="8000 x 20000"):
        score([{"image_id": "i0", "mask": huge}], _truth([_mask(0)]))


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
def test_a_mask_comes_back_from_its_text_and_has_one_text(height: int, width: int, number: int) -> None:
    mask = np.random.default_rng(number).integers(0, 256, (height, width), dtype=np.uint8)
    text = mask_to_text(mask)
    assert np.array_equal(mask_from_text(text, what="it", size=(height, width)), mask)
    assert mask_to_text(np.asfortranarray(mask)) == text
