"""For all tests: what can be made again goes into a folder of this test process, never into the user's cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from foundation.cache import VARIABLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

# One thread per test process, set before torch is loaded: workers with a pool each would wait for one another.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"


@pytest.fixture(scope="session", autouse=True)
def cache_of_this_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One empty cache per worker and session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(tmp_path_factory.mktemp("cache")))
        patch.delenv("FUSAR_KLIP_WEIGHTS", raising=False)
        yield


def _write_image(path: Path, samples: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in {".tif", ".tiff"}:
        import tifffile

        tifffile.imwrite(path, samples)
    else:
        from PIL import Image

        Image.fromarray(samples).save(path)
    return path


@pytest.fixture(scope="session")
def write_image() -> Callable[[Path, NDArray[Any]], Path]:
    """Writes samples in the format of the file's ending, folders included."""
    return _write_image
