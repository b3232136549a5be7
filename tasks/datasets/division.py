"""The two parts of a data set: official ones where they count, else the rule of section 2.4 over its units."""

from __future__ import annotations

from collections.abc import Sequence

from foundation.errors import MissingError
from tasks.datasets.records import NO_LABEL, DatasetIndex
from tasks.splits import Item, Split, split, split_key


def divide(index: DatasetIndex, *, ratio: tuple[int, int] = (4, 1), seed: int = 0) -> Split:
    """Training pool and test part, both in hash order.

    Args:
        index: Says which official parts to train with, if any, and which ratio the user asked for.
        ratio: What the protocol says where the user says nothing.
        seed: 0 but in studies of the split itself (section 2.6).
    """
    if index.pool:
        train = [image.image_id for image in index.images if image.part in index.pool]
        test = [image.image_id for image in index.images if image.part == "test"]
        parts = Split(_ordered(index, train, seed), _ordered(index, test, seed))
    else:
        items = [
            Item(image.image_id, image.unit, None if image.label == NO_LABEL else image.label) for image in index.images
        ]
        parts = split(index.dataset, items, seed=seed, ratio=index.ratio or ratio)
    if not parts.train or not parts.test:
        units = len({image.unit for image in index.images})
        raise MissingError(
            f"{index.dataset}: {len(parts.train)} images to train and {len(parts.test)} to test",
            where=str(index.root),
            way_out=f"{len(index.images)} images form {units} units that are not divided; choose another --group or "
            "--split, or look at the files",
        )
    return parts


def _ordered(index: DatasetIndex, names: Sequence[str], seed: int) -> tuple[str, ...]:
    unit_of = {image.image_id: image.unit for image in index.images}
    return tuple(sorted(names, key=lambda name: (split_key(index.dataset, unit_of[name], seed), unit_of[name], name)))
