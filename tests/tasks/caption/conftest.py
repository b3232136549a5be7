"""Scenes whose captions a tiny network learns in seconds: how bright ground and scene are says it all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters.card import Architecture
from adapters.encoder import build_vit
from adapters.interface import LoadedModel
from adapters.load import load
from adapters.registry import catalog
from tasks.caption.data import build
from tasks.datasets.records import NO_LABEL, Box, DatasetIndex, ImageEntry
from tasks.language.texts import CaptionedData
from tasks.protocol import CaptionSettings, task_settings

SIDE = 32
TINY = Architecture(kind="vit", width=48, depth=2, heads=2, patch=8, activation="gelu", image_size=SIDE)
SCENES = 64
SHIP = 1
"""The class that is only a noun."""
SETS = ("fusar_ship_sense", "sar_aircraft_few")
MakeSettings = Callable[..., CaptionSettings]
MakeModel = Callable[..., LoadedModel]


def _scene(number: int) -> tuple[NDArray[np.uint8], tuple[Box, ...]]:
    """None to three bright targets in the top-left on the ground of their source, dark sea or grey apron."""
    ground = 20 if number < SCENES // 2 else 110
    pixels = np.random.default_rng(number).integers(ground - 10, ground + 10, (SIDE, SIDE), dtype=np.uint8)
    boxes = []
    for target in range(number % 4):
        pixels[1 : 1 + 13, 1 + 5 * target : 5 + 5 * target] = 230
        boxes.append(Box(1 + 5 * target, 1, 4, 13, label=SHIP if number < SCENES // 2 else 0))
    return pixels, tuple(boxes)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory, write_image: Callable[[Path, Any], Path]) -> DatasetIndex:
    """Eight of each kind, two of them to test; aircraft have a type and ships have none."""
    root = tmp_path_factory.mktemp("scenes")
    images = []
    for number in range(SCENES):
        pixels, boxes = _scene(number)
        source = SETS[2 * number // SCENES]
        path = f"{source}/{number:02d}.png"
        write_image(root / path, pixels)
        images.append(
            ImageEntry(
                image_id=path,
                path=path,
                label=NO_LABEL,
                width=SIDE,
                height=SIDE,
                dtype="uint8",
                band="",
                pixel_hash=f"{number:064x}",
                difference_hash=number,
                part="test" if number // 4 % 4 == 0 else "train",
                boxes=boxes,
            )
        )
    return DatasetIndex(
        dataset="rs_captions",
        root=root,
        label_map="",
        classes=("A330", "ship"),
        images=tuple(images),
        bad=(),
        data_hash="0" * 64,
        pool=("train",),
        has_boxes=True,
    )


@pytest.fixture(scope="session")
def make_settings() -> MakeSettings:
    """The mini profile's captioning made smaller still, at one rate throughout."""

    def make(epochs: int = 2, **changes: Any) -> CaptionSettings:
        values = task_settings("mini", "caption", "mini").model_dump()
        values.update(image_size=SIDE, images=None, captions_per_epoch=2)
        values["text"].update(width=64, layers=2, heads=2, hidden=128, positions=96, vocabulary=400, dropout=0.0)
        values["comparing"].update(embedding=16)
        values["training"].update(epochs=epochs, batch=12, micro_batch=12)
        values["training"]["optimiser"].update(rate=0.004, weight_decay=0.0)
        values["training"]["schedule"].update(kind="constant", warmup_epochs=0)
        values["generated_tokens"] = (5, 48)
        values["max_tokens"] = 60
        for name, value in changes.items():
            if isinstance(value, dict):
                values[name].update(value)
            else:
                values[name] = value
        return CaptionSettings.model_validate(values)

    return make


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """A tiny encoder with values at random."""

    def make(seed: int = 0, dropout: float = 0.0) -> LoadedModel:
        card = catalog()["random-mini"]
        contract = load(card, image_size=64, seed=0).contract
        return LoadedModel(card, build_vit(TINY, image_size=SIDE, seed=seed, dropout=dropout), contract)

    return make


@pytest.fixture(scope="session")
def data(scenes: DatasetIndex, make_settings: MakeSettings) -> CaptionedData:
    """Forty-eight images to learn from, sixteen to be described."""
    return build(scenes, make_settings())
