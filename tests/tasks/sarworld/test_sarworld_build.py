"""Building a world: layouts, determinism, interruption, refusal, the shared cache."""

from __future__ import annotations

import csv
import dataclasses
import json
import multiprocessing
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tifffile

from foundation.errors import StorageError, UsageError
from tasks.sarworld import build as building
from tasks.sarworld import plan as planning
from tasks.sarworld.build import build
from tasks.sarworld.cache import default_world, default_world_path
from tasks.sarworld.plan import (
    DATASETS,
    FUSAR_AIR_CLASSES,
    FUSAR_SHIP_CLASSES,
    FUSAR_SHIP_TINY,
    SAR_ACD_CLASSES,
    SIZES,
    WORLD_VERSION,
    Item,
    folder_of,
    plan,
    ship_counts,
    size_in_bytes,
)


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_sar_acd_has_numbered_jpegs_per_class(world: Path) -> None:
    classes = sorted(path.name for path in (world / "sar_acd" / "images").iterdir())
    assert classes == sorted(SAR_ACD_CLASSES)
    names = sorted(path.name for path in (world / "sar_acd" / "images" / "A220").iterdir())
    assert names == [f"{number:03d}.jpg" for number in range(1, 13)]


def test_fusar_air_has_a_folder_per_class(world: Path) -> None:
    folders = {path.name: len(list(path.glob("*.tif"))) for path in (world / "fusar_air").iterdir() if path.is_dir()}
    assert folders == dict.fromkeys(FUSAR_AIR_CLASSES, 12)


def test_fusar_ship_has_category_and_subcategory_folders_and_a_table(world: Path) -> None:
    root = world / "fusar_ship"
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.tiff"))
    assert "ShipCategory/Cargo/BulkCarrier/Ship_C01S01N0001.tiff" in files
    assert "ShipCategory/Tug/Tug/Ship_C13S01N0001.tiff" in files
    with (root / "meta.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert ",".join(rows[0]) == "id,mmsi,length,width,polarMode,centerLookAngle,heightspace,widthspace,path"
    assert sorted(f"ShipCategory/{row['path'].replace(chr(92), '/')}/{row['id']}.tiff" for row in rows) == files
    assert "Cargo\\BulkCarrier" in {row["path"] for row in rows}
    lengths = [float(row["length"]) for row in rows if row["path"].startswith("Tanker")]
    assert min(lengths) >= 150
    assert max(lengths) <= 250


@pytest.mark.parametrize("mean", [12, 90, 150])
def test_ship_counts_fall_four_to_one_and_two_classes_are_tiny(mean: int) -> None:
    counts = ship_counts(mean)
    large = [counts[name] for name in FUSAR_SHIP_CLASSES]
    assert large == sorted(large, reverse=True)
    assert large[0] / large[-1] == pytest.approx(4, rel=0.15)
    assert sum(large) / 7 == pytest.approx(mean, rel=0.03)
    assert min(large) >= 5  # smaller classes would be dropped from the task
    assert [counts[name] for name in FUSAR_SHIP_TINY] == [3, 3]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dataset", DATASETS)
def test_paths_and_names_are_unique(dataset: str, size: Any) -> None:
    paths = [path for item in plan(dataset, size) for path in item.files]
    assert len(set(paths)) == len(paths)
    names = [item.name for item in plan(dataset, size)]
    assert len(set(names)) == len(names)


def test_markers_say_synthetic_and_what_of(world: Path) -> None:
    for folder, dataset in [(world, "all")] + [(world / folder_of(name), name) for name in DATASETS]:
        marker = json.loads((folder / "synthetic.json").read_bytes())
        assert marker["synthetic"] is True
        assert (marker["world_version"], marker["size"], marker["seed"]) == (WORLD_VERSION, "ci", 0)
        assert marker["dataset"] == dataset
        assert "no claim of fidelity" in marker["note"]


def test_info_counts_what_is_there_and_a_second_build_writes_nothing(world: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in world.rglob("*")}
    info = build(world, "ci")
    assert info.written == 0
    assert info.datasets == {name: len(plan(name, "ci")) for name in DATASETS}
    assert before == {path: path.stat().st_mtime_ns for path in world.rglob("*")}


def test_workers_and_data_sets_built_one_by_one_change_nothing(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_PIXELS_WORTH_A_PROCESS", 0)  # so little would else be drawn by one
    root = tmp_path / "world"
    some = ["sar_acd", "fusar_map", "fusar_ship_sense"]
    build(root, "ci", datasets=some[:1], workers=2)
    build(root, "ci", datasets=some[1:], workers=2)
    for name in some:
        assert contents(root / name) == contents(world / name)


@pytest.mark.parametrize("dataset", ["fusar_air_sense", "fusar_map", "sar_aircraft_few", "corpus"])
def test_added_images_leave_the_first_ones_as_they_are(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str
) -> None:
    """A longer data set has the shorter one's images, truths and texts (section 14.7)."""
    shorter = contents(world / folder_of(dataset))
    grid = planning.GRIDS["ci"][dataset]
    longer = dataclasses.replace(grid, count=grid.count + 12)
    monkeypatch.setattr(planning, "GRIDS", {**planning.GRIDS, "ci": {**planning.GRIDS["ci"], dataset: longer}})
    build(tmp_path / "world", "ci", datasets=[dataset])
    grown = contents(tmp_path / "world" / folder_of(dataset))
    images = [path for path in shorter if path.endswith((".png", ".jpg", ".tif", ".xml"))]
    assert len(images) >= 12 and len(grown) > len(shorter)
    assert all(grown[path] == shorter[path] for path in images)
    tables = {"truth.jsonl", "texts_clean.jsonl", "texts.jsonl", "texts_template.jsonl"} & set(shorter)
    assert len(tables) == (4 if dataset == "corpus" else 3)
    for table in tables:
        before, after = (files[table].splitlines() for files in (shorter, grown))
        assert set(before) <= set(after), table


def test_the_ci_world_is_small(world: Path) -> None:
    files = contents(world)
    assert sum(map(len, files.values())) < 20_000_000  # section 14.4
    assert sum(size_in_bytes(name, "ci") for name in DATASETS) > sum(map(len, files.values()))  # room is asked for
    assert sum(size_in_bytes(name, "ci") for name in DATASETS) < 4 * sum(map(len, files.values()))


def test_too_little_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000_000))
    with pytest.raises(StorageError, match="10 MB left") as refusal:
        build(tmp_path / "worlds" / "new", "default")
    assert "--size" in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_chip_once(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    build(
        tmp_path / "w",
        "ci",
        datasets=["sar_acd"],
        progress=lambda done, total, note="": seen.append((done, total, note)),
    )
    assert seen[0] == (0, 72, "rendering sar_acd")
    assert seen[-1] == (72, 72, "rendering sar_acd")
    assert [done for done, _, _ in seen] == sorted({done for done, _, _ in seen})


def test_an_interrupted_build_is_known_and_goes_on(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "world"
    real, batches = building._write_items, Counter[str]()

    def failing(folder: Path, seed: int, utm: bool, items: list[Item]) -> building.Batch:
        batches["begun"] += 1
        if batches["begun"] == 3:
            raise KeyboardInterrupt
        batches["written"] += len(items)
        return real(folder, seed, utm, items)

    monkeypatch.setattr(building, "_write_items", failing)
    with pytest.raises(KeyboardInterrupt):
        build(root, "ci", datasets=["sar_acd"])
    assert (root / "building.json").exists()
    assert not (root / "synthetic.json").exists()
    (root / "sar_acd" / "images" / "A220" / ".partial-left").write_bytes(b"half")
    monkeypatch.setattr(building, "_write_items", real)
    info = build(root, "ci", datasets=["sar_acd"])
    assert batches["written"] > 0 and info.written == 72 - batches["written"]
    assert contents(root / "sar_acd") == contents(world / "sar_acd")
    assert not list(root.rglob(".partial-*"))
    assert not (root / "building.json").exists()


def test_a_chip_that_has_gone_is_drawn_again(world: Path, tmp_path: Path) -> None:
    root = tmp_path / "world"
    build(root, "ci", datasets=["sar_acd"])
    (root / "sar_acd" / "images" / "A330" / "005.jpg").unlink()
    assert build(root, "ci", datasets=["sar_acd"]).written == 1
    assert contents(root / "sar_acd") == contents(world / "sar_acd")


def test_another_world_in_the_folder_is_refused(world: Path) -> None:
    before = contents(world)
    with pytest.raises(UsageError, match="another world") as refusal:
        build(world, "ci", seed=1)
    assert "seed 0" in str(refusal.value)
    with pytest.raises(UsageError, match="another world"):
        build(world, "mini")
    assert contents(world) == before


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        build(tmp_path, "ci")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_begun_world_of_another_seed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(building, "_write_items", interrupted)
        build(tmp_path / "world", "ci", seed=1)
    with pytest.raises(UsageError, match="another world"):
        build(tmp_path / "world", "ci", seed=0)


@pytest.mark.parametrize("place", ["notes.txt", "sar_acd/images/A220/mine.jpg"])
def test_foreign_files_within_a_world_are_refused(tmp_path: Path, place: str) -> None:
    root = tmp_path / "world"
    build(root, "ci", datasets=["sar_acd"])
    (root / place).write_text("mine")
    with pytest.raises(UsageError, match=Path(place).name):
        build(root, "ci")
    assert not (root / "fusar_air").exists()


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "world").write_text("mine")
    with pytest.raises(UsageError, match="not a folder"):
        build(tmp_path / "world", "ci")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "huge"}, "world size"),
        ({"size": "ci", "datasets": ["sar-acd"]}, "sar_acd"),
        ({"size": "ci", "workers": 0}, "workers"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build(tmp_path / "world", **arguments)
    assert not (tmp_path / "world").exists()


def test_ship_tiffs_are_eight_bit_and_air_tiffs_sixteen(world: Path) -> None:
    ship = next((world / "fusar_ship").rglob("*.tiff"))
    air = next((world / "fusar_air").rglob("*.tif"))
    assert str(tifffile.imread(ship).dtype) == "uint8"
    assert str(tifffile.imread(air).dtype) == "uint16"


def test_the_default_world_is_keyed_by_version_size_and_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def fake(root: Path, size: str, seed: int, **_: Any) -> Any:
        calls.append(root)
        return building.WorldInfo(root, WORLD_VERSION, "ci", seed, {}, 0, 0.0, {})

    monkeypatch.setattr("tasks.sarworld.cache.build", fake)
    expected = tmp_path / "sarworld" / f"v{WORLD_VERSION}-ci-seed7"
    assert default_world("ci", seed=7, cache_root=tmp_path) == expected
    assert calls == [expected]


def test_the_default_world_lies_in_the_cache_of_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FUSAR_KLIP_CACHE", str(tmp_path / "own"))
    assert default_world_path("mini") == tmp_path / "own" / "sarworld" / f"v{WORLD_VERSION}-mini-seed0"
    assert not (tmp_path / "own").exists()  # asking for the place builds nothing


def _ask(cache_root: Path) -> int:
    return building.build(cache_root / "world", "ci", datasets=["sar_acd"]).written


def test_two_processes_that_ask_at_once_draw_every_chip_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        written = pool.map(_ask, [tmp_path, tmp_path], chunksize=1)
    assert sorted(written) == [0, 72]


def test_planning_a_world_imports_no_array_library() -> None:
    code = (
        "import sys; import tasks.sarworld.cache; from tasks.sarworld.plan import DATASETS, plan;"
        "[plan(name, 'mini') for name in DATASETS];"
        "print([n for n in ('numpy', 'scipy', 'torch', 'PIL', 'tifffile') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
