"""Building a world: layouts, determinism, interruption, refusal, the shared cache."""

from __future__ import annotations

import csv
import json
import multiprocessing
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tifffile

from foundation.errors import UsageError
from tasks.sarworld import build as building
from tasks.sarworld.build import build
from tasks.sarworld.cache import default_world, default_world_path
from tasks.sarworld.layouts import (
    DATASETS,
    FUSAR_AIR_CLASSES,
    FUSAR_SHIP_CLASSES,
    FUSAR_SHIP_TINY,
    SAR_ACD_CLASSES,
    SIZES,
    WORLD_VERSION,
    plan,
    ship_counts,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("worlds") / "ci"
    build(root, "ci")
    return root


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
def test_paths_are_unique_and_sorted(dataset: str, size: Any) -> None:
    paths = [chip.path for chip in plan(dataset, size)]
    assert paths == sorted(set(paths))


def test_markers_say_synthetic_and_what_of(world: Path) -> None:
    for folder, dataset in [(world, "all")] + [(world / name, name) for name in DATASETS]:
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


def test_workers_and_data_sets_built_one_by_one_change_nothing(world: Path, tmp_path: Path) -> None:
    root = tmp_path / "world"
    build(root, "ci", datasets=["sar_acd"], workers=2)
    build(root, "ci", datasets=["fusar_ship", "fusar_air"])
    assert contents(root) == contents(world)


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
    real, batches = building._write_chips, Counter[str]()

    def failing(folder: Path, seed: int, chips: Any) -> int:
        batches["written"] += 1
        if batches["written"] == 3:
            raise KeyboardInterrupt
        return real(folder, seed, chips)

    monkeypatch.setattr(building, "_write_chips", failing)
    with pytest.raises(KeyboardInterrupt):
        build(root, "ci", datasets=["sar_acd"])
    assert (root / "building.json").exists()
    assert not (root / "synthetic.json").exists()
    (root / "sar_acd" / "images" / "A220" / ".partial-left").write_bytes(b"half")
    monkeypatch.setattr(building, "_write_chips", real)
    info = build(root, "ci", datasets=["sar_acd"])
    assert info.written == 72 - 2 * building._CHIPS_PER_CALL
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
        patch.setattr(building, "_write_chips", interrupted)
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
        return building.WorldInfo(root, WORLD_VERSION, "ci", seed, {}, 0, 0.0)

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
        "import sys; import tasks.sarworld.cache; from tasks.sarworld.layouts import plan; plan('sar_acd', 'mini');"
        "print([n for n in ('numpy', 'scipy', 'torch', 'PIL', 'tifffile') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
