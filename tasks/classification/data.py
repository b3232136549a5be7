"""The two parts of a classification data set, ready to be learnt and scored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from foundation.errors import MissingError
from tasks.datasets.division import divide
from tasks.datasets.index import DatasetIndex
from tasks.splits import Split
from tasks.task import Part, Row


class Chip(NamedTuple):
    """One labelled image."""

    image_id: str
    path: Path
    label: int
    pixel_hash: str


@dataclass(frozen=True)
class ClassificationData:
    """Chips of both parts; labels index `classes`, from which classes that are too small are gone."""

    index: DatasetIndex
    split: Split
    classes: tuple[str, ...]
    train: tuple[Chip, ...]
    test: tuple[Chip, ...]
    dropped_classes: tuple[str, ...]
    cut: bool = False
    """A limit left images out."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Which classes the split rule found too small."""
        small = [self.index.classes[label] for label in self.split.dropped]
        small = [name for name in small if name in self.dropped_classes]
        return (f"classes with fewer than five images left out: {', '.join(small)}",) if small else ()

    def counts(self, part: Part) -> tuple[int, ...]:
        """Images per class."""
        found = Counter(chip.label for chip in (self.train if part == "train" else self.test))
        return tuple(found[label] for label in range(len(self.classes)))


def build(
    index: DatasetIndex,
    _settings: object = None,
    *,
    ratio: tuple[int, int] = (4, 1),
    limit: int | None = None,
) -> ClassificationData:
    """Splits an index by the common rule and numbers the classes that remain."""
    parts = divide(index, ratio=ratio)
    by_id = {image.image_id: image for image in index.images}
    present = {by_id[name].label for name in (*parts.train, *parts.test)}
    kept = [label for label in range(len(index.classes)) if label in present]
    if len(kept) < 2:
        raise MissingError(
            f"{index.dataset}: {len(kept)} classes with at least five images; two are needed",
            where=str(index.root),
            way_out="look at the class folders, or choose another --label-map",
        )
    renumbered = {label: position for position, label in enumerate(kept)}

    def chips(names: tuple[str, ...]) -> tuple[Chip, ...]:
        images = [by_id[name] for name in names[:limit]]
        return tuple(
            Chip(image.image_id, index.root / image.path, renumbered[image.label], image.pixel_hash) for image in images
        )

    return ClassificationData(
        index=index,
        split=Split(parts.train[:limit], parts.test[:limit], parts.dropped),
        classes=tuple(index.classes[label] for label in kept),
        train=chips(parts.train),
        test=chips(parts.test),
        cut=limit is not None and limit < max(len(parts.train), len(parts.test)),
        dropped_classes=tuple(name for label, name in enumerate(index.classes) if label not in present),
    )


def truth_of(data: ClassificationData) -> Row:
    """What predictions are scored against, and which data it belongs to; enough to score without the data set."""
    return {
        "dataset": data.index.dataset,
        "synthetic": data.index.synthetic,
        "world": data.index.world,
        "data_hash": data.index.data_hash,
        "split_hash": data.split.hash,
        "classes": list(data.classes),
        "train_counts": list(data.counts("train")),
        "test": [{"image_id": chip.image_id, "label": chip.label} for chip in data.test],
    }
