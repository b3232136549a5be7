"""Writes the synthetic data sets of one world below a folder, whole or detectably unfinished.

Order: `building.json` first; for each data set a marker that says "not complete", images, each atomically, tables, and
the marker that says "complete"; the world's `synthetic.json` last. So a complete marker vouches for all that it names,
a part is never taken for the real data set, an interrupted build goes on where it stopped, and a folder that holds
anything else is left alone.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

from foundation.errors import CheckError, StorageError, UsageError
from foundation.files import TEMPORARY_PREFIX, exclusive, read_json, write_bytes, write_json
from foundation.names import unknown_name
from foundation.progress import Progress, silent
from klip.corpus import CLEAN, PLANTED, TEMPLATE_TEXTS, TEXTS
from tasks.sarworld.plan import (
    DATASETS,
    SIZES,
    TEMPLATE_SETS,
    TEXT_SETS,
    TRUTH,
    WORLD_VERSION,
    Item,
    Size,
    chosen,
    extra_files,
    folder_of,
    plan,
    size_in_bytes,
)

MARKER = "synthetic.json"
BUILDING = "building.json"
_LOCK = ".building.lock"
_NOTE = "Synthetic SAR: invented scenes and targets, no claim of fidelity."
_PIXELS_PER_CALL = 16 * 64 * 64  # few enough that progress is seen, many enough that passing them on costs nothing
_PIXELS_WORTH_A_PROCESS = 2_000_000
"""Of a data set: to draw fewer takes no longer than to start a process, about two seconds."""
_SPARE_BYTES = 50_000_000
"""Room that a build leaves on the disk."""


@dataclass(frozen=True)
class WorldInfo:
    """What stands below a world's folder after a build."""

    root: Path
    version: int
    size: Size
    seed: int
    datasets: dict[str, int]
    """Images of each data set that is complete."""
    written: int
    """Images that this build had to write; 0 when all was there."""
    seconds: float
    balance: dict[str, dict[str, Any]]
    """What section 14.6 asks of each data set, as measured."""


def build(
    root: Path,
    size: Size,
    seed: int = 0,
    workers: int = 1,
    progress: Progress = silent,
    datasets: Sequence[str] | None = None,
    *,
    utm: bool = False,
    error_rate: float | None = None,
) -> WorldInfo:
    """Writes the data sets asked for, all by default, and keeps those that are complete.

    Args:
        root: A folder of its own: new, empty, or a world of the same version, size and seed.
        size: How much of it, see `plan.GRIDS`.
        seed: Another seed is another world.
        workers: Processes that draw; the files do not depend on it.
        progress: Told after every batch of images.
        datasets: Names from `plan.DATASETS`.
        utm: Georeferenced scenes in UTM instead of WGS84.
        error_rate: Share of wrong sentences in every field of the texts; None: that of section 14.5.

    Raises:
        UsageError: The folder holds something else, or an argument is not known.
        StorageError: The disk is too small.
    """
    began = time.perf_counter()
    if size not in SIZES:
        raise unknown_name("world size", size, SIZES, see="harness data build --help")
    if workers < 1:
        raise UsageError(f"workers must be at least 1, got {workers}", where="sarworld.build", way_out="use 1")
    if error_rate is not None and not 0.0 <= error_rate <= 1.0:
        raise UsageError(f"an error rate lies between 0 and 1, not at {error_rate}", way_out="use 0 for clean texts")
    wanted = chosen(datasets)
    identity = _identity(size, seed, utm, error_rate)
    entries = _entries(root)
    written = 0
    if {MARKER, BUILDING} & entries:
        # The usual case, a finished world, is only looked at: it may lie where nobody may write.
        _refuse_other_content(root, identity)
    elif entries:
        raise _other_files(root, sorted(entries)[0])
    missing = [name for name in wanted if not _is_complete(root, name, identity)]
    if missing:
        _require_room(root, missing, size)
        with exclusive(root / _LOCK):
            _refuse_other_content(root, identity)  # only now does nobody else write here
            # Another process may have made some or all of it while we waited.
            missing = [name for name in wanted if not _is_complete(root, name, identity)]
            if missing or not (root / MARKER).exists():
                write_json(root / BUILDING, identity)
                with _Workers(workers) as drawing:
                    for name in missing:
                        written += _build_dataset(root, name, identity, drawing, progress)
                write_json(root / MARKER, _marker(identity, "all", {"datasets": _complete_datasets(root, identity)}))
                (root / BUILDING).unlink()
    complete = _complete_datasets(root, identity)
    measured = {name: read_marker(root / folder_of(name) / MARKER).get("balance", {}) for name in complete}
    balance = {name: report for name, report in measured.items() if report}
    return WorldInfo(root, WORLD_VERSION, size, seed, complete, written, time.perf_counter() - began, balance)


def read_marker(path: Path) -> dict[str, Any]:
    """What a marker says.

    Raises:
        CheckError: It is damaged.
    """
    facts = read_json(path)
    if not isinstance(facts, dict):
        raise CheckError(
            "the marker of a synthetic world is damaged",
            where=str(path),
            way_out="delete the folder and render the world anew",
        )
    return facts


def _identity(size: Size, seed: int, utm: bool, error_rate: float | None) -> dict[str, Any]:
    named = {"synthetic": True, "world_version": WORLD_VERSION, "size": size, "seed": seed}
    return named | {"utm": utm, "error_rate": error_rate}


def _marker(identity: dict[str, Any], dataset: str, more: dict[str, Any]) -> dict[str, Any]:
    return identity | {"dataset": dataset, "note": _NOTE} | more


def _is_complete(root: Path, dataset: str, identity: dict[str, Any]) -> bool:
    """Whole and of this world by its marker; a file that was deleted or emptied since is noticed."""
    folder = root / folder_of(dataset)
    if not (folder / MARKER).is_file():
        return False
    facts = read_marker(folder / MARKER)
    if not facts.get("complete") or {key: facts.get(key) for key in identity} != identity:
        return False
    items = plan(dataset, identity["size"])
    return all(_is_there(folder / path) for path in (*extra_files(dataset), *(p for i in items for p in i.files)))


def _is_there(path: Path) -> bool:
    try:
        return path.stat().st_size > 0 or path.name == PLANTED  # clean texts have no errors to list
    except OSError:
        return False


def _complete_datasets(root: Path, identity: dict[str, Any]) -> dict[str, int]:
    return {name: len(plan(name, identity["size"])) for name in DATASETS if _is_complete(root, name, identity)}


def _require_room(root: Path, datasets: Sequence[str], size: Size) -> None:
    """Refuses before anything is written."""
    needed = sum(size_in_bytes(name, size) for name in datasets) + _SPARE_BYTES
    present = root
    while not present.exists():
        present = present.parent
    free = shutil.disk_usage(present).free
    if free < needed:
        raise StorageError(
            f"the world of size {size} needs about {needed / 1e6:,.0f} MB, the disk has {free / 1e6:,.0f} MB left; "
            "nothing was written",
            where=str(root),
            way_out="make room, name another folder with --root, or choose a smaller --size",
        )


def _entries(root: Path) -> set[str]:
    """What lies in the folder, without the traces of a build that wrote nothing yet."""
    if root.exists() and not root.is_dir():
        raise UsageError("not a folder", where=str(root), way_out="choose a new folder for the synthetic world")
    if not root.exists():
        return set()
    names = {entry.name for entry in root.iterdir()}
    return {name for name in names if name != _LOCK and not name.startswith(TEMPORARY_PREFIX)}


def _refuse_other_content(root: Path, identity: dict[str, Any]) -> None:
    """Passes for a new or empty folder and for this very world, begun or finished; refuses all else."""
    entries = _entries(root)
    labels = [root / name for name in (MARKER, BUILDING) if name in entries]
    for label in labels:
        there = read_marker(label)
        found = {key: there.get(key) for key in identity}
        if found != identity:
            raise UsageError(
                f"the folder holds another world ({_named(found)}, not {_named(identity)}); nothing was written",
                where=str(label),
                way_out="choose another folder, or delete this one",
            )
    folders = {folder_of(name) for name in DATASETS}
    foreign = sorted(entries - {MARKER, BUILDING, *folders}) if labels else sorted(entries)
    foreign += _foreign_in_datasets(root, identity["size"]) if labels else []
    if foreign:
        raise _other_files(root, foreign[0])


def _other_files(root: Path, example: str) -> UsageError:
    return UsageError(
        f"the folder holds files that are not of the world ({example}); nothing was written",
        where=str(root),
        way_out="choose a new or empty folder for the synthetic world, or move those files elsewhere",
    )


def _foreign_in_datasets(root: Path, size: Size) -> list[str]:
    foreign: list[str] = []
    for name in DATASETS:
        folder = root / folder_of(name)
        if not folder.exists():
            continue
        known = {path for item in plan(name, size) for path in item.files} | {MARKER, *extra_files(name)}
        for entry in folder.rglob("*"):
            path = entry.relative_to(folder).as_posix()
            if not entry.is_dir() and path not in known and not entry.name.startswith(TEMPORARY_PREFIX):
                foreign.append(f"{folder.name}/{path}")
    return sorted(foreign)


def _named(identity: dict[str, Any]) -> str:
    more = ", scenes in UTM" if identity.get("utm") else ""
    if identity.get("error_rate") is not None:
        more += f", error rate {identity['error_rate']}"
    return f"version {identity['world_version']}, size {identity['size']}, seed {identity['seed']}{more}"


def _build_dataset(root: Path, name: str, identity: dict[str, Any], workers: _Workers, progress: Progress) -> int:
    size, seed = identity["size"], identity["seed"]
    folder = root / folder_of(name)
    for partial_file in folder.rglob(f"{TEMPORARY_PREFIX}*"):
        partial_file.unlink(missing_ok=True)  # left by a killed build; the lock is ours, so nobody writes them now
    items = plan(name, size)
    # First of all: whoever looks at a part of it must not take it for the real data set.
    write_json(folder / MARKER, _marker(identity, name, {"complete": False}))
    progress(0, len(items), f"rendering {name}")
    rows: dict[str, dict[str, Any]] = {}
    written = 0
    write = partial(_write_items, folder, seed, identity["utm"])
    for batch, count in workers.drawn(write, _batches(items)):
        rows |= batch
        written += count
        progress(len(rows), len(items), f"rendering {name}")
    tables, balance = _tables(name, items, [rows[item.name] for item in items], seed, identity["error_rate"])
    for path, content in tables.items():
        write_bytes(folder / path, content)
    facts = {"complete": True, "images": len(items), "pixel_m": items[0].grid.pixel_m, "side_px": items[0].grid.side_px}
    write_json(folder / MARKER, _marker(identity, name, facts | ({"balance": balance} if balance else {})))
    return written


def _batches(items: Sequence[Item]) -> list[list[Item]]:
    per_call = max(1, _PIXELS_PER_CALL // items[0].grid.side_px ** 2)
    return [list(items[start : start + per_call]) for start in range(0, len(items), per_call)]


Batch = tuple[dict[str, dict[str, Any]], int]


class _Workers:
    """Processes that draw, started when there is enough to do for them and kept for all data sets."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: Pool | None = None

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()

    def drawn(self, write: Callable[[list[Item]], Batch], batches: list[list[Item]]) -> Iterator[Batch]:
        """The results of all batches, in any order."""
        pixels = sum(len(batch) * batch[0].grid.side_px ** 2 for batch in batches)
        if self._count == 1 or (self._pool is None and pixels < _PIXELS_WORTH_A_PROCESS):
            yield from map(write, batches)
            return
        if self._pool is None:
            # Spawned, not forked: the caller may hold threads and locks of its numeric libraries.
            self._pool = multiprocessing.get_context("spawn").Pool(self._count)
        yield from self._pool.imap_unordered(write, batches)


def _write_items(folder: Path, seed: int, utm: bool, items: list[Item]) -> Batch:
    """Draws what is not there yet; tells the truth about all, since the tables need it."""
    # Imported here: planning a world must not cost the import of the array libraries.
    from threadpoolctl import threadpool_limits

    from tasks.sarworld.sets.catalogue import maker_of
    from tasks.sarworld.sets.maker import truth

    rows, written = {}, 0
    # Products of matrices round differently with other numbers of threads.
    with threadpool_limits(1):
        for item in items:
            maker = maker_of(item.dataset, utm=utm)
            ground = maker.ground(item, seed)
            if not all(_is_there(folder / path) for path in item.files):
                for path, content in maker.encode(item, seed, ground).items():
                    write_bytes(folder / path, content)
                written += 1
            rows[item.name] = truth(item, seed, ground).to_json()
    return rows, written


def _tables(
    name: str, items: Sequence[Item], rows: Sequence[dict[str, Any]], seed: int, error_rate: float | None
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Everything of a data set that is no image, and how balanced it is."""
    from tasks.sarworld.balance import require_balance
    from tasks.sarworld.sets.catalogue import maker_of
    from tasks.sarworld.sets.maker import json_lines
    from tasks.sarworld.texts import plant, template_texts
    from tasks.sarworld.truth import Truth

    truths = [Truth.from_json(row) for row in rows]
    maker = maker_of(name)
    tables = maker.tables(items, truths, seed) | {TRUTH: json_lines(rows)}
    if name in TEXT_SETS:
        texts = plant(truths, rates=error_rate, seed=seed)
        tables |= {
            TEXTS: json_lines(texts.noisy),
            CLEAN: json_lines(texts.clean),
            PLANTED: json_lines(texts.planted),
        }
    if name in TEMPLATE_SETS:
        lines = [{"id": truth.image_id, **template_texts(truth)} for truth in truths]
        tables |= {TEMPLATE_TEXTS: json_lines(lines)}
    return tables, require_balance(name, truths, items[0].size)
