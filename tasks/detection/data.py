"""The two parts of a detection data set, ready to be learnt and scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from foundation.errors import MissingError
from tasks.datasets.division import divide
from tasks.datasets.records import Box, DatasetIndex, ImageEntry
from tasks.few_shot import few_shot_of_index
from tasks.parts import TaskParts, limited
from tasks.protocol.settings import DetectionSettings
from tasks.splits import Split
from tasks.task import Part, Row

FEW_SHOT = frozenset({"sar_aircraft_few"})
"""Data sets whose training pool is reduced by the few-shot rule (sections 2.5 and 4.3)."""


class Scene(NamedTuple):
    """One image and its targets, in pixels of the file; labels index the classes of the data set."""

    image_id: str
    path: Path
    width: int
    height: int
    pixel_hash: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class DetectionData(TaskParts[Scene]):
    """Scenes of both parts; the training part holds only scenes that something can be learnt from.

    All classes of the data set stay: one without boxes too, and the warnings name it.
    """

    ignore_difficult: bool = False
    """Difficult boxes of the test part are neither asked for nor held against who finds them."""

    def counts(self, part: Part) -> tuple[int, ...]:
        """Boxes per class."""
        found = Counter(box.label for scene in self.items(part) for box in scene.boxes)
        return tuple(found[label] for label in range(len(self.classes)))


def build(
    index: DatasetIndex, settings: DetectionSettings, *, ratio: tuple[int, int] = (4, 1), limit: int | None = None
) -> DetectionData:
    """Splits an index, reduces the pool of few-shot sets, and leaves out what the training cannot use.

    Images without boxes, and images with a side below `settings.smallest_image`, are not trained with (section 4.1);
    the test part keeps every image.
    """
    parts = divide(index, ratio=ratio)
    pool = parts.train
    if index.dataset in FEW_SHOT:
        pool = few_shot_of_index(index, pool, settings.few_shot_share)
    by_id = {image.image_id: image for image in index.images}
    small = {name for name in pool if min(by_id[name].width, by_id[name].height) < settings.smallest_image}
    empty = {name for name in pool if not by_id[name].boxes} - small
    kept = tuple(name for name in pool if name not in small and name not in empty)
    used, cut = limited(Split(kept, parts.test), limit)
    train, test = (tuple(_scene(index, by_id[name]) for name in part) for part in (used.train, used.test))
    if not train:
        raise MissingError(
            f"{index.dataset}: none of {len(pool)} training images can be learnt from: {len(empty)} have no box, "
            f"{len(small)} have a side below {settings.smallest_image} pixels",
            where=str(index.root),
            way_out="look at the annotations; detection learns from images with boxes",
        )
    return DetectionData(
        index=index,
        split=used,
        classes=index.classes,
        train=train,
        test=test,
        cut=cut,
        ignore_difficult=settings.ignore_difficult,
        warnings=tuple(_warnings(index.classes, train, len(empty), len(small), settings.smallest_image)),
    )


def truth_of(data: DetectionData) -> Row:
    """What predictions are scored against.

    The detections of the threshold detector are part of it: they are the trivial baseline of section 11.8, and making
    them needs the images.
    """
    from tasks.detection.control import threshold_boxes  # needs numpy, which planning does without

    rows: list[Row] = [
        {
            "image_id": scene.image_id,
            "width": scene.width,
            "height": scene.height,
            "boxes": [[*box[:4], box.label, box.difficult] for box in scene.boxes],
        }
        for scene in data.test
    ]
    return {
        **data.truth(rows),
        "ignore_difficult": data.ignore_difficult,
        "threshold": threshold_boxes(data),
    }


def _scene(index: DatasetIndex, image: ImageEntry) -> Scene:
    path = index.root / image.path
    return Scene(image.image_id, path, image.width, image.height, image.pixel_hash, image.boxes)


def _warnings(classes: Sequence[str], train: Sequence[Scene], empty: int, small: int, side: int) -> list[str]:
    found = []
    if empty:
        found.append(f"{empty} training images without boxes are not trained with")
    if small:
        found.append(f"{small} training images with a side below {side} pixels are not trained with")
    learnt = {box.label for scene in train for box in scene.boxes}
    unlearnt = [name for label, name in enumerate(classes) if label not in learnt]
    if unlearnt:
        found.append(f"classes without a box in the training part: {', '.join(unlearnt)}")
    return found
