"""Patch kernels of another size: the same answer to the same patch, seen larger or smaller."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import resample_patch_embed
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from adapters.patch_kernel import Method, resample
from foundation.errors import UsageError


def random_kernel(patch: int, channels: int = 3, width: int = 8) -> Tensor:
    return torch.randn(width, channels, patch, patch, generator=torch.Generator().manual_seed(0))


def resized_patches(image: Tensor, old: int, new: int) -> Tensor:
    """Every patch of an image [B, C, H, W] resized by itself, put together again."""
    batch, channels, height, width = image.shape
    rows, columns = height // old, width // old
    patches = image.reshape(batch, channels, rows, old, columns, old).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    larger = interpolate(patches, size=(new, new), mode="bilinear", antialias=True)
    whole = larger.reshape(batch, rows, columns, channels, new, new).permute(0, 3, 1, 4, 2, 5)
    return whole.reshape(batch, channels, rows * new, columns * new)


@settings(max_examples=20, deadline=None)
@given(old=st.integers(2, 16), growth=st.integers(0, 12), channels=st.sampled_from([1, 3, 6]))
def test_upsampled_images_give_the_same_tokens(old: int, growth: int, channels: int) -> None:
    new = old + growth
    kernel = random_kernel(old, channels)
    image = torch.randn(2, channels, 3 * old, 2 * old, generator=torch.Generator().manual_seed(1))
    before = conv2d(image, kernel, stride=old)
    after = conv2d(resized_patches(image, old, new), resample(kernel, new), stride=new)
    torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("old", "new"), [(14, 16), (16, 32), (16, 14)])
def test_the_pseudo_inverse_is_that_of_timm(old: int, new: int) -> None:
    kernel = random_kernel(old)
    theirs = resample_patch_embed(kernel.double(), [new, new], interpolation="bilinear", antialias=True)
    torch.testing.assert_close(resample(kernel, new), theirs.float(), atol=1e-4, rtol=1e-4)


def smooth_image(side: int) -> Tensor:
    ramp = torch.linspace(0, 1, side)
    return (ramp[:, None] + 2 * ramp[None] + torch.sin(6 * ramp)[:, None])[None, None]


@pytest.mark.parametrize(("old", "new"), [(32, 16), (14, 16)])
@pytest.mark.parametrize("method", ["pseudo_inverse", "bilinear"])
def test_both_methods_keep_the_range_of_tokens(old: int, new: int, method: Method) -> None:
    """Smooth kernels on smooth images, as trained ones are: B/32 and L/14 read as /16."""
    kernel = interpolate(random_kernel(4, channels=1), size=(old, old), mode="bicubic")
    image = smooth_image(4 * old)
    smaller = resized_patches(image, old, new)
    before = conv2d(image, kernel, stride=old)
    after = conv2d(smaller, resample(kernel, new, method), stride=new)
    assert (after - before).norm() / before.norm() < 0.15


def test_bilinear_resizing_is_scaled_by_the_area() -> None:
    """Halving the side leaves a quarter of the pixels, each of which must count four times."""
    kernel = torch.ones(2, 3, 32, 32)
    torch.testing.assert_close(resample(kernel, 16, "bilinear"), torch.full((2, 3, 16, 16), 4.0))
    torch.testing.assert_close(resample(kernel, 64, "bilinear"), torch.full((2, 3, 64, 64), 0.25))


@pytest.mark.parametrize("method", ["pseudo_inverse", "bilinear"])
def test_the_same_size_changes_nothing(method: Method) -> None:
    kernel = random_kernel(16)
    assert torch.equal(resample(kernel, 16, method), kernel)


def test_the_kind_of_numbers_is_kept() -> None:
    assert resample(random_kernel(14).half(), 16).dtype == torch.float16


def test_kernels_over_time_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be made one") as caught:
        resample(torch.zeros(8, 6, 1, 16, 16), 14)
    assert "frames" in caught.value.way_out
