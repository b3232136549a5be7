"""Data sets at a glance, and the synthetic world on demand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from foundation.errors import BenchError, UsageError
from foundation.names import unknown_name
from foundation.progress import Progress
from tasks.catalog import DATASETS
from tasks.datasets import DataOptions, DatasetIndex, DataSource, find_source, read_index
from tasks.sarworld.build import WorldInfo, build
from tasks.sarworld.cache import default_world_path
from tasks.sarworld.plan import Size as WorldSize

WORLD_SIZES: tuple[WorldSize, ...] = ("ci", "mini", "default")


class WorldChoice(NamedTuple):
    """Which synthetic world is meant, as named on the command line."""

    root: Path | None
    size: str
    seed: int

    @property
    def known_size(self) -> WorldSize:
        """The size, checked."""
        if self.size not in WORLD_SIZES:
            raise unknown_name("size", self.size, WORLD_SIZES, see="harness data --help")
        return self.size


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


def build_world(
    world: WorldChoice, workers: int, progress: Progress, *, only: Sequence[str] | None = None, utm: bool = False
) -> WorldInfo:
    """Builds the synthetic world, into the cache where no folder is named."""
    size = world.known_size
    if world.seed < 0:
        raise UsageError(f"a seed is not negative: {world.seed}")
    if utm and world.root is None:
        raise UsageError("the shared world is in WGS84", way_out="name a folder of your own with --root for --utm")
    root = world.root if world.root is not None else default_world_path(size, world.seed)
    return build(root, size, world.seed, workers=workers, progress=progress, datasets=only, utm=utm)


def _state(dataset: str, data_root: Path | None, world: str, label_map: str | None, progress: Progress) -> DatasetState:
    info = DATASETS[dataset]
    try:
        source = _source(dataset, data_root, world)
        if source is None:
            return DatasetState(
                dataset, info.title, "not rendered yet", None, None, None, "", "a run builds it; or: harness data build"
            )
        index = read_index(source, DataOptions(label_map, allow_bad=True), progress)
    except BenchError as error:
        note = f"{error.what}; source: {info.source}" if data_root is not None else error.what
        return DatasetState(dataset, info.title, "missing", None, None, None, error.where, note)
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
        classes=len(index.classes_found),
        bad_files=len(index.bad),
        folder=str(index.root),
        note=", ".join(part for part in (_contents(index), index.world) if part),
    )


def _contents(index: DatasetIndex) -> str:
    """What the images carry besides a class of their own."""
    if index.has_boxes:
        return f"{index.boxes} boxes"
    return f"{index.masks} masks" if index.masks else ""
