"""The two parts of a segmentation data set, ready to be learnt and scored."""

from __future__ import annotations

from dataclasses import dataclass

from foundation.errors import MissingError, UsageError
from tasks.datasets.division import divide
from tasks.datasets.masks import read_mask
from tasks.datasets.records import IGNORE, DatasetIndex, ImageEntry
from tasks.parts import TaskParts, limited
from tasks.protocol.settings import SegmentationSettings
from tasks.segmentation.mask_text import mask_to_text
from tasks.task import Part, Row


@dataclass(frozen=True)
class SegmentationData(TaskParts[ImageEntry]):
    """Images with masks of both parts; every class of the label map stays, whether it occurs or not."""

    def counts(self, part: Part) -> tuple[int, ...]:
        """Labelled pixels per class, ignored ones left out."""
        return tuple(sum(image.class_pixels[label] for image in self.items(part)) for label in range(len(self.classes)))


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
    used, cut = limited(parts, limit)
    return SegmentationData(
        index=index,
        split=used,
        classes=index.classes,
        train=tuple(by_id[name] for name in used.train),
        test=tuple(by_id[name] for name in used.test),
        cut=cut,
    )


def truth_of(data: SegmentationData) -> Row:
    """What predictions are scored against."""
    texts: dict[str, str] = {}  # the polarisations of a place share one mask
    for image in data.test:
        if image.mask_hash not in texts:
            texts[image.mask_hash] = mask_to_text(read_mask(data.index, image))
    return data.truth(
        [{"image_id": image.image_id, "unit": image.unit, "mask": texts[image.mask_hash]} for image in data.test]
    )
