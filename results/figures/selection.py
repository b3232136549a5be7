"""Which test images are shown: by rules that know the truth and the images and no model, never by hand (section 13)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from foundation.hashing import hash_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

ImageOf = Callable[[str], "Pixels | None"]
"""The pixels of a test image, or None where they are not here."""

LOOKED_AT = 200
"""At most this many test images are opened in search of clutter, evenly spaced; more would cost minutes."""
_BLOCK = 16
"""Side in pixels of the blocks in which local contrast is measured."""
_STRONGEST = 0.05
"""Share of the blocks that make an image's clutter: a few bright corners, not the average ground."""


class Choice(NamedTuple):
    """One image to show, and why."""

    image_id: str
    why: str


def choose_detection(truth: Sequence[dict[str, Any]], image_of: ImageOf, count: int = 3) -> list[Choice]:
    """`count` images with the most small targets near the border and `count` with the strongest clutter."""
    chosen = [
        Choice(image_id, f"{number} small targets near the border" if number > 1 else "a small target near the border")
        for image_id, number in _border_targets(truth)[:count]
    ]
    taken = {choice.image_id for choice in chosen}
    rows = sorted((row for row in truth if row["image_id"] not in taken), key=lambda row: str(row["image_id"]))
    step = max(1, math.ceil(len(rows) / LOOKED_AT))
    measured = []
    for row in rows[::step]:
        pixels = image_of(row["image_id"])
        if pixels is not None:
            measured.append((-clutter(pixels, row["boxes"]), str(row["image_id"])))
    chosen += [Choice(image_id, "strong clutter outside the targets") for _, image_id in sorted(measured)[:count]]
    taken = {choice.image_id for choice in chosen}
    rest = sorted((-len(row["boxes"]), str(row["image_id"])) for row in rows if row["image_id"] not in taken)
    chosen += [Choice(image_id, f"{-number} targets") for number, image_id in rest[: 2 * count - len(chosen)]]
    return chosen


class Mixture(NamedTuple):
    """What a true mask holds."""

    image_id: str
    unit: str
    """Place or scene: the polarisations of one place share a mask."""
    pixels: Sequence[int]
    """Per class."""


def choose_segmentation(masks: Sequence[Mixture], count: int = 6) -> list[Choice]:
    """The images with the most mixed truth, by entropy of their labelled pixels over the classes; one of each unit."""
    ranked = sorted((-_entropy(mask.pixels), mask.image_id, mask.unit) for mask in masks)
    units: dict[str, Choice] = {}
    for entropy, image_id, unit in ranked:
        units.setdefault(unit, Choice(image_id, f"mixed land cover, {-entropy:.2f} bits"))
    return list(units.values())[:count]


def choose_disagreement(right: Sequence[tuple[str, Sequence[bool]]], count: int = 12) -> list[Choice]:
    """The images on which models differ most: closest to half of them right.

    Args:
        right: image and, per model, whether its answer is right.
        count: how many images.
    """
    ranked = []
    for image_id, answers in right:
        share = sum(answers) / len(answers)
        if 0 < share < 1:
            # Among equals the order of hashes: names would show one class alone.
            ranked.append((abs(share - 0.5), hash_bytes(image_id.encode()), image_id, sum(answers), len(answers)))
    return [
        Choice(image_id, f"{number} of {models} models right")
        for _, _, image_id, number, models in sorted(ranked)[:count]
    ]


def clutter(pixels: Pixels, boxes: Sequence[Sequence[float]]) -> float:
    """Local contrast outside the boxes: mean deviation within the blocks of 16 x 16 pixels that vary most."""
    import numpy as np

    grey = pixels.astype(np.float32)
    if grey.ndim == 3:
        grey = grey.mean(axis=2)
    rows, columns = grey.shape[0] // _BLOCK, grey.shape[1] // _BLOCK
    if not rows or not columns:
        return float(grey.std()) if grey.size else 0.0
    blocks = grey[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    deviation = blocks.std(axis=(1, 3))
    covered = np.zeros((rows, columns), dtype=bool)
    for x, y, width, height, *_ in boxes:
        top, left = int(max(0.0, y) // _BLOCK), int(max(0.0, x) // _BLOCK)
        covered[top : int((y + height) // _BLOCK) + 1, left : int((x + width) // _BLOCK) + 1] = True
    outside = np.sort(deviation[~covered])
    return float(outside[-max(1, round(_STRONGEST * len(outside))) :].mean()) if len(outside) else 0.0


def _border_targets(truth: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """Images by how many small targets they have near the border; small: below the median size of all targets."""
    sizes = sorted(math.sqrt(box[2] * box[3]) for row in truth for box in row["boxes"])
    if not sizes:
        return []
    median = sizes[(len(sizes) - 1) // 2]
    counted = []
    for row in truth:
        near = 0
        for x, y, width, height, *_ in row["boxes"]:
            gap = min(x, y, row["width"] - x - width, row["height"] - y - height)
            near += math.sqrt(width * height) <= median and gap <= max(width, height)
        if near:
            counted.append((-near, str(row["image_id"])))
    return [(image_id, -near) for near, image_id in sorted(counted)]


def _entropy(counts: Sequence[int]) -> float:
    total = sum(counts)
    return -sum(count / total * math.log2(count / total) for count in counts if count) if total else 0.0
