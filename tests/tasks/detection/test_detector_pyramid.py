"""The pyramid: its strides for patches of any size, its sources in encoders with several maps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adapters.interface import FeatureMap
from foundation.errors import UsageError
from tasks.detection.pyramid import FeaturePyramid, Level, Source, nearest_source


def layers(branch: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in branch.children()]


HEAD = ["Conv2d", "ChannelNorm", "Conv2d", "ChannelNorm"]


def test_patches_of_16_give_the_published_pyramid() -> None:
    # Section 4.1: two deconvolutions, one, identity, max pool, then a level of stride 64 by pooling.
    pyramid = FeaturePyramid([Source(64, 16)], (4, 8, 16, 32, 64), 32)
    assert [layers(branch)[:-4] for branch in pyramid.branches] == [
        ["ConvTranspose2d", "ChannelNorm", "GELU", "ConvTranspose2d"],
        ["ConvTranspose2d"],
        [],
        ["MaxPool2d"],
    ]
    assert all(layers(branch)[-4:] == HEAD for branch in pyramid.branches)
    # 800 pixels are 50 patches; the last level takes every other cell.
    maps = pyramid([FeatureMap(torch.randn(1, 64, 50, 50), 16)])
    assert [tuple(one.shape) for one in maps] == [(1, 32, side, side) for side in (200, 100, 50, 25, 13)]
    assert torch.equal(maps[4], maps[3][:, :, ::2, ::2])
    assert pyramid.levels == (Level(4, 4.0), Level(8, 8.0), Level(16, 16.0), Level(32, 32.0), Level(64, 64.0))


@pytest.mark.parametrize(
    ("patch", "spacings", "sides"),
    [
        (14, [3.5, 7, 14, 28, 56], [228, 114, 57, 28, 14]),
        (8, [4, 8, 16, 32, 64], [200, 100, 50, 25, 13]),
        (32, [4, 8, 16, 32, 64], [200, 100, 50, 25, 13]),
    ],
)
def test_other_patches_give_levels_at_the_nearest_strides(patch: int, spacings: list[float], sides: list[int]) -> None:
    pyramid = FeaturePyramid([Source(32, patch)], (4, 8, 16, 32, 64), 8)
    assert [level.stride for level in pyramid.levels] == [4, 8, 16, 32, 64]
    assert [level.spacing for level in pyramid.levels] == spacings
    cells = {14: 57, 8: 100, 32: 25}[patch]  # of 798 or 800 pixels
    maps = pyramid([FeatureMap(torch.randn(1, 32, cells, cells), patch)])
    assert [one.shape[2] for one in maps] == sides


def test_each_level_comes_from_the_map_of_its_stride() -> None:
    sources = [Source(8, 4), Source(16, 8), Source(32, 16)]
    assert [nearest_source(sources, stride) for stride in (2, 4, 8, 16, 32)] == [0, 0, 1, 2, 2]
    assert nearest_source([Source(8, 4), Source(16, 16)], 8) == 1  # equally near: the coarser
    pyramid = FeaturePyramid(sources, (4, 8, 16, 32), 8)
    assert [layers(branch)[:-4] for branch in pyramid.branches] == [[], [], [], ["MaxPool2d"]]
    maps = [FeatureMap(torch.randn(2, one.channels, 64 // one.stride, 64 // one.stride), one.stride) for one in sources]
    assert [one.shape[2] for one in pyramid(maps)] == [16, 8, 4, 2]


@pytest.mark.parametrize("strides", [(4, 6, 8), (8, 4), (), (64,), (4, 8, 64), (0, 4)], ids=str)
def test_strides_that_make_no_pyramid_are_refused(strides: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="pyramid strides"):
        FeaturePyramid([Source(8, 8)], strides, 8)
