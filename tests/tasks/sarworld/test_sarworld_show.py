"""Pictures of single images for a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.errors import UsageError
from tasks.sarworld.plan import DATASETS, folder_of, plan
from tasks.sarworld.show import find_item, show


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_kind_of_image_can_be_shown(dataset: str, tmp_path: Path) -> None:
    shown = show(f"{dataset}/1", tmp_path / "one.png", size="ci")
    with Image.open(shown.picture) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert min(pixels.shape[:2]) > 400 and len(np.unique(pixels)) > 50
    assert shown.truth.image_id == shown.item.files[0]


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    first = show("fusar_ship_sense/2", tmp_path / "a.png", size="ci").picture.read_bytes()
    assert show("fusar_ship_sense/2", tmp_path / "b.png", size="ci").picture.read_bytes() == first
    assert show("fusar_ship_sense/2", tmp_path / "c.png", size="ci", seed=1).picture.read_bytes() != first


def test_texts_and_planted_errors_come_from_the_built_world(world: Path, tmp_path: Path) -> None:
    clean = show("fusar_map/3", tmp_path / "a.png", size="ci")
    assert clean.planted == () and len(clean.texts) == 8
    wrong = [show(f"fusar_map/{number}", tmp_path / "b.png", root=world) for number in range(1, 13)]
    planted = [row for shown in wrong for row in shown.planted]
    assert planted and {row["image_id"] for row in planted} <= {shown.truth.image_id for shown in wrong}
    same = wrong[2]
    fields = {row["field"] for row in same.planted}
    assert {name for name in clean.texts if clean.texts[name] != same.texts[name]} == fields


def test_an_image_is_found_by_number_name_file_and_folder() -> None:
    item = plan("sar_aircraft_few", "ci")[4]
    for name in ("sar_aircraft_few/5", "SAR-AIRcraft-1.0/0000005", "sar_aircraft_few/JPEGImages/0000005.jpg"):
        assert find_item(name, "ci") == item
    assert folder_of("sar_aircraft_few") == "SAR-AIRcraft-1.0"
    assert find_item("scenes/site_003_industrial/ht1", "ci").label == "ht1"


@pytest.mark.parametrize("name", ["fusar_map/0", "fusar_map/99", "fusar_map/Al", "fusar_map", "nothing/1", ""])
def test_what_is_not_one_image_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        find_item(name, "ci")
