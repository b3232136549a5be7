"""Which reader reads which data set, and where its files are: real ones under a data root, else sarworld's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from foundation.errors import MissingError, UsageError
from foundation.files import read_json
from foundation.progress import Progress, silent
from tasks.catalog import DATASETS
from tasks.datasets import (
    air_polarsar_seg,
    fusar_air,
    fusar_air_sense,
    fusar_map,
    fusar_ship,
    fusar_ship_sense,
    sar_acd,
    sar_aircraft_few,
)
from tasks.datasets.index import index_dataset, require_readable
from tasks.datasets.linked import grouped, identical_images
from tasks.datasets.options import DataOptions, data_options, flag
from tasks.datasets.records import DatasetIndex, Listing
from tasks.datasets.split_files import read_split_file, with_parts

Find = Callable[[Path, str, DataOptions], Listing]

MARKER = "synthetic.json"
"""Lies at the root of every rendered data set; its presence makes every record and table say so."""


class Reader(NamedTuple):
    """How a data set is listed."""

    find: Find
    label_map: str
    """The default one."""
    options: tuple[str, ...]
    """Those that it knows."""
    group_exact_duplicates: bool = False


READERS: dict[str, Reader] = {
    "fusar_air": Reader(fusar_air.find, "folders", fusar_air.OPTIONS),
    "fusar_ship": Reader(fusar_ship.find, "ship15", fusar_ship.OPTIONS, group_exact_duplicates=True),
    "sar_acd": Reader(sar_acd.find, "acd6", sar_acd.OPTIONS),
    "fusar_air_sense": Reader(fusar_air_sense.find, "agnostic", fusar_air_sense.OPTIONS),
    "fusar_ship_sense": Reader(fusar_ship_sense.find, "agnostic", fusar_ship_sense.OPTIONS),
    "sar_aircraft_few": Reader(sar_aircraft_few.find, "aircraft7", sar_aircraft_few.OPTIONS),
    "fusar_map": Reader(fusar_map.find, "map4", fusar_map.OPTIONS),
    "air_polarsar_seg": Reader(air_polarsar_seg.find, "polsar6", air_polarsar_seg.OPTIONS),
}
ANY_SPLIT = ("split_file", "group_near_duplicates")
"""Options that `read_index` sees to, for every data set."""


class DataSource(NamedTuple):
    """Where the files of a data set lie."""

    dataset: str
    root: Path


AS_FOUND = DataOptions()


def find_source(dataset: str, data_root: Path) -> DataSource:
    """The data set's folder under a data root, by its published name or its id here, with dashes, too."""
    info = DATASETS[dataset]
    names = (info.folder, dataset, info.folder.replace("_", "-"), dataset.replace("_", "-"))
    for name in names:
        if (data_root / name).is_dir():
            return DataSource(dataset, data_root / name)
    raise MissingError(
        f"data set {dataset} ({info.title}) is not under the data root",
        where=str(data_root / info.folder),
        way_out=f"source: {info.source}; unpack it there, leave it out of --tasks, "
        "or run without --data-root for synthetic data",
    )


def read_index(source: DataSource, options: DataOptions = AS_FOUND, progress: Progress = silent) -> DatasetIndex:
    """Lists, opens (once) and checks a data set."""
    reader = READERS[source.dataset]
    label_map = options.label_map or reader.label_map
    listing = reader.find(source.root, label_map, options)
    index = index_dataset(
        source.dataset,
        source.root,
        listing,
        label_map=label_map,
        world=_world(source.root),
        progress=progress,
    )
    require_readable(index, allow_bad=options.allow_bad)
    if options.group_near_duplicates:
        from tasks.datasets.audit import grouped_near_duplicates  # here: comparing images needs numpy

        index = grouped_near_duplicates(index, progress)
    elif reader.group_exact_duplicates:
        index = grouped(index, identical_images(index))
    return index if options.split_file is None else with_parts(index, read_split_file(options.split_file, index))


def options_known(dataset: str) -> tuple[str, ...]:
    """The options that mean something for a data set."""
    return (*READERS[dataset].options, *ANY_SPLIT)


def require_known(dataset: str, option: str) -> None:
    """Refuses an option that was written for a data set that does not know it."""
    known = options_known(dataset)
    if option not in known:
        raise UsageError(
            f"{dataset} has no option {flag(option)}", way_out=f"it knows {', '.join(flag(name) for name in known)}"
        )


def options_of(dataset: str, choices: Mapping[str, Mapping[str, str]], *, allow_bad: bool = False) -> DataOptions:
    """How one data set is read.

    Args:
        dataset: Which one; what was said for it goes before what was said for all.
        choices: Option to its value per data set; '' for all data sets, passed over where it is unknown.
        allow_bad: Go on with more than 1 % unreadable images.
    """
    chosen = {}
    for option, values in choices.items():
        if dataset in values:
            require_known(dataset, option)
            chosen[option] = values[dataset]
        elif "" in values and option in options_known(dataset):
            chosen[option] = values[""]
    return data_options(chosen, allow_bad=allow_bad)


def _world(root: Path) -> str | None:
    marker = root / MARKER
    if not marker.is_file():
        return None
    facts = read_json(marker)
    if not isinstance(facts, dict) or not {"world_version", "size", "seed"} <= set(facts):
        raise MissingError(
            "the marker of a synthetic data set does not say which world it is of",
            where=str(marker),
            way_out="delete the folder and render the world anew; real data have no such file",
        )
    if facts.get("complete") is False:
        raise MissingError(
            "the synthetic data set is not complete: its rendering goes on, or was interrupted",
            where=str(root),
            way_out="finish it with harness data build sarworld --root ..., it goes on where it stopped",
        )
    return f"sarworld v{facts['world_version']} {facts['size']} seed {facts['seed']}"
