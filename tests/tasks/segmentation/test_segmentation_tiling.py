"""Tiles cover every pixel, carry no label beyond the image, and go together to the whole again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from foundation.errors import UsageError
from tasks.datasets import DataOptions, DatasetIndex, DataSource, read_index
from tasks.datasets.images import read_pixels
from tasks.datasets.masks import read_mask
from tasks.datasets.records import IGNORE, ImageEntry
from tasks.segmentation import tiling
from tasks.segmentation.predict import predict
from tasks.segmentation.tiling import TileSet, Tiling, load_mask_tiles, load_tiles, noise_tiles

pytestmark = pytest.mark.usefixtures("own_cache")

sides = st.integers(1, 30)


@st.composite
def grids(draw: st.DrawFn) -> Tiling:
    side = draw(st.integers(1, 12))
    return Tiling(side, draw(st.integers(1, side)))


def _entry(height: int, width: int) -> ImageEntry:
    return ImageEntry("a", "a.png", -1, width, height, "uint8", "", "", 0)


@given(sides, sides, grids())
def test_every_pixel_is_in_a_tile_and_no_tile_is_empty(height: int, width: int, grid: Tiling) -> None:
    numbers = np.arange(1, height * width + 1, dtype=np.int64).reshape(height, width)
    tiles = grid.cut(numbers, 0)  # type: ignore[arg-type]
    assert tiles.shape == (grid.tiles(height, width), grid.side, grid.side)
    assert set(numbers.ravel()) == set(tiles.ravel()) - {0}
    assert all(tile.any() for tile in tiles)


@given(sides, sides, st.integers(1, 12))
def test_without_overlap_every_pixel_is_in_one_tile(height: int, width: int, side: int) -> None:
    tiles = Tiling(side, side).cut(np.ones((height, width), dtype=np.uint8), 0)
    assert int(tiles.sum()) == height * width


@given(sides, sides, grids())
def test_what_lies_beyond_the_image_is_padding(height: int, width: int, grid: Tiling) -> None:
    tiles = grid.cut(np.zeros((height, width), dtype=np.uint8), IGNORE)
    inside = grid.cut(np.ones((height, width), dtype=np.uint8), 0)
    assert np.array_equal(tiles == IGNORE, inside == 0)


@given(sides, sides, grids())
def test_the_tiles_of_an_image_go_together_again(height: int, width: int, grid: Tiling) -> None:
    image = np.random.default_rng(height).integers(1, 256, (height, width, 3), dtype=np.uint8)
    whole = grid.joined(grid.cut(image, 0), height, width)
    assert np.array_equal(whole[:height, :width], image) and not whole[height:].any() and not whole[:, width:].any()
    assert np.array_equal(grid.cut(whole, 0), grid.cut(image, 0))


def test_an_image_smaller_than_a_tile_is_one_tile() -> None:
    tiles = Tiling(8, 8).cut(np.full((3, 5), 7, dtype=np.uint8), 0)
    assert tiles.shape == (1, 8, 8)
    assert (tiles[0, :3, :5] == 7).all() and tiles.sum() == 7 * 15


def test_no_tile_begins_that_would_hold_nothing_new() -> None:
    assert list(Tiling(256, 256).starts(1024)) == [0, 256, 512, 768]  # 16 tiles of an image, section 5.1
    assert list(Tiling(256, 128).starts(512)) == [0, 128, 256]
    assert list(Tiling(256, 128).starts(513)) == [0, 128, 256, 384]


def test_a_stride_that_leaves_gaps_is_refused() -> None:
    with pytest.raises(UsageError, match="between tiles"):
        Tiling(8, 9).starts(20)


def test_tiles_of_a_data_set_are_its_pixels_and_masks(map_index: DatasetIndex) -> None:
    grid = Tiling(16, 8)
    tiles = load_tiles(map_index, map_index.images, grid)
    masks = load_mask_tiles(map_index, map_index.images, grid)
    assert len(masks.rows) == len(tiles.pixels) == tiles.first[-1]
    for entry, low, high in zip(map_index.images, tiles.first[:-1], tiles.first[1:], strict=True):
        assert np.array_equal(tiles.pixels[low:high], grid.cut(read_pixels(map_index, entry), 0))
        assert np.array_equal(masks.masks[masks.rows[low:high]], grid.cut(read_mask(map_index, entry), IGNORE))


def test_tiles_are_decoded_once_and_anew_for_another_grid(
    map_index: DatasetIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    def counted(index: DatasetIndex, entry: ImageEntry) -> tiling.Pixels:
        decoded.append(entry.image_id)
        return read_pixels(index, entry)

    monkeypatch.setattr(tiling, "read_pixels", counted)
    first = load_tiles(map_index, map_index.images, Tiling(16, 16))
    again = load_tiles(map_index, map_index.images, Tiling(16, 16))
    assert len(decoded) == len(map_index.images)
    assert np.array_equal(first.pixels, again.pixels)
    for grid in (Tiling(16, 8), Tiling(8, 8)):
        load_tiles(map_index, map_index.images, grid)
    assert len(decoded) == 3 * len(map_index.images)


def test_polarisations_share_the_tiles_of_their_mask(polarised: DataSource) -> None:
    index = read_index(polarised)
    masks = load_mask_tiles(index, index.images, Tiling(16, 16))
    assert len(masks.rows) == 10 * 4 * 2
    assert len(masks.masks) <= 10 * 2
    composites = read_index(polarised, DataOptions(polarisation="pseudo"))
    assert load_tiles(composites, composites.images, Tiling(16, 16)).pixels.shape == (20, 16, 16, 3)


def test_noise_has_the_sizes_of_the_images_and_hangs_on_the_seed(map_index: DatasetIndex) -> None:
    grid = Tiling(16, 16)
    first, again, other = (noise_tiles(map_index.images, grid, seed) for seed in (0, 0, 1))
    assert first.pixels.shape == load_tiles(map_index, map_index.images, grid).pixels.shape
    assert np.array_equal(first.pixels, again.pixels) and not np.array_equal(first.pixels, other.pixels)


class Cells(nn.Module):
    """Logits that hang on the grey levels of 4 x 4 cells in a way that is different for every cell of the grid."""

    def forward(self, images: Tensor) -> Tensor:
        means = images.unfold(1, 4, 4).unfold(2, 4, 4).mean(dim=(3, 4))
        place = torch.arange(means[0].numel()).view(means.shape[1:])
        return torch.stack([torch.sin(means * (k + 1) + place) for k in range(3)], dim=-1)


def _predicted(image: tiling.Pixels, grid: Tiling) -> tiling.Pixels:
    cut = grid.cut(image, 0)
    tiles = TileSet(cut, np.array([0, len(cut)]))
    masks: Iterator[tiling.Pixels] = predict(
        Cells(), lambda grey: grey.float(), tiles, [_entry(*image.shape)], grid, torch.device("cpu"), "fp32"
    )
    return next(masks)


@settings(max_examples=25, deadline=None)
@given(sides, sides, st.sampled_from([1, 3, 4, 8]), st.integers(0, 100))
def test_overlapping_windows_are_averaged_per_pixel(height: int, width: int, stride: int, number: int) -> None:
    image = np.random.default_rng(number).integers(0, 256, (height, width), dtype=np.uint8)
    side = 8
    grid = Tiling(side, stride)
    total, windows = np.zeros((3, height + side + 8, width + side + 8)), np.zeros((height + side + 8, width + side + 8))
    for y in grid.starts(height):
        for x in grid.starts(width):
            tile = np.zeros((side, side), dtype=np.float32)
            seen = image[y : y + side, x : x + side]
            tile[: seen.shape[0], : seen.shape[1]] = seen
            logits = Cells()(torch.from_numpy(tile)[None]).permute(0, 3, 1, 2)
            fine = nn.functional.interpolate(logits, size=(side, side), mode="bilinear", align_corners=False)[0]
            total[:, y : y + side, x : x + side] += fine.numpy()
            windows[y : y + side, x : x + side] += 1
    means = (total / np.maximum(windows, 1))[:, :height, :width]
    answer = _predicted(image, grid)
    assert answer.shape == (height, width) and answer.dtype == np.uint8
    ordered = np.sort(means, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-5  # where rounding cannot decide
    assert np.array_equal(answer[clear], means.argmax(axis=0)[clear])


def test_many_images_give_each_its_own_mask(map_index: DatasetIndex) -> None:
    grid = Tiling(16, 16)
    tiles = load_tiles(map_index, map_index.images, grid)
    to_input: Callable[[Tensor], Tensor] = Tensor.float
    answers = list(predict(Cells(), to_input, tiles, map_index.images, grid, torch.device("cpu"), "fp32"))
    for entry, answer in zip(map_index.images, answers, strict=True):
        assert np.array_equal(answer, _predicted(read_pixels(map_index, entry), grid))


def test_the_cached_tiles_hang_on_the_code_that_cuts_them() -> None:
    assert {path.name for path in tiling._SOURCES} == {"tiling.py", "images.py", "masks.py"}
    assert all(isinstance(path, Path) and path.is_file() for path in tiling._SOURCES)
