"""Pixel and texture statistics: what can be said of a chip without learning anything about images.

The first rung of the ladder of section 14.8 of the task specification. A foundation model that does not beat these
numbers under a linear classifier has learnt little about SAR. Everything but the coarse pixels at the end is
unchanged by quarter turns, because targets in SAR chips have no preferred heading.

Images are brought to 64 x 64 by area averaging, so sizes and scales are comparable; constant and tiny images give
finite numbers. The averages are kept as whole-number sums, because comparisons between pixels (patterns, grey levels)
must come out the same whichever way the image is turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from foundation.errors import UsageError

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

SIDE = 64
"""Side to which every image is brought."""
_BATCH = 64  # images at a time: small enough for the cache, large enough to hide the interpreter
_TINY = 1e-12

_QUANTILES = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99)
_HISTOGRAM_BINS = 8
_GREY_LEVELS = 16
_DISTANCES = (1, 2, 4)
_DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))  # 0, 45, 90 and 135 degrees
_RINGS = 8
_SPECTRUM_RINGS = 12
_BRIGHT = (1.0, 2.0)  # thresholds of the bright masks, in standard deviations above the mean
_COARSE = 8

_INTENSITY = ("mean", "std", "skewness", "kurtosis", "minimum", "maximum", "variation", "entropy")
_TEXTURE = ("contrast", "homogeneity", "energy", "correlation", "entropy")
_MASK = ("area", "offset", "major", "minor", "elongation", "components", "largest", "contrast")


class SimpleFeatures:
    """Hand-made features: a `FeatureExtractor` without weights."""

    def __init__(self) -> None:
        self.names = feature_names()
        self.width = len(self.names)
        self.invariant = self.width - _COARSE**2
        """So many features from the front are unchanged by quarter turns."""

    def features(self, images: Sequence[Image]) -> Array:
        """Features [N, F] of grey 8-bit images of any size."""
        rows = [self._batch(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        return np.concatenate(rows) if rows else np.empty((0, self.width))

    def _batch(self, images: Sequence[Image]) -> Array:
        sums, areas = zip(*(_to_side(image) for image in images), strict=True)
        exact = np.stack(sums)
        area = np.array(areas, dtype=np.float64)[:, None, None]
        pixels = exact / area
        low, high = pixels.min(axis=(1, 2), keepdims=True), pixels.max(axis=(1, 2), keepdims=True)
        stretched = (pixels - low) / np.maximum(high - low, 1.0)
        parts = [
            _intensity(pixels),
            _texture(pixels / 256),
            _texture(stretched * (1 - 1e-9)),  # the maximum belongs to the last level, not to one above it
            _local_patterns(exact),
            _local_patterns(_blocks(exact, 2)),
            _radial_profile(pixels),
            _spectrum(pixels),
            _bright_masks(pixels),
            (_blocks(exact, SIDE // _COARSE) / (area * (SIDE // _COARSE) ** 2 * 255)).reshape(len(images), -1),
        ]
        return np.concatenate(parts, axis=1)


@cache
def feature_names() -> tuple[str, ...]:
    """A name for each feature, in order."""
    names = [f"intensity_{name}" for name in _INTENSITY]
    names += [f"quantile_{round(100 * q):02d}" for q in _QUANTILES]
    names += [f"histogram_{i}" for i in range(_HISTOGRAM_BINS)]
    for scale in ("absolute", "stretched"):
        names += [f"glcm_{scale}_{d}_{name}" for d in _DISTANCES for name in _TEXTURE]
    for size in (SIDE, SIDE // 2):
        names += [f"lbp_{size}_{i}" for i in range(10)]
    names += [f"ring_{kind}_{i}" for kind in ("mean", "std") for i in range(_RINGS)]
    names += [f"spectrum_{i}" for i in range(_SPECTRUM_RINGS)] + [f"orientation_{i}" for i in range(4)]
    names += [f"bright_{threshold:g}_{name}" for threshold in _BRIGHT for name in _MASK]
    names += [f"pixel_{row}_{column}" for row in range(_COARSE) for column in range(_COARSE)]
    return tuple(names)


class _Sums(NamedTuple):
    """An image on the common grid: whole-number sums over each cell, and what to divide them by."""

    sums: Array
    area: int


def _to_side(image: Image) -> _Sums:
    if image.ndim != 2 or image.dtype != np.uint8 or not image.size:
        raise UsageError(
            f"simple features need grey 8-bit images, not {image.dtype} of shape {image.shape}",
            way_out="convert the image with the input contract of its card",
        )
    height, width = image.shape
    if height == width == SIDE:
        return _Sums(image.astype(np.float64), 1)
    return _Sums(_overlaps(height) @ image.astype(np.float64) @ _overlaps(width).T, height * width)


@cache
def _overlaps(size: int) -> Array:
    """[SIDE, size]: how much of each old pixel each new one covers, in units that make all of them whole numbers."""
    edges = np.arange(SIDE + 1) * size
    old = np.arange(size) * SIDE
    overlaps: Array = np.minimum(edges[1:, None], old + SIDE) - np.maximum(edges[:-1, None], old).astype(np.float64)
    return np.clip(overlaps, 0, None)


def _blocks(sums: Array, side: int) -> Array:
    """Sums over blocks of side x side."""
    count, height, width = sums.shape
    blocks: Array = sums.reshape(count, height // side, side, width // side, side).sum(axis=(2, 4))
    return blocks


def _intensity(pixels: Array) -> Array:
    flat = np.sort(pixels.reshape(len(pixels), -1), axis=1) / 255
    count = flat.shape[1]
    mean = flat.mean(axis=1)
    centred = flat - mean[:, None]
    squares = centred * centred
    variance = squares.mean(axis=1)
    # Below a ten-thousandth of a grey level the higher moments are rounding noise.
    spread = np.where(variance > 1e-12, variance, np.inf)
    skewness = (squares * centred).mean(axis=1) / spread**1.5
    kurtosis = (squares * squares).mean(axis=1) / spread**2
    std = np.sqrt(variance)
    bins = np.minimum((flat * 32).astype(np.int64), 31) + 32 * np.arange(len(flat))[:, None]
    histogram = np.bincount(bins.ravel(), minlength=32 * len(flat)).reshape(len(flat), 32) / count
    entropy = -(histogram * np.log2(histogram + _TINY)).sum(axis=1)
    moments = [mean, std, skewness, kurtosis, flat[:, 0], flat[:, -1], std / (mean + 1 / 255), entropy]
    quantiles = flat[:, [round(q * (count - 1)) for q in _QUANTILES]]
    coarse = histogram.reshape(len(flat), _HISTOGRAM_BINS, -1).sum(axis=2)
    return np.concatenate([np.stack(moments, axis=1), quantiles, coarse], axis=1)


def _texture(unit: Array) -> Array:
    """Statistics of the grey-level co-occurrence matrices, averaged over the four directions."""
    count, height, width = unit.shape
    levels = (unit * _GREY_LEVELS).astype(np.int32)
    cells = _GREY_LEVELS**2
    offset = (cells * np.arange(count, dtype=np.int32))[:, None, None]
    columns = []
    for distance in _DISTANCES:
        total = np.zeros((count, len(_TEXTURE)))
        for down, right in _DIRECTIONS:
            dy, dx = down * distance, right * distance
            here = levels[:, : height - dy, max(0, -dx) : width - max(0, dx)]
            there = levels[:, dy:, max(0, dx) : width - max(0, -dx)]
            codes = here * _GREY_LEVELS + there + offset
            pairs = np.bincount(codes.ravel(), minlength=count * cells)
            matrix = pairs.reshape(count, _GREY_LEVELS, _GREY_LEVELS).astype(np.float64)
            matrix += matrix.transpose(0, 2, 1)  # a pair has no order
            total += _haralick(matrix / matrix.sum(axis=(1, 2), keepdims=True))
        columns.append(total / len(_DIRECTIONS))
    return np.concatenate(columns, axis=1)


class _LevelWeights(NamedTuple):
    contrast: Array
    homogeneity: Array


@cache
def _level_weights() -> _LevelWeights:
    level = np.arange(_GREY_LEVELS)
    squared = np.subtract.outer(level, level).astype(np.float64) ** 2
    return _LevelWeights(squared, 1 / (1 + squared))


def _haralick(matrix: Array) -> Array:
    """Contrast, homogeneity, energy, correlation and entropy of symmetric, normalised matrices [N, L, L]."""
    weights = _level_weights()
    level = np.arange(_GREY_LEVELS, dtype=np.float64)
    marginal = matrix.sum(axis=2)
    mean = marginal @ level
    variance = marginal @ level**2 - mean**2
    covariance = np.einsum("nij,i,j->n", matrix, level, level) - mean**2
    flat = variance < 1e-9  # one level everywhere: fully correlated, as scikit-image has it
    correlation = np.where(flat, 1.0, covariance / np.where(flat, 1.0, variance))
    return np.stack(
        [
            np.einsum("nij,ij->n", matrix, weights.contrast),
            np.einsum("nij,ij->n", matrix, weights.homogeneity),
            np.sqrt(np.einsum("nij,nij->n", matrix, matrix)),
            correlation,
            -(matrix * np.log2(matrix + _TINY)).sum(axis=(1, 2)),
        ],
        axis=1,
    )


@cache
def _uniform_classes() -> NDArray[np.int64]:
    """For each pattern of eight neighbours: how many are brighter if they form one arc, else 9."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    classes: NDArray[np.int64] = np.where(changes <= 2, bits.sum(axis=1), 9)
    return classes


def _local_patterns(pixels: Array) -> Array:
    """Rotation-invariant uniform local binary patterns on the 3 x 3 ring, without interpolation: ties stay ties."""
    count, height, width = pixels.shape
    centre = pixels[:, 1:-1, 1:-1]
    ring = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
    codes = np.zeros(centre.shape, dtype=np.uint8)
    for bit, (row, column) in enumerate(ring):
        neighbour = pixels[:, row : height - 2 + row, column : width - 2 + column]
        codes |= (neighbour >= centre).astype(np.uint8) << np.uint8(bit)
    classes = _uniform_classes()[codes].reshape(count, -1) + 10 * np.arange(count)[:, None]
    histogram = np.bincount(classes.ravel(), minlength=10 * count).reshape(count, 10)
    shares: Array = histogram / centre[0].size
    return shares


@cache
def _ring_weights() -> Array:
    """[SIDE * SIDE, rings]: each column averages one ring around the centre; corners belong to the last."""
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    ring = np.minimum((np.hypot(y, x) / (SIDE / 2) * _RINGS).astype(np.int64), _RINGS - 1).ravel()
    members = (ring[:, None] == np.arange(_RINGS)).astype(np.float64)
    weights: Array = members / members.sum(axis=0)
    return weights


def _radial_profile(pixels: Array) -> Array:
    flat = pixels.reshape(len(pixels), -1) / 255
    mean = flat @ _ring_weights()
    variance = (flat * flat) @ _ring_weights() - mean**2
    return np.concatenate([mean, np.sqrt(np.clip(np.round(variance, 12), 0, None))], axis=1)


class _SpectrumWeights(NamedTuple):
    window: Array
    rings: Array
    sectors: Array


@cache
def _spectrum_weights() -> _SpectrumWeights:
    ramp = np.sin(np.pi * (np.arange(SIDE) + 0.5) / SIDE) ** 2
    frequency = np.fft.fftfreq(SIDE) * SIDE
    fy, fx = frequency[:, None], frequency[None, : SIDE // 2 + 1]
    radius = np.hypot(fy, fx)
    inside = (radius > 0.5) & (radius < SIDE / 2 - 0.5)  # neither the mean nor the ambiguous highest frequency
    # The half plane stands for both signs; only its first column holds both already.
    twice = np.where(fx == 0, 1.0, 2.0) * inside
    ring = np.minimum(radius / (SIDE / 2) * _SPECTRUM_RINGS, _SPECTRUM_RINGS - 1).astype(np.int64)
    sector = np.round(np.arctan2(fy, fx) / (np.pi / 4)).astype(np.int64) % 4
    rings = (ring.reshape(-1, 1) == np.arange(_SPECTRUM_RINGS)) * twice.reshape(-1, 1)
    sectors = (sector.reshape(-1, 1) == np.arange(4)) * twice.reshape(-1, 1)
    return _SpectrumWeights(np.outer(ramp, ramp), rings, sectors)


def _spectrum(pixels: Array) -> Array:
    """Shares of power over rings of frequency, and over four orientations in ascending order."""
    weights = _spectrum_weights()
    centred = pixels / 255 - pixels.mean(axis=(1, 2), keepdims=True) / 255
    power = np.abs(np.fft.rfft2(centred * weights.window)) ** 2
    power = power.reshape(len(pixels), -1)
    rings, sectors = power @ weights.rings, power @ weights.sectors
    total = rings.sum(axis=1, keepdims=True)
    floor = 1e-6  # far below the power of a one-level checkerboard; keeps constant images finite
    return np.concatenate(
        [np.log10((rings + floor) / (total + floor)), np.sort(sectors, axis=1) / (total + floor)], axis=1
    )


def _bright_masks(pixels: Array) -> Array:
    mean = pixels.mean(axis=(1, 2))
    std = pixels.std(axis=(1, 2))
    columns = []
    for threshold in _BRIGHT:
        level = mean + threshold * std + 1e-6  # nothing is bright in a constant image
        masks = pixels > level[:, None, None]
        columns.append(
            np.concatenate(
                [
                    _shapes(masks),
                    _brightness(pixels, masks),
                ],
                axis=1,
            )
        )
    return np.concatenate(columns, axis=1)


def _shapes(masks: NDArray[np.bool_]) -> Array:
    """Area, distance of the centroid from the centre, axes, elongation, number of parts and share of the largest."""
    flat = masks.reshape(len(masks), -1).astype(np.float64)
    y, x = (index.ravel() / SIDE - (SIDE - 1) / (2 * SIDE) for index in np.indices((SIDE, SIDE)))
    basis = np.stack([np.ones_like(y), y, x, y * y, x * x, x * y], axis=1)
    sums = flat @ basis
    area = sums[:, 0]
    my, mx, yy, xx, xy = (sums[:, 1:] / np.maximum(area, 1)[:, None]).T
    yy, xx, xy = yy - my**2, xx - mx**2, xy - mx * my
    middle, half = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    pixel = 1 / (12 * SIDE**2)  # variance of one pixel: a line one pixel wide is not infinitely thin
    major = np.sqrt(np.clip(middle + half, 0, None) + pixel) * (area > 0)
    minor = np.sqrt(np.clip(middle - half, 0, None) + pixel) * (area > 0)
    elongation = 1 - minor / np.maximum(major, _TINY)
    elongation = elongation * (area > 0)
    parts = np.array([_parts(mask) for mask in masks])
    measures = [area / SIDE**2, np.hypot(my, mx), major, minor, elongation]
    return np.concatenate([np.stack(measures, axis=1), parts], axis=1)


def _parts(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Logarithm of the number of connected parts, and the share of the largest in the whole."""
    labelled, count = label(mask, connectivity=2, return_num=True)
    if not count:
        return 0.0, 0.0
    sizes = np.bincount(labelled.ravel())[1:]
    return float(np.log1p(count)), float(sizes.max() / sizes.sum())


def _brightness(pixels: Array, masks: NDArray[np.bool_]) -> Array:
    """Mean of the bright pixels over the mean of the others, as a difference of logarithms."""
    inside, total = masks.sum(axis=(1, 2)), pixels[0].size
    bright = (pixels * masks).sum(axis=(1, 2))
    rest = pixels.sum(axis=(1, 2)) - bright
    ratio = np.log((bright / np.maximum(inside, 1) + 1) / (rest / np.maximum(total - inside, 1) + 1))
    return np.where(inside > 0, ratio, 0.0)[:, None]
