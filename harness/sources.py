"""Where the data sets of a request lie: below its data root, else in the synthetic world."""

from __future__ import annotations

from pathlib import Path

from foundation.errors import MissingError, UsageError
from foundation.progress import Progress, silent
from harness.request import RunRequest
from tasks.catalog import COMPOSED, DATASETS
from tasks.datasets import DatasetIndex, DataSource, find_source, read_index
from tasks.datasets.composed import Part, compose, parts_of
from tasks.protocol import load_profile


def data_source(
    request: RunRequest, dataset: str, *, build_world: bool, progress: Progress = silent
) -> DataSource | None:
    """The folder of a data set; None where it is synthetic, not rendered yet, and not to be rendered now.

    Raises:
        UsageError: The data root is not a folder.
        MissingError: The data set is not below it.
    """
    if request.data_root is not None:
        if not request.data_root.is_dir():
            raise UsageError(
                "the data root is not a folder",
                where=str(request.data_root),
                way_out="name the folder that holds the data sets, or leave --data-root out for synthetic data",
            )
        if dataset in COMPOSED:
            if not _parts_there(dataset, request.data_root):
                raise _nothing_there(dataset, request.data_root)
            return DataSource(dataset, request.data_root)
        return find_source(dataset, request.data_root)
    from tasks.sarworld.cache import default_world, default_world_path, is_built

    world = default_world_path(request.world)
    if build_world:
        parts = parts_of(dataset)
        world = default_world(request.world, workers=request.jobs, progress=progress, datasets=list(parts))
    elif not all(is_built(world, part) for part in parts_of(dataset)):
        return None
    return DataSource(dataset, world if dataset in COMPOSED else world / DATASETS[dataset].folder)


def read(request: RunRequest, source: DataSource, progress: Progress = silent) -> DatasetIndex:
    """The index of a source as the request wants it read, whether it is one data set or made of several."""
    if source.dataset not in COMPOSED:
        return read_index(source, request.data_options(source.dataset), progress)
    parts = [Part(part, request.data_options(part.dataset)) for part in _parts_there(source.dataset, source.root)]
    ratio = load_profile(request.profile).split.ratio
    return compose(source.dataset, source.root, parts, ratio=ratio, progress=progress)


def _parts_there(dataset: str, root: Path) -> list[DataSource]:
    found = []
    for part in parts_of(dataset):
        try:
            found.append(find_source(part, root))
        except MissingError:  # what is there will do; the record says what is not
            continue
    return found


def _nothing_there(dataset: str, root: Path) -> MissingError:
    names = ", ".join(f"{DATASETS[part].folder} ({DATASETS[part].title})" for part in parts_of(dataset))
    return MissingError(
        f"{dataset} is made from the boxes or masks of other data sets, and none of them is under the data root",
        where=str(root),
        way_out=f"put one of these there: {names}; or run without --data-root for synthetic data",
    )
