"""Pages of language cells from a finished run: composed data sets show the images of those that they are made of."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.pages import images_of
from results.record import Record
from tests.harness.conftest import Harness, command, environment


@pytest.fixture(scope="module")
def runs(tiny_vision_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The control's answers to two kinds of questions."""
    out = tmp_path_factory.mktemp("asked") / "runs"
    tasks = "vqa_main_land,vqa_target_count"
    arguments = ("run", "-m", "simple-features", "-t", tasks, "--data-root", tiny_vision_root, "--out", out)
    done = subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_pages_of_questions_show_the_images_that_were_asked_about(
    runs: Path, tiny_vision_root: Path, harness: Harness
) -> None:
    shown = harness("report", "--pages", "--data-root", tiny_vision_root, "--out", runs)
    assert shown.returncode == 0, shown.stderr
    assert "table6-mini.html" in shown.stdout and "Table 6" in shown.stdout, "the only table with numbers"
    for task, dataset in (("vqa_main_land", "vqa_landform"), ("vqa_target_count", "vqa_targets")):
        folder = runs / f"reports/cells/mini/{task}/{dataset}/simple-features/seed-0"
        text = (folder / "index.html").read_text()
        assert "not here" not in text and list(folder.glob("example-*.png"))
        assert "Answers to the test questions" in text and ("✓ " in text or "✗ " in text)
        assert "without any image: " in text
    assert "question only" in (runs / "reports/table6-mini.md").read_text()


def test_images_of_composed_data_are_those_of_its_parts_and_no_others(
    runs: Path, tiny_vision_root: Path, tmp_path: Path
) -> None:
    (path,) = runs.glob("cells/mini/vqa_targets/*/*/record.json")
    data = Record.model_validate_json(path.read_bytes()).data
    assert "sar_aircraft_few" in data.choices["without"]
    image_of, missing = images_of(data, tiny_vision_root)
    pixels = image_of("fusar_ship_sense/images/scene0.png")
    assert missing == "" and pixels is not None and pixels.shape == (64, 64) and image_of("scene0.png") is None
    image_of, missing = images_of(data, tmp_path)
    assert "not under the data root" in missing and image_of("fusar_ship_sense/images/scene0.png") is None
    assert "no --data-root was given" in images_of(data, None)[1]
    world = data.model_copy(update={"synthetic": True, "world": "sarworld v0 mini seed 0"})
    assert "not built here" in images_of(world, None)[1]
