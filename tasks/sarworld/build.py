"""Writes the synthetic data sets of one world below a folder, whole or detectably unfinished.

Order: `building.json` first, then chips, each atomically, then the tables and the marker of each data set, and the
world's `synthetic.json` last. So a marker vouches for all that it names; an interrupted build is known by its
`building.json` and goes on where it stopped; a folder that holds anything else is left alone.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from foundation.errors import UsageError
from foundation.files import TEMPORARY_PREFIX, exclusive, read_json, write_bytes, write_json
from foundation.names import unknown_name
from foundation.progress import Progress, silent
from tasks.sarworld.layouts import (
    DATASETS,
    GRIDS,
    SIZES,
    WORLD_VERSION,
    Chip,
    Size,
    chosen,
    extra_files,
    plan,
)

MARKER = "synthetic.json"
BUILDING = "building.json"
_LOCK = ".building.lock"
_NOTE = "Synthetic SAR: invented scenes and targets, no claim of fidelity."
_CHIPS_PER_CALL = 16  # few enough that progress is seen, many enough that passing them on costs nothing


@dataclass(frozen=True)
class WorldInfo:
    """What stands below a world's folder after a build."""

    root: Path
    version: int
    size: Size
    seed: int
    datasets: dict[str, int]
    """Chips of each data set that is complete."""
    written: int
    """Chips that this build had to write; 0 when all was there."""
    seconds: float


def build(
    root: Path,
    size: Size,
    seed: int = 0,
    workers: int = 1,
    progress: Progress = silent,
    datasets: Sequence[str] | None = None,
) -> WorldInfo:
    """Writes the data sets asked for, all by default, and keeps those that are complete.

    Args:
        root: A folder of its own: new, empty, or a world of the same version, size and seed.
        size: How much of it, see `layouts.GRIDS`.
        seed: Another seed is another world.
        workers: Processes that draw; the files do not depend on it.
        progress: Told after every batch of chips.
        datasets: Names from `layouts.DATASETS`.

    Raises:
        UsageError: The folder holds something else, or an argument is not known.
    """
    began = time.perf_counter()
    if size not in SIZES:
        raise unknown_name("world size", size, SIZES, see="harness data build --help")
    if workers < 1:
        raise UsageError(f"workers must be at least 1, got {workers}", where="sarworld.build", way_out="use 1")
    wanted = chosen(datasets)
    identity = _identity(size, seed)
    entries = _entries(root)
    if MARKER in entries and BUILDING not in entries:
        # The usual case, a finished world, is only looked at: it may lie where nobody may write.
        _refuse_other_content(root, identity)
        complete = _complete_datasets(root, size)
        if all(name in complete for name in wanted):
            return WorldInfo(root, WORLD_VERSION, size, seed, complete, 0, time.perf_counter() - began)
    elif entries and BUILDING not in entries:
        raise _other_files(root, sorted(entries)[0])
    with exclusive(root / _LOCK):
        _refuse_other_content(root, identity)  # only now does nobody else write here
        write_json(root / BUILDING, identity)
        written = 0
        for name in wanted:
            written += _build_dataset(root, name, identity, workers, progress)
        complete = _complete_datasets(root, size)
        write_json(root / MARKER, _marker(identity, "all", {"datasets": complete}))
        (root / BUILDING).unlink()
    return WorldInfo(root, WORLD_VERSION, size, seed, complete, written, time.perf_counter() - began)


def _identity(size: Size, seed: int) -> dict[str, Any]:
    return {"synthetic": True, "world_version": WORLD_VERSION, "size": size, "seed": seed}


def _marker(identity: dict[str, Any], dataset: str, more: dict[str, Any]) -> dict[str, Any]:
    return identity | {"dataset": dataset, "note": _NOTE} | more


def _complete_datasets(root: Path, size: Size) -> dict[str, int]:
    counts = {}
    for name in DATASETS:
        if (root / name / MARKER).exists():
            chips = plan(name, size)
            paths = [chip.path for chip in chips] + list(extra_files(name))
            if all((root / name / path).exists() for path in paths):
                counts[name] = len(chips)
    return counts


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
        there = read_json(label)
        found = {key: there.get(key) if isinstance(there, dict) else None for key in identity}
        if found != identity:
            raise UsageError(
                f"the folder holds another world ({_named(found)}, not {_named(identity)}); nothing was written",
                where=str(label),
                way_out="choose another folder, or delete this one",
            )
    foreign = sorted(entries - {MARKER, BUILDING, *DATASETS}) if labels else sorted(entries)
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
        known = {chip.path for chip in plan(name, size)} | {MARKER, *extra_files(name)}
        for entry in (root / name).rglob("*"):
            path = entry.relative_to(root / name).as_posix()
            if not entry.is_dir() and path not in known and not entry.name.startswith(TEMPORARY_PREFIX):
                foreign.append(f"{name}/{path}")
    return sorted(foreign)


def _named(identity: dict[str, Any]) -> str:
    return f"version {identity['world_version']}, size {identity['size']}, seed {identity['seed']}"


def _build_dataset(root: Path, name: str, identity: dict[str, Any], workers: int, progress: Progress) -> int:
    size, seed = identity["size"], identity["seed"]
    folder = root / name
    for partial_file in folder.rglob(f"{TEMPORARY_PREFIX}*"):
        partial_file.unlink(missing_ok=True)  # left by a killed build; the lock is ours, so nobody writes them now
    chips = plan(name, size)
    missing = [chip for chip in chips if not (folder / chip.path).exists()]
    batches = [missing[start : start + _CHIPS_PER_CALL] for start in range(0, len(missing), _CHIPS_PER_CALL)]
    done = len(chips) - len(missing)
    progress(done, len(chips), f"rendering {name}")
    for count in _drawn(partial(_write_chips, folder, seed), batches, workers):
        done += count
        progress(done, len(chips), f"rendering {name}")
    if name == "fusar_ship":
        write_bytes(folder / "meta.csv", _ship_table(chips, seed))
    marker = _marker(identity, name, {"chips": len(chips), "pixel_m": GRIDS[identity["size"]][name].pixel_m})
    write_json(folder / MARKER, marker)
    return len(missing)


def _drawn(write: partial[int], batches: list[list[Chip]], workers: int) -> Iterator[int]:
    if workers == 1 or len(batches) < 2:
        yield from map(write, batches)
        return
    # Spawned, not forked: the caller may hold threads and locks of its numeric libraries.
    with multiprocessing.get_context("spawn").Pool(min(workers, len(batches))) as pool:
        yield from pool.imap_unordered(write, batches)


def _write_chips(folder: Path, seed: int, chips: list[Chip]) -> int:
    # Imported here: planning a world must not cost the import of the array libraries.
    from tasks.sarworld.chips import amplitude
    from tasks.sarworld.encoding import ENCODERS

    for chip in chips:
        write_bytes(folder / chip.path, ENCODERS[chip.dataset](amplitude(chip, seed)))
    return len(chips)


def _ship_table(chips: list[Chip], seed: int) -> bytes:
    """The table of FUSAR-Ship (section 3.2): one row per chip, the folder with a back slash."""
    from tasks.sarworld.chips import product_of, ship_dimensions, view_of

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = "id mmsi length width polarMode centerLookAngle heightspace widthspace path"
    table.writerow(columns.split())
    for number, chip in enumerate(chips):
        product = product_of(chip, seed)
        dimensions, view = ship_dimensions(chip, seed), view_of(chip, seed, product)
        place = Path(chip.path)
        table.writerow(
            [
                place.stem,
                999_000_000 + number,  # no country has this prefix: invented ships
                f"{dimensions.length:.1f}",
                f"{dimensions.beam:.1f}",
                "HH",
                f"{view.incidence_deg:.2f}",
                product.pixel_m,
                product.pixel_m,
                "\\".join(place.parts[1:-1]),
            ]
        )
    return text.getvalue().encode()
