"""Random sizes, crops and flips with the boxes carried along (section 4.1), drawn per image whatever batch it is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.detection.squares import Grey, Size, Squares, fitted, resized
from tasks.protocol.settings import DetectionSettings


class Marked(NamedTuple):
    """Targets of one image: boxes [M, 4] as left, top, right, bottom, and labels [M]."""

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]


class View(NamedTuple):
    """What is shown of an image: its size after the resize, the corner of the crop, the size of the crop."""

    whole: Size
    top: int
    left: int
    shown: Size
    mirrored: bool


def draw_view(file: Size, settings: DetectionSettings, rng: np.random.Generator) -> View:
    """A size within `resize_range`, a crop no larger than the input, and a coin for the mirror."""
    side = settings.image_size
    whole = fitted(file, rng.uniform(*settings.resize_range) * side)
    shown = Size(min(whole.height, side), min(whole.width, side))
    top = int(rng.integers(0, whole.height - shown.height + 1))
    left = int(rng.integers(0, whole.width - shown.width + 1))
    return View(whole, top, left, shown, bool(rng.random() < settings.horizontal_flip))


def show(grey: Grey, view: View) -> Grey:
    """The pixels of a view: one resampling, of the cropped part only."""
    height, width = grey.shape[0] / view.whole.height, grey.shape[1] / view.whole.width
    right, bottom = view.left + view.shown.width, view.top + view.shown.height
    # The products may pass the border by one rounding error, which the library refuses.
    box = (
        view.left * width,
        view.top * height,
        min(right * width, grey.shape[1]),
        min(bottom * height, grey.shape[0]),
    )
    piece = resized(grey, view.shown, box)
    return piece[:, ::-1] if view.mirrored else piece


def move(marked: Marked, view: View, smallest: float) -> Marked:
    """Boxes in shares of the image to pixels of the view; what the crop leaves below `smallest` is dropped."""
    scale = np.array([view.whole.width, view.whole.height] * 2, dtype=np.float64)
    corner = np.array([view.left, view.top] * 2, dtype=np.float64)
    border = np.array([view.shown.width, view.shown.height] * 2, dtype=np.float64)
    boxes = np.clip(marked.boxes * scale - corner, 0.0, border)
    if view.mirrored:
        boxes[:, [0, 2]] = view.shown.width - boxes[:, [2, 0]]
    kept = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= smallest
    return Marked(boxes[kept], marked.labels[kept])


def augment(
    squares: Squares,
    marked: Sequence[Marked],
    chosen: Sequence[int] | NDArray[np.int64],
    settings: DetectionSettings,
    rngs: Sequence[np.random.Generator],
) -> tuple[Grey, list[Marked]]:
    """Squares [B, S, S] with the chosen images in their top-left corners, and their boxes in pixels of the square."""
    side = settings.image_size
    pixels = np.zeros((len(chosen), side, side), dtype=np.uint8)
    targets = []
    for row, (position, rng) in enumerate(zip(chosen, rngs, strict=True)):
        view = draw_view(squares.files[position], settings, rng)
        pixels[row, : view.shown.height, : view.shown.width] = show(squares.content(position), view)
        targets.append(move(marked[position], view, settings.smallest_box))
    return pixels, targets
