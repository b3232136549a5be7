"""Data sets at a glance, and the synthetic world on demand."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from foundation.errors import BenchError, UsageError
from foundation.names import unknown_name
from foundation.progress import Progress
from tasks.catalog import DATASETS, TASKS
from tasks.datasets import DataOptions, DatasetIndex, DataSource, find_source, read_index
from tasks.datasets.catalogue import READERS
from tasks.sarworld.build import WorldInfo, build
from tasks.sarworld.cache import default_world_path

WORLD_SIZES = ("ci", "mini", "default")


class DatasetState(NamedTuple):
    """One line of the overview."""

    dataset: str
    title: str
    state: str
    images: int | None
    classes: int | None
    bad_files: int | None
    folder: str
    note: str


def overview(data_root: Path | None, world: str, label_maps: dict[str, str], progress: Progress) -> list[DatasetState]:
    """Every data set of the paper: real under a data root, else of the synthetic world; and what is missing."""
    return [_state(dataset, data_root, world, label_maps.get(dataset), progress) for dataset in DATASETS]


def build_world(root: Path | None, size: str, seed: int, workers: int, progress: Progress) -> WorldInfo:
    """Builds the synthetic world, into the cache where no folder is named."""
    if size not in WORLD_SIZES:
        raise unknown_name("size", size, WORLD_SIZES, see="harness data build --help")
    if seed < 0:
        raise UsageError(f"a seed is not negative: {seed}")
    chosen = root if root is not None else default_world_path(size, seed)  # type: ignore[arg-type]
    return build(chosen, size, seed, workers=workers, progress=progress)  # type: ignore[arg-type]


def _state(dataset: str, data_root: Path | None, world: str, label_map: str | None, progress: Progress) -> DatasetState:
    info = DATASETS[dataset]
    if dataset not in READERS:
        return DatasetState(dataset, info.title, "not built yet", None, None, None, "", TASKS[info.task].title)
    try:
        source = _source(dataset, data_root, world)
        if source is None:
            return DatasetState(dataset, info.title, "not rendered yet", None, None, None, "", "harness data build")
        index = read_index(source, DataOptions(label_map, allow_bad=True), progress)
    except BenchError as error:
        return DatasetState(dataset, info.title, "missing", None, None, None, error.where, error.what)
    return _found(info.title, index)


def _source(dataset: str, data_root: Path | None, world: str) -> DataSource | None:
    if data_root is not None:
        return find_source(dataset, data_root)
    folder = default_world_path(world) / DATASETS[dataset].folder  # type: ignore[arg-type]
    return DataSource(dataset, folder) if folder.is_dir() else None


def _found(title: str, index: DatasetIndex) -> DatasetState:
    return DatasetState(
        dataset=index.dataset,
        title=title,
        state="synthetic" if index.synthetic else "real",
        images=len(index.images),
        classes=len({image.label for image in index.images}),
        bad_files=len(index.bad),
        folder=str(index.root),
        note=index.world or "",
    )
