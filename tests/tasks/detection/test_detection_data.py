"""Which scenes are learnt and which are tested (sections 2.4, 2.5 and 4.1), and the truth that is scored against."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import MissingError
from tasks.datasets import DatasetIndex, DataSource, read_index
from tasks.datasets.division import divide
from tasks.detection.data import build, truth_of
from tasks.few_shot import few_shot_of_index
from tests.tasks.detection.conftest import MakeSettings, WriteImage, WriteScenes
from tests.tasks.detection.pictures import Picture, draw, random_pictures

pytestmark = pytest.mark.usefixtures("own_cache")

CLASSES = ("A220", "A320/321", "A330", "ARJ21", "Boeing737", "Boeing787", "other")


@pytest.fixture
def few(write_image: WriteImage, tmp_path: Path) -> DatasetIndex:
    """SAR-AIRcraft-1.0 with twenty training and four test images; each shows one class, `other` is never shown."""
    root = tmp_path / "SAR-AIRcraft-1.0"
    for number, picture in enumerate(random_pictures(24, targets=1)):
        write_image(root / "JPEGImages" / f"{number:07d}.png", draw(number, picture))
        x, y, w, h = picture.boxes[0]
        path = root / "Annotations" / f"{number:07d}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"<annotation><size><width>48</width><height>40</height></size><object><name>{CLASSES[number % 6]}</name>"
            f"<bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox>"
            "</object></annotation>"
        )
    lists = {"train": range(20), "val": (), "trainval": range(20), "test": range(20, 24)}
    for name, numbers in lists.items():
        path = root / "ImageSets" / "Main" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{number:07d}\n" for number in numbers))
    return read_index(DataSource("sar_aircraft_few", root))


def test_four_fifths_are_learnt_and_the_test_part_is_rounded_up(
    bright_index: DatasetIndex, tiny_settings: MakeSettings
) -> None:
    data = build(bright_index, tiny_settings())
    assert (len(data.train), len(data.test)) == (32, 8)
    assert tuple(scene.image_id for scene in data.train) == data.split.train
    assert tuple(scene.image_id for scene in data.test) == data.split.test
    assert data.split == divide(bright_index) and not data.warnings and not data.cut
    assert data.counts("train") == (64,) and data.counts("test") == (16,)
    assert build(bright_index, tiny_settings(), ratio=(7, 3)).split == divide(bright_index, ratio=(7, 3))


def test_empty_and_small_images_are_tested_but_not_learnt_and_they_are_counted(
    write_scenes: WriteScenes, tiny_settings: MakeSettings
) -> None:
    pictures = random_pictures(20)
    pictures += [Picture()] * 20 + [Picture(48, 31, ((5, 5, 9, 9),))] * 20 + [Picture(48, 31)] * 10
    index = write_scenes(pictures)
    data = build(index, tiny_settings(smallest_image=32))
    assert data.train and all(scene.boxes and scene.height >= 32 for scene in data.train)
    parts = divide(index)
    assert data.split.test == parts.test
    assert any(not scene.boxes for scene in data.test) and any(scene.height < 32 for scene in data.test)
    dropped = len(parts.train) - len(data.train)
    counted = [int(warning.split()[0]) for warning in data.warnings]
    assert len(counted) == 2 and sum(counted) == dropped
    assert "without boxes" in data.warnings[0] and "below 32 pixels" in data.warnings[1]


def test_data_that_nothing_can_be_learnt_from_are_refused(
    write_scenes: WriteScenes, tiny_settings: MakeSettings
) -> None:
    index = write_scenes([Picture(20, 20, ((2, 2, 9, 9),))] * 10)
    with pytest.raises(MissingError, match="8 have a side below 32 pixels"):
        build(index, tiny_settings(smallest_image=32))


def test_the_few_shot_rule_reduces_the_training_part_alone(few: DatasetIndex, tiny_settings: MakeSettings) -> None:
    parts = divide(few)
    for share, kept in ((0.2, 6), (0.5, 10), (1.0, 20)):  # 4 images cannot show 6 classes
        data = build(few, tiny_settings(few_shot_share=share))
        assert data.split.train == few_shot_of_index(few, parts.train, share)
        assert len(data.train) == kept and data.split.test == parts.test and len(data.test) == 4
        assert all(data.counts("train")[:6])


def test_other_data_sets_are_never_reduced(bright_index: DatasetIndex, tiny_settings: MakeSettings) -> None:
    assert len(build(bright_index, tiny_settings(few_shot_share=0.05)).train) == 32


def test_a_class_without_training_boxes_stays_and_is_named(few: DatasetIndex, tiny_settings: MakeSettings) -> None:
    data = build(few, tiny_settings())
    assert data.classes == CLASSES and data.dropped_classes == ()
    assert data.counts("train")[6] == data.counts("test")[6] == 0
    assert data.warnings == ("classes without a box in the training part: other",)


def test_a_limit_cuts_what_is_used_and_says_so(bright_index: DatasetIndex, tiny_settings: MakeSettings) -> None:
    whole, cut = (build(bright_index, tiny_settings(), limit=limit) for limit in (None, 10))
    assert cut.cut and len(cut.train) == 10 and len(cut.test) == 8
    assert cut.split.train == whole.split.train[:10]
    assert not build(bright_index, tiny_settings(), limit=32).cut


def test_one_per_cent_of_broken_files_is_left_out_and_listed(
    write_scenes: WriteScenes, tiny_settings: MakeSettings
) -> None:
    pictures = random_pictures(100, targets=1)
    pictures[17] = pictures[17]._replace(whole=False)
    index = write_scenes(pictures)
    data = build(index, tiny_settings())
    assert len(index.bad) == 1 and len(data.train) + len(data.test) == 99
    assert not any("017" in scene.image_id for scene in (*data.train, *data.test))
    assert len(truth_of(data)["test"]) == len(data.test)


def test_more_broken_files_stop_the_run(write_scenes: WriteScenes) -> None:
    pictures = random_pictures(100, targets=1)
    pictures[3], pictures[17] = (pictures[number]._replace(whole=False) for number in (3, 17))
    with pytest.raises(MissingError, match="2 of 100"):
        write_scenes(pictures)


def test_the_truth_holds_what_scoring_needs_and_survives_a_file(
    write_scenes: WriteScenes, tiny_settings: MakeSettings
) -> None:
    pictures = [Picture(boxes=((0, 0, 10, 9), (39, 32, 9, 8)))] * 6 + [Picture()] * 4
    data = build(write_scenes(pictures), tiny_settings())
    truth = truth_of(data)
    assert json.loads(json.dumps(truth)) == truth
    assert truth["dataset"] == "fusar_ship_sense" and truth["classes"] == ["ship"] and truth["synthetic"] is False
    assert truth["data_hash"] == data.index.data_hash and truth["split_hash"] == data.split.hash
    assert truth["train_counts"] == list(data.counts("train"))
    by_id = {scene.image_id: scene for scene in data.test}
    for row in truth["test"]:
        scene = by_id[row["image_id"]]
        assert (row["width"], row["height"]) == (48, 40)
        assert row["boxes"] == [[*box[:4], 0, False] for box in scene.boxes]
    assert [row["image_id"] for row in truth["threshold"]] == list(data.split.test)


def test_boxes_on_the_border_are_kept_whole(write_scenes: WriteScenes, tiny_settings: MakeSettings) -> None:
    corner = (38, 30, 10, 10)
    data = build(write_scenes([Picture(boxes=(corner,))] * 10), tiny_settings())
    assert {scene.boxes[0][:4] for scene in (*data.train, *data.test)} == {corner}


def test_planning_and_scoring_never_import_torch() -> None:
    code = (
        "import sys, tasks.detection.data; assert 'numpy' not in sys.modules; "
        "import tasks.detection.score, tasks.detection.control; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_truth_says_whether_difficult_boxes_are_ignored(
    bright_index: DatasetIndex, tiny_settings: MakeSettings
) -> None:
    for ignored in (False, True):
        data = build(bright_index, tiny_settings(ignore_difficult=ignored))
        assert truth_of(data)["ignore_difficult"] is ignored
