"""The split rule of section 2.4: 4:1 per class, test part rounded up, ordered by hash, groups never divided."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from foundation.errors import UsageError
from foundation.hashing import hash_lines

SMALLEST_CLASS = 5
"""A class with fewer images cannot be trained and tested (rule 2.4.4)."""


class Item(NamedTuple):
    """What the rule needs to know of an image."""

    image_id: str
    unit: str
    label: int | None = None


class Split(NamedTuple):
    """The parts in hash order, and the classes that were too small to take part."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    dropped: tuple[int, ...] = ()

    @property
    def hash(self) -> str:
        """Hash over both lists, order included."""
        return hash_lines([*(f"train {name}" for name in self.train), *(f"test {name}" for name in self.test)])


def split_key(dataset: str, unit: str, seed: int = 0) -> str:
    """The hash that orders the units."""
    salt = "split-v1" if seed == 0 else f"split-v1#{seed}"
    return hashlib.sha256(f"{salt}|{dataset}|{unit}".encode()).hexdigest()


def split(dataset: str, items: Sequence[Item], *, seed: int = 0, ratio: tuple[int, int] = (4, 1)) -> Split:
    """Divides the images of a data set; independent of the order in which they come."""
    names = Counter(item.image_id for item in items)
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        raise UsageError(f"image id occurs twice: {repeated[0]}", where=dataset, way_out="give every image its own id")
    if min(ratio) < 1:
        raise UsageError(f"a split ratio needs two positive parts, not {ratio[0]}:{ratio[1]}")
    sizes = Counter(item.label for item in items)
    dropped = tuple(sorted(label for label, count in sizes.items() if label is not None and count < SMALLEST_CLASS))
    kept = [item for item in items if item.label not in dropped]
    members: dict[str, list[Item]] = defaultdict(list)
    for item in kept:
        members[item.unit].append(item)
    by_class: dict[int | None, list[str]] = defaultdict(list)
    for unit, group in members.items():
        by_class[_class_of(group)].append(unit)
    train: list[str] = []
    test: list[str] = []
    for label in sorted(by_class, key=lambda value: -1 if value is None else value):
        units = sorted(by_class[label], key=lambda unit: (split_key(dataset, unit, seed), unit))
        wanted = _test_size(sum(len(members[unit]) for unit in units), ratio)
        taken = 0
        for unit in units:
            part = test if taken < wanted else train
            part.extend(item.image_id for item in sorted(members[unit]))
            taken += len(members[unit]) if part is test else 0
    order = {item.image_id: (split_key(dataset, item.unit, seed), item.unit, item.image_id) for item in kept}
    return Split(tuple(sorted(train, key=order.__getitem__)), tuple(sorted(test, key=order.__getitem__)), dropped)


def _test_size(images: int, ratio: tuple[int, int]) -> int:
    """The test share rounded up, in whole numbers: 464 images at 4:1 give 93."""
    return -(-images * ratio[1] // sum(ratio))


def _class_of(group: Sequence[Item]) -> int | None:
    """A group counts for the class of most of its images; the lower index wins a tie."""
    counts = Counter(item.label for item in group)
    return min(counts, key=lambda label: (-counts[label], -1 if label is None else label))
