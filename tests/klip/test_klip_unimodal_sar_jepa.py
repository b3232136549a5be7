"""SAR-JEPA: the gradient by ratio is what a slow loop finds, windows and masks are as drawn, and it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from klip.unimodal.gradient_by_ratio import gradient_by_ratio, multi_scale_gradient
from klip.unimodal.sar_jepa import random_windows
from klip.unimodal.settings import settings_of
from klip.unimodal.tower import patches_of
from tests.klip.structured_images import learnt, seeded, small_module, structured


def slow_gradient(image: np.ndarray, r: int, floor: float) -> np.ndarray:
    """Pixel by pixel from the definition."""
    padded = np.pad(image, r, mode="reflect")
    found = np.zeros_like(image)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            window = padded[y : y + 2 * r + 1, x : x + 2 * r + 1]
            left, right = window[:, :r].sum() + floor, window[:, r + 1 :].sum() + floor
            upper, lower = window[:r].sum() + floor, window[r + 1 :].sum() + floor
            found[y, x] = math.hypot(math.log(right / left), math.log(lower / upper))
    return found


@pytest.mark.parametrize("half_size", [1, 2, 5])
def test_the_gradient_is_that_of_a_slow_loop(half_size: int) -> None:
    images = structured(2, 16) / 255
    found = gradient_by_ratio(torch.from_numpy(images).float(), half_size, 0.01)
    expected = np.stack([slow_gradient(image, half_size, 0.01) for image in images])
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)


def test_a_gain_hardly_moves_it_while_differences_grow_with_it() -> None:
    images = torch.from_numpy(structured(4, 32)).float() / 255 + 0.05
    once, thrice = gradient_by_ratio(images, 4, 0.01), gradient_by_ratio(3 * images, 4, 0.01)
    assert float((once - thrice).abs().max()) < 0.01 * float(once.max())


def test_a_flat_image_has_no_gradient_and_no_nan() -> None:
    for value in (0.0, 0.5):
        assert float(gradient_by_ratio(torch.full((1, 32, 32), value), 5, 0.01).abs().max()) < 1e-5


def test_an_edge_stands_out_at_its_place() -> None:
    image = torch.full((1, 32, 32), 0.2)
    image[:, :, 16:] = 0.8
    gradient = gradient_by_ratio(image, 4, 0.01)[0]
    assert int(gradient[16].argmax()) in (15, 16)
    assert float(gradient[16].max()) == pytest.approx(math.log(4), abs=0.3)


def test_scales_are_stacked_in_their_order() -> None:
    images = torch.from_numpy(structured(2, 32)).float() / 255
    both = multi_scale_gradient(images, (2, 4), 0.01)
    assert torch.equal(both[:, 1], gradient_by_ratio(images, 4, 0.01))


def test_windows_are_squares_inside_the_image() -> None:
    places = random_windows(200, 14, 7, 4, seeded())
    assert places.shape == (200, 4, 49)
    rows, columns = places // 14, places % 14
    assert bool((rows[..., -1] - rows[..., 0] == 6).all()) and bool((columns[..., -1] - columns[..., 0] == 6).all())
    assert int(rows.max()) <= 13 and int(rows.min()) == 0
    corners = places[..., 0].reshape(-1)
    assert len(set(corners.tolist())) == 64  # all eight by eight corners occur


def test_masked_patches_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    module = small_module("sar-jepa")
    images = torch.from_numpy(structured(2, 32)).float() / 255
    places = random_windows(2, 4, 2, 4, seeded())
    masked = torch.tensor([[0, 1, 2]]).expand(8, -1)  # the first three of four
    before = module.predicted(images, places, masked)
    changed = images.clone()
    visible = set(places[0, :, 3].tolist())
    for place in set(places[0].flatten().tolist()) - visible:
        row, column = divmod(place, 4)
        changed[0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 0.77
    torch.testing.assert_close(module.predicted(changed, places, masked), before)


def test_the_loss_is_of_masked_patches_of_their_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    module = small_module("sar-jepa")
    images = torch.from_numpy(structured(2, 32)).float() / 255
    target = patches_of(multi_scale_gradient(images, (2, 4), 0.01), 8)
    told: list[Tensor] = []

    def perfect(_: Tensor, places: Tensor, masked: Tensor) -> Tensor:
        right = torch.stack([target[i][places[i, w]] for i in range(2) for w in range(4)])
        kept = torch.ones(8, 4, dtype=torch.bool).scatter(1, masked, False)
        told.append(masked)
        return torch.where(kept[..., None], right + 100, right)  # wrong where nobody asks

    monkeypatch.setattr(module, "predicted", perfect)
    assert float(module([images], seeded())["loss"]) == pytest.approx(0.0, abs=1e-8)
    assert told[0].shape == (8, 3)  # a fifth of four patches is kept, at least one


def test_it_learns_gradients() -> None:
    # One long edge, upright or flat, at one of three places: what is visible tells what is not.
    pixels = np.full((6, 64, 64), 60, dtype=np.uint8)
    for i, place in enumerate((16, 32, 48)):
        pixels[2 * i, :, place:] = 180
        pixels[2 * i + 1, place:] = 180
    still = ("views.contrast=0.0", "views.scale=[1.0, 1.0]", "views.ratio=[1.0, 1.0]", "views.flip=0.0")
    module = small_module("sar-jepa", *still, "jepa.window=4", "jepa.masked=0.25", "jepa.windows=1")
    (views,) = module.views_of(torch.from_numpy(pixels), seeded(9))
    constant = float(module.target(views).var())
    losses = learnt(module, pixels, 600, rate=2e-3, batch=16)
    assert sum(losses[-30:]) / 30 < 0.4 * constant


def test_the_base_geometry_is_that_of_the_specification() -> None:
    settings = settings_of("sar-jepa")
    jepa = settings.jepa
    assert (jepa.windows, jepa.window, jepa.masked, jepa.half_sizes) == (4, 7, 0.8, (5, 9, 13, 17))
    assert (jepa.predictor_width, jepa.predictor_depth) == (512, 8)
    assert settings.tower.channels == 1 and settings.views.norm == "none"
    assert (settings.optim.rate, settings.optim.warmup) == (1e-3, 20 / 300)
