"""Pages of a store: brings records, answers, truth and images together for `results.pages`; trains nothing."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.errors import BenchError, CellError, UsageError
from foundation.hashing import hash_file
from foundation.names import unknown_name
from foundation.progress import Progress, silent
from harness.ablation_rows import stored_records
from harness.readings import readings
from results.ablation_table import NUMBER as ABLATION
from results.pages.site import Drawn, Site, write_site
from results.pages.sources import CellSource, DatasetSource, source_name
from results.record import DataProvenance, FileReference, Record
from results.rows import TableRow
from results.store import Store
from results.tables import Table
from tasks.catalog import COMPOSED, DATASETS, task_groups
from tasks.datasets import DatasetIndex, DataSource, find_source, read_index
from tasks.datasets.composed import Part, compose, parts_of
from tasks.datasets.options import recorded_options
from tasks.sarworld.cache import default_world_path, is_built

if TYPE_CHECKING:
    from results.figures.selection import ImageOf, Pixels

_WORLD = re.compile(r"sarworld v(\d+) (ci|mini|default) seed (\d+)")
_HELD = 32
"""Images kept in memory: the surest errors of several models are often the same."""


def write_pages(
    store: Store,
    table: Table,
    name: str,
    profile: str,
    *,
    data_root: Path | None = None,
    chosen: str | None = None,
    progress: Progress = silent,
) -> Drawn:
    """Writes the pages of everything that stands in a table.

    Args:
        store: Where records, answers and truths lie.
        table: Made from its records.
        name: Of the table's files.
        profile: Of the records.
        data_root: Real data; None: the synthetic world, if it is built.
        chosen: Model in front of the radar chart of its group.
        progress: Is told about every page.
    """
    rows = {line.row.model: line.row for line in table.lines if line.kind == "model"}
    if chosen is not None and chosen not in rows:
        raise unknown_name("model of this table", chosen, rows, see="harness report")
    cells, datasets = [], {}
    for stored in stored_records(store, profile) if table.number == ABLATION else readings(store, profile)[0].records:
        record = stored.record
        row = rows.get(record.cell.model)
        if row is None:
            row = TableRow(record.cell.model, record.model.name, record.model.backbone)
        cells.append(CellSource(record, row, _answers(store, stored.folder, record)))
        place = source_name(record)
        if place not in datasets:
            datasets[place] = _dataset(store, record, data_root)
    with store.shared("reports"):
        return write_site(Site(store.root / "reports", name, table, cells, datasets, chosen), progress)


def _answers(store: Store, folder: Path, record: Record) -> Callable[[], Sequence[dict[str, Any]]]:
    def read() -> Sequence[dict[str, Any]]:
        rows = [json.loads(line) for line in _checked(folder, record.predictions).splitlines()]
        return _judged(rows, json.loads(_checked(store.root, record.truth))) if _asks(record) else rows

    return read


def _asks(record: Record) -> bool:
    return record.cell.task in task_groups()["vqa"]


def _judged(rows: Sequence[dict[str, Any]], truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Answers to questions with whether they are right: spelling and order do not decide that."""
    from tasks.metrics.answers import is_right

    true = {row["question_id"]: row["answer"] for row in truth["test"]}
    types = tuple(truth.get("types", ()))
    return [
        {**row, "right": is_right(truth["task"], row["answer"], true[row["question_id"]], types)}
        for row in rows
        if row["question_id"] in true
    ]


def _dataset(store: Store, record: Record, data_root: Path | None) -> DatasetSource:
    image_of, missing = images_of(record.data, data_root)
    return DatasetSource(
        name=source_name(record),
        state=record.truth.sha256,
        truth=lambda: dict(json.loads(_checked(store.root, record.truth))),
        image_of=image_of,
        missing=missing,
    )


def _checked(root: Path, file: FileReference) -> bytes:
    path = root / file.name
    if not path.is_file() or hash_file(path) != file.sha256:
        raise CellError(
            f"{file.name} is missing or is not the file that the record names",
            where=str(path),
            way_out="delete the cell's folder and run it again",
        )
    return path.read_bytes()


def images_of(data: DataProvenance, data_root: Path | None) -> tuple[ImageOf, str]:
    """The pixels of a data set by image, or why they are not here; other pixels than the record's are never shown."""
    try:
        index = _index(data, data_root)
    except BenchError as error:
        return _nothing, error.what
    if index is None:
        return _nothing, "the synthetic world of this record is not built here"
    if index.data_hash != data.data_hash:
        return _nothing, f"the {data.dataset} that is here is another one than the record's"
    return _reader(index), ""


def _index(data: DataProvenance, data_root: Path | None) -> DatasetIndex | None:
    if data.dataset in COMPOSED:
        return _composed(data, data_root)
    options = recorded_options(data.choices, data.label_map)
    if data_root is not None:
        return read_index(find_source(data.dataset, data_root), options)
    if not data.synthetic:
        raise UsageError("no --data-root was given", way_out="harness report --pages --data-root ...")
    root = _world_root(data.world or "")
    if root is None or data.dataset not in DATASETS or not is_built(root, data.dataset):
        return None
    return read_index(DataSource(data.dataset, root / DATASETS[data.dataset].folder), options)


def _composed(data: DataProvenance, data_root: Path | None) -> DatasetIndex | None:
    """A data set that was made of others: of those that the record had, read as it says."""
    if data_root is None and not data.synthetic:
        raise UsageError("no --data-root was given", way_out="harness report --pages --data-root ...")
    root = data_root or _world_root(data.world or "")
    if root is None:
        return None
    lacking = data.choices.get("without", "").split(", ")
    parts = []
    for name in parts_of(data.dataset):
        if name in lacking:
            continue
        if data_root is None and not is_built(root, name):
            return None
        source = DataSource(name, root / DATASETS[name].folder) if data_root is None else find_source(name, root)
        own = {key.removeprefix(f"{name}."): value for key, value in data.choices.items() if key.startswith(f"{name}.")}
        parts.append(Part(source, recorded_options(own, "")))
    return compose(data.dataset, root, parts)


def _world_root(world: str) -> Path | None:
    """Where the cache holds the world that a record names."""
    found = _WORLD.fullmatch(world)
    if found is None:
        return None
    root = default_world_path(found[2], int(found[3]))  # type: ignore[arg-type]
    return root if root.name.startswith(f"v{found[1]}-") else None


def _reader(index: DatasetIndex) -> ImageOf:
    entries = {image.image_id: image for image in index.images}
    held: OrderedDict[str, Pixels] = OrderedDict()

    def image_of(image_id: str) -> Pixels | None:
        from tasks.datasets.images import read_pixels

        if image_id not in entries:
            return None
        if image_id not in held:
            held[image_id] = read_pixels(index, entries[image_id])
            if len(held) > _HELD:
                held.popitem(last=False)
        return held[image_id]

    return image_of


def _nothing(_image_id: str) -> None:
    return None
