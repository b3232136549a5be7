"""Pictures whose captions can be told from where they are bright and how bright, and settings that learn them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.card import Architecture
from adapters.encoder import build_vit
from adapters.interface import LoadedModel
from adapters.load import load
from adapters.registry import catalog
from foundation.hashing import hash_bytes
from tasks.datasets.records import NO_LABEL, Box, DatasetIndex, ImageEntry
from tasks.protocol import task_settings

SIZE = 16
TINY = Architecture(kind="vit", width=32, depth=2, heads=2, patch=4, activation="gelu", image_size=SIZE)
WriteImage = Callable[[Path, NDArray[Any]], Path]


def entry(root: Path, name: str, grey: NDArray[np.uint8], boxes: tuple[Box, ...], write: WriteImage) -> ImageEntry:
    """One picture of a data set of ships, written where the index says."""
    write(root / "ships" / f"{name}.png", grey)
    height, width = grey.shape
    pixels = hash_bytes(grey.tobytes() + repr(grey.shape).encode())
    return ImageEntry(
        f"fusar_ship_sense/{name}", f"ships/{name}.png", NO_LABEL, width, height, "uint8", "HH", pixels, 0, boxes=boxes
    )


def index_of(root: Path, images: list[ImageEntry], classes: tuple[str, ...] = ("ship",)) -> DatasetIndex:
    """A data set of captions."""
    data_hash = hash_bytes("".join(image.pixel_hash for image in images).encode())
    return DatasetIndex("rs_captions", root, "", classes, tuple(images), (), data_hash, has_boxes=True)


def lit_index(root: Path, write: WriteImage, *, times: int = 5) -> DatasetIndex:
    """Where a picture is bright its one to six ships lie, and the brighter it is, the more."""
    images = []
    for number in range(24 * times):
        rng = np.random.default_rng(number)
        ships, down, right = number % 6 + 1, number // 6 % 2, number // 12 % 2
        grey = rng.integers(0, 20, (SIZE, SIZE), dtype=np.uint8)
        grey[8 * down : 8 * down + 8, 8 * right : 8 * right + 8] += np.uint8(38 * ships)
        boxes = tuple(Box(8.0 * right + 1 + ship, 8.0 * down + 2, 1.5, 2.0, 0) for ship in range(ships))
        images.append(entry(root, f"{number:03d}", grey, boxes, write))
    return index_of(root, images)


def tiny_language(task: str, epochs: int, **changes: Any) -> Any:
    """The mini profile of a language task made smaller still."""
    values = task_settings("mini", task, "mini").model_dump()
    values.update(
        image_size=SIZE,
        init_text="random",
        max_tokens=35,
        normalisation={"source": "task", "mean": [127.5] * 3, "std": [127.5] * 3},
        intensity_jitter=0.05,
    )
    if "images" in values:
        values["images"] = None
    values["text"].update(width=32, layers=2, heads=2, hidden=64, positions=64, vocabulary=300, dropout=0.1)
    values["comparing"].update(embedding=16, momentum=0.9, queue=0)
    values["training"].update(epochs=epochs, batch=16, micro_batch=16)
    values["training"]["optimiser"]["rate"] = 0.003
    for name, change in changes.items():
        values[name] = {**values[name], **change} if isinstance(change, dict) else change
    return type(task_settings("mini", task, "mini")).model_validate(values)


def tiny_model(seed: int = 0, *, drop_path: float = 0.0) -> LoadedModel:
    """A ViT that has seen nothing."""
    card = catalog()["random-mini"]
    encoder = build_vit(TINY, image_size=SIZE, seed=seed, drop_path=drop_path)
    return LoadedModel(card, encoder, load(card, image_size=64, seed=0).contract)


def simple_model() -> LoadedModel:
    """Hand-made features, which learn nothing."""
    return load(catalog()["simple-features"], image_size=SIZE, seed=0)
