"""Point scatterers through a separable, sub-pixel point-spread function (section 14.3 of the task specification).

The image of K scatterers is one product of an (n, K) by a (K, m) matrix: no loop over pixels or points.
Axes: x is ground range along the columns, y is azimuth along the rows, both in metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.sensors import Sensor

Floats = NDArray[np.float64]

_UNWEIGHTED_DB = -13.5  # a sinc has its first side lobe at -13.3 dB; levels at or above this mean "no window"
_EQUAL_LOBES = 4  # Taylor's nbar: enough for -30 dB (nbar >= 2 A^2 + 1/2), the lowest level in use


@dataclass(frozen=True)
class Scatterers:
    """Points with a radar cross-section in dB above one square metre and a phase in radians."""

    x: Floats
    y: Floats
    rcs_db: Floats
    phase: Floats

    def __len__(self) -> int:
        return len(self.x)

    @staticmethod
    def joined(parts: list[Scatterers]) -> Scatterers:
        """All points of all parts."""
        columns = [(part.x, part.y, part.rcs_db, part.phase) for part in parts]
        if not columns:
            return Scatterers(*(np.zeros(0) for _ in range(4)))
        return Scatterers(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def chosen(self, which: NDArray[np.bool_]) -> Scatterers:
        """Some of the points."""
        return Scatterers(self.x[which], self.y[which], self.rcs_db[which], self.phase[which])

    def shifted(self, x: float, y: float) -> Scatterers:
        """The same points moved by metres."""
        return Scatterers(self.x + x, self.y + y, self.rcs_db, self.phase)


def pixel_centres(count: int, pixel_m: float) -> Floats:
    """Coordinates in metres of `count` pixels around zero."""
    return np.asarray((np.arange(count) - (count - 1) / 2) * pixel_m, dtype=np.float64)


@lru_cache(maxsize=8)
def _taylor_coefficients(side_lobe_db: float) -> tuple[float, ...]:
    # Taylor's classical design (Trans. IRE AP-3, 1955): the first nbar - 1 lobes are level, the others fall off.
    squared_a = (math.acosh(10 ** (-side_lobe_db / 20)) / math.pi) ** 2
    stretch = _EQUAL_LOBES**2 / (squared_a + (_EQUAL_LOBES - 0.5) ** 2)
    orders = range(1, _EQUAL_LOBES)
    coefficients = []
    for m in orders:
        above = math.prod(1 - m**2 / (stretch * (squared_a + (n - 0.5) ** 2)) for n in orders)
        below = math.prod(1 - m**2 / n**2 for n in orders if n != m)
        coefficients.append((-1) ** (m + 1) * above / (2 * below))
    return tuple(coefficients)


def point_spread(distance: Floats, side_lobe_db: float) -> Floats:
    """Amplitude response at `distance`, in resolutions, from a point; 1 at the point itself.

    Levels down to -13.5 dB are the plain sinc; lower ones get a Taylor window, which widens the main lobe.
    """
    response = np.sinc(distance)
    if side_lobe_db >= _UNWEIGHTED_DB:
        return response
    total = 1.0
    for order, coefficient in enumerate(_taylor_coefficients(side_lobe_db), start=1):
        response = response + coefficient * (np.sinc(distance - order) + np.sinc(distance + order))
        total += coefficient * 2 * float(np.sinc(order))  # zero but for rounding: a whole number of resolutions away
    return response / total


def spread_matrix(at_m: Floats, from_m: Floats, sensor: Sensor) -> Floats:
    """Response at the pixels `at_m` (rows) of points at `from_m` (columns)."""
    return point_spread((at_m[:, None] - from_m[None, :]) / sensor.resolution_m, sensor.side_lobe_db)


def render(scatterers: Scatterers, shape: tuple[int, int], sensor: Sensor) -> NDArray[np.complex64]:
    """The coherent sum of all points on an image whose middle is (0, 0).

    The peak power of a lone point is its cross-section over the area of a resolution cell, so a scatterer
    stands out of the clutter more on a sharper sensor. Bright points spread over the whole image, as their side lobes
    do; the many weak ones only as far as they stay above the noise.
    """
    image = np.zeros(shape, dtype=np.complex64)
    peak_db = scatterers.rcs_db - 20 * np.log10(sensor.resolution_m)
    bright = peak_db > sensor.noise_floor_db - _LOBE_DB_AT_REACH
    if min(shape) <= 2 * _BLOCK or len(scatterers) <= _FEW:
        bright = np.ones(len(scatterers), dtype=bool)
    _add(image, scatterers.chosen(bright), shape, (0, 0), sensor)
    weak = scatterers.chosen(~bright)
    if len(weak):
        reach = _REACH_CELLS * sensor.resolution_m
        rows, columns = (pixel_centres(count, sensor.pixel_m) for count in shape)
        for top in range(0, shape[0], _BLOCK):
            y = rows[top : top + _BLOCK]
            band = weak.chosen((weak.y > y[0] - reach) & (weak.y < y[-1] + reach))
            for left in range(0, shape[1], _BLOCK):
                x = columns[left : left + _BLOCK]
                near = band.chosen((band.x > x[0] - reach) & (band.x < x[-1] + reach))
                _add(image[top : top + _BLOCK, left : left + _BLOCK], near, shape, (top, left), sensor)
    return image


_BLOCK = 128
_FEW = 256
_REACH_CELLS = 32.0
_LOBE_DB_AT_REACH = -40.0  # of the plain sinc, 1 / (pi 32); windowed responses are lower


def _add(
    window: NDArray[np.complex64], points: Scatterers, shape: tuple[int, int], corner: tuple[int, int], sensor: Sensor
) -> None:
    """Adds points to a window of the image, in place."""
    if not len(points):
        return
    ends = corner[0] + window.shape[0], corner[1] + window.shape[1]
    y, x = (
        pixel_centres(count, sensor.pixel_m)[start:end] for count, start, end in zip(shape, corner, ends, strict=True)
    )
    rows, columns = spread_matrix(y, points.y, sensor), spread_matrix(x, points.x, sensor)
    peak = 10 ** (points.rcs_db / 20) / sensor.resolution_m * np.exp(1j * points.phase)
    window += (rows * peak).astype(np.complex64) @ columns.T.astype(np.complex64)


def smeared(scatterers: Scatterers, length_m: float, rng: np.random.Generator, copies: int = 7) -> Scatterers:
    """Points drawn out along azimuth, as a target that moved during the aperture; energy is kept."""
    offsets = np.linspace(-0.5, 0.5, copies) * length_m
    weights_db = 10 * np.log10(np.full(copies, 1 / copies))
    phases = rng.uniform(0, 2 * np.pi, (len(scatterers), copies))
    return Scatterers(
        np.repeat(scatterers.x, copies),
        (scatterers.y[:, None] + offsets).ravel(),
        (scatterers.rcs_db[:, None] + weights_db).ravel(),
        (scatterers.phase[:, None] + phases).ravel(),
    )
