"""Where the data sets of a request lie: below its data root, else in the synthetic world."""

from __future__ import annotations

from foundation.errors import UsageError
from foundation.progress import Progress, silent
from harness.request import RunRequest
from tasks.catalog import DATASETS
from tasks.datasets import DataSource, find_source


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
        return find_source(dataset, request.data_root)
    from tasks.sarworld.cache import default_world, default_world_path, is_built

    world = default_world_path(request.world)
    if build_world:
        world = default_world(request.world, workers=request.jobs, progress=progress, datasets=[dataset])
    elif not is_built(world, dataset):
        return None
    return DataSource(dataset, world / DATASETS[dataset].folder)
