"""Distributed clutter by the product model (section 14.2 of the task specification).

Intensity = sigma(class) x texture x speckle + noise. Texture is a correlated Gaussian field turned into a gamma
field by the probability transform; speckle is the mean of L circular complex Gaussians, kept complex until
the coherent scatterers have been added. The product is K-distributed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tasks.sarworld.scatterers import pixel_centres, spread_matrix
from tasks.sarworld.sensors import Sensor

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
"""Fields are large and random: single precision halves the time and carries more digits than speckle has."""


@dataclass(frozen=True)
class ClutterClass:
    """One row of the table of section 14.2; the mean is for C band."""

    name: str
    mean_db: float
    nu: float
    """Shape of the gamma texture; small is spiky."""
    correlation_m: float
    rough: bool
    """Rough classes grow with the frequency of the sensor."""


# Section 14.2. What is smooth at all these bands (water, tarmac) keeps its level.
CLASSES: Mapping[str, ClutterClass] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            ClutterClass("water", -21.0, 60.0, 8.0, False),
            ClutterClass("sea", -17.0, 6.0, 10.0, False),
            ClutterClass("tarmac", -18.5, 30.0, 6.0, False),
            ClutterClass("grass", -13.0, 15.0, 5.0, True),
            ClutterClass("farmland", -10.0, 6.0, 4.0, True),
            ClutterClass("woodland", -8.5, 3.0, 7.0, True),
            ClutterClass("housing", -9.0, 1.5, 5.0, True),
            ClutterClass("industrial", -6.0, 1.0, 8.0, True),
        )
    }
)

BAND_GAIN_DB = MappingProxyType({"C": 0.0, "X": 1.0, "Ku": 2.0})  # section 14.2, on rough classes
SCENE_JITTER_DB = 1.5  # section 14.2, one draw per class and scene
FALL_OFF_DB_PER_DEG = -0.1  # section 14.2
_REFERENCE_INCIDENCE_DEG = 35.0  # our choice: the middle of the range that all three sensors share
SHOULDER_GAIN_DB, SHOULDER_WIDTH_M = 3.0, 4.0  # section 14.2, beside runways, roads and aprons
SWELL_DB, SWELL_WAVELENGTH_M = 3.0, (60.0, 120.0)  # section 14.2, on the sea


@lru_cache(maxsize=64)
def _smoothing(count: int, correlation_px: float) -> Singles:
    """Rows that turn white noise into a field with correlation exp(-(d / correlation)^2) and variance one."""
    reach = int(np.ceil(1.5 * correlation_px))
    sources = np.arange(-reach, count + reach)
    distance = (np.arange(count)[:, None] - sources[None, :]) / max(correlation_px, 1e-3)
    kernel = np.exp(-2.0 * distance**2)
    rows: Singles = (kernel / np.sqrt((kernel**2).sum(axis=1, keepdims=True))).astype(np.float32)
    rows.setflags(write=False)
    return rows


@lru_cache(maxsize=64)
def _log_gamma_by_normal(nu: float) -> tuple[Floats, Floats]:
    """Nodes of the probability transform normal -> gamma(nu, mean 1), as its logarithm, which is smooth."""
    normal = np.linspace(-6.0, 6.0, 1537)
    low = special.gammaincinv(nu, special.ndtr(np.minimum(normal, 0.0)))
    high = special.gammainccinv(nu, special.ndtr(-np.maximum(normal, 0.0)))
    return normal, np.log(np.where(normal < 0, low, high) / nu)


def texture(
    rng: np.random.Generator, shape: tuple[int, int], pixel_m: float, nu: float, correlation_m: float
) -> Singles:
    """A gamma field of shape `nu` and mean one, correlated over `correlation_m` metres."""
    rows = _smoothing(shape[0], correlation_m / pixel_m)
    columns = _smoothing(shape[1], correlation_m / pixel_m)
    white = rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
    field = rows @ white @ columns.T
    normal, log_gamma = _log_gamma_by_normal(nu)
    gamma: Singles = np.exp(np.interp(field, normal, log_gamma).astype(np.float32))
    return gamma


def speckle(rng: np.random.Generator, shape: tuple[int, int], sensor: Sensor) -> NDArray[np.complex64]:
    """Complex fields of mean intensity one, one per look.

    An oversampled product gets its speckle through the point-spread function, so grains are as wide as points.
    """
    rows = columns = None
    cells = shape
    if sensor.resolution_m > sensor.pixel_m:
        rows, columns = (_oversampling(count, sensor) for count in shape)
        cells = (rows.shape[1], columns.shape[1])
    # Real and imaginary parts lie side by side, as complex numbers do in memory.
    parts = rng.standard_normal((sensor.looks, *cells, 2), dtype=np.float32) * np.float32(np.sqrt(0.5))
    fields: NDArray[np.complex64] = parts.view(np.complex64)[..., 0]
    if rows is not None and columns is not None:
        fields = (rows @ fields @ columns.T).astype(np.complex64)
    return fields


def _oversampling(count: int, sensor: Sensor) -> Singles:
    extent = count * sensor.pixel_m
    cells = pixel_centres(int(np.ceil(extent / sensor.resolution_m)) + 8, sensor.resolution_m)
    rows = spread_matrix(pixel_centres(count, sensor.pixel_m), cells, sensor)
    even: Singles = (rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))).astype(np.float32)
    return even


def intensity(
    rng: np.random.Generator, power: NDArray[Any], sensor: Sensor, coherent: NDArray[Any] | None = None
) -> Singles:
    """Looks of clutter of mean `power`, noise and coherent scatterers, averaged in intensity."""
    amplitude = np.sqrt(power + 10 ** (sensor.noise_floor_db / 10)).astype(np.float32)
    shape = (power.shape[0], power.shape[1])
    fields = speckle(rng, shape, sensor) * amplitude
    if coherent is not None:
        fields += coherent.astype(np.complex64)
    averaged: Singles = np.mean(fields.real**2 + fields.imag**2, axis=0)
    return averaged


def scene_gains(rng: np.random.Generator) -> dict[str, float]:
    """How far, in dB, each class of one scene lies from its table mean."""
    return dict(zip(CLASSES, rng.normal(0.0, SCENE_JITTER_DB, len(CLASSES)).tolist(), strict=True))


def mean_power(name: str, sensor: Sensor, incidence_deg: float, gain_db: float = 0.0) -> float:
    """Mean power of a class for a sensor at an incidence, with the scene's gain."""
    entry = CLASSES[name]
    level = entry.mean_db + gain_db + FALL_OFF_DB_PER_DEG * (incidence_deg - _REFERENCE_INCIDENCE_DEG)
    if entry.rough:
        level += BAND_GAIN_DB[sensor.band]
    return float(10 ** (level / 10))


def swell_db(x: Floats, y: Floats, wavelength_m: float, heading: float, phase: float) -> Floats:
    """The sinus of the swell in dB, 3 dB from trough to crest on either side of zero mean."""
    along = x * np.cos(heading) + y * np.sin(heading)
    level: Floats = 0.5 * SWELL_DB * np.sin(2 * np.pi * along / wavelength_m + phase)
    return level
