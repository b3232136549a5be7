"""Data sets of texts and questions: images, boxes and masks of other data sets, put together under one name.

Each part is read and divided by its own rules, so an image that detection or segmentation trains with is never tested
on here. Image ids, groups and paths begin with the part's id or folder; class names of all parts stand in one list.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from foundation.errors import CheckError, MissingError
from foundation.hashing import hash_value
from foundation.progress import Progress, silent
from tasks.builders.captions import Domain
from tasks.catalog import COMPOSED
from tasks.datasets.catalogue import AS_FOUND, DataSource, read_index
from tasks.datasets.division import divide
from tasks.datasets.options import DataOptions
from tasks.datasets.records import BadFile, Box, DatasetIndex, ImageEntry, Remarks

DOMAINS: dict[str, Domain] = {"fusar_air_sense": "aircraft", "fusar_ship_sense": "ship", "sar_aircraft_few": "aircraft"}
"""What the targets of a data set with boxes are."""
LABEL_MAPS = {("vqa_landform", "fusar_map"): "map4_labelled"}
"""Where the usual label map of a part is not the one that is asked about (section 6.3)."""

_TRAIN, _TEST = "train", "test"


class Part(NamedTuple):
    """One data set that is taken in."""

    source: DataSource
    options: DataOptions = AS_FOUND


def parts_of(dataset: str) -> tuple[str, ...]:
    """The data sets that a composed one is made of; a data set of its own is made of itself."""
    return COMPOSED.get(dataset, (dataset,))


def part_of(image_id: str) -> str:
    """Which part an image of a composed data set comes from."""
    return image_id.partition("/")[0]


def compose(
    dataset: str, root: Path, parts: Sequence[Part], *, ratio: tuple[int, int] = (4, 1), progress: Progress = silent
) -> DatasetIndex:
    """The index of a composed data set; official parts of its images say where they are used.

    Args:
        dataset: one of `COMPOSED`.
        root: a folder above all parts.
        parts: those that are there, at least one.
        ratio: of training to test images where a part has no rule of its own.
        progress: told of the reading.
    """
    if not parts:
        raise MissingError(
            f"none of the data sets that {dataset} is made of is here",
            where=str(root),
            way_out=f"put one of them there: {', '.join(parts_of(dataset))}",
        )
    indices = [_read(dataset, part, progress) for part in parts]
    classes = tuple(dict.fromkeys(name for index in indices for name in index.classes))
    lacking = [name for name in parts_of(dataset) if name not in {index.dataset for index in indices}]
    choices = [(f"{index.dataset}.{name}", value) for index in indices for name, value in index.choices]
    return DatasetIndex(
        dataset=dataset,
        root=root,
        label_map="",
        classes=classes,
        images=tuple(image for index in indices for image in _taken(index, root, classes, ratio)),
        bad=tuple(BadFile(f"{index.dataset}/{bad.path}", bad.reason) for index in indices for bad in index.bad),
        data_hash=hash_value({index.dataset: index.data_hash for index in indices}),
        world=_world(dataset, root, indices),
        palette=next((index.palette for index in indices if index.palette), ()),
        pool=(_TRAIN,),
        choices=(*choices, *([("without", ", ".join(lacking))] if lacking else [])),
        remarks=Remarks(*(sum(counts) for counts in zip(*(index.remarks for index in indices), strict=True))),
        has_boxes=any(index.has_boxes for index in indices),
    )


def _world(dataset: str, root: Path, indices: Sequence[DatasetIndex]) -> str | None:
    """The world of all parts: what is part synthetic can be compared with neither."""
    worlds = {index.world for index in indices}
    if len(worlds) > 1:
        told = ", ".join(f"{index.dataset}: {index.world or 'real'}" for index in indices)
        raise CheckError(
            f"{dataset} would mix real data with synthetic, or several worlds ({told})",
            where=str(root),
            way_out="give real data and each synthetic world a --data-root of its own",
        )
    return worlds.pop()


def _read(dataset: str, part: Part, progress: Progress) -> DatasetIndex:
    usual = LABEL_MAPS.get((dataset, part.source.dataset))
    options = part.options
    if usual is not None and options.label_map is None:
        options = options._replace(label_map=usual)
    return read_index(part.source, options, progress)


def _taken(index: DatasetIndex, root: Path, classes: Sequence[str], ratio: tuple[int, int]) -> list[ImageEntry]:
    """The images of a part under their new names, with the part of the split that they are in."""
    folder = index.root.relative_to(root).as_posix()
    split = divide(index, ratio=ratio)
    used = dict.fromkeys(split.train, _TRAIN) | dict.fromkeys(split.test, _TEST)
    labels = [classes.index(name) for name in index.classes]
    return [
        image._replace(
            image_id=f"{index.dataset}/{image.image_id}",
            path=f"{folder}/{image.path}",
            group=f"{index.dataset}/{image.group}" if image.group else "",
            part=used.get(image.image_id, ""),
            boxes=tuple(Box(*box[:4], labels[box.label], box.difficult) for box in image.boxes),
            mask=f"{folder}/{image.mask}" if image.mask else "",
            more=tuple(f"{folder}/{path}" for path in image.more),
        )
        for image in index.images
    ]
