"""The threshold detector on a detection data set: the trivial baseline of section 11.8, and the control model.

It sees the images at their own size. Every model's score is printed beside the baseline, so its detections are made
once per data set and split and kept in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.decode import decoding_hash, read_grey
from foundation.cache import cache_root
from foundation.errors import BenchError
from foundation.files import exclusive, read_json, write_json
from foundation.hashing import hash_lines, hash_sources
from foundation.progress import Progress, silent
from foundation.seeds import derive_seed
from tasks.baselines.cfar import CfarDetector, Labelled
from tasks.detection.answers import answer, within_image
from tasks.detection.data import DetectionData, Scene
from tasks.lookahead import each_opened
from tasks.task import Row, Twin

LARGEST_TRAINING = 400
"""Training images it is fitted on, evenly spaced: it has a handful of numbers to choose."""
SCORE_DIGITS = 4
"""Significant digits of its scores: the classifier behind them is not the same to the last bit on all machines."""

Grey = NDArray[np.uint8]


def threshold_boxes(data: DetectionData, progress: Progress = silent) -> list[Row]:
    """The test part as the threshold detector sees it, from the cache where it is there and whole."""
    name = hash_lines([data.index.data_hash, data.split.hash, str(data.classes), _made_by()])
    path = cache_root() / "threshold" / f"{name[:24]}.json"
    with exclusive(path.with_suffix(".lock")):
        if path.exists():
            try:
                rows: list[Row] = read_json(path)["rows"]
                if [row["image_id"] for row in rows] == list(data.split.test):
                    return rows
            except (BenchError, KeyError, TypeError):
                pass  # damaged: it can be made again
        rows = threshold_answers(data, progress=progress)
        write_json(path, {"rows": rows})
        return rows


class Control(NamedTuple):
    """What the threshold detector says of the test images, and how many numbers were chosen for it."""

    rows: list[Row]
    parameters: int


def threshold_answers(
    data: DetectionData, *, twin: Twin = "none", seed: int = 0, progress: Progress = silent
) -> list[Row]:
    """Fits the threshold detector on the training part and asks it about every test image."""
    return threshold_control(data, twin=twin, seed=seed, progress=progress).rows


def threshold_control(
    data: DetectionData, *, twin: Twin = "none", seed: int = 0, progress: Progress = silent
) -> Control:
    """The same, with the number of its parameters."""
    chosen = evenly(len(data.train), LARGEST_TRAINING)
    scenes = [data.train[position] for position in chosen]
    given = whose_boxes(len(data.train), twin, seed)
    marked = [_carried(data.train[given[position]], data.train[position]) for position in chosen]
    progress(0, 1, "threshold detector: training images")
    detector = CfarDetector(_images(scenes, twin, seed), marked, classes=len(data.classes))
    rows = []
    for done, scene in enumerate(data.test):
        progress(done, len(data.test), "threshold detector")
        found = detector.predict(_images([scene], twin, seed))[0]
        corners = np.concatenate([found.boxes[:, :2], found.boxes[:, :2] + found.boxes[:, 2:]], axis=1)
        boxes, real = within_image(corners, scene.width, scene.height)
        rows.append(answer(scene.image_id, boxes[real], found.labels[real], found.scores[real], digits=SCORE_DIGITS))
    return Control(rows, detector.parameters)


def whose_boxes(images: int, twin: Twin, seed: int) -> list[int]:
    """Per training image the one whose boxes it is given: its own, or in the twin of shuffled labels another's."""
    if twin != "shuffled_labels":
        return list(range(images))
    order: list[int] = np.random.default_rng(derive_seed("shuffled_labels", seed)).permutation(images).tolist()
    return order


def evenly(count: int, most: int) -> list[int]:
    """At most so many positions of `count`, evenly spaced."""
    return [step * count // most for step in range(most)] if count > most else list(range(count))


def _carried(giver: Scene, receiver: Scene) -> Labelled:
    """The boxes of one image at the same relative places of another."""
    across, down = receiver.width / giver.width, receiver.height / giver.height
    boxes = [(box.x * across, box.y * down, box.width * across, box.height * down) for box in giver.boxes]
    labels = np.array([box.label for box in giver.boxes], dtype=np.int64)
    return Labelled(np.array(boxes, dtype=np.float64).reshape(-1, 4), labels)


def _images(scenes: Sequence[Scene], twin: Twin, seed: int) -> list[Grey]:
    if twin == "noise_images":
        return [
            np.random.default_rng(derive_seed("noise", seed, scene.image_id)).integers(
                0, 256, (scene.height, scene.width), dtype=np.uint8
            )
            for scene in scenes
        ]
    return list(each_opened(lambda scene: read_grey(scene.path), scenes, silent, "decoding"))


@cache
def _made_by() -> str:
    """The code and the libraries that decide the detections."""
    tasks = Path(__file__).resolve().parent.parent
    sources: list[Any] = [
        tasks / "baselines" / "cfar.py",
        tasks / "baselines" / "features.py",
        tasks / "metrics" / "precision_recall.py",
        tasks.parent / "adapters" / "simple_features.py",
        Path(__file__),
        Path(__file__).with_name("answers.py"),
    ]
    versions = [f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn", "scikit-image")]
    return hash_lines([decoding_hash(), hash_sources(sources), *versions])
