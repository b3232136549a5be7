"""The threshold detector as the trivial baseline of every score (section 11.8), and as the control model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foundation.cache import cache_root
from tasks.datasets import DatasetIndex
from tasks.detection import control
from tasks.detection.control import evenly, threshold_answers, threshold_boxes, whose_boxes
from tasks.detection.data import DetectionData, build, truth_of
from tasks.detection.score import score
from tests.import_closure import HOME, imported_from
from tests.tasks.detection.conftest import MakeSettings, WriteScenes
from tests.tasks.detection.pictures import Picture, random_pictures

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def data(bright_index: DatasetIndex, tiny_settings: MakeSettings) -> DetectionData:
    """Bright targets on noise: what a threshold is for."""
    return build(bright_index, tiny_settings())


def test_it_finds_what_is_bright_and_its_score_is_the_baseline(data: DetectionData) -> None:
    truth = truth_of(data)
    found = score(truth["threshold"], truth)
    own = found["metrics"]["ap50"].value
    assert own is not None and own > 80
    assert found["baselines"].majority["ap50"] == own
    assert all(0 < sure <= 1 for row in truth["threshold"] for *_, sure in row["boxes"])


def test_it_answers_for_every_test_image_within_its_borders(data: DetectionData) -> None:
    rows = threshold_answers(data)
    assert [row["image_id"] for row in rows] == list(data.split.test)
    for row, scene in zip(rows, data.test, strict=True):
        for x, y, w, h, label, _ in row["boxes"]:
            assert x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= scene.width and y + h <= scene.height
            assert label == 0


def test_its_detections_are_made_once(data: DetectionData, monkeypatch: pytest.MonkeyPatch) -> None:
    first = threshold_boxes(data)

    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError

    (kept,) = (cache_root() / "threshold").glob("*.json")
    with monkeypatch.context() as patch:
        patch.setattr(control, "threshold_answers", fail)
        assert threshold_boxes(data) == first
        for damage in (b"{", b"{}", json.dumps({"rows": first[1:]}).encode()):
            kept.write_bytes(damage)
            with pytest.raises(AssertionError):
                threshold_boxes(data)
    assert threshold_boxes(data) == first and json.loads(kept.read_text())["rows"] == first


def test_other_data_and_other_parts_have_detections_of_their_own(
    bright_index: DatasetIndex, tiny_settings: MakeSettings
) -> None:
    for limit in (None, 4):
        threshold_boxes(build(bright_index, tiny_settings(), limit=limit))
    threshold_boxes(build(bright_index, tiny_settings(), ratio=(7, 3)))
    assert len(list((cache_root() / "threshold").glob("*.json"))) == 3


def test_the_types_of_targets_come_out_as_labels(write_scenes: WriteScenes, tiny_settings: MakeSettings) -> None:
    pictures = [
        Picture(boxes=((4, 4, 8, 8), (20, 12, 18, 16)), names=("small", "wide"))._replace(width=48 + number % 3)
        for number in range(10)
    ]
    data = build(write_scenes(pictures, label_map="fine"), tiny_settings())
    truth = truth_of(data)
    assert truth["classes"] == ["small", "wide"]
    found = score(truth["threshold"], truth)
    assert found["details"]["per_class"]["wide"]["ap50"] > 60 and found["details"]["per_class"]["small"]["ap50"] > 60


def test_on_noise_it_finds_nothing_that_counts(data: DetectionData) -> None:
    found = score(threshold_answers(data, twin="noise_images"), truth_of(data))["metrics"]["ap50"].value
    assert found is not None and found < 5


def test_with_foreign_boxes_it_chooses_badly_but_bright_stays_bright(data: DetectionData) -> None:
    # It is built to find what is bright; the training part only says how bright, how large and how close.
    found = score(threshold_answers(data, twin="shuffled_labels"), truth_of(data))
    value, own = found["metrics"]["ap50"].value, found["baselines"].majority["ap50"]
    assert value is not None and own is not None and value < own


def test_shuffled_boxes_are_all_given_away_and_come_back_the_same(data: DetectionData) -> None:
    assert whose_boxes(9, "none", 0) == whose_boxes(9, "noise_images", 0) == list(range(9))
    given = whose_boxes(9, "shuffled_labels", 0)
    assert sorted(given) == list(range(9)) and given != list(range(9))
    assert given == whose_boxes(9, "shuffled_labels", 0) != whose_boxes(9, "shuffled_labels", 1)


def test_many_training_images_are_thinned_evenly() -> None:
    assert evenly(3, 10) == [0, 1, 2] and evenly(10, 5) == [0, 2, 4, 6, 8] and len(set(evenly(999, 400))) == 400


def test_the_file_names_nothing_of_where_the_data_lie(data: DetectionData) -> None:
    threshold_boxes(data)
    (kept,) = (cache_root() / "threshold").glob("*.json")
    assert str(Path(data.index.root)) not in kept.read_text()


def test_its_detections_are_made_again_when_the_code_behind_them_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Path] = []

    def noted(sources: list[Path]) -> str:
        listed.extend(sources)
        return ""

    monkeypatch.setattr(control, "hash_sources", noted)
    control._made_by.__wrapped__()
    names = {path.relative_to(HOME).as_posix() for path in listed}
    reached = imported_from("tasks/baselines/cfar.py") | imported_from("tasks/detection/answers.py")
    harmless = {path for path in reached if path.startswith("foundation/") or path.endswith("__init__.py")}
    # What an adapter looks like to those who call it: types.
    assert reached - harmless - {"adapters/card.py", "adapters/interface.py"} <= names
    assert names - {"tasks/detection/control.py"} <= reached, "the list names some that are not used"


def test_small_images_without_targets_are_answered_like_all_others(
    write_scenes: WriteScenes, tiny_settings: MakeSettings
) -> None:
    data = build(write_scenes(random_pictures(12, targets=1) + [Picture(20, 16)] * 28), tiny_settings())
    rows = {row["image_id"]: row["boxes"] for row in threshold_boxes(data)}
    small = [scene.image_id for scene in data.test if scene.width == 20]
    assert small and all(x + w <= 20 and y + h <= 16 for name in small for x, y, w, h, *_ in rows[name])
