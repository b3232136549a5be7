"""The texts of images with boxes, and which images are used where a task takes some of many. Never imports torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from foundation.errors import CheckError
from foundation.seeds import derive_seed
from tasks.builders.captions import Caption, captions
from tasks.datasets.composed import part_of
from tasks.datasets.division import divide
from tasks.datasets.records import DatasetIndex, ImageEntry
from tasks.language.targets import described
from tasks.parts import TaskParts, limited
from tasks.protocol.settings import CaptionSettings, RetrievalSettings
from tasks.splits import Split
from tasks.task import Part, Twin


class CaptionedImage(NamedTuple):
    """An image and all that is written of it."""

    image: ImageEntry
    captions: tuple[Caption, ...]

    @property
    def texts(self) -> list[str]:
        """Of the captions, in the order of the templates."""
        return [caption.text for caption in self.captions]


@dataclass(frozen=True)
class CaptionedData(TaskParts[CaptionedImage]):
    """Images with their captions; the classes are the data sets that they come from."""

    def counts(self, part: Part) -> tuple[int, ...]:
        """Images per data set."""
        found = Counter(part_of(item.image.image_id) for item in self.items(part))
        return tuple(found[source] for source in self.classes)


def captioned_data(
    index: DatasetIndex,
    settings: RetrievalSettings | CaptionSettings,
    *,
    ratio: tuple[int, int] = (4, 1),
    limit: int | None = None,
) -> CaptionedData:
    """Divides the images as their sources are divided, takes as many as the settings say, and describes them."""
    used, cut = limited(chosen_images(index, divide(index, ratio=ratio), settings.images), limit)
    by_id = {image.image_id: image for image in index.images}
    return CaptionedData(
        index=index,
        split=used,
        classes=tuple(dict.fromkeys(part_of(image.image_id) for image in index.images)),
        train=tuple(caption_items(index, [by_id[name] for name in used.train])),
        test=tuple(caption_items(index, [by_id[name] for name in used.test])),
        cut=cut,
    )


def learnt_captions(data: CaptionedData, twin: Twin, seed: int) -> list[list[str]]:
    """The texts of each training image, or those of another for the twin whose labels are shuffled."""
    texts = [item.texts for item in data.train]
    if twin == "shuffled_labels":
        order = np.random.default_rng(derive_seed("shuffled_labels", seed)).permutation(len(texts))
        return [texts[index] for index in order]
    return texts


def drawn_caption(captions: Sequence[Sequence[Any]], each: int, item: int, *, seed: int, epoch: int) -> tuple[int, int]:
    """Image and caption that an item of a training with `each` captions per image and epoch stands for.

    The items of an image have different captions as long as there are any, and others in the next epoch.
    """
    image, place = divmod(item, each)
    order = np.random.default_rng(derive_seed("captions", seed, epoch, image)).permutation(len(captions[image]))
    return image, int(order[place % len(order)])


def caption_items(index: DatasetIndex, images: Sequence[ImageEntry]) -> list[CaptionedImage]:
    """The five captions of each image, from its boxes (section 6.2)."""
    return [CaptionedImage(image, tuple(captions(image.image_id, *described(index, image)))) for image in images]


def chosen_images(index: DatasetIndex, split: Split, images: int | None) -> Split:
    """Both parts with so many images in all (section 6.2); None: all.

    The parts keep their proportion, and in each of them the sources; of every source the first in hash order are taken.

    Args:
        index: Names the data set where something is wrong.
        split: The parts in hash order.
        images: How many of both parts together.
    """
    whole = len(split.train) + len(split.test)
    if images is None or images >= whole:
        return split
    if images < 2:
        raise CheckError(
            f"{images} images cannot be both learnt and asked about",
            where=index.dataset,
            way_out="take at least two, or leave the number out",
        )
    test = min(max(_half_up(images * len(split.test), whole), 1), images - 1)
    return Split(_first(split.train, images - test), _first(split.test, test), split.dropped)


def _first(names: Sequence[str], wanted: int) -> tuple[str, ...]:
    """So many of one part: each source has its share by largest remainder."""
    sources: dict[str, int] = {}
    for name in names:
        sources[part_of(name)] = sources.get(part_of(name), 0) + 1
    left = {source: wanted * size // len(names) for source, size in sources.items()}
    by_remainder = sorted(sources, key=lambda source: (-(wanted * sources[source] % len(names)), source))
    for source in by_remainder[: wanted - sum(left.values())]:
        left[source] += 1
    taken = []
    for name in names:
        if left[part_of(name)]:
            left[part_of(name)] -= 1
            taken.append(name)
    return tuple(taken)


def _half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
