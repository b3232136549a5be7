"""Amplitude to 8 bit: the mean clip of section 2.2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from adapters.mean_clip import mean_clip_uint8
from foundation.errors import UsageError

AMPLITUDES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.floats(0, 1e4, width=32, allow_subnormal=False),
)


def test_three_times_the_mean_of_the_non_zero_pixels_becomes_white() -> None:
    amplitude = np.array([[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 7.0]])  # non-zero mean 2, ceiling 6
    expected = [[0, 0, 42, 42], [42, 42, 42, 255]]  # 255 / 6 = 42.5, and half goes to the even neighbour
    assert mean_clip_uint8(amplitude).tolist() == expected


def test_zeros_do_not_darken_the_rest() -> None:
    signal = np.full((4, 4), 3.0)
    padded = np.zeros((8, 8))
    padded[:4, :4] = signal
    assert (mean_clip_uint8(padded)[:4, :4] == mean_clip_uint8(signal)).all()


def test_the_factor_moves_the_white_level() -> None:
    amplitude = np.array([[1.0, 3.0]])
    assert mean_clip_uint8(amplitude, factor=1.0).tolist() == [[128, 255]]
    assert mean_clip_uint8(amplitude, factor=6.0).tolist() == [[21, 64]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_the_sample_type_does_not_matter(dtype: Any) -> None:
    amplitude = np.array([[10, 20], [30, 200]])
    assert (mean_clip_uint8(amplitude.astype(dtype)) == mean_clip_uint8(amplitude)).all()


def test_complex_input_is_taken_as_its_magnitude() -> None:
    field = np.array([[3 + 4j, -5 + 0j], [0j, 15j]])
    assert (mean_clip_uint8(field) == mean_clip_uint8(np.abs(field))).all()


def test_an_image_without_signal_is_black() -> None:
    assert not mean_clip_uint8(np.zeros((3, 5))).any()
    assert mean_clip_uint8(np.zeros((0, 5))).shape == (0, 5)


def test_pixels_that_are_not_finite_count_as_no_data() -> None:
    dirty = np.array([[np.nan, 1.0], [np.inf, 2.0]])
    assert mean_clip_uint8(dirty).tolist() == mean_clip_uint8(np.array([[0.0, 1.0], [0.0, 2.0]])).tolist()


def test_the_input_stays_as_it_was() -> None:
    amplitude = np.array([[np.nan, 9.0]])
    mean_clip_uint8(amplitude)
    assert np.isnan(amplitude[0, 0])
    assert amplitude[0, 1] == 9.0


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_a_factor_that_makes_no_sense_is_refused(factor: float) -> None:
    with pytest.raises(UsageError, match="factor"):
        mean_clip_uint8(np.ones((2, 2)), factor=factor)


def test_decibels_are_refused_as_they_are_no_amplitude() -> None:
    with pytest.raises(UsageError, match="below zero"):
        mean_clip_uint8(np.array([[-17.0, -12.0]]))


@given(AMPLITUDES)
def test_brighter_pixels_never_come_out_darker(amplitude: NDArray[np.float32]) -> None:
    order = np.argsort(amplitude.ravel(), kind="stable")
    assert (np.diff(mean_clip_uint8(amplitude).ravel()[order].astype(int)) >= 0).all()


@given(AMPLITUDES, st.sampled_from([0.25, 2.0, 1024.0]))
def test_calibration_does_not_matter(amplitude: NDArray[np.float32], gain: float) -> None:
    # Powers of two scale exactly, so not even rounding may differ.
    assert (mean_clip_uint8(amplitude) == mean_clip_uint8(amplitude * np.float32(gain))).all()
