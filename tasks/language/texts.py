"""The texts of images with boxes, and which images are used where a task takes some of many. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from foundation.errors import CheckError
from tasks.builders.captions import NOUNS, Caption, Target, captions
from tasks.builders.geometry import Box, Size
from tasks.datasets.composed import DOMAINS, part_of
from tasks.datasets.records import DatasetIndex, ImageEntry
from tasks.splits import Split


class CaptionedImage(NamedTuple):
    """An image and all that is written of it."""

    image: ImageEntry
    captions: tuple[Caption, ...]

    @property
    def texts(self) -> list[str]:
        """Of the captions, in the order of the templates."""
        return [caption.text for caption in self.captions]


def caption_items(index: DatasetIndex, images: Sequence[ImageEntry]) -> list[CaptionedImage]:
    """The five captions of each image, from its boxes (section 6.2).

    A box whose class is only the noun of its domain, "ship", has no type to tell.
    """
    return [CaptionedImage(image, tuple(_captions(index, image))) for image in images]


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


def _captions(index: DatasetIndex, image: ImageEntry) -> list[Caption]:
    source = part_of(image.image_id)
    if source not in DOMAINS:
        raise CheckError(
            f"nothing is known of what the boxes of {source} hold, so its images have no captions",
            where=image.image_id,
            way_out=f"take images of {', '.join(DOMAINS)}",
        )
    domain = DOMAINS[source]
    names = [None if name == NOUNS[domain].one else name for name in index.classes]
    targets = [Target(Box(box.x, box.y, box.width, box.height), names[box.label]) for box in image.boxes]
    return captions(image.image_id, targets, Size(image.width, image.height), domain)


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
