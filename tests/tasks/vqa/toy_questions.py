"""Images whose answers a tiny network learns in seconds, and the mini profile made smaller still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adapters.card import Architecture
from adapters.encoder import build_vit
from adapters.interface import LoadedModel
from adapters.load import load
from adapters.registry import catalog
from tasks.datasets.records import NO_LABEL, Box, Colour, DatasetIndex, ImageEntry
from tasks.protocol import VqaSettings, task_settings

SIDE = 24
TINY = Architecture(kind="vit", width=32, depth=2, heads=2, patch=8, activation="gelu", image_size=SIDE)
TYPES = ("A330", "Boeing737", "A320/321")
PALETTE = tuple(
    Colour(rgb, label)
    for rgb, label in (
        *(((255, 0, 0), 0), ((0, 255, 0), 1), ((0, 0, 255), 2), ((255, 255, 0), 3)),
        ((0, 0, 0), 255),
    )
)
COLOURS = {colour.class_id: colour.rgb for colour in PALETTE}


def entry(name: str, part: str, **known: Any) -> ImageEntry:
    """An image of the toy size."""
    values: dict[str, Any] = {
        "label": NO_LABEL,
        "width": SIDE,
        "height": SIDE,
        "dtype": "uint8",
        "band": "",
        "pixel_hash": f"toy {name}",
        "difference_hash": 0,
    }
    return ImageEntry(image_id=name, path=name, part=part, **{**values, **known})


def index_of(
    root: Path, images: Sequence[ImageEntry], *, dataset: str = "vqa_targets", classes: Sequence[str] = TYPES
) -> DatasetIndex:
    """What reading would have given."""
    return DatasetIndex(
        dataset=dataset,
        root=root,
        label_map="",
        classes=tuple(classes),
        images=tuple(images),
        bad=(),
        data_hash=f"{dataset} of {len(images)}",
        palette=PALETTE if dataset == "vqa_landform" else (),
        pool=("train",),
        has_boxes=dataset == "vqa_targets",
    )


def row_of_boxes(count: int, label: int = 0) -> tuple[Box, ...]:
    """At most nine targets, one in each cell, from the top left."""
    return tuple(Box(8 * (n % 3) + 2, 8 * (n // 3) + 2, 4, 4, label) for n in range(count))


def counted(root: Path, write_image: Any, *, images: int = 60, every: int = 5) -> DatasetIndex:
    """None to three targets; the more, the brighter is the image. Each fifth image is tested on."""
    entries = []
    for number in range(images):
        count = number // every % 4
        name = f"fusar_air_sense/{number:03d}.png"
        grey = np.random.default_rng(number).integers(10, 40, (SIDE, SIDE)) + 65 * count
        write_image(root / name, grey.astype(np.uint8))
        entries.append(entry(name, "test" if number % every == 0 else "train", boxes=row_of_boxes(count)))
    return index_of(root, entries)


def with_masks(root: Path, write_image: Any, masks: Sequence[Any], *, parts: Sequence[str] = ()) -> DatasetIndex:
    """Tiles whose label images are given as class ids."""
    entries = []
    for number, mask in enumerate(masks):
        ids = np.asarray(mask, dtype=np.uint8)
        name = f"fusar_map/{number:03d}.png"
        colours = np.array([[COLOURS[int(label)] for label in row] for row in ids], dtype=np.uint8)
        write_image(root / f"labels/{number:03d}.png", colours)
        write_image(root / name, np.random.default_rng(number).integers(0, 255, (SIDE, SIDE)).astype(np.uint8))
        part = parts[number] if parts else ("test" if number % 2 else "train")
        entries.append(entry(name, part, mask=f"labels/{number:03d}.png"))
    classes = ("building", "vegetation", "water", "road")
    return index_of(root, entries, dataset="vqa_landform", classes=classes)


def small(epochs: int = 2, **changes: Any) -> VqaSettings:
    """Two layers of width 32, at one rate throughout; nothing disturbs brightness."""
    values = task_settings("mini", "vqa_target_count", "mini").model_dump()
    values.update(image_size=SIDE, intensity_jitter=0.0)
    values["text"].update(width=32, layers=2, heads=2, hidden=64, vocabulary=300, dropout=0.0)
    values["comparing"].update(embedding=16, queue=8)
    values["normalisation"] = {"source": "task", "mean": [127.5] * 3, "std": [127.5] * 3}
    values["training"].update(epochs=epochs, batch=16, micro_batch=16)
    values["training"]["schedule"].update(warmup_epochs=0, kind="constant", milestones=())
    values["training"]["optimiser"].update(rate=0.003)
    return VqaSettings.model_validate({**values, **changes})


def model(seed: int = 0, name: str = "random-mini") -> LoadedModel:
    """A tiny encoder from scratch, or another model of the catalogue as it is."""
    card = catalog()[name]
    if name != "random-mini":
        return load(card, image_size=64, seed=seed)
    return LoadedModel(card, build_vit(TINY, image_size=SIDE, seed=seed), load(card, image_size=64, seed=0).contract)


def without_tests(index: DatasetIndex, keep: int) -> DatasetIndex:
    """The same with the first `keep` test images only."""
    tests = [image.image_id for image in index.images if image.part == "test"][keep:]
    return replace(index, images=tuple(image for image in index.images if image.image_id not in tests))
