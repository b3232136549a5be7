"""Clutter keeps the moments of the product model (section 14.2)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tasks.sarworld import clutter
from tasks.sarworld.sensors import SENSORS, Sensor, sensor

SILENT_FLOOR_DB = -300.0
FIELD = (384, 384)


def flat_intensity(product: Sensor, name: str, fields: int = 1) -> np.ndarray:
    """Intensity of one class without jitter, at the reference incidence, without noise."""
    quiet = replace(product, noise_floor_db=SILENT_FLOOR_DB)
    entry = clutter.CLASSES[name]
    rng = np.random.default_rng(5)
    images = []
    for _ in range(fields):
        power = clutter.mean_power(name, quiet, 35.0) * clutter.texture(
            rng, FIELD, quiet.pixel_m, entry.nu, entry.correlation_m
        )
        images.append(clutter.intensity(rng, power, quiet))
    return np.stack(images)


@pytest.mark.parametrize("name", SENSORS)
def test_a_flat_class_has_the_sensors_number_of_looks(name: str) -> None:
    product = sensor(name)
    power = np.full(FIELD, 2.5)
    quiet = replace(product, noise_floor_db=SILENT_FLOOR_DB)
    intensity = clutter.intensity(np.random.default_rng(1), power, quiet)
    assert intensity.mean() ** 2 / intensity.var() == pytest.approx(product.looks, rel=0.05)
    assert 10 * math.log10(intensity.mean() / 2.5) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("name", clutter.CLASSES)
def test_each_class_has_the_variance_of_texture_and_speckle(name: str) -> None:
    # The coarse sensor holds the most independent texture cells, so few fields suffice.
    product = sensor("ht1")
    intensity = flat_intensity(product, name, fields=6)
    expected = (1 + 1 / product.looks) * (1 + 1 / clutter.CLASSES[name].nu) - 1
    assert intensity.var() / intensity.mean() ** 2 == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", clutter.CLASSES)
@pytest.mark.parametrize("sensor_name", ["gf3", "ht1"])
def test_each_class_has_its_mean(name: str, sensor_name: str) -> None:
    product = sensor(sensor_name)
    entry = clutter.CLASSES[name]
    expected = entry.mean_db + (clutter.BAND_GAIN_DB[product.band] if entry.rough else 0.0)
    assert 10 * math.log10(flat_intensity(product, name, fields=3).mean()) == pytest.approx(expected, abs=0.3)


def test_noise_adds_its_power() -> None:
    product = sensor("gf3")
    intensity = clutter.intensity(np.random.default_rng(2), np.zeros(FIELD), product)
    assert 10 * math.log10(intensity.mean()) == pytest.approx(product.noise_floor_db, abs=0.1)


@pytest.mark.parametrize("nu", [1.0, 3.0, 15.0, 60.0])
def test_texture_is_a_gamma_field_of_mean_one(nu: float) -> None:
    rng = np.random.default_rng(3)
    field = np.stack([clutter.texture(rng, (256, 256), 3.0, nu, 3.0) for _ in range(4)])
    assert field.mean() == pytest.approx(1.0, rel=0.02)
    assert field.var() == pytest.approx(1 / nu, rel=0.05)
    below_mean = {1.0: 0.632, 3.0: 0.577, 15.0: 0.534, 60.0: 0.517}[nu]  # regularised incomplete gamma P(nu, nu)
    assert (field < 1).mean() == pytest.approx(below_mean, abs=0.015)


def test_texture_forgets_over_the_correlation_length() -> None:
    correlation_px = 6
    fields = [
        clutter.texture(np.random.default_rng(seed), (256, 256), 1.0, 60.0, float(correlation_px)) for seed in range(6)
    ]

    def correlation(lag: int) -> float:
        return float(np.mean([np.corrcoef(f[:, lag:].ravel(), f[:, :-lag].ravel())[0, 1] for f in fields]))

    # exp(-(d / l)^2) of the Gaussian field; at nu = 60 the gamma field is nearly Gaussian.
    assert correlation(3) == pytest.approx(math.exp(-0.25), abs=0.05)
    assert correlation(correlation_px) == pytest.approx(math.exp(-1), abs=0.07)
    assert abs(correlation(24)) < 0.08


def test_texture_is_as_strong_at_the_border_as_inside() -> None:
    rng = np.random.default_rng(4)
    fields = np.stack([clutter.texture(rng, (24, 24), 1.0, 6.0, 8.0) for _ in range(3000)])
    variance = fields.var(axis=0)
    assert variance[0].mean() == pytest.approx(variance[12].mean(), rel=0.1)
    assert variance[:, -1].mean() == pytest.approx(1 / 6, rel=0.1)


def test_oversampled_speckle_keeps_its_looks_and_mean_and_joins_neighbours() -> None:
    product = sensor("gf3").product(0.5, resolution_m=1.0)
    rng = np.random.default_rng(6)
    fields = np.concatenate([clutter.speckle(rng, (128, 128), product) for _ in range(8)])
    intensity = np.abs(fields) ** 2
    assert intensity.mean() == pytest.approx(1.0, rel=0.02)
    assert intensity.var() == pytest.approx(1.0, rel=0.05)
    neighbours = np.corrcoef(intensity[..., 1:].ravel(), intensity[..., :-1].ravel())[0, 1]
    # The squared response half a resolution away: sinc(0.5)^2.
    assert neighbours == pytest.approx((2 / math.pi) ** 2, abs=0.03)


def test_a_coherent_point_brightens_its_pixel_by_its_power() -> None:
    product = sensor("gf3")
    coherent = np.zeros(FIELD, dtype=complex)
    coherent[::4, ::4] = 3.0 * np.exp(1j)
    intensity = clutter.intensity(np.random.default_rng(7), np.full(FIELD, 0.5), product, coherent)
    noise = 10 ** (product.noise_floor_db / 10)
    assert intensity[::4, ::4].mean() == pytest.approx(9.5 + noise, rel=0.01)
    assert intensity[1::4, 1::4].mean() == pytest.approx(0.5 + noise, rel=0.03)


def test_rough_classes_grow_with_frequency_and_all_fall_off_with_incidence() -> None:
    def level(name: str, sensor_name: str, incidence: float) -> float:
        return 10 * math.log10(clutter.mean_power(name, sensor(sensor_name), incidence))

    assert level("grass", "ql1", 35) - level("grass", "gf3", 35) == pytest.approx(2.0)
    assert level("grass", "ht1", 35) - level("grass", "gf3", 35) == pytest.approx(1.0)
    assert level("water", "ql1", 35) == pytest.approx(level("water", "gf3", 35))
    assert level("grass", "gf3", 45) - level("grass", "gf3", 35) == pytest.approx(-1.0)


def test_scene_gains_spread_by_one_and_a_half_decibels() -> None:
    draws = [list(clutter.scene_gains(np.random.default_rng(seed)).values()) for seed in range(400)]
    assert np.std(draws) == pytest.approx(1.5, rel=0.05)
    assert abs(np.mean(draws)) < 0.1


def test_swell_runs_three_decibels_from_trough_to_crest_along_its_heading() -> None:
    x, y = np.meshgrid(np.arange(240.0), np.arange(240.0))
    swell = clutter.swell_db(x, y, wavelength_m=80.0, heading=0.0, phase=0.3)
    assert swell.max() - swell.min() == pytest.approx(3.0, abs=0.05)
    assert np.allclose(swell[0], swell[100])
    assert np.allclose(swell[:, 0], swell[:, 80])
