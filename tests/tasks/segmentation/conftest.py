"""Small land-cover data sets in the layouts of the real ones, which a tiny network can learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.datasets import DataOptions, DatasetIndex, DataSource, read_index
from tasks.datasets.fusar_map import COLOURS as MAP_COLOURS
from tasks.datasets.records import IGNORE

WriteImage = Callable[[Path, NDArray[Any]], Path]
Ground = tuple[NDArray[np.uint8], NDArray[np.uint8]]
WriteMap = Callable[[Path, list[Ground]], Path]

LABELLED = ("building", "vegetation", "water", "road")
"""The classes of `map4_labelled` (section 5.2)."""
LEVELS = (200, 110, 20, 60)
"""Mean grey level of each."""


def ground(number: int, height: int, width: int, kinds: int = 3) -> Ground:
    """Two halves of different kinds with an unlabelled strip at the left border."""
    rng = np.random.default_rng(number)
    first, second = rng.permutation(kinds)[:2]
    mask = np.full((height, width), first, dtype=np.uint8)
    if rng.random() < 0.5:
        mask[:, int(rng.integers(width // 4, 3 * width // 4 + 1)) :] = second
    else:
        mask[int(rng.integers(height // 4, 3 * height // 4 + 1)) :] = second
    image = rng.normal(np.array(LEVELS)[mask], 10).clip(0, 255).astype(np.uint8)
    mask[:, :2] = IGNORE
    return image, mask


@pytest.fixture(scope="session")
def write_map(write_image: WriteImage) -> WriteMap:
    """Writes images and masks of `map4_labelled` in the layout of FUSAR-Map."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    for label, name in enumerate(LABELLED):
        colours[label] = MAP_COLOURS[name]

    def write(root: Path, grounds: list[Ground]) -> Path:
        for number, (image, mask) in enumerate(grounds, 1):
            place = f"Bray_{number % 3 + 1:02d}_01_01_{number:02d}"
            write_image(root / "sar_32" / f"{place}_SAR_{number:03d}.tif", image)
            write_image(root / "lab_32" / f"{place}_Label_{number:03d}.tif", colours[mask])
        return root

    return write


@pytest.fixture(scope="session")
def map_index(tmp_path_factory: pytest.TempPathFactory, write_map: WriteMap) -> DatasetIndex:
    """Thirty images: whole tiles, sides that are no multiple of 16, and one smaller than a tile; no road anywhere."""
    sizes = [(32, 32), (24, 40), (12, 10)]
    grounds = [ground(number, *sizes[min(number % 10, 2) if number % 10 < 3 else 0]) for number in range(30)]
    root = write_map(tmp_path_factory.mktemp("map"), grounds)
    return read_index(DataSource("fusar_map", root), DataOptions(label_map="map4_labelled"))


def _polarised(root: Path, write_image: WriteImage, places: int = 10) -> Path:
    for number in range(places):
        rng = np.random.default_rng(number)
        mask = np.zeros((16, 32), dtype=np.uint8)
        mask[:, int(rng.integers(8, 24)) :] = 1
        for band, gain in {"HH": 1.0, "HV": 0.3, "VH": 0.3, "VV": 0.8}.items():
            amplitude = rng.gamma(4.0, gain * np.array([50, 250])[mask])
            write_image(root / "train_set" / f"AIR-PolarSAR-Seg-{number}_{band}.tiff", amplitude.astype(np.uint16))
        colours = np.array([(0, 0, 255), (0, 255, 0)], dtype=np.uint8)[mask]
        write_image(root / "train_set" / f"AIR-PolarSAR-Seg-{number}_gt.png", colours)
    return root


@pytest.fixture(scope="session")
def polarised(tmp_path_factory: pytest.TempPathFactory, write_image: WriteImage) -> DataSource:
    """Ten places in four polarisations: industrial dark, natural bright."""
    return DataSource("air_polarsar_seg", _polarised(tmp_path_factory.mktemp("polarised"), write_image))
