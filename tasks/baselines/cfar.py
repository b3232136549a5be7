"""Detection without learning what a target looks like: bright against the background around it (section 14.8).

A pixel is bright if it stands out from a ring around it by so many of the ring's standard deviations (constant false
alarm rate). Bright pixels that lie close together are one target, and its box is theirs. How bright, how close, how
wide the ring and what sizes are believed is chosen on the training part, by the highest AP50. With several classes a
linear classifier over simple features of the cut-out says which one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CheckError
from tasks.baselines.features import LinearClassifier, simple_features
from tasks.metrics.precision_recall import interpolated

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Confidence = Literal["peak", "mean", "total"]

TARGET_SIDE = 32
"""Images are averaged down until the median target is at most this long: speckle falls and nothing is lost."""
PER_IMAGE = 100
"""Section 11.2: more detections of one image would not count."""
_BUDGET = 1_000_000  # pixels that the search looks at: it needs many targets, not all of them
_FEWEST_IMAGES = 12
_PROMISING = 3  # rings and thresholds for which every gap is tried
_LARGEST_TRAINING = 1000  # cut-outs for the classifier

_THRESHOLDS = (1.0, 1.5, 2.0, 2.75, 3.5, 5.0)
_RINGS = ((1.0, 2.0), (1.5, 3.5))  # sides of the inner and outer window, in longest target sides
_GAPS = (0, 1, 2, 3, 5)  # half of the gap that is closed, in pixels
_MARGINS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
_SIZES = ((0.3, 3.0), (0.6, 1.6), (0.8, 1.25))  # times the sides of the 2 % and the 98 % of training targets
_CONFIDENCES: tuple[Confidence, ...] = ("peak", "mean", "total")


class Labelled(NamedTuple):
    """True boxes of one image: [N, 4] x, y, width, height in pixels, and the class of each."""

    boxes: Array
    labels: NDArray[np.int64]


class Found(NamedTuple):
    """Detections of one image, the surest first; scores lie between 0 and 1."""

    boxes: Array
    labels: NDArray[np.int64]
    scores: Array


@dataclass(frozen=True)
class CfarSettings:
    """What was chosen on the training part."""

    pool: int
    """So many pixels are averaged per side."""
    guard: int
    """Side of the window around a pixel that is left out of its background, in averaged pixels."""
    outer: int
    """Side of the window that its background fills."""
    threshold: float = 2.0
    """In standard deviations of the background."""
    gap: int = 2
    """Bright pixels up to twice this apart are one target."""
    margin: float = 0.0
    """Added to each side of a box, in averaged pixels."""
    sizes: tuple[float, float] = (0.0, math.inf)
    """Shortest and longest side that a box may have, in pixels of the image."""
    confidence: Confidence = "mean"
    """Which contrast of the bright pixels is the score."""


class _Spots(NamedTuple):
    """Groups of bright pixels: [N, 4] left, top, right, bottom in averaged pixels, and three kinds of contrast."""

    edges: Array
    contrast: dict[Confidence, Array]


class CfarDetector:
    """Fitted on construction.

    `settings` and `training_ap50` (0 to 1) are None if the training part holds no box, and then nothing is found.
    """

    def __init__(self, images: Sequence[Image], truth: Sequence[Labelled], *, classes: int = 1, seed: int = 0) -> None:
        if len(images) != len(truth):
            raise CheckError(f"{len(images)} images with boxes for {len(truth)}", way_out="give boxes for every image")
        self.classes = classes
        found = _search(images, truth) if any(len(own.boxes) for own in truth) else None
        self.settings = found.settings if found else None
        self.training_ap50 = found.ap50 if found else None
        self._classifier = self._types(images, truth, seed) if found and classes > 1 else None

    @property
    def parameters(self) -> int:
        """Numbers chosen on the training part: the settings, and what the classifier of types was fitted to."""
        if self.settings is None:
            return 0
        chosen = sum(len(value) if isinstance(value, tuple) else 1 for value in astuple(self.settings))
        return chosen + (self._classifier.parameters if self._classifier is not None else 0)

    def predict(self, images: Sequence[Image]) -> list[Found]:
        """Detections of each image."""
        return [self._found(image) for image in images]

    def _types(self, images: Sequence[Image], truth: Sequence[Labelled], seed: int) -> LinearClassifier:
        every = [(image, own, row) for image, own in zip(images, truth, strict=True) for row in range(len(own.boxes))]
        step = max(1, math.ceil(len(every) / _LARGEST_TRAINING))
        cuts = [cut_out(image, own.boxes[row]) for image, own, row in every[::step]]
        labels = [int(own.labels[row]) for _, own, row in every[::step]]
        return LinearClassifier(simple_features(cuts), labels, self.classes, seed=seed)

    def _found(self, image: Image) -> Found:
        if self.settings is None:
            return Found(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
        grid = contrast(averaged(image, self.settings.pool), self.settings.guard, self.settings.outer)
        group = spots(grid, self.settings.threshold, self.settings.gap)
        boxes, strength = _boxes_of(group, self.settings, grid.shape)
        scores = strength / (1 + strength)
        labels = np.zeros(len(boxes), dtype=np.int64)
        if self._classifier is not None and len(boxes):
            shares = np.exp(self._classifier.scores(simple_features([cut_out(image, box) for box in boxes])))
            labels = shares.argmax(axis=1)
            scores = scores * shares.max(axis=1)
            order = np.argsort(-scores, kind="stable")
            boxes, labels, scores = boxes[order], labels[order], scores[order]
        return Found(boxes, labels, scores)


class _Candidate(NamedTuple):
    ap50: float
    fit: float
    """Mean overlap of the hits: of settings with equal AP50, the one whose boxes sit best will hold best."""
    settings: CfarSettings

    @property
    def rank(self) -> tuple[float, float]:
        return (-self.ap50, -self.fit)


class _Training(NamedTuple):
    """What the search looks at: averaged images, and their true boxes in averaged pixels, padded with empty ones."""

    images: list[NDArray[np.float32]]
    boxes: Array
    wanted: int


def _search(images: Sequence[Image], truth: Sequence[Labelled]) -> _Candidate:
    """Every ring and threshold with a middling gap, then every gap for the best of them."""
    sides = np.concatenate([own.boxes[:, 2:] for own in truth if len(own.boxes)])
    longest = sides.max(axis=1)
    pool = max(1, int(np.median(longest) // TARGET_SIDE))
    chosen = _searched([image.size / pool**2 for image in images], [len(own.boxes) > 0 for own in truth])
    boxes = np.zeros((len(chosen), max(len(truth[index].boxes) for index in chosen), 4))
    for row, index in enumerate(chosen):
        boxes[row, : len(truth[index].boxes)] = truth[index].boxes / pool
    wanted = sum(len(truth[index].boxes) for index in chosen)
    training = _Training([averaged(images[index], pool) for index in chosen], boxes, wanted)
    limits = (float(np.quantile(sides.min(axis=1), 0.02)), float(np.quantile(longest, 0.98)))
    typical = float(np.quantile(longest, 0.9)) / pool
    tried: list[_Candidate] = []
    for inner, outer in _RINGS:
        ring = CfarSettings(pool, _odd(inner * typical), _odd(outer * typical), gap=_GAPS[2])
        grids = [contrast(image, ring.guard, ring.outer) for image in training.images]
        tried += [_best_boxes(training, grids, replace(ring, threshold=t), limits) for t in _THRESHOLDS]
    # Sorting is stable: of equally good settings the first one tried stays in front.
    tried.sort(key=lambda candidate: candidate.rank)
    for promising in [candidate.settings for candidate in tried[:_PROMISING]]:
        grids = [contrast(image, promising.guard, promising.outer) for image in training.images]
        tried += [_best_boxes(training, grids, replace(promising, gap=gap), limits) for gap in _GAPS]
    return min(tried, key=lambda candidate: candidate.rank)


def _best_boxes(
    training: _Training, grids: Sequence[Array], settings: CfarSettings, limits: tuple[float, float]
) -> _Candidate:
    """The best way to make boxes of the same spots.

    AP50 is that of section 11.2 but for two simplifications: a spot is held against the one true box that it covers
    best, and the limit of detections per image is not applied.
    """
    groups = [spots(grid, settings.threshold, settings.gap) for grid in grids]
    image = np.repeat(np.arange(len(groups)), [len(group.edges) for group in groups])
    edges = np.concatenate([group.edges for group in groups])
    strengths = {kind: np.concatenate([group.contrast[kind] for group in groups]) for kind in _CONFIDENCES}
    borders = np.array([(grid.shape[1], grid.shape[0]) * 2 for grid in grids], dtype=np.float64)[image]
    best = _Candidate(-1.0, 0.0, settings)
    for margin in _MARGINS:
        boxes = _grown(edges, margin, borders)
        overlaps = _overlaps(boxes, training.boxes[image])
        overlap = overlaps.max(axis=1)
        target = np.where(overlap >= 0.5, image * overlaps.shape[1] + overlaps.argmax(axis=1), -1)
        for shrunk, extended in _SIZES:
            sizes = (shrunk * limits[0], extended * limits[1])
            believed = np.flatnonzero(_believed(boxes * settings.pool, sizes))
            for kind in _CONFIDENCES:
                order = believed[np.argsort(-strengths[kind][believed], kind="stable")]
                right = _first_on_each(target[order]).astype(np.float64)
                ap50 = interpolated(right, 1.0 - right, float(training.wanted))
                fit = float(overlap[order] @ right) / max(1.0, right.sum())
                made = replace(settings, margin=margin, sizes=sizes, confidence=kind)
                best = min(best, _Candidate(ap50, fit, made), key=lambda candidate: candidate.rank)
    return best


def _first_on_each(target: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which detections are the first on their true box; -1 is on none."""
    first = np.zeros(len(target), dtype=np.bool_)
    first[np.unique(target, return_index=True)[1]] = True
    return first & (target >= 0)


def _overlaps(boxes: Array, truth: Array) -> Array:
    """Intersection over union [N, T] of N boxes with the T true boxes of each one's image [N, T, 4]."""
    own = boxes[:, None, :]
    low = np.maximum(own[..., :2], truth[..., :2])
    high = np.minimum(own[..., :2] + own[..., 2:], truth[..., :2] + truth[..., 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    union = own[..., 2:].prod(axis=2) + truth[..., 2:].prod(axis=2) - both
    shares: Array = both / np.where(union > 0, union, 1.0)
    return shares


def averaged(image: Image, pool: int) -> NDArray[np.float32]:
    """Means over blocks of pool x pixels; what does not fill a block at the right and at the bottom is left out."""
    if pool == 1 or min(image.shape) < pool:
        return image.astype(np.float32)
    height, width = (side // pool for side in image.shape)
    blocks = image[: height * pool, : width * pool].reshape(height, pool, width, pool)
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means


def contrast(image: NDArray[np.float32], guard: int, outer: int) -> Array:
    """How far the mean of 3 x 3 pixels stands above the ring around it, in standard deviations of the ring."""
    from scipy.ndimage import uniform_filter

    outer = min(outer, _odd(2 * min(image.shape)))
    guard = min(guard, outer - 2)
    values = image.astype(np.float64)
    squares = values * values

    def ring(samples: Array) -> Array:
        wide = uniform_filter(samples, outer) * outer**2 - uniform_filter(samples, guard) * guard**2
        mean: Array = wide / (outer**2 - guard**2)
        return mean

    background = ring(values)
    spread = np.sqrt(np.clip(ring(squares) - background**2, 1.0, None))  # at least one grey level
    standing: Array = (uniform_filter(values, 3) - background) / spread
    return standing


def spots(grid: Array, threshold: float, gap: int) -> _Spots:
    """Groups of pixels above the threshold; those up to twice the gap apart belong together."""
    from scipy.ndimage import find_objects, label, maximum_filter1d

    bright = grid > threshold
    closed = bright.astype(np.uint8)
    if gap:
        for axis in (0, 1):
            closed = maximum_filter1d(closed, 2 * gap + 1, axis=axis)
    numbered, count = label(closed, structure=np.ones((3, 3)))
    if not count:
        return _Spots(np.zeros((0, 4)), {kind: np.zeros(0) for kind in _CONFIDENCES})
    numbered = np.where(bright, numbered, 0)
    edges = np.array([(c.start, r.start, c.stop, r.stop) for r, c in find_objects(numbered)], dtype=np.float64)
    own = numbered[bright]
    above = grid[bright]
    pixels = np.bincount(own, minlength=count + 1)[1:]
    total = np.bincount(own, weights=above, minlength=count + 1)[1:].astype(np.float64)
    peak = np.zeros(count + 1)
    np.maximum.at(peak, own, above)
    return _Spots(edges, {"peak": peak[1:], "mean": total / pixels, "total": total})


def cut_out(image: Image, box: Array) -> Image:
    """The pixels of a box; at least one."""
    height, width = image.shape
    x, y, w, h = box
    left, top = min(max(0, math.floor(x)), width - 1), min(max(0, math.floor(y)), height - 1)
    right, bottom = max(left + 1, math.ceil(x + w)), max(top + 1, math.ceil(y + h))
    return image[top:bottom, left:right]


class _Boxed(NamedTuple):
    boxes: Array
    strength: Array


def _boxes_of(group: _Spots, settings: CfarSettings, shape: tuple[int, ...]) -> _Boxed:
    borders = np.array([(shape[1], shape[0]) * 2], dtype=np.float64)
    boxes = _grown(group.edges, settings.margin, borders) * settings.pool
    strength = group.contrast[settings.confidence]
    believed = np.flatnonzero(_believed(boxes, settings.sizes))
    order = believed[np.argsort(-strength[believed], kind="stable")][:PER_IMAGE]
    return _Boxed(boxes[order], strength[order])


def _grown(edges: Array, margin: float, borders: Array) -> Array:
    """Boxes with a margin on every side, within the image."""
    moved = np.clip(edges + margin * np.array([-1.0, -1.0, 1.0, 1.0]), 0, borders)
    return np.concatenate([moved[:, :2], moved[:, 2:] - moved[:, :2]], axis=1)


def _believed(boxes: Array, sizes: tuple[float, float]) -> NDArray[np.bool_]:
    believed: NDArray[np.bool_] = (boxes[:, 2:].min(axis=1) >= max(sizes[0], 1.0)) & (
        boxes[:, 2:].max(axis=1) <= sizes[1]
    )
    return believed


def _searched(pixels: Sequence[float], filled: Sequence[bool]) -> list[int]:
    """Images for the search, evenly spaced, with and without boxes as they come; all if they are few."""
    wanted = len(pixels)
    while wanted > _FEWEST_IMAGES and sum(pixels) * wanted / len(pixels) > _BUDGET:
        wanted -= 1
    chosen = sorted({index * len(pixels) // wanted for index in range(wanted)})
    # Without a single box nothing can be chosen.
    return chosen if any(filled[index] for index in chosen) else sorted({*chosen, list(filled).index(True)})


def _odd(side: float) -> int:
    return max(3, 2 * int(side / 2) + 1)


def labelled(boxes: Sequence[Sequence[float]], labels: Sequence[int] | None = None) -> Labelled:
    """True boxes of one image from plain lists; one class if no labels are given."""
    kept: NDArray[Any] = np.array(labels if labels is not None else [0] * len(boxes), dtype=np.int64)
    return Labelled(np.array(boxes, dtype=np.float64).reshape(-1, 4), kept)
