"""The two parts of a captioning data set: images with the five captions of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tasks.baselines.majority import most_common
from tasks.datasets.composed import part_of
from tasks.datasets.division import divide
from tasks.datasets.records import DatasetIndex
from tasks.language.texts import CaptionedImage, caption_items, chosen_images
from tasks.parts import TaskParts, limited
from tasks.protocol.settings import CaptionSettings
from tasks.task import Part, Row


@dataclass(frozen=True)
class CaptionData(TaskParts[CaptionedImage]):
    """Images with their captions; the classes are the data sets that they come from."""

    def counts(self, part: Part) -> tuple[int, ...]:
        """Images per source."""
        found = Counter(part_of(item.image.image_id) for item in self.items(part))
        return tuple(found[source] for source in self.classes)


def build(
    index: DatasetIndex, settings: CaptionSettings, *, ratio: tuple[int, int] = (4, 1), limit: int | None = None
) -> CaptionData:
    """Divides the images as their sources are divided, takes as many as the settings say, and describes them."""
    taken = chosen_images(index, divide(index, ratio=ratio), settings.images)
    used, cut = limited(taken, limit)
    by_id = {image.image_id: image for image in index.images}
    return CaptionData(
        index=index,
        split=used,
        classes=tuple(dict.fromkeys(part_of(image.image_id) for image in index.images)),
        train=tuple(caption_items(index, [by_id[name] for name in used.train])),
        test=tuple(caption_items(index, [by_id[name] for name in used.test])),
        cut=cut,
    )


def truth_of(data: CaptionData) -> Row:
    """The references of every test image, and the training caption that is most common."""
    rows = [{"image_id": item.image.image_id, "references": item.texts} for item in data.test]
    common = most_common([text for item in data.train for text in item.texts])
    return {**data.truth(rows), "most_common_caption": common}
