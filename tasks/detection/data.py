"""The two parts of a detection data set, ready to be learnt and scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from foundation.errors import MissingError
from tasks.datasets.division import divide
from tasks.datasets.records import Box, DatasetIndex, ImageEntry
from tasks.few_shot import few_shot_of_index
from tasks.protocol.settings import DetectionSettings
from tasks.splits import Split
from tasks.task import Part

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
class DetectionData:
    """Scenes of both parts; the training part holds only scenes that something can be learnt from."""

    index: DatasetIndex
    split: Split
    train: tuple[Scene, ...]
    test: tuple[Scene, ...]
    cut: bool = False
    """A limit left images out."""
    warnings: tuple[str, ...] = ()
    """What a reader of the numbers should know of this data."""

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes of the data set: one without boxes stays, and the warnings name it."""
        return self.index.classes

    @property
    def dropped_classes(self) -> tuple[str, ...]:
        """None: images are not divided by class, so no class is too small to be divided."""
        return ()

    def counts(self, part: Part) -> tuple[int, ...]:
        """Boxes per class."""
        found = Counter(box.label for scene in (self.train if part == "train" else self.test) for box in scene.boxes)
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
    train = tuple(_scene(index, by_id[name]) for name in kept[:limit])
    test = tuple(_scene(index, by_id[name]) for name in parts.test[:limit])
    if not train:
        raise MissingError(
            f"{index.dataset}: none of {len(pool)} training images can be learnt from: {len(empty)} have no box, "
            f"{len(small)} have a side below {settings.smallest_image} pixels",
            where=str(index.root),
            way_out="look at the annotations; detection learns from images with boxes",
        )
    return DetectionData(
        index=index,
        split=Split(kept[:limit], parts.test[:limit]),
        train=train,
        test=test,
        cut=limit is not None and limit < max(len(kept), len(parts.test)),
        warnings=tuple(_warnings(index.classes, train, len(empty), len(small), settings.smallest_image)),
    )


def truth_of(data: DetectionData) -> dict[str, Any]:
    """What predictions are scored against, and which data it belongs to; enough to score without the data set.

    The detections of the threshold detector are part of it: they are the trivial baseline of section 11.8, and making
    them needs the images.
    """
    from tasks.detection.control import threshold_boxes  # needs numpy, which planning does without

    return {
        "dataset": data.index.dataset,
        "synthetic": data.index.synthetic,
        "world": data.index.world,
        "data_hash": data.index.data_hash,
        "split_hash": data.split.hash,
        "classes": list(data.classes),
        "train_counts": list(data.counts("train")),
        "test": [
            {
                "image_id": scene.image_id,
                "width": scene.width,
                "height": scene.height,
                "boxes": [[*box[:4], box.label, box.difficult] for box in scene.boxes],
            }
            for scene in data.test
        ],
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
