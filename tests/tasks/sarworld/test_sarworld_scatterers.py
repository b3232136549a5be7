"""Points through the point-spread function: peak, side lobes, sub-pixel position (section 14.3)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UsageError
from tasks.sarworld.scatterers import Scatterers, pixel_centres, point_spread, render, smeared
from tasks.sarworld.sensors import sensor


def one_point(x: float = 0.0, y: float = 0.0, rcs_db: float = 0.0, phase: float = 0.0) -> Scatterers:
    return Scatterers(*(np.array([value]) for value in (x, y, rcs_db, phase)))


def first_side_lobe_db(side_lobe_db: float) -> float:
    distance = np.arange(0.0, 4.0, 0.001)
    response = np.abs(point_spread(distance, side_lobe_db))
    rising = np.nonzero(np.diff(response) > 0)[0][0]  # behind the first null
    return float(20 * np.log10(response[rising:].max()))


@pytest.mark.parametrize("nominal", [-13.0, -20.0, -22.0, -25.0, -30.0])
def test_the_highest_side_lobe_lies_at_its_nominal_level(nominal: float) -> None:
    assert first_side_lobe_db(nominal) == pytest.approx(nominal, abs=1.5)


def test_lower_side_lobes_cost_width() -> None:
    half_power = [
        np.abs(point_spread(np.arange(0, 2, 0.001), level) ** 2 - 0.5).argmin() for level in (-13.0, -20.0, -25.0)
    ]
    assert half_power[0] < half_power[1] < half_power[2]


@pytest.mark.parametrize("level", [-13.0, -20.0, -25.0])
def test_the_response_is_one_at_the_point_and_even(level: float) -> None:
    distance = np.linspace(0, 5, 41)
    assert point_spread(np.zeros(1), level)[0] == pytest.approx(1.0)
    assert np.allclose(point_spread(distance, level), point_spread(-distance, level))


def test_a_point_on_a_pixel_has_its_cross_section_over_the_resolution_cell() -> None:
    product = sensor("ht1")  # 3 m: 9 square metres, 9.5 dB
    image = render(one_point(rcs_db=20.0, phase=0.7), (31, 31), product)
    assert 20 * np.log10(np.abs(image[15, 15])) == pytest.approx(20 - 10 * np.log10(9), abs=1e-6)
    assert np.angle(image[15, 15]) == pytest.approx(0.7)


def test_axes_are_range_along_columns_and_azimuth_along_rows() -> None:
    image = np.abs(render(one_point(x=4.0, y=-7.0), (33, 33), sensor("gf3")))
    assert divmod(int(image.argmax()), image.shape[1]) == (16 - 7, 16 + 4)


@settings(max_examples=25, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.sampled_from([-13.0, -20.0, -25.0]))
def test_energy_does_not_depend_on_the_place_within_a_pixel(x: float, y: float, level: float) -> None:
    # On a grid that samples the intensity fully (half the resolution) the sum is the integral.
    product = sensor("gf3").product(0.5, resolution_m=1.0, side_lobe_db=level)
    energy = [(np.abs(render(one_point(*at), (129, 129), product)) ** 2).sum() for at in ((0.0, 0.0), (x, y))]
    assert energy[1] == pytest.approx(energy[0], rel=0.01)


@settings(max_examples=25, deadline=None)
@given(st.floats(-4, 4), st.floats(-4, 4))
def test_the_peak_is_found_where_the_point_is(x: float, y: float) -> None:
    image = np.abs(render(one_point(x, y), (65, 65), sensor("gf3").product(0.25, resolution_m=1.0)))
    row, column = np.unravel_index(image.argmax(), image.shape)
    centres = pixel_centres(65, 0.25)
    assert abs(centres[column] - x) <= 0.126
    assert abs(centres[row] - y) <= 0.126
    assert image.max() > 0.95


def test_matrix_products_equal_the_sum_over_points() -> None:
    rng = np.random.default_rng(0)
    product = sensor("ql1").product(0.3)
    points = Scatterers(rng.normal(0, 2, 9), rng.normal(0, 2, 9), rng.normal(0, 5, 9), rng.uniform(0, 6, 9))
    slow = np.zeros((20, 24), dtype=complex)
    for row, y in enumerate((np.arange(20) - 9.5) * 0.3):
        for column, x in enumerate((np.arange(24) - 11.5) * 0.3):
            for k in range(9):
                amplitude = 10 ** (points.rcs_db[k] / 20) / product.resolution_m * np.exp(1j * points.phase[k])
                response = [
                    point_spread(np.array([d / product.resolution_m]), product.side_lobe_db)[0]
                    for d in (x - points.x[k], y - points.y[k])
                ]
                slow[row, column] += amplitude * response[0] * response[1]
    assert np.allclose(render(points, (20, 24), product), slow, atol=1e-12)


def test_no_points_make_an_empty_image() -> None:
    assert not render(Scatterers.joined([]), (8, 8), sensor("gf3")).any()


def test_smear_keeps_the_power_and_stretches_azimuth_alone() -> None:
    moved = smeared(one_point(rcs_db=10.0), 12.0, np.random.default_rng(0))
    assert 10 * np.log10((10 ** (moved.rcs_db / 10)).sum()) == pytest.approx(10.0)
    assert np.ptp(moved.y) == pytest.approx(12.0)
    assert np.ptp(moved.x) == 0


def test_a_product_is_never_sharper_than_its_sensor() -> None:
    assert sensor("gf3").product(0.5).resolution_m == 1.0
    assert sensor("gf3").product(4.0).resolution_m == 4.0
    with pytest.raises(UsageError, match="resolves"):
        sensor("gf3").product(0.5, resolution_m=0.6)


def test_an_unknown_sensor_is_answered_with_a_known_one() -> None:
    with pytest.raises(UsageError, match="gf3"):
        sensor("gf-3")
