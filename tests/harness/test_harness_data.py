"""`harness data`: what there is, and the synthetic world on demand."""

from __future__ import annotations

import json
from pathlib import Path

from tests.harness.conftest import Harness


def states(harness: Harness, *arguments: str | Path) -> dict[str, dict[str, object]]:
    done = harness("data", "status", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return {row["dataset"]: row for row in json.loads(done.stdout)}


def test_the_overview_names_every_data_set_and_what_is_missing(harness: Harness, tiny_root: Path) -> None:
    found = states(harness, "--data-root", tiny_root)
    assert len(found) == 8
    assert found["sar_acd"]["state"] == "real" and found["sar_acd"]["images"] == 60
    assert found["fusar_ship"]["state"] == "missing"
    assert found["fusar_map"]["state"] == "missing"


def test_bad_files_are_counted_and_not_an_error(harness: Harness, tmp_path: Path, tiny_root: Path) -> None:
    folder = tmp_path / "data" / "sar_acd" / "images"
    for source in (tiny_root / "sar_acd" / "images").glob("*/*.jpg"):
        target = folder / source.parent.name / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    (folder / "A220" / "001.jpg").write_bytes(b"broken")
    assert states(harness, "--data-root", tmp_path / "data")["sar_acd"]["bad_files"] == 1


def test_a_world_is_built_once_and_refuses_to_become_another(harness: Harness, tmp_path: Path) -> None:
    first = harness("data", "build", "--size", "ci", "--root", "world", "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["written"] == sum(json.loads(first.stdout)["datasets"].values())
    again = harness("data", "build", "--size", "ci", "--root", "world", "--json")
    assert json.loads(again.stdout)["written"] == 0
    other = harness("data", "build", "--size", "ci", "--seed", "1", "--root", "world")
    assert other.returncode == 2 and "another world" in other.stderr
    as_real = states(harness, "--data-root", tmp_path / "world")
    assert {row["state"] for row in as_real.values()} == {"synthetic"}
    assert all(row["bad_files"] == 0 for row in as_real.values())
    assert as_real["fusar_air_sense"]["images"] == 24 and "boxes" in str(as_real["fusar_air_sense"]["note"])


def test_an_unknown_world_or_size_is_answered_with_the_known_ones(harness: Harness) -> None:
    assert "did you mean ci" in harness("data", "build", "--size", "cj").stderr
    assert harness("data", "build", "sarwolrd").returncode == 2


def test_one_data_set_can_be_built_and_shown(harness: Harness, tmp_path: Path) -> None:
    built = harness("data", "build", "sarworld", "--size", "ci", "--root", "w", "--only", "fusar_map")
    assert built.returncode == 0, built.stderr
    assert "largest cover: building" in built.stdout and "at most 40 %" in built.stdout
    shown = harness("data", "show", "sarworld", "fusar_map/2", "--root", "w", "--out", "two.png", "--json")
    assert shown.returncode == 0, shown.stderr
    facts = json.loads(shown.stdout)
    assert set(facts["texts"]) > {"Terrain", "Water"} and facts["truth"]["domain"] == "landform"
    assert (tmp_path / "two.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_shown_is_answered_with_what_can(harness: Harness) -> None:
    for name, said in (
        ("fusar_mp/1", "did you mean fusar_map"),
        ("fusar_map/0", "choose 1 to 12"),
        ("fusar_map/13", "choose 1 to 12"),
        ("scenes/site_00", "name one of them in full"),
        ("fusar_map", "name one of them in full"),
    ):
        done = harness("data", "show", "sarworld", name, "--size", "ci")
        assert done.returncode == 2 and said in done.stderr, (name, done.stderr)
    assert harness("data", "show", "sarworld", "fusar_map/1", "--root", "nowhere").returncode == 3


def test_a_shared_world_is_not_turned_into_utm(harness: Harness) -> None:
    done = harness("data", "build", "sarworld", "--utm", "--only", "scenes")
    assert done.returncode == 2 and "--root" in done.stderr
