"""The few-shot rule of section 2.5: a share of the training pool that has every class of the pool.

The pool is ordered by hash and its first images are kept. A class that has no target among them brings its first image
along, and the last image that no class needs goes. Shares of the ladder are nested: what a smaller one keeps is never
the image that goes; without this clause of ours a class that comes in late could break the nesting.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction

from foundation.errors import UsageError
from tasks.datasets.records import DatasetIndex

LADDER = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares that are nested (section 2.5)."""


def few_shot_key(dataset: str, image_id: str) -> str:
    """The hash that orders the pool."""
    return hashlib.sha256(f"few-v1|{dataset}|{image_id}".encode()).hexdigest()


def few_shot(dataset: str, pool: Mapping[str, Collection[int]], share: float) -> tuple[str, ...]:
    """Images of the pool to train with, in hash order.

    Args:
        dataset: Id of the data set; enters the hash.
        pool: Image id to the classes of its targets.
        share: Of the images, not of the targets; above 0, at most 1.
    """
    if not 0 < share <= 1:
        raise UsageError(f"not a share of the training images: {share}", way_out="choose one above 0 and at most 1")
    order = sorted(pool, key=lambda name: (few_shot_key(dataset, name), name))
    classes = {name: frozenset(pool[name]) for name in order}
    kept: frozenset[str] = frozenset()
    for step in (*(smaller for smaller in LADDER if smaller < share), share):
        kept = _kept(order, classes, step, spared=kept)
    return tuple(name for name in order if name in kept)


def few_shot_of_index(index: DatasetIndex, train: Sequence[str], share: float) -> tuple[str, ...]:
    """The same for the training part of an indexed data set."""
    by_id = {image.image_id: image for image in index.images}
    return few_shot(index.dataset, {name: {box.label for box in by_id[name].boxes} for name in train}, share)


def _kept(
    order: Sequence[str], classes: Mapping[str, frozenset[int]], share: float, spared: Collection[str]
) -> frozenset[str]:
    wanted = -(-Fraction(str(share)) * len(order) // 1)  # exact: 0.1 of 30 images are 3, not 4
    kept = list(order[: int(wanted)])
    counts = Counter(label for name in kept for label in classes[name])
    for label in sorted(set().union(*classes.values())):
        if counts[label]:
            continue
        kept.append(next(name for name in order if label in classes[name]))
        counts.update(classes[kept[-1]])
        gone = next(
            (name for name in reversed(kept) if name not in spared and all(counts[mine] > 1 for mine in classes[name])),
            None,
        )
        if gone is not None:
            kept.remove(gone)
            counts.subtract(classes[gone])
    return frozenset(kept)
