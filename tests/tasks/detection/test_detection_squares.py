"""Images at the size they are learnt and tested at, and random views of them with their boxes (section 4.1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.detection import squares as module
from tasks.detection.augment import Marked, View, augment, draw_view, move, show
from tasks.detection.data import DetectionData, build
from tasks.detection.squares import Size, Squares, fitted, noise_like, squares_to_learn, squares_to_test
from tasks.protocol import DetectionSettings, task_settings
from tests.tasks.detection.conftest import MakeSettings, WriteScenes
from tests.tasks.detection.pictures import Picture, draw

SIZES = ((48, 40), (100, 30), (20, 20), (30, 60), (64, 64))


@pytest.fixture
def mixed(write_scenes: WriteScenes, tiny_settings: MakeSettings, own_cache: Path) -> DetectionData:
    """Scenes of five sizes, larger and smaller than the input."""
    pictures = [Picture(width, height, ((5, 4, 12, 10),)) for width, height in SIZES * 2]
    return build(write_scenes(pictures), tiny_settings())


def _drawn(data: DetectionData, position: int) -> np.ndarray:
    scene = data.train[position]
    return draw(int(scene.path.stem), Picture(scene.width, scene.height, ((5, 4, 12, 10),)))


def test_tested_images_fill_their_square_with_the_longest_side(mixed: DetectionData) -> None:
    squares = squares_to_test(mixed.train, 48)
    assert squares.pixels.shape == (len(mixed.train), 48, 48) and squares.pixels.dtype == np.uint8
    for position, (content, file) in enumerate(zip(squares.contents, squares.files, strict=True)):
        assert max(content) == 48
        assert content == (round(file.height * 48 / max(file)), round(file.width * 48 / max(file)))
        picture = Image.fromarray(_drawn(mixed, position))
        expected = np.asarray(picture.resize((content.width, content.height), Image.Resampling.BILINEAR))
        assert np.array_equal(squares.content(position), expected)
        padding = squares.pixels[position].copy()
        padding[: content.height, : content.width] = 0
        assert not padding.any()


def test_learnt_images_are_kept_as_they_are_and_only_very_large_ones_are_reduced(mixed: DetectionData) -> None:
    squares = squares_to_learn(mixed.train, 57.6)
    for position, file in enumerate(squares.files):
        if max(file) <= 58:
            assert np.array_equal(squares.content(position), _drawn(mixed, position))
        else:
            assert max(squares.contents[position]) == 58
    assert squares.pixels.shape[1:] == (58, 58)
    assert squares_to_learn(mixed.train, 500).pixels.shape[1:] == (100, 100), "no larger than the largest image"


def test_nothing_is_decoded_twice(mixed: DetectionData, monkeypatch: pytest.MonkeyPatch) -> None:
    first = squares_to_test(mixed.train, 48)

    def fail(path: Path) -> None:
        raise AssertionError(path)

    monkeypatch.setattr(module, "read_grey", fail)
    assert np.array_equal(squares_to_test(mixed.train, 48).pixels, first.pixels)
    with pytest.raises(AssertionError):
        squares_to_test(mixed.train, 40)


@given(height=st.integers(1, 3000), width=st.integers(1, 3000), longest=st.floats(1, 2000))
def test_the_ratio_is_kept_and_no_side_vanishes(height: int, width: int, longest: float) -> None:
    size = fitted(Size(height, width), longest)
    assert min(size) >= 1
    for new, old in zip(size, (height, width), strict=True):
        assert abs(new - old * longest / max(height, width)) <= 0.5 + 1e-6 or new == 1


def test_the_noise_twin_has_the_shapes_but_nothing_to_see(mixed: DetectionData) -> None:
    squares = squares_to_test(mixed.train, 48)
    noise, again, other = (noise_like(squares, mixed.train, seed) for seed in (0, 0, 1))
    assert np.array_equal(noise.pixels, again.pixels) and not np.array_equal(noise.pixels, other.pixels)
    assert noise.contents == squares.contents
    assert not np.array_equal(noise.content(0), noise.content(5)) and not np.array_equal(
        noise.content(0), squares.content(0)
    )
    assert all(np.array_equal(noise.pixels[n] == 0, noise.pixels[n] == 0) for n in range(len(noise)))
    height, width = noise.contents[1]
    assert not noise.pixels[1, height:].any() and not noise.pixels[1, :, width:].any()


# ---- views


def _settings(**changes: object) -> DetectionSettings:
    values = task_settings("mini", "detection", "mini").model_dump()
    return DetectionSettings.model_validate({**values, "image_size": 64, **changes})


sizes = st.builds(Size, st.integers(4, 300), st.integers(4, 300))


@given(file=sizes, seed=st.integers(0, 2**32))
def test_views_lie_within_the_image_and_the_input(file: Size, seed: int) -> None:
    view = draw_view(file, _settings(), np.random.default_rng(seed))
    assert 0.8 * 64 - 0.5 <= max(view.whole) <= 1.2 * 64 + 0.5
    assert 0 <= view.top <= view.whole.height - view.shown.height
    assert 0 <= view.left <= view.whole.width - view.shown.width
    assert view.shown == (min(64, view.whole.height), min(64, view.whole.width))


@settings(max_examples=40)
@given(file=sizes, seed=st.integers(0, 2**32))
def test_a_view_is_the_crop_of_the_resized_image(file: Size, seed: int) -> None:
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, file, dtype=np.uint8)
    view = draw_view(file, _settings(), rng)
    whole = np.asarray(
        Image.fromarray(grey).resize((view.whole.width, view.whole.height), Image.Resampling.BILINEAR), dtype=np.int64
    )
    expected = whole[view.top : view.top + view.shown.height, view.left : view.left + view.shown.width]
    if view.mirrored:
        expected = expected[:, ::-1]
    assert np.abs(show(grey, view).astype(np.int64) - expected).max() <= 1  # of 255: rounding


@given(file=sizes, seed=st.integers(0, 2**32), count=st.integers(0, 5))
def test_boxes_stay_within_the_view_and_those_that_vanish_are_dropped(file: Size, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.random((count, 2, 2)), axis=1).reshape(count, 4)
    view = draw_view(file, _settings(), rng)
    moved = move(Marked(corners, np.arange(count)), view, 1.5)
    assert len(moved.boxes) == len(moved.labels) <= count
    assert (moved.boxes >= 0).all() and (moved.boxes <= [view.shown.width, view.shown.height] * 2).all()
    assert ((moved.boxes[:, 2:] - moved.boxes[:, :2]) >= 1.5).all()
    for box, label in zip(moved.boxes, moved.labels, strict=True):
        left, top, right, bottom = corners[label] * ([view.whole.width, view.whole.height] * 2)
        expected = [
            max(left - view.left, 0),
            max(top - view.top, 0),
            min(right - view.left, view.shown.width),
            min(bottom - view.top, view.shown.height),
        ]
        if view.mirrored:
            expected[0], expected[2] = view.shown.width - expected[2], view.shown.width - expected[0]
        assert box == pytest.approx(expected)


def test_a_view_that_shows_everything_keeps_every_box_on_the_border() -> None:
    view = View(Size(48, 64), 0, 0, Size(48, 64), mirrored=True)
    moved = move(Marked(np.array([[0.0, 0.0, 0.25, 0.5], [0.75, 0.5, 1.0, 1.0]]), np.array([3, 4])), view, 0.01)
    assert moved.boxes.tolist() == [[48, 0, 64, 24], [0, 24, 16, 48]] and moved.labels.tolist() == [3, 4]


def test_a_crop_beside_the_only_target_has_no_boxes() -> None:
    view = View(Size(128, 128), 64, 64, Size(64, 64), mirrored=False)
    moved = move(Marked(np.array([[0.1, 0.1, 0.5, 0.5]]), np.array([0])), view, 0.01)
    assert moved.boxes.shape == (0, 4) and moved.labels.shape == (0,)


def test_boxes_follow_what_they_mark(mixed: DetectionData) -> None:
    chosen = _settings(image_size=48)
    squares = squares_to_learn(mixed.train, 57.6)
    marked = [
        Marked(np.array([[5 / f.width, 4 / f.height, 17 / f.width, 14 / f.height]]), np.array([0]))
        for f in squares.files
    ]
    seen = 0
    for epoch in range(20):
        rngs = [np.random.default_rng([epoch, position]) for position in range(len(squares))]
        pixels, targets = augment(squares, marked, np.arange(len(squares)), chosen, rngs)
        for image, target in zip(pixels, targets, strict=True):
            for left, top, right, bottom in target.boxes:
                if min(right - left, bottom - top) < 4:
                    continue
                inside = image[int(np.ceil(top)) : int(bottom), int(np.ceil(left)) : int(right)]
                assert inside.mean() > 150, "a target is at least 150 bright, the rest below 90"
                outside = image.astype(float).sum() - inside.astype(float).sum()
                assert outside / (image.size - inside.size) < 90
                seen += 1
    assert seen > 80


def test_what_is_drawn_for_an_image_hangs_on_its_generator_alone(mixed: DetectionData) -> None:
    chosen = _settings(image_size=48)
    squares = squares_to_learn(mixed.train, 57.6)
    marked = [Marked(np.array([[0.1, 0.1, 0.6, 0.6]]), np.array([0]))] * len(squares)

    def drawn(positions: list[int]) -> tuple[np.ndarray, list[Marked]]:
        return augment(squares, marked, positions, chosen, [np.random.default_rng([9, p]) for p in positions])

    together, alone = drawn([0, 1, 2, 3]), drawn([2])
    assert np.array_equal(together[0][2], alone[0][0])
    assert np.array_equal(together[1][2].boxes, alone[1][0].boxes)
    backwards = drawn([3, 2, 1, 0])
    assert np.array_equal(together[0], backwards[0][::-1])


def test_half_of_the_views_are_mirrored_unless_the_settings_say_otherwise() -> None:
    def share(**changes: object) -> float:
        rng = np.random.default_rng(0)
        return float(np.mean([draw_view(Size(50, 60), _settings(**changes), rng).mirrored for _ in range(400)]))

    assert 0.4 < share() < 0.6 and share(horizontal_flip=0.0) == 0 and share(horizontal_flip=1.0) == 1


def test_padding_is_black_after_a_smaller_view() -> None:
    grey = np.full((1, 64, 64), 200, dtype=np.uint8)
    squares = Squares(grey, (Size(64, 64),), (Size(64, 64),))
    nothing = [Marked(np.zeros((0, 4)), np.zeros(0, dtype=np.int64))]
    pixels, _ = augment(squares, nothing, [0], _settings(resize_range=(0.5, 0.5)), [np.random.default_rng(0)])
    assert (pixels[0, :32, :32] == 200).all() and pixels[0].sum() == 200 * 32 * 32
