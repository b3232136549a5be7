"""The two parts of a segmentation data set, ready to be learnt and scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foundation.errors import MissingError, UsageError
from tasks.datasets.division import divide
from tasks.datasets.masks import read_mask
from tasks.datasets.records import IGNORE, DatasetIndex, ImageEntry
from tasks.protocol.settings import SegmentationSettings
from tasks.segmentation.mask_text import mask_to_text
from tasks.splits import Split
from tasks.task import Part


@dataclass(frozen=True)
class SegmentationData:
    """Images with masks of both parts; every class of the label map stays, whether it occurs or not."""

    index: DatasetIndex
    split: Split
    classes: tuple[str, ...]
    train: tuple[ImageEntry, ...]
    test: tuple[ImageEntry, ...]
    dropped_classes: tuple[str, ...] = ()
    cut: bool = False
    """A limit left images out."""

    warnings: tuple[str, ...] = ()

    def counts(self, part: Part) -> tuple[int, ...]:
        """Labelled pixels per class, ignored ones left out."""
        images = self.train if part == "train" else self.test
        return tuple(sum(image.class_pixels[label] for image in images) for label in range(len(self.classes)))


def build(
    index: DatasetIndex, settings: SegmentationSettings, *, ratio: tuple[int, int] = (4, 1), limit: int | None = None
) -> SegmentationData:
    """Divides the images of an index by tile, scene or place, as the index says."""
    if settings.ignore_label != IGNORE:
        raise UsageError(
            f"ignore_label is {settings.ignore_label}; masks are read with {IGNORE} for ignored pixels",
            where=index.dataset,
            way_out=f"set ignore_label = {IGNORE}",
        )
    unmasked = [image.image_id for image in index.images if not image.mask]
    if unmasked:
        raise MissingError(
            f"{len(unmasked)} images without a mask, e.g. {unmasked[0]}",
            where=str(index.root),
            way_out="choose a segmentation data set: fusar_map, air_polarsar_seg",
        )
    parts = divide(index, ratio=ratio)
    by_id = {image.image_id: image for image in index.images}
    used = Split(parts.train[:limit], parts.test[:limit], parts.dropped)
    return SegmentationData(
        index=index,
        split=used,
        classes=index.classes,
        train=tuple(by_id[name] for name in used.train),
        test=tuple(by_id[name] for name in used.test),
        cut=limit is not None and limit < max(len(parts.train), len(parts.test)),
    )


def truth_of(data: SegmentationData) -> dict[str, Any]:
    """What predictions are scored against, and which data it belongs to; enough to score without the data set."""
    texts: dict[str, str] = {}  # the polarisations of a place share one mask
    for image in data.test:
        if image.mask_hash not in texts:
            texts[image.mask_hash] = mask_to_text(read_mask(data.index, image))
    return {
        "dataset": data.index.dataset,
        "synthetic": data.index.synthetic,
        "world": data.index.world,
        "data_hash": data.index.data_hash,
        "split_hash": data.split.hash,
        "classes": list(data.classes),
        "train_counts": list(data.counts("train")),
        "test": [
            {"image_id": image.image_id, "unit": image.unit, "mask": texts[image.mask_hash]} for image in data.test
        ],
    }
