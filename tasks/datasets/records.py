"""The plain records that readers yield (section 2.1 of the task specification)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

NO_LABEL = -1
"""Label of an image that has no class of its own: its boxes or its mask have them."""
IGNORE = 255
"""Mask value of pixels that are neither learnt nor scored (section 2.1)."""


class Box(NamedTuple):
    """One target: pixels from the top-left corner of the first pixel, x to the right."""

    x: float
    y: float
    width: float
    height: float
    label: int
    difficult: bool = False


class Colour(NamedTuple):
    """What one colour of a mask file means."""

    rgb: tuple[int, int, int]
    class_id: int


Palette = tuple[Colour, ...]


class ImageFile(NamedTuple):
    """One image as the layout of its data set shows it, before it is opened."""

    image_id: str
    path: Path
    label: int = NO_LABEL
    band: str = ""
    group: str = ""
    """What may not be divided by a split (scene, place); empty: the image stands for itself."""
    part: str = ""
    """Official part: train, val, test; empty where there is none."""
    boxes: tuple[Box, ...] = ()
    mask: Path | None = None
    more: tuple[Path, ...] = ()
    """Further files of the same image: the other polarisations of a composite."""
    stated_size: tuple[int, int] | None = None
    """Width and height as the annotation says."""
    problem: str = ""
    """Why the reader itself has given the image up: a broken annotation, a missing mask."""


class Listing(NamedTuple):
    """All images of a data set, as found."""

    classes: tuple[str, ...]
    files: tuple[ImageFile, ...]
    palette: Palette = ()
    """Colours of the mask files; data sets without masks have none."""
    pool: tuple[str, ...] = ()
    """Official parts to train with; empty: the rule of section 2.4 divides the images."""
    ratio: tuple[int, int] | None = None
    """A ratio that the user asked for; None: that of the protocol."""
    choices: tuple[tuple[str, str], ...] = ()
    """Effective options as the record states them."""
    has_boxes: bool = False


class ImageEntry(NamedTuple):
    """One readable image."""

    image_id: str
    path: str
    label: int
    width: int
    height: int
    dtype: str
    band: str
    pixel_hash: str
    difference_hash: int
    group: str = ""
    part: str = ""
    boxes: tuple[Box, ...] = ()
    """Clipped to the image."""
    mask: str = ""
    mask_hash: str = ""
    """Of the class ids, not of the file: another label map gives another one."""
    class_pixels: tuple[int, ...] = ()
    """Pixels of the mask per class."""
    more: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """What a split may not divide."""
        return self.group or self.image_id

    @property
    def labels(self) -> set[int]:
        """Every class in it: its own, of its boxes, of its mask."""
        painted = {label for label, count in enumerate(self.class_pixels) if count}
        return ({self.label} - {NO_LABEL}) | {box.label for box in self.boxes} | painted


class BadFile(NamedTuple):
    """One file that cannot be used."""

    path: str
    reason: str


class Remarks(NamedTuple):
    """What was mended in silence while indexing, counted."""

    clipped_boxes: int = 0
    """At most two pixels outside the image (section 2.1)."""
    dropped_boxes: int = 0
    """Below one pixel in a side after clipping (section 2.1)."""
    unknown_pixels: int = 0
    """Mask pixels of a colour that means nothing: ignored (section 5.2)."""
    other_sizes: int = 0
    """Images whose annotation states another size than the file has."""


NOTHING_MENDED = Remarks()


@dataclass(frozen=True)
class DatasetIndex:
    """What is known of a data set without opening its images again."""

    dataset: str
    root: Path
    label_map: str
    classes: tuple[str, ...]
    images: tuple[ImageEntry, ...]
    bad: tuple[BadFile, ...]
    data_hash: str
    world: str | None = None
    palette: Palette = ()
    pool: tuple[str, ...] = ()
    ratio: tuple[int, int] | None = None
    choices: tuple[tuple[str, str], ...] = ()
    remarks: Remarks = NOTHING_MENDED
    has_boxes: bool = False

    @property
    def synthetic(self) -> bool:
        """True for rendered data."""
        return self.world is not None

    @property
    def boxes(self) -> int:
        """Targets in all images."""
        return sum(len(image.boxes) for image in self.images)

    @property
    def masks(self) -> int:
        """Images with a mask."""
        return sum(bool(image.mask) for image in self.images)

    @property
    def classes_found(self) -> tuple[str, ...]:
        """Classes that occur, as label, box or mask pixel."""
        found = {label for image in self.images for label in image.labels}
        return tuple(name for label, name in enumerate(self.classes) if label in found)
