"""Segmentation from statistics of patches and of their surroundings (section 14.8 of the task specification).

Patches of 8 x 8 pixels are described by grey level, spread and edges within themselves and within windows of 16 and
32 pixels around them: one window says little about a kind of ground, its surroundings say most (section 14.2). A
linear classifier gives each patch its probabilities, and those are interpolated to pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CellError, CheckError
from foundation.seeds import derive_seed
from tasks.baselines.features import LinearClassifier
from tasks.metrics.segmentation import IGNORE

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

PATCH = 8
WINDOWS = (8, 16, 32)
"""Sides of the patch itself and of its surroundings, in pixels."""
_CELL = 4  # windows are sums of cells, so that all of them lie centred on the patch
_FEWEST_VALID = 0.5  # share of labelled pixels that a patch needs to be learnt from
_MOST_PATCHES = 40_000  # more do not change a linear classifier of so few numbers
_STATISTICS = ("mean", "std", "log_mean", "log_std", "across", "down")


class PatchSegmenter:
    """Fitted on construction, to grey tiles and their masks; 255 in a mask is not learnt from."""

    def __init__(self, tiles: Sequence[Image], masks: Sequence[Image], *, classes: int, seed: int = 0) -> None:
        if len(tiles) != len(masks) or any(t.shape != m.shape for t, m in zip(tiles, masks, strict=True)):
            raise CheckError("tiles and masks do not go together", way_out="give each tile the mask of its size")
        features, labels = [], []
        for tile, mask in zip(tiles, masks, strict=True):
            shares = patch_shares(mask, classes)
            learnt = shares.sum(axis=2) >= _FEWEST_VALID
            features.append(patch_features(tile)[learnt])
            labels.append(shares[learnt].argmax(axis=1))
        described, largest = np.concatenate(features or [np.zeros((0, 1))]), np.concatenate(labels or [np.zeros(0)])
        if not len(described):
            raise CellError("the training masks hold no labelled pixels", way_out="raise --limit, or leave it out")
        if len(described) > _MOST_PATCHES:
            generator = np.random.default_rng(derive_seed("patches", seed))
            chosen = np.sort(generator.choice(len(described), _MOST_PATCHES, replace=False))
            described, largest = described[chosen], largest[chosen]
        self.classes = classes
        self._classifier = LinearClassifier(described, largest, classes, strength=1.0, iterations=200, seed=seed)

    @property
    def parameters(self) -> int:
        """Fitted numbers of the linear classifier."""
        return self._classifier.parameters

    def predict(self, tiles: Sequence[Image]) -> list[Image]:
        """A class for every pixel of each tile."""
        return [self._mask(tile) for tile in tiles]

    def _mask(self, tile: Image) -> Image:
        from scipy.ndimage import zoom

        features = patch_features(tile)
        rows, columns, width = features.shape
        scores = self._classifier.scores(features.reshape(-1, width)).reshape(rows, columns, self.classes)
        shares = np.exp(scores)
        dense = zoom(shares, (PATCH, PATCH, 1), order=1, mode="nearest", grid_mode=True)
        height, length = tile.shape
        mask: Image = dense[:height, :length].argmax(axis=2).astype(np.uint8)
        return mask


def patch_features(tile: Image) -> Array:
    """[rows, columns, F]: statistics of each patch and of its surroundings, and their squares."""
    values = _filled(tile).astype(np.float64)
    logs = np.log1p(values)
    across = np.abs(np.diff(values, axis=1, append=values[:, -1:]))
    down = np.abs(np.diff(values, axis=0, append=values[-1:]))
    sums = _cells(np.stack([values, values**2, logs, logs**2, across, down]))
    columns = []
    for side in WINDOWS:
        means = _windows(sums, side) / side**2
        spread = np.sqrt(np.clip(means[1] - means[0] ** 2, 0, None))
        log_spread = np.sqrt(np.clip(means[3] - means[2] ** 2, 0, None))
        columns += [np.log1p(means[0]), np.log1p(spread), means[2], log_spread]
        columns += [np.log1p(means[4]), np.log1p(means[5])]
    features = np.stack(columns, axis=2)
    return np.concatenate([features, features**2], axis=2)


def feature_names() -> tuple[str, ...]:
    """A name for each feature, in order."""
    names = [f"{name}_{side}" for side in WINDOWS for name in _STATISTICS]
    return (*names, *(f"{name}_squared" for name in names))


def patch_shares(mask: Image, classes: int) -> Array:
    """[rows, columns, classes]: which part of each patch every class covers; ignored pixels count for none."""
    odd = mask[(mask >= classes) & (mask != IGNORE)]
    if odd.size:
        raise CheckError(f"a mask holds the class {int(odd[0])}, but there are {classes} classes")
    height, width = mask.shape
    filled = np.pad(mask, ((0, -height % PATCH), (0, -width % PATCH)), constant_values=IGNORE)
    one_hot = filled[..., None] == np.arange(classes)
    rows, columns = filled.shape[0] // PATCH, filled.shape[1] // PATCH
    shares: Array = one_hot.reshape(rows, PATCH, columns, PATCH, classes).mean(axis=(1, 3))
    return shares


def _filled(tile: Image) -> Image:
    """The tile with its last rows and columns mirrored until whole patches fill it."""
    height, width = tile.shape
    return np.pad(tile, ((0, -height % PATCH), (0, -width % PATCH)), mode="symmetric")


def _cells(samples: Array) -> Array:
    kinds, height, width = samples.shape
    sums: Array = samples.reshape(kinds, height // _CELL, _CELL, width // _CELL, _CELL).sum(axis=(2, 4))
    return sums


def _windows(cells: Array, side: int) -> Array:
    """Sums over windows of the side around each patch; beyond the border the tile is mirrored."""
    around = (side - PATCH) // 2 // _CELL
    padded = np.pad(cells, ((0, 0), (around, around), (around, around)), mode="symmetric")
    total = np.pad(padded, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    count, step = side // _CELL, PATCH // _CELL
    rows = total[:, count::step] - total[:, :-count:step]
    sums: Array = rows[:, :, count::step] - rows[:, :, :-count:step]
    return sums
