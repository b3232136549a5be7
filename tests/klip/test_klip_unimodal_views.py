"""Views of images: crops as torch would make them, every choice from the generator, nothing image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from klip.unimodal.settings import settings_of
from klip.unimodal.views import Boxes, blurred, crop, random_boxes, view
from tests.klip.structured_images import seeded, structured

RRC = settings_of("mae", "tiny").views
MOCO = settings_of("moco-v3", "tiny").views
NO_FLIP = torch.zeros(1, dtype=torch.bool)


def box(top: float, left: float, height: float, width: float) -> Boxes:
    return Boxes(*(torch.tensor([value]) for value in (top, left, height, width)))


@pytest.mark.parametrize(("height", "width", "size"), [(40, 24, 16), (16, 16, 16), (20, 12, 32), (64, 64, 32)])
def test_a_crop_is_what_torch_makes_with_anti_aliasing(height: int, width: int, size: int) -> None:
    image = torch.rand(1, 64, 64, generator=seeded())
    top, left = min(7, 64 - height), min(11, 64 - width)
    cut = image[:, None, top : top + height, left : left + width]
    expected = F.interpolate(cut, size=(size, size), mode="bilinear", antialias=True, align_corners=False)[:, 0]
    found = crop(image, box(top, left, height, width), NO_FLIP, size)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_whole_image_in_its_own_size_is_left_as_it_is() -> None:
    image = torch.rand(1, 32, 32, generator=seeded())
    torch.testing.assert_close(crop(image, box(0, 0, 32, 32), NO_FLIP, 32), image, atol=1e-6, rtol=0)


def test_a_mirrored_crop_is_the_mirror_of_the_crop() -> None:
    image = torch.rand(1, 32, 32, generator=seeded())
    whole = box(3, 5, 20, 20)
    straight, mirrored = crop(image, whole, NO_FLIP, 16), crop(image, whole, ~NO_FLIP, 16)
    torch.testing.assert_close(mirrored, straight.flip(2))


def test_boxes_lie_inside_and_have_areas_of_the_range() -> None:
    boxes = random_boxes(4000, 64, 64, RRC, seeded())
    assert bool((boxes.top >= 0).all()) and bool((boxes.top + boxes.height <= 64 + 1e-4).all())
    assert bool((boxes.left >= 0).all()) and bool((boxes.left + boxes.width <= 64 + 1e-4).all())
    share = boxes.height * boxes.width / 64**2
    assert 0.17 < float(share.min()) < 0.21 and float(share.max()) <= 1
    ratio = boxes.width / boxes.height
    assert float(ratio.min()) > 0.74 and float(ratio.max()) < 1.34


@pytest.mark.parametrize("which", [0, 1])
def test_views_depend_on_the_generator_alone(which: int) -> None:
    pixels = torch.from_numpy(structured(8))
    first, again = view(pixels, 32, MOCO, seeded(3), which), view(pixels, 32, MOCO, seeded(3), which)
    assert torch.equal(first, again)
    assert not torch.equal(first, view(pixels, 32, MOCO, seeded(4), which))
    assert first.shape == (8, 32, 32) and bool(((first >= 0) & (first <= 1)).all())


def test_a_blur_is_a_gaussian_mean_and_leaves_flat_images_alone() -> None:
    flat = torch.full((2, 16, 16), 0.4)
    torch.testing.assert_close(blurred(flat, torch.tensor([0.5, 2.0])), flat)
    point = torch.zeros(1, 33, 33)
    point[0, 16, 16] = 1
    at = torch.arange(33) - 16.0
    row = torch.exp(-0.5 * (at / 1.5) ** 2)
    expected = row[:, None] * row[None, :] / row.sum() ** 2
    torch.testing.assert_close(blurred(point, torch.tensor([1.5]))[0], expected, atol=1e-4, rtol=0)


def test_the_second_view_of_moco_is_sometimes_solarised_and_the_first_never() -> None:
    bright = torch.full((200, 16, 16), 230, dtype=torch.uint8)
    calm = MOCO.model_copy(update={"brightness": 0.0, "contrast": 0.0, "blur": (0.0, 0.0)})

    def dark(which: int) -> float:
        return float((view(bright, 16, calm, seeded(), which).mean(dim=(1, 2)) < 0.5).float().mean())

    assert dark(0) == 0.0
    assert 0.1 < dark(1) < 0.3  # probability 0.2


def test_jitter_scales_by_up_to_its_range() -> None:
    grey = torch.full((500, 8, 8), 100, dtype=torch.uint8)
    only = RRC.model_copy(update={"brightness": 0.4, "jitter": 1.0})
    factor: Tensor = view(grey, 8, only, seeded()).mean(dim=(1, 2)) / (100 / 255)
    assert 0.59 < float(factor.min()) < 0.65 and 1.35 < float(factor.max()) < 1.41


def test_one_image_is_the_same_in_a_batch_of_one_size() -> None:
    pixels = structured(4)
    one = view(torch.from_numpy(pixels), 32, RRC, seeded(), 0)
    other = view(torch.from_numpy(np.concatenate([pixels[:1], pixels[:3]])), 32, RRC, seeded(), 0)
    torch.testing.assert_close(one[0], other[0])
