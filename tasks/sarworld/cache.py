"""The world that is there when no data are configured: built once into a cache, shared by all runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foundation.cache import cache_root as default_cache_root
from foundation.progress import Progress, silent
from tasks.sarworld.build import BUILDING, MARKER, build, read_marker
from tasks.sarworld.plan import WORLD_VERSION, Size, folder_of


def default_world_path(size: Size = "mini", seed: int = 0, cache_root: Path | None = None) -> Path:
    """Where that world lies once it is built."""
    return (cache_root or default_cache_root()) / "sarworld" / f"v{WORLD_VERSION}-{size}-seed{seed}"


def is_built(root: Path, dataset: str | None = None) -> bool:
    """True for a data set that is whole, or a world of which nothing is being built: markers are written last."""
    if dataset is not None:
        marker = root / folder_of(dataset) / MARKER
        return marker.is_file() and bool(read_marker(marker).get("complete"))
    return (root / MARKER).is_file() and not (root / BUILDING).exists()


def default_world(
    size: Size = "mini",
    seed: int = 0,
    cache_root: Path | None = None,
    progress: Progress = silent,
    workers: int = 1,
    datasets: Sequence[str] | None = None,
) -> Path:
    """The folder of that world with the data sets asked for, built on first use; later calls look and return.

    Two processes that ask at once are safe: the second waits for the first and finds the world finished.
    """
    root = default_world_path(size, seed, cache_root)
    return build(root, size, seed, workers=workers, progress=progress, datasets=datasets).root
