"""The two parts of a retrieval data set: images with their five captions, ready to be learnt and ranked."""

from __future__ import annotations

from tasks.datasets.records import DatasetIndex
from tasks.language.texts import CaptionedData, captioned_data
from tasks.protocol.settings import RetrievalSettings
from tasks.task import Row


def build(
    index: DatasetIndex, settings: RetrievalSettings, *, ratio: tuple[int, int] = (4, 1), limit: int | None = None
) -> CaptionedData:
    """Both parts; the same images as captioning has."""
    return captioned_data(index, settings, ratio=ratio, limit=limit)


def truth_of(data: CaptionedData) -> Row:
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
