"""Worlds that are begun, damaged, of another seed, or drawn with other numbers of threads."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.errors import BenchError, MissingError, UsageError
from tasks.datasets import DataSource, read_index
from tasks.sarworld.build import build
from tasks.sarworld.cache import is_built
from tasks.sarworld.georeference import corner_coordinates, scene_transform
from tasks.sarworld.plan import plan
from tasks.sarworld.sets.catalogue import maker_of
from tasks.sarworld.sets.maker import truth
from tasks.sarworld.show import show
from tasks.sarworld.sites import COUNT, SECOND_SET, site, sites_of


def only(world: Path, dataset: str, root: Path) -> Path:
    """A world of its own with one data set of the small one."""
    root.mkdir()
    shutil.copytree(world / dataset, root / dataset)
    shutil.copy(world / "synthetic.json", root)
    return root


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_begun_world_of_another_seed_is_refused_although_what_is_asked_for_is_there(
    world: Path, tmp_path: Path
) -> None:
    root = only(world, "fusar_map", tmp_path / "w")
    (root / "synthetic.json").rename(root / "building.json")
    edited(root / "building.json", seed=1)
    edited(root / "fusar_map" / "synthetic.json", seed=1)
    with pytest.raises(UsageError, match="another world"):
        build(root, "ci", 0, datasets=["fusar_map"])


def test_a_data_set_of_another_world_is_not_taken_for_complete(world: Path, tmp_path: Path) -> None:
    root = only(world, "fusar_map", tmp_path / "w")
    edited(root / "fusar_map" / "synthetic.json", seed=1)
    assert build(root, "ci", 0, datasets=["fusar_map"]).seed == 0
    assert json.loads((root / "fusar_map" / "synthetic.json").read_text())["seed"] == 0


def test_a_part_of_a_data_set_is_never_read_as_the_real_one(world: Path, tmp_path: Path) -> None:
    root = only(world, "fusar_air", tmp_path / "w")
    edited(root / "fusar_air" / "synthetic.json", complete=False)
    assert not is_built(root, "fusar_air")
    with pytest.raises(MissingError, match="not complete"):
        read_index(DataSource("fusar_air", root / "fusar_air"))


def test_the_marker_stands_before_the_first_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def look(*_: Any) -> Any:
        seen.append(json.loads((tmp_path / "w" / "fusar_map" / "synthetic.json").read_text()))
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.sarworld.build._write_items", look)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "w", "ci", datasets=["fusar_map"])
    assert seen[0]["synthetic"] is True and seen[0]["complete"] is False


@pytest.mark.parametrize("content", ["[]", '"text"', "{"])
def test_a_damaged_marker_is_said_to_be_damaged(world: Path, tmp_path: Path, content: str) -> None:
    root = only(world, "fusar_map", tmp_path / "w")
    (root / "fusar_map" / "synthetic.json").write_text(content)
    with pytest.raises(BenchError):
        build(root, "ci", datasets=["fusar_map"])
    (root / "synthetic.json").write_text(content)
    with pytest.raises(BenchError):
        show("fusar_map/1", tmp_path / "p.png", root=root)


def test_an_emptied_file_is_drawn_again(world: Path, tmp_path: Path) -> None:
    root = only(world, "fusar_map", tmp_path / "w")
    victim = root / "fusar_map" / plan("fusar_map", "ci")[3].files[0]
    before = victim.read_bytes()
    victim.write_bytes(b"")
    assert build(root, "ci", datasets=["fusar_map"]).written == 1
    assert victim.read_bytes() == before


def test_a_world_with_clean_texts_has_no_planted_errors_and_is_another_world(world: Path, tmp_path: Path) -> None:
    build(tmp_path / "w", "ci", datasets=["fusar_map"], error_rate=0.0)
    clean, usual = tmp_path / "w" / "fusar_map", world / "fusar_map"
    assert (clean / "planted.jsonl").read_bytes() == b""
    assert (clean / "texts.jsonl").read_bytes() == (clean / "texts_clean.jsonl").read_bytes()
    assert (clean / "texts_clean.jsonl").read_bytes() == (usual / "texts_clean.jsonl").read_bytes()
    assert (usual / "planted.jsonl").read_bytes() != b""
    assert build(tmp_path / "w", "ci", datasets=["fusar_map"], error_rate=0.0).written == 0
    with pytest.raises(UsageError, match=r"error rate 0\.0"):
        build(tmp_path / "w", "ci", datasets=["fusar_map"])
    with pytest.raises(UsageError, match="between 0 and 1"):
        build(tmp_path / "v", "ci", error_rate=20.0)


_HASHES = """
import sys
from pathlib import Path
from foundation.hashing import hash_file
from tasks.sarworld.build import build
root = Path(sys.argv[1])
build(root, "ci", datasets=["air_polarsar_seg", "fusar_ship_sense"])
print([hash_file(path) for path in sorted(root.rglob("*.*")) if path.is_file()])
"""


@pytest.mark.slow
def test_the_number_of_threads_of_the_matrix_library_changes_nothing(tmp_path: Path) -> None:
    found = []
    for threads in ("1", "2"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        command = [sys.executable, "-c", _HASHES, str(tmp_path / threads)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(done.stdout)
    assert found[0] == found[1] and len(found[0]) > 1000


def test_corners_in_the_written_table_agree_with_the_transform_to_a_billionth_of_a_degree(world: Path) -> None:
    with (world / "fusar_map" / "datasets_info.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12
    items = {item.name: item for item in plan("fusar_map", "ci")}
    for row in rows:
        item = items[row["tile"]]
        place = site(int(truth_of_item(item).site.removeprefix("site_")))
        whole = scene_transform(place.longitude, place.latitude, (256, 256), 2.04, utm=False)
        corners = corner_coordinates(whole.tile(int(row["column"]), int(row["row"])), (128, 128))
        written = [float(row[name]) for name in ("lon_min", "lat_max", "lon_max", "lat_min")]
        assert np.allclose(written, [*corners[0], *corners[2]], atol=1e-9, rtol=0)


def truth_of_item(item: Any) -> Any:
    return truth(item, 0, maker_of(item.dataset).ground(item, 0))


def test_different_city_images_lie_at_different_places() -> None:
    items = plan("fusar_map", "mini")[::4]
    places = [maker_of("fusar_map").ground(item, 0).site for item in items[:40]]
    assert len(set(places)) == 40
    assert COUNT == 135


def test_airports_of_the_shifted_domain_are_shown_by_no_other_set() -> None:
    second = {place.id for place in sites_of("airport", first_set=False)}
    assert second and min(second) >= f"site_{SECOND_SET:03d}"
    for dataset in ("fusar_air", "sar_acd", "fusar_air_sense", "corpus"):
        shown = {
            maker_of(dataset).ground(item, 0).site for item in plan(dataset, "ci")[::3] if item.label != "landform"
        }
        assert not shown & second, dataset
    assert {maker_of("sar_aircraft_few").ground(item, 0).site for item in plan("sar_aircraft_few", "ci")} <= second


@pytest.mark.parametrize("dataset", ["fusar_air", "fusar_ship", "sar_acd", "corpus"])
def test_the_truth_about_an_image_does_not_depend_on_how_many_others_there_are(dataset: str) -> None:
    larger = {item.name: item for item in plan(dataset, "mini")}
    for item in plan(dataset, "ci")[::10]:
        if item.name in larger:
            assert truth_of_item(item) == truth_of_item(larger[item.name])


def test_runways_lie_as_the_site_is_turned() -> None:
    """Two images of one airport have the same axis."""
    headings = []
    for item in plan("fusar_air_sense", "ci")[:2]:
        ground = maker_of("fusar_air_sense").ground(item, 0)
        assert ground.site == site(0).id
        strips = [patch.corners for patch in ground.layout.patches if patch.role in {"apron", "runway", "taxiway"}]
        edge = strips[0][1] - strips[0][0]
        headings.append(float(np.arctan2(edge[1], edge[0])) % (np.pi / 2))
    assert abs((headings[0] - headings[1] + np.pi / 4) % (np.pi / 2) - np.pi / 4) < 0.02
