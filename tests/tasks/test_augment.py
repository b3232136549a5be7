"""Random resized crops and flips of section 3.1: their distribution, their bounds, and where the chance comes from."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.augment import augment, random_crop_box
from tasks.protocol.settings import RandomCrop

Grey = NDArray[np.uint8]
PAPER = RandomCrop(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
WHOLE = RandomCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
SIDES = st.integers(1, 60) | st.just(1)


def augmented(
    images: list[NDArray[np.uint8]], size: int, crop: RandomCrop, flip: float, rng: np.random.Generator
) -> torch.Tensor:
    """All images from one generator."""
    return augment(images, size, crop, flip, [rng] * len(images))


@given(SIDES, SIDES, st.integers(0, 2**32), st.sampled_from([PAPER, WHOLE, RandomCrop(scale=(0.5, 1), ratio=(1, 1))]))
def test_every_crop_lies_in_its_image(height: int, width: int, seed: int, crop: RandomCrop) -> None:
    top, left, crop_height, crop_width = random_crop_box(height, width, crop, np.random.default_rng(seed))
    assert crop_height >= 1 and crop_width >= 1
    assert 0 <= top <= height - crop_height
    assert 0 <= left <= width - crop_width


def test_area_and_ratio_are_those_of_the_settings() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([random_crop_box(400, 400, PAPER, rng) for _ in range(4000)])
    area = boxes[:, 2] * boxes[:, 3] / 400**2
    ratio = boxes[:, 3] / boxes[:, 2]
    assert 0.078 < area.min() < 0.1 and area.max() <= 1.0
    assert 0.74 < ratio.min() < 0.77 and 1.30 < ratio.max() < 1.35
    # The logarithm of the ratio is uniform, so wide and tall are equally likely.
    assert abs(np.log(ratio).mean()) < 0.02
    assert np.log(ratio).std() == pytest.approx(2 * math.log(4 / 3) / math.sqrt(12), rel=0.05)


def test_positions_are_uniform() -> None:
    rng = np.random.default_rng(1)
    quarter = RandomCrop(scale=(0.25, 0.25), ratio=(1.0, 1.0))
    boxes = np.array([random_crop_box(20, 20, quarter, rng) for _ in range(5500)])
    assert set(map(tuple, boxes[:, 2:].tolist())) == {(10, 10)}
    for axis in (0, 1):
        counts = np.bincount(boxes[:, axis], minlength=11)
        assert len(counts) == 11, "the last position is reached, and no further one"
        assert counts.min() > 380 and counts.max() < 620  # 500 expected, five standard deviations


def test_crops_are_distributed_as_torchvision_s() -> None:
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    rng = np.random.default_rng(2)
    image = torch.zeros(1, 60, 90)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)])
    ours = np.array([random_crop_box(60, 90, PAPER, rng) for _ in range(3000)])
    for column in range(4):
        error = math.hypot(theirs[:, column].std(), ours[:, column].std()) / math.sqrt(3000)
        assert abs(theirs[:, column].mean() - ours[:, column].mean()) < 4.5 * error
        assert theirs[:, column].std() == pytest.approx(ours[:, column].std(), rel=0.08)


@pytest.mark.parametrize(("height", "width"), [(1, 60), (60, 1), (1, 1), (3, 200)])
def test_where_no_crop_fits_the_largest_centred_one_is_taken(height: int, width: int) -> None:
    whole = RandomCrop(scale=(1.0, 1.0), ratio=(3 / 4, 4 / 3))
    top, left, crop_height, crop_width = random_crop_box(height, width, whole, np.random.default_rng(0))
    assert min(crop_height, crop_width) == min(height, width)
    assert crop_width / crop_height <= 4 / 3 and crop_height / crop_width <= 4 / 3 + 1e-9
    assert top == (height - crop_height) // 2 and left == (width - crop_width) // 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (32, 150), (16, 16)])
@pytest.mark.parametrize("size", [1, 8, 32])
def test_images_of_every_shape_become_eight_bit_squares(shape: tuple[int, int], size: int) -> None:
    flat = np.full(shape, 131, dtype=np.uint8)
    out = augmented([flat, flat], size, PAPER, 0.5, np.random.default_rng(0))
    assert out.shape == (2, size, size) and out.dtype == torch.uint8
    assert (out == 131).all()


def test_the_whole_image_at_its_own_size_comes_back(texture: Callable[..., Grey]) -> None:
    image = texture(0, 16, 16)
    out = augmented([image], 16, WHOLE, 0.0, np.random.default_rng(0))
    assert (out[0].numpy() == image).all()


def test_a_certain_flip_mirrors_left_and_right(texture: Callable[..., Grey]) -> None:
    image = texture(0, 16, 16)
    out = augmented([image], 16, WHOLE, 1.0, np.random.default_rng(0))
    assert (out[0].numpy() == image[:, ::-1]).all()


def test_half_of_the_images_are_flipped_and_none_upside_down() -> None:
    image = np.zeros((8, 8), dtype=np.uint8)
    image[0, 0] = 255
    out = augmented([image] * 2000, 8, WHOLE, 0.5, np.random.default_rng(3)).numpy()
    assert (out[:, 0, 0].astype(int) + out[:, 0, 7] == 255).all()
    assert abs((out[:, 0, 7] == 255).mean() - 0.5) < 4 * 0.5 / math.sqrt(2000)
    assert not out[:, 7].any()


def test_bright_edges_do_not_wrap_around() -> None:
    # Bicubic weights overshoot; cast without clamping, 280 would become 24.
    image = np.zeros((12, 12), dtype=np.uint8)
    image[:, 6:] = 255
    out = augmented([image], 48, WHOLE, 0.0, np.random.default_rng(0))[0].numpy()
    assert (out[:, 27:] > 200).all() and (out[:, :21] < 50).all()
    assert {0, 255} <= set(out.ravel().tolist())


def test_the_same_generator_gives_the_same_images(texture: Callable[..., Grey]) -> None:
    images = [texture(number, 20, 30) for number in range(4)]
    runs = [augmented(images, 16, PAPER, 0.5, np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_no_global_chance_is_used_or_moved(texture: Callable[..., Grey]) -> None:
    images = [texture(number, 20, 30) for number in range(4)]
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # type: ignore[index]
        runs.append(augmented(images, 16, PAPER, 0.5, np.random.default_rng(5)))
        assert torch.equal(before[0], torch.get_rng_state()) and before[2] == random.getstate()
        assert (before[1] == np.random.get_state()[1]).all()  # type: ignore[index]
    assert torch.equal(runs[0], runs[1])


def test_images_are_left_as_they_are(texture: Callable[..., Grey]) -> None:
    image = texture(0, 16, 16)
    image.setflags(write=False)
    augmented([image], 8, PAPER, 1.0, np.random.default_rng(0))
    assert (image == texture(0, 16, 16)).all()
