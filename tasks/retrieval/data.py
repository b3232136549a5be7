"""The two parts of a retrieval data set: images with their five captions, ready to be learnt and ranked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tasks.datasets.composed import part_of
from tasks.datasets.division import divide
from tasks.datasets.records import DatasetIndex
from tasks.language.texts import CaptionedImage, caption_items, chosen_images
from tasks.parts import TaskParts, limited
from tasks.protocol.settings import CaptionSettings, RetrievalSettings
from tasks.task import Part, Row


@dataclass(frozen=True)
class RetrievalData(TaskParts[CaptionedImage]):
    """Images with captions; the classes are the data sets that they come from."""

    def counts(self, part: Part) -> tuple[int, ...]:
        """Images per data set."""
        found = Counter(part_of(item.image.image_id) for item in self.items(part))
        return tuple(found[source] for source in self.classes)


def build(
    index: DatasetIndex,
    settings: RetrievalSettings | CaptionSettings,
    *,
    ratio: tuple[int, int] = (4, 1),
    limit: int | None = None,
) -> RetrievalData:
    """Divides an index by the common rule, takes the images of the settings and writes their captions."""
    chosen = chosen_images(index, divide(index, ratio=ratio), settings.images)
    used, cut = limited(chosen, limit)
    by_id = {image.image_id: image for image in index.images}
    return RetrievalData(
        index=index,
        split=used,
        classes=tuple(dict.fromkeys(part_of(image.image_id) for image in index.images)),
        train=tuple(caption_items(index, [by_id[name] for name in used.train])),
        test=tuple(caption_items(index, [by_id[name] for name in used.test])),
        cut=cut,
    )


def truth_of(data: RetrievalData) -> Row:
    """What predictions are scored against."""
    return data.truth(
        [
            {
                "image_id": item.image.image_id,
                "captions": [{"caption_id": caption.caption_id, "text": caption.text} for caption in item.captions],
            }
            for item in data.test
        ]
    )
