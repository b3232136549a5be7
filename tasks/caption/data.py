"""The two parts of a captioning data set: images with the five captions of each."""

from __future__ import annotations

from tasks.baselines.majority import most_common
from tasks.datasets.records import DatasetIndex
from tasks.language.texts import CaptionedData, captioned_data
from tasks.protocol.settings import CaptionSettings
from tasks.task import Row


def build(
    index: DatasetIndex, settings: CaptionSettings, *, ratio: tuple[int, int] = (4, 1), limit: int | None = None
) -> CaptionedData:
    """Both parts; the same images as retrieval has.

    What the environment says of the scorers is read now: a wrong word there is told before the training, not after it.
    """
    from tasks.metrics.java_scorers import java_is_off, spice_memory

    java_is_off()
    spice_memory()
    return captioned_data(index, settings, ratio=ratio, limit=limit)


def truth_of(data: CaptionedData) -> Row:
    """The references of every test image, and the training caption that is most common."""
    rows = [{"image_id": item.image.image_id, "references": item.texts} for item in data.test]
    common = most_common([text for item in data.train for text in item.texts])
    return {**data.truth(rows), "most_common_caption": common}
