"""One file, one 8-bit grey array: every sample type of section 2.2, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from adapters.decode import read_grey, read_raw

WriteImage = Callable[[Path, NDArray[Any]], Path]
RAMP = np.arange(1, 61, dtype=np.uint8).reshape(6, 10)


def _mean_clip(amplitude: NDArray[Any]) -> NDArray[np.uint8]:
    """Section 2.2, word for word: min(a, N m) / (N m) 255, N = 3, m the mean of the non-zero pixels."""
    values = amplitude.astype(np.float64)
    ceiling = 3 * values[values > 0].mean()
    scaled: NDArray[np.uint8] = np.rint(np.minimum(values, ceiling) / ceiling * 255).astype(np.uint8)
    return scaled


def _bright(amplitude: NDArray[Any]) -> NDArray[Any]:
    """One strong scatterer, far above three times the mean, and one pixel without data."""
    amplitude = amplitude.copy()
    amplitude[2, 3], amplitude[0, 0] = 5000, 0
    return amplitude


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "tiff", "PNG", "TIF"])
def test_eight_bit_data_pass_unchanged(tmp_path: Path, write_image: WriteImage, ending: str) -> None:
    grey = read_grey(write_image(tmp_path / f"chip.{ending}", RAMP))
    assert grey.dtype == np.uint8
    assert (grey == RAMP).all()


@pytest.mark.parametrize("ending", ["jpg", "jpeg"])
def test_grey_jpeg_is_decoded_and_not_stretched(tmp_path: Path, ending: str) -> None:
    Image.fromarray(RAMP).save(tmp_path / f"chip.{ending}", quality=100)
    grey = read_grey(tmp_path / f"chip.{ending}")
    assert grey.shape == RAMP.shape
    assert np.abs(grey.astype(int) - RAMP).max() <= 3


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.int16, np.float32, np.float64])
def test_wider_samples_go_through_the_mean_clip(tmp_path: Path, write_image: WriteImage, kind: Any) -> None:
    amplitude = _bright(RAMP.astype(kind))
    grey = read_grey(write_image(tmp_path / "chip.tif", amplitude))
    assert (grey == _mean_clip(amplitude)).all()
    assert grey[2, 3] == 255 and grey[0, 0] == 0


def test_sixteen_bit_png_goes_through_the_mean_clip(tmp_path: Path, write_image: WriteImage) -> None:
    amplitude = _bright(RAMP.astype(np.uint16))
    assert (read_grey(write_image(tmp_path / "chip.png", amplitude)) == _mean_clip(amplitude)).all()


def test_of_complex_samples_the_magnitude_counts(tmp_path: Path, write_image: WriteImage) -> None:
    amplitude = _bright(RAMP.astype(np.float32))
    phase = np.exp(1j * np.random.default_rng(0).uniform(0, 2 * np.pi, RAMP.shape))
    grey = read_grey(write_image(tmp_path / "chip.tif", (amplitude * phase).astype(np.complex64)))
    assert np.abs(grey.astype(int) - _mean_clip(amplitude)).max() <= 1


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_an_image_of_zeros_is_black(tmp_path: Path, write_image: WriteImage, kind: Any) -> None:
    assert not read_grey(write_image(tmp_path / "chip.tif", np.zeros((4, 5), dtype=kind))).any()


@pytest.mark.parametrize("shape", [(1, 6, 10), (6, 10, 1)])
def test_a_single_band_may_have_an_axis_of_its_own(
    tmp_path: Path, write_image: WriteImage, shape: tuple[int, ...]
) -> None:
    assert (read_grey(write_image(tmp_path / "chip.tif", RAMP.reshape(shape))) == RAMP).all()


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_grey_stored_as_three_equal_channels_is_grey(tmp_path: Path, write_image: WriteImage, ending: str) -> None:
    assert (read_grey(write_image(tmp_path / f"chip.{ending}", np.stack([RAMP] * 3, axis=-1))) == RAMP).all()


def test_a_grey_palette_is_read_through(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP).convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    assert image.mode == "P"
    image.save(tmp_path / "chip.png")
    assert (read_grey(tmp_path / "chip.png") == RAMP).all()


def test_one_bit_images_become_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(RAMP > 30).save(tmp_path / "chip.png")
    assert np.unique(read_grey(tmp_path / "chip.png")).tolist() == [0, 255]


@pytest.mark.parametrize("ending", ["png", "bmp", "jpg", "tif"])
def test_a_colour_image_is_refused(tmp_path: Path, write_image: WriteImage, ending: str) -> None:
    colour = np.stack([RAMP * 4, RAMP, 255 - RAMP], axis=-1)
    with pytest.raises(ValueError, match="colour image"):
        read_grey(write_image(tmp_path / f"chip.{ending}", colour))


def test_a_colour_palette_is_a_colour_image(tmp_path: Path) -> None:
    colour = np.stack([RAMP * 4, RAMP, 255 - RAMP], axis=-1)
    Image.fromarray(colour).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "chip.png")
    with pytest.raises(ValueError, match="colour image"):
        read_grey(tmp_path / "chip.png")


def test_the_inks_of_a_print_are_not_taken_for_grey(tmp_path: Path) -> None:
    Image.fromarray(RAMP * 4).convert("RGB").convert("CMYK").save(tmp_path / "chip.jpg", quality=100)
    assert np.abs(read_grey(tmp_path / "chip.jpg").astype(int) - RAMP * 4).max() <= 8


def test_several_bands_are_refused(tmp_path: Path, write_image: WriteImage) -> None:
    with pytest.raises(ValueError, match="one SAR channel"):
        read_grey(write_image(tmp_path / "chip.tif", np.ones((2, 6, 10), dtype=np.uint16)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, write_image: WriteImage, value: float) -> None:
    amplitude = RAMP.astype(np.float32)
    amplitude[1, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        read_grey(write_image(tmp_path / "chip.tif", amplitude))


def test_decibels_are_refused(tmp_path: Path, write_image: WriteImage) -> None:
    with pytest.raises(ValueError, match="decibels"):
        read_grey(write_image(tmp_path / "chip.tif", -RAMP.astype(np.float32)))


@pytest.mark.parametrize("ending", ["png", "bmp", "jpg", "tif", "tiff"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.97])
def test_a_truncated_file_is_refused(tmp_path: Path, write_image: WriteImage, ending: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    path = write_image(tmp_path / f"chip.{ending}", noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(Exception):  # noqa: B017 - image libraries raise everything; the index catches everything
        read_grey(path)


def test_raw_samples_keep_their_type(tmp_path: Path, write_image: WriteImage) -> None:
    for kind in (np.uint8, np.uint16, np.float32, np.complex64):
        raw = read_raw(write_image(tmp_path / "chip.tif", RAMP.astype(kind)))
        assert raw.dtype == kind and (raw == RAMP).all()
