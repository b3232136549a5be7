"""The two parts of a classification data set, ready to be learnt and scored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from foundation.errors import MissingError
from tasks.datasets.division import divide
from tasks.datasets.index import DatasetIndex
from tasks.parts import TaskParts, limited
from tasks.task import Part, Row


class Chip(NamedTuple):
    """One labelled image."""

    image_id: str
    path: Path
    label: int
    pixel_hash: str


@dataclass(frozen=True)
class ClassificationData(TaskParts[Chip]):
    """Chips of both parts; labels index `classes`, from which classes that are too small are gone."""

    def counts(self, part: Part) -> tuple[int, ...]:
        """Images per class."""
        found = Counter(chip.label for chip in self.items(part))
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
        images = [by_id[name] for name in names]
        return tuple(
            Chip(image.image_id, index.root / image.path, renumbered[image.label], image.pixel_hash) for image in images
        )

    used, cut = limited(parts, limit)
    small = [name for label, name in enumerate(index.classes) if label in parts.dropped and label not in present]
    return ClassificationData(
        index=index,
        split=used,
        classes=tuple(index.classes[label] for label in kept),
        train=chips(used.train),
        test=chips(used.test),
        dropped_classes=tuple(name for label, name in enumerate(index.classes) if label not in present),
        cut=cut,
        warnings=(f"classes with fewer than five images left out: {', '.join(small)}",) if small else (),
    )


def truth_of(data: ClassificationData) -> Row:
    """What predictions are scored against."""
    return data.truth([{"image_id": chip.image_id, "label": chip.label} for chip in data.test])
