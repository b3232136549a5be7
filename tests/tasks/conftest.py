"""Tiny data for the tests of the tasks: a few pixels per image, written where the test says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foundation.cache import VARIABLE
from tasks.datasets import DatasetIndex, DataSource, read_index

WriteImage = Callable[[Path, NDArray[Any]], Path]


@pytest.fixture(scope="session")
def texture() -> Callable[..., NDArray[np.uint8]]:
    """Grey noise, different for every number."""

    def make(number: int, height: int = 9, width: int = 12) -> NDArray[np.uint8]:
        return np.random.default_rng(number).integers(1, 256, (height, width), dtype=np.uint8)

    return make


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that only this test knows."""
    folder = tmp_path_factory.mktemp("own_cache")
    monkeypatch.setenv(VARIABLE, str(folder))
    return folder


@pytest.fixture(scope="session")
def shape_index(tmp_path_factory: pytest.TempPathFactory, write_image: WriteImage) -> DatasetIndex:
    """A data set that can be learnt: three classes, told apart by where a bright square lies.

    Twenty noisy chips of 24 pixels per class, so chance is one third.
    """
    root = tmp_path_factory.mktemp("shapes")
    for label, (top, left) in {"corner": (2, 2), "middle": (8, 8), "edge": (14, 2)}.items():
        for number in range(20):
            rng = np.random.default_rng([number, top, left])
            chip = rng.integers(0, 90, (24, 24), dtype=np.uint8)
            down, right = rng.integers(-1, 2, 2)
            chip[top + down : top + down + 8, left + right : left + right + 8] += np.uint8(150)
            write_image(root / label / f"{number:02d}.png", chip)
    return read_index(DataSource("fusar_air", root))
