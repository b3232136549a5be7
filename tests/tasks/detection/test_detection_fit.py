"""From scenes to boxes: what is there to learn is learnt, nothing else, and the same every time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adapters.card import Architecture
from adapters.encoder import build_vit
from adapters.interface import LoadedModel
from adapters.load import load
from adapters.registry import catalog
from foundation.seeds import derive_seed
from tasks.datasets import DatasetIndex
from tasks.detection import fit as module
from tasks.detection.augment import Marked, augment
from tasks.detection.data import DetectionData, build, truth_of
from tasks.detection.detector import Detected, Detector
from tasks.detection.fit import SceneTraining, annotated, fit_and_predict
from tasks.detection.score import score
from tasks.detection.squares import squares_to_learn, squares_to_test
from tasks.input_path import input_path
from tasks.protocol import DetectionSettings
from tasks.task import Outcome, Twin
from tests.tasks.detection.conftest import MakeSettings, WriteScenes
from tests.tasks.detection.pictures import Picture, random_pictures

SIZE = 48
TINY = Architecture(kind="vit", width=32, depth=2, heads=2, patch=8, activation="gelu", image_size=SIZE)


def _model(seed: int = 0, drop_path: float = 0.0) -> LoadedModel:
    card = catalog()["random-mini"]
    encoder = build_vit(TINY, image_size=SIZE, seed=seed, drop_path=drop_path)
    return LoadedModel(card, encoder, load(card, image_size=64, seed=0).contract)


def _fit(data: DetectionData, settings: DetectionSettings, seed: int = 0, **options: Any) -> Outcome:
    return fit_and_predict(_model(seed, options.pop("drop_path", 0.0)), data, settings, seed=seed, **options)


def _ap50(data: DetectionData, outcome: Outcome) -> float:
    value = score(outcome.predictions, truth_of(data))["metrics"]["ap50"].value
    assert value is not None
    return value


@pytest.fixture(scope="module")
def data(bright_index: DatasetIndex, tiny_settings: MakeSettings) -> DetectionData:
    """Thirty-two scenes to learn from, eight to be asked about."""
    return build(bright_index, tiny_settings())


@pytest.fixture(scope="module")
def fitted(data: DetectionData, tiny_settings: MakeSettings) -> Outcome:
    """One run that several tests look at."""
    return _fit(data, tiny_settings(20))


def test_the_loss_falls_and_targets_are_found(data: DetectionData, fitted: Outcome) -> None:
    assert len(fitted.losses) == 20
    assert fitted.losses[-1] < 0.5 * fitted.losses[0]
    assert _ap50(data, fitted) > 40


def test_every_test_image_is_answered_once_in_order_within_its_borders(data: DetectionData, fitted: Outcome) -> None:
    assert [row["image_id"] for row in fitted.predictions] == list(data.split.test)
    for row, scene in zip(fitted.predictions, data.test, strict=True):
        scores = [box[5] for box in row["boxes"]]
        assert scores == sorted(scores, reverse=True) and all(0.05 <= sure <= 1 for sure in scores)
        for x, y, w, h, label, _ in row["boxes"]:
            assert 0 <= x < x + w <= scene.width + 1e-6 and 0 <= y < y + h <= scene.height + 1e-6
            assert label == 0
    assert json.loads(json.dumps(fitted.predictions)) == fitted.predictions


def test_the_run_says_how_it_went(fitted: Outcome) -> None:
    assert fitted.precision == "fp32" and fitted.resumed_from_epoch is None and fitted.warnings == []
    assert fitted.earlier_seconds == 0 and fitted.parameters > 20_000


def test_the_same_seed_gives_the_same_answers_and_another_seed_others(
    data: DetectionData, tiny_settings: MakeSettings
) -> None:
    settings = tiny_settings(1)
    torch.manual_seed(1)
    first = _fit(data, settings, 5, drop_path=0.1)
    torch.manual_seed(2)
    second = _fit(data, settings, 5, drop_path=0.1)
    assert (first.predictions, first.losses) == (second.predictions, second.losses)
    assert _fit(data, settings, 6).losses != first.losses


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_run_that_was_stopped_gives_the_same_answers(
    data: DetectionData, tiny_settings: MakeSettings, tmp_path: Path, epoch: int
) -> None:
    class StoppedError(Exception):
        pass

    def stop(done: int, total: int, note: str = "") -> None:
        if note.startswith(f"epoch {epoch + 1}/"):
            raise StoppedError

    settings, checkpoint = tiny_settings(3), tmp_path / "checkpoint"
    with pytest.raises(StoppedError):
        _fit(data, settings, drop_path=0.1, checkpoint=checkpoint, key="k", progress=stop)
    resumed = _fit(data, settings, drop_path=0.1, checkpoint=checkpoint, key="k")
    whole = _fit(data, settings, drop_path=0.1)
    assert resumed.resumed_from_epoch == epoch
    assert (resumed.predictions, resumed.losses) == (whole.predictions, whole.losses)


@pytest.mark.parametrize("twin", ["shuffled_labels", "noise_images"])
def test_a_twin_learns_nothing_that_counts(
    data: DetectionData, tiny_settings: MakeSettings, twin: Twin, fitted: Outcome
) -> None:
    assert _ap50(data, _fit(data, tiny_settings(12), twin=twin)) < 0.35 * _ap50(data, fitted)


def test_shuffled_labels_move_whole_annotations_to_the_same_relative_places(
    write_scenes: WriteScenes, tiny_settings: MakeSettings, own_cache: Path
) -> None:
    pictures = [Picture(40 + number, 40, ((4 + number, 3, 10, 12),)) for number in range(15)]
    scenes = build(write_scenes(pictures), tiny_settings()).train
    own, shuffled = annotated(scenes, "none", 0), annotated(scenes, "shuffled_labels", 0)
    for scene, marked in zip(scenes, own, strict=True):
        x, y, w, h = scene.boxes[0][:4]
        expected = [x / scene.width, y / scene.height, (x + w) / scene.width, (y + h) / scene.height]
        assert marked.boxes[0] == pytest.approx(expected)

    def listed(marked: list[Marked]) -> list[list[float]]:
        return [one.boxes[0].tolist() for one in marked]

    assert listed(shuffled) != listed(own) and sorted(listed(shuffled)) == sorted(listed(own))


def test_an_epoch_shows_every_image_once_and_hangs_on_seed_and_epoch_alone(
    data: DetectionData, tiny_settings: MakeSettings
) -> None:
    settings = tiny_settings()
    squares = squares_to_learn(data.train, 57.6)
    marked = annotated(data.train, "none", 0)

    def task(seed: int) -> SceneTraining:
        model = Detector(_model().encoder, 1, settings, seed=0)  # type: ignore[arg-type]
        return SceneTraining(
            model,
            input_path(_model(), settings.normalisation),
            settings,
            squares,
            marked,
            seed=seed,
            device=torch.device("cpu"),
        )

    ours = task(3)
    assert ours.steps_per_epoch == 4
    steps = [[(b.images, b.targets) for b in step] for step in ours.batches(1)]
    assert [len(step[0][1]) for step in steps] == [8, 8, 8, 8]
    for same, other in zip(task(3).batches(1), task(3).batches(2), strict=True):
        pixels, targets = steps.pop(0)[0]
        assert torch.equal(same[0].images, pixels) and not torch.equal(other[0].images, pixels)
        assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(same[0].targets, targets, strict=True))
    # By hand: order and views of the first step.
    order = np.random.default_rng(derive_seed("order", 3, 1)).permutation(32)[:8]
    rngs = [np.random.default_rng(derive_seed("augment", 3, 1, index)) for index in order]
    expected, moved = augment(squares, marked, order, settings, rngs)
    first = next(iter(ours.batches(1)))[0]
    assert np.array_equal(first.images.numpy(), expected)
    assert all(np.allclose(a.boxes.numpy(), b.boxes) for a, b in zip(first.targets, moved, strict=True))


class Oracle:
    """In place of the detector: knows the scenes and says where the targets are, in pixels of the square."""

    def __init__(self, data: DetectionData, side: int) -> None:
        self.scenes = list(data.test)
        self.side = side

    def detect(self, images: torch.Tensor) -> list[Detected]:
        """The next scenes, as many as there are images."""
        now, self.scenes = self.scenes[: len(images)], self.scenes[len(images) :]
        return [self._known(scene) for scene in now]

    def eval(self) -> None:
        """As of a module."""

    def _known(self, scene: Any) -> Detected:
        height, width = (
            round(side * self.side / max(scene.height, scene.width)) for side in (scene.height, scene.width)
        )
        scale = torch.tensor([width / scene.width, height / scene.height] * 2, dtype=torch.float64)
        corners = torch.tensor(
            [(b.x, b.y, b.x + b.width, b.y + b.height) for b in scene.boxes], dtype=torch.float64
        ).reshape(-1, 4)
        outside = torch.tensor([[width + 2.0, 3.0, width + 9.0, 9.0], [4.0, 4.0, 4.0, 9.0]], dtype=torch.float64)
        boxes = torch.cat([corners * scale, outside])
        labels = torch.tensor([b.label for b in scene.boxes] + [0, 0])
        return Detected(boxes, labels, torch.linspace(0.9, 0.5, len(boxes)))


def _asked(data: DetectionData, settings: DetectionSettings, model: Any) -> list[dict[str, Any]]:
    squares = squares_to_test(data.test, settings.image_size)
    to_input = input_path(_model(), settings.normalisation)
    found = module.predict(model, to_input, squares, torch.device("cpu"), "fp32")
    return [
        module._answer(scene, one, squares, position, settings.test_detections)
        for position, (scene, one) in enumerate(zip(data.test, found, strict=True))
    ]


def test_boxes_of_the_square_come_back_to_the_pixels_of_the_file(
    write_scenes: WriteScenes, tiny_settings: MakeSettings, own_cache: Path
) -> None:
    """Images of all shapes, with targets on the border; what lies in the padding or has no area is no answer."""
    pictures = []
    for number in range(60):
        width, height = 20 + 7 * (number % 9), 20 + 11 * (number % 5)
        pictures.append(Picture(width, height, ((0, 0, 9, 8), (width - 10, height - 9, 10, 9))))
    settings = tiny_settings()
    data = build(write_scenes(pictures), settings)
    truth = truth_of(data)
    rows = _asked(data, settings, Oracle(data, SIZE))
    for row, scene in zip(rows, data.test, strict=True):
        assert np.allclose([box[:4] for box in row["boxes"]], [box[:4] for box in scene.boxes], atol=1e-4)
    assert score(rows, truth)["metrics"]["ap50_95"].value == pytest.approx(100)


def test_no_more_than_the_allowed_detections_are_kept(data: DetectionData, tiny_settings: MakeSettings) -> None:
    settings = tiny_settings(test_detections=1)
    rows = _asked(data, settings, Oracle(data, SIZE))
    assert [len(row["boxes"]) for row in rows] == [1] * len(data.test)
    assert all(row["boxes"][0][5] == pytest.approx(0.9) for row in rows)


def test_what_is_not_finite_is_no_detection(data: DetectionData, tiny_settings: MakeSettings) -> None:
    class Broken(Oracle):
        def _known(self, scene: Any) -> Detected:
            found = super()._known(scene)
            found.boxes[0, 2] = float("nan")
            found.scores[1] = float("nan")
            return found

    assert all(row["boxes"] == [] for row in _asked(data, tiny_settings(), Broken(data, SIZE)))


def test_hand_made_features_are_answered_for_by_the_threshold_detector(
    data: DetectionData, tiny_settings: MakeSettings
) -> None:
    loaded = load(catalog()["simple-features"], image_size=SIZE, seed=0)
    outcome = fit_and_predict(loaded, data, tiny_settings(), seed=0)
    truth = truth_of(data)
    assert outcome.predictions == truth["threshold"] and outcome.losses == []
    assert outcome.parameters == 9  # the settings of the threshold detector; there is one class
    found = score(outcome.predictions, truth)
    assert found["metrics"]["ap50"].value == found["baselines"].majority["ap50"]


def test_crops_beside_all_targets_and_images_below_a_window_are_learnt_without_trouble(
    write_scenes: WriteScenes, tiny_settings: MakeSettings, own_cache: Path
) -> None:
    pictures = [Picture(60, 20, ((0, 0, 3, 3),))] * 8 + random_pictures(8, targets=1) + [Picture(17, 90)] * 4
    data = build(write_scenes(pictures), tiny_settings())
    outcome = _fit(data, tiny_settings(2, resize_range=(2.0, 3.0)))
    assert np.isfinite(outcome.losses).all() and len(outcome.predictions) == len(data.test)


def test_classes_that_are_missing_in_one_part_do_no_harm(
    write_scenes: WriteScenes, tiny_settings: MakeSettings, own_cache: Path
) -> None:
    pictures = [picture._replace(names=("cargo",) * 2) for picture in random_pictures(14)]
    pictures.append(pictures[0]._replace(names=("cargo", "tug")))
    data = build(write_scenes(pictures, label_map="fine"), tiny_settings())
    assert sorted([*data.counts("train"), *data.counts("test")])[0] == 0
    outcome = _fit(data, tiny_settings(2))
    found = score(outcome.predictions, truth_of(data))
    assert len(found["details"]["per_class"]) == 2 and np.isfinite(outcome.losses).all()
