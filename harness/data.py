"""Data sets at a glance, and the synthetic world on demand."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from foundation.errors import BenchError, UsageError
from foundation.names import unknown_name
from foundation.progress import Progress
from tasks.catalog import DATASETS
from tasks.datasets import DataOptions, DatasetIndex, DataSource, find_source, read_index
from tasks.sarworld.build import MARKER, WorldInfo, build, read_marker
from tasks.sarworld.cache import default_world_path
from tasks.sarworld.plan import Size as WorldSize

WORLD_SIZES: tuple[WorldSize, ...] = ("ci", "mini", "default")


class WorldChoice(NamedTuple):
    """Which synthetic world is meant, as named on the command line; None: not named."""

    root: Path | None
    size: str | None
    seed: int | None

    @property
    def known_size(self) -> WorldSize | None:
        """The size, checked."""
        if self.size is not None and self.size not in WORLD_SIZES:
            raise unknown_name("size", self.size, WORLD_SIZES, see="harness data --help")
        return self.size


class BuildChoices(NamedTuple):
    """How it is built, and what of it."""

    workers: int = 1
    only: tuple[str, ...] = ()
    utm: bool = False
    error_rate: float | None = None


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
    states = [_state(dataset, data_root, world, label_maps.get(dataset), progress) for dataset in DATASETS]
    return states + _only_synthetic(data_root, world)


def _only_synthetic(data_root: Path | None, world: str) -> list[DatasetState]:
    """What the world has besides the data sets of the paper."""
    root = data_root if data_root is not None else default_world_path(world)  # type: ignore[arg-type]
    states = []
    for name, title in (("corpus", "pre-training"), ("scenes", "georeferenced")):
        if (root / name / MARKER).is_file():
            facts = read_marker(root / name / MARKER)
            state = "synthetic" if facts.get("complete") else "not complete"
            note = f"sarworld v{facts.get('world_version')} {facts.get('size')} seed {facts.get('seed')}"
            states.append(DatasetState(name, title, state, facts.get("images"), None, 0, str(root / name), note))
        elif data_root is None:
            states.append(DatasetState(name, title, "not rendered yet", None, None, None, "", "harness data build"))
    return states


def build_world(world: WorldChoice, choices: BuildChoices, progress: Progress) -> WorldInfo:
    """Builds the synthetic world, into the cache where no folder is named."""
    size, seed = world.known_size or "mini", world.seed or 0
    if seed < 0:
        raise UsageError(f"a seed is not negative: {seed}")
    if world.root is None and (choices.utm or choices.error_rate is not None):
        raise UsageError(
            "the shared world has scenes in WGS84 and texts with the usual errors",
            way_out="name a folder of your own with --root for --utm and --error-rate",
        )
    return build(
        world.root if world.root is not None else default_world_path(size, seed),
        size,
        seed,
        workers=choices.workers,
        progress=progress,
        datasets=choices.only or None,
        utm=choices.utm,
        error_rate=choices.error_rate,
    )


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
