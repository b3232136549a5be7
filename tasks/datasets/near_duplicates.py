"""Images that show the same ground: found again after new speckle, small crops, flips, quarter turns and JPEG.

Two stages. A coarse one compares every image with every other: 16 x 16 block means, whitened over the data set so that
what all of its images share (a bright target in the middle) counts little, the middle of one against the other in eight
turns and 25 shifts. It names the nearest neighbours of each image. The second looks at these in their own scale, at
48 cells along the usual side, two cells wide smoothed so that speckle is averaged, slow changes taken off: normalised
cross-correlation over all shifts that leave six tenths of the smaller image.

Chips of one type look alike, those of small ships on a calm sea most of all, so that no fixed correlation tells copies
from cousins. A pair counts when its correlation, as Fisher's z, stands out from what both images reach with their
other neighbours, or when it is so high that no cousins reach it; and only when enough of the images carries it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.progress import Progress, silent

Grey = NDArray[np.uint8]
Singles = NDArray[np.float32]

MARGIN = 0.50
"""How far Fisher's z of a pair stands above the neighbourhood of its two images.

Measured on sarworld with copies planted among 100 to 900 images per data set (new speckle, crops of 10 % with and
without new speckle, turns with and without, JPEG 60 %): found 96 % (ships), 100 % (SAR-ACD), 99 % (FUSAR-AIR), 100 %
(FUSAR-Map), 93 % (FU-SS), 100 % (FU-AS); right of what was found, at least 99.5 %. At 0.40 right falls to 94 %.
"""
CERTAIN = 0.88
"""Correlation that no two different images of these reached: the most was 0.86, between two ships."""
EVIDENCE = 9.0
"""Least Fisher's z times the root of the cells that carry the structure: two lone ships on a calm sea always align.

False pairs of 161 real scenes of lone ships reached 5.2; of the true planted pairs none had less than 9.0, and of the
pairs in SAR-ACD 99.4 % have more. What it costs: cropped copies of an image that shows one spot alone are not found.
"""
NEIGHBOURS = 16
"""Images that the coarse stage hands on for each image; a quarter of them must not be copies."""

_COARSE, _WINDOW, _REACH = 16, 12, 2
_CELLS, _CANVAS, _PLANE = 48, 64, 80  # what wraps around at the largest shifts that count is a sixth of their overlap
_SMOOTH, _BACKGROUND = 2, 9
_OVERLAP = 0.6
_ROWS = 256


class Match(NamedTuple):
    """Two images that show the same; `first` is below `second`."""

    first: int
    second: int
    similarity: float
    """Normalised cross-correlation at the best shift, 1 for the same pixels."""
    margin: float
    """Fisher's z above the neighbourhood of both."""
    turn: int
    """0 to 7: quarter turns, from 4 on mirrored as well."""


class Outlines(NamedTuple):
    """What is kept of every image."""

    coarse: Singles
    """[images, 16, 16], the logarithm of block means."""
    maps: Singles
    """[images, 64, 64], in the scale of the image, around its middle."""
    covered: NDArray[np.bool_]
    """[images, 64, 64], where the map has the image."""


def outlines(images: Iterable[Grey], sizes: Sequence[tuple[int, int]], progress: Progress = silent) -> Outlines:
    """Reduces images, given with their heights and widths; one is held in memory at a time."""
    pixels_per_cell = max(1.0, float(np.median([max(size) for size in sizes])) / _CELLS) if sizes else 1.0
    count = len(sizes)
    coarse = np.zeros((count, _COARSE, _COARSE), dtype=np.float32)
    maps = np.zeros((count, _CANVAS, _CANVAS), dtype=np.float32)
    covered = np.zeros((count, _CANVAS, _CANVAS), dtype=np.bool_)
    for number, image in enumerate(images):
        if number % 100 == 0:
            progress(number, count, "reducing images")
        height, width = image.shape[:2]
        coarse[number] = np.log1p(_reduced(image, _COARSE, _COARSE))
        rows, columns = (max(4, round(side / pixels_per_cell)) for side in (height, width))
        cells = _reduced(image, rows, columns)
        _place(_structure(cells), maps[number], covered[number])
    progress(count, count, "reducing images")
    return Outlines(coarse, maps, covered)


def find_matches(
    seen: Outlines, extra: Sequence[tuple[int, int]] = (), *, margin: float = MARGIN, progress: Progress = silent
) -> list[Match]:
    """Pairs of images that show the same ground, the most alike first.

    Args:
        seen: The reduced images.
        extra: Pairs to look at besides the nearest neighbours, e.g. those with nearly the same difference hash.
        margin: See `MARGIN`.
        progress: Told how far it is.
    """
    count = len(seen.coarse)
    if count < 2:
        return []
    near, turns = _neighbours(seen.coarse, progress)
    pairs = _pairs(near, turns, extra)
    correlation = _correlations(seen, pairs, progress)
    z = np.arctanh(np.clip(correlation, -0.999, 0.999))
    usual = _usual(count, pairs, z)
    above = z - (usual[pairs[:, 0]] + usual[pairs[:, 1]]) / 2
    carrying = _carrying_cells(seen.maps)
    evidence = z * np.sqrt(np.minimum(carrying[pairs[:, 0]], carrying[pairs[:, 1]]))
    counts = ((correlation >= CERTAIN) | (above >= margin)) & (evidence >= EVIDENCE)
    best: dict[tuple[int, int], Match] = {}
    for (first, second, turn), similarity, stands_out, there in zip(
        pairs.tolist(), correlation, above, counts, strict=True
    ):
        if there:
            match = Match(first, second, round(float(similarity), 4), round(float(stands_out), 4), turn)
            known = best.get((first, second))
            if known is None or match.similarity > known.similarity:
                best[first, second] = match
    return sorted(best.values(), key=lambda match: (-match.similarity, match.first, match.second))


def _reduced(image: NDArray[Any], rows: int, columns: int) -> Singles:
    """Block means."""
    from PIL import Image

    plane = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    reduced: Singles = np.asarray(plane.resize((columns, rows), Image.Resampling.BOX), dtype=np.float32)
    return reduced


def _structure(cells: Singles) -> Singles:
    """Brightness against the image's mean, compressed, smoothed against speckle, slow changes taken off."""
    from scipy.ndimage import uniform_filter

    bright = np.log1p(cells / (cells.mean() + np.float32(1e-3)))
    local = uniform_filter(bright - uniform_filter(bright, _BACKGROUND, mode="nearest"), _SMOOTH, mode="nearest")
    structure: Singles = (local - local.mean()).astype(np.float32)
    return structure


def _place(cells: Singles, plane: Singles, covered: NDArray[np.bool_]) -> None:
    """Puts the middle of a map into the middle of its plane."""
    for axis in (0, 1):
        spare = max(0, cells.shape[axis] - _CANVAS)
        cells = np.take(cells, range(spare // 2, cells.shape[axis] - (spare - spare // 2)), axis=axis)
    top, left = (_CANVAS - cells.shape[0]) // 2, (_CANVAS - cells.shape[1]) // 2
    plane[top : top + cells.shape[0], left : left + cells.shape[1]] = cells
    covered[top : top + cells.shape[0], left : left + cells.shape[1]] = True


def turned(planes: NDArray[Any], turn: int) -> NDArray[Any]:
    """Planes [..., height, width] in one of the eight turns of a square."""
    rotated = np.rot90(planes, turn % 4, axes=(-2, -1))
    return rotated[..., ::-1] if turn >= 4 else rotated


def _whitened(coarse: Singles) -> Singles:
    """What tells the images of this data set apart, in every turn the same."""
    fields = coarse - coarse.mean(axis=(1, 2), keepdims=True)
    every = np.concatenate([turned(fields, turn).reshape(len(fields), -1) for turn in range(8)])
    mean = every.mean(axis=0)
    covariance = (every - mean).T @ (every - mean) / len(every)
    power, directions = np.linalg.eigh(covariance.astype(np.float64))
    power = np.maximum(power, 0)
    scale = 1 / np.sqrt(power + np.median(power) + 1e-3 * power.max() + 1e-9)
    whitening = ((directions * scale) @ directions.T).astype(np.float32)
    white: Singles = ((fields.reshape(len(fields), -1) - mean) @ whitening).reshape(coarse.shape).astype(np.float32)
    return white


def _unit(windows: Singles) -> Singles:
    flat = np.ascontiguousarray(windows).reshape(len(windows), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    unit: Singles = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + np.float32(1e-6))
    return unit


def _neighbours(coarse: Singles, progress: Progress) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Of every image: the most similar others in falling order, and the turn in which they are."""
    white = _whitened(coarse)
    count, edge = len(white), (_COARSE - _WINDOW) // 2
    middle = _unit(white[:, edge : edge + _WINDOW, edge : edge + _WINDOW])
    shifts = [(y, x) for y in range(edge - _REACH, edge + _REACH + 1) for x in range(edge - _REACH, edge + _REACH + 1)]
    kept = min(NEIGHBOURS, count - 1)
    values = np.full((count, kept), -2.0, dtype=np.float32)
    near = np.zeros((count, kept), dtype=np.int64)
    turns = np.zeros((count, kept), dtype=np.int8)
    moved = [[_unit(turned(white, turn)[:, y : y + _WINDOW, x : x + _WINDOW]) for y, x in shifts] for turn in range(8)]
    for start in range(0, count, _ROWS):
        progress(start, count, "comparing images")
        stop = min(start + _ROWS, count)
        best, turn_of = _best(middle[start:stop], moved, start)
        own = np.arange(stop - start)
        best[own, own] = -2.0
        names = np.arange(start, count)
        _merge(slice(start, stop), best, turn_of, names, values, near, turns)
        if stop < count:
            back = _inverse(turn_of[:, stop - start :])
            _merge(slice(stop, count), best[:, stop - start :].T, back.T, names[: stop - start], values, near, turns)
    progress(count, count, "comparing images")
    return near, turns


def _best(rows: Singles, moved: list[list[Singles]], start: int) -> tuple[Singles, NDArray[np.int8]]:
    """The best correlation of some images with all from `start` on, over shifts, and in which turn."""
    best: Singles | None = None
    turn_of = np.zeros((0, 0), dtype=np.int8)
    for turn, windows in enumerate(moved):
        here = rows @ windows[0][start:].T
        product = np.empty_like(here)
        for shifted in windows[1:]:
            np.matmul(rows, shifted[start:].T, out=product)
            np.maximum(here, product, out=here)
        if best is None:
            best, turn_of = here, np.zeros(here.shape, dtype=np.int8)
        else:
            turn_of[here > best] = turn
            np.maximum(best, here, out=best)
    assert best is not None  # there are eight turns
    return best, turn_of


def _inverse(turns: NDArray[np.int8]) -> NDArray[np.int8]:
    """The turns that undo these: a quarter to the left undoes one to the right, a mirrored one undoes itself."""
    back: NDArray[np.int8] = np.where(turns < 4, (4 - turns) % 4, turns).astype(np.int8)
    return back


def _merge(
    part: slice,
    found: Singles,
    turn_of: NDArray[np.int8],
    names: NDArray[np.int64],
    values: Singles,
    near: NDArray[np.int64],
    turns: NDArray[np.int8],
) -> None:
    """Keeps the best neighbours of the images of a part, of those known and those found."""
    kept = values.shape[1]
    together = np.concatenate([values[part], found], axis=1)
    chosen = np.argsort(-together, axis=1, kind="stable")[:, :kept]
    everyone = np.concatenate([near[part], np.broadcast_to(names, found.shape)], axis=1)
    all_turns = np.concatenate([turns[part], turn_of], axis=1)
    values[part] = np.take_along_axis(together, chosen, axis=1)
    near[part] = np.take_along_axis(everyone, chosen, axis=1)
    turns[part] = np.take_along_axis(all_turns, chosen, axis=1)


def _pairs(near: NDArray[np.int64], turns: NDArray[np.int8], extra: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """[pairs, 3]: first, second, turn of the second; every pair once, ordered by the first."""
    first = np.repeat(np.arange(len(near)), near.shape[1])
    second, turn = near.ravel(), turns.ravel()
    swapped = second < first
    turn = np.where(swapped, _inverse(turn), turn)
    rows = np.stack([np.minimum(first, second), np.maximum(first, second), turn.astype(np.int64)], axis=1)
    if len(extra):
        added = np.array([(min(pair), max(pair), 0) for pair in extra], dtype=np.int64)
        rows = np.concatenate([rows, added])
    unique: NDArray[np.int64] = np.unique(rows, axis=0)
    return unique


def _correlations(seen: Outlines, pairs: NDArray[np.int64], progress: Progress) -> NDArray[np.float64]:
    found = np.empty(len(pairs))
    for start, batch in _batches(pairs):
        if start % 4096 == 0:
            progress(start, len(pairs), "aligning pairs")
        found[start : start + len(batch)] = _aligned(seen, batch)
    progress(len(pairs), len(pairs), "aligning pairs")
    return found


def _batches(pairs: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    size = 128
    for start in range(0, len(pairs), size):
        yield start, pairs[start : start + size]


def _aligned(seen: Outlines, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """The best normalised cross-correlation of each pair over the shifts that leave enough of both."""
    from scipy import fft

    names, place = np.unique(pairs[:, 0], return_inverse=True)
    second = np.stack([turned(seen.maps[name], turn) for _, name, turn in pairs])
    second_covered = np.stack([turned(seen.covered[name], turn) for _, name, turn in pairs]).astype(np.float32)

    def spectrum(planes: NDArray[Any]) -> NDArray[np.complex64]:
        spread: NDArray[np.complex64] = fft.rfft2(planes.astype(np.float32), (_PLANE, _PLANE))
        return spread

    def shifted(product: NDArray[np.complex64]) -> Singles:
        back: Singles = fft.irfft2(product, (_PLANE, _PLANE))
        return back

    maps, covered = seen.maps[names], seen.covered[names].astype(np.float32)
    a, a_power, a_area = (spectrum(planes)[place] for planes in (maps, maps * maps, covered))
    b, b_power, b_area = (np.conj(spectrum(planes)) for planes in (second, second * second, second_covered))
    area = _overlap(covered[place], second_covered)
    power = np.maximum(shifted(a_power * b_area), 0) * np.maximum(shifted(a_area * b_power), 0)
    smaller = np.minimum(covered[place].sum(axis=(1, 2)), second_covered.sum(axis=(1, 2)))
    enough = area >= _OVERLAP * smaller[:, None, None] - 0.5
    cross = shifted(a * b) / np.sqrt(power + np.float32(1e-4))
    best: NDArray[np.float64] = np.where(enough, cross, -1.0).max(axis=(1, 2)).astype(np.float64)
    return np.minimum(best, 1.0)


def _carrying_cells(maps: Singles) -> NDArray[np.float64]:
    """Per image: over how many cells the power of its structure is spread (participation ratio)."""
    power = (maps.astype(np.float64) ** 2).reshape(len(maps), -1)
    cells: NDArray[np.float64] = power.sum(axis=1) ** 2 / np.maximum((power**2).sum(axis=1), 1e-12)
    return cells


def _overlap(first: Singles, second: Singles) -> Singles:
    """Cells that two rectangles share at every shift: of rectangles, the product of those of rows and columns."""
    from scipy import fft

    rows, columns = (
        fft.irfft(fft.rfft(first.max(axis=axis), _PLANE) * np.conj(fft.rfft(second.max(axis=axis), _PLANE)), _PLANE)
        for axis in (2, 1)
    )
    shared: Singles = rows[:, :, None] * columns[:, None, :]
    return shared


def _usual(count: int, pairs: NDArray[np.int64], z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Per image: the lower quartile of Fisher's z with its neighbours, which copies do not raise unless most are."""
    images = np.concatenate([pairs[:, 0], pairs[:, 1]])
    values = np.concatenate([z, z])
    order = np.lexsort((values, images))
    images, values = images[order], values[order]
    starts = np.searchsorted(images, np.arange(count))
    counts = np.searchsorted(images, np.arange(count), side="right") - starts
    usual: NDArray[np.float64] = np.where(counts > 0, values[np.minimum(starts + counts // 4, len(values) - 1)], 0.0)
    return usual
