"""Fine-tuning an encoder under the detector, or fitting the threshold detector; boxes in pixels of the files out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from adapters.interface import Encoder, LoadedModel
from foundation.progress import Progress, silent
from tasks.detection.answers import answer, within_image
from tasks.detection.augment import Marked, augment
from tasks.detection.control import threshold_control, whose_boxes
from tasks.detection.data import DetectionData, Scene
from tasks.detection.detector import Detected, Detector, Targets
from tasks.detection.squares import Squares, noise_like, squares_to_learn, squares_to_test
from tasks.fine_tuning import Chosen, FineTuning, fine_tune, preparing
from tasks.input_path import InputPath, input_path
from tasks.protocol.settings import DetectionSettings
from tasks.task import Outcome, Row, Twin
from tasks.training import autocast

PREDICT_BATCH = 16


class Batch(NamedTuple):
    """8-bit squares [B, S, S] and what is to be found in each."""

    images: Tensor
    targets: list[Targets]

    def __len__(self) -> int:
        """Items, not fields."""
        return len(self.targets)


class SceneTraining(FineTuning[Detector, DetectionSettings, Batch]):
    """A detection as the training loop wants it: every scene in a view of its own in every epoch."""

    def __init__(
        self,
        model: Detector,
        to_input: InputPath,
        settings: DetectionSettings,
        squares: Squares,
        marked: Sequence[Marked],
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(model, to_input, settings, len(squares), seed=seed, device=device)
        self.squares = squares
        self.marked = marked

    def prepared(self, epoch: int, chosen: Chosen) -> Batch:
        """Views of the chosen scenes and what is to be found in them."""
        pixels, moved = augment(self.squares, self.marked, chosen, self.settings, self.generators(epoch, chosen))
        targets = [Targets(torch.from_numpy(one.boxes).float(), torch.from_numpy(one.labels)) for one in moved]
        return Batch(torch.from_numpy(pixels), targets)

    def placed(self, batch: Batch) -> Batch:
        """The batch on the device."""
        return Batch(
            batch.images.to(self.device, non_blocking=True),
            [Targets(*(field.to(self.device, non_blocking=True) for field in one)) for one in batch.targets],
        )

    def loss(self, micro: Batch) -> Tensor:
        """Sum of the four losses."""
        total: Tensor = self.model(self.to_input(micro.images), micro.targets)
        return total


def annotated(scenes: Sequence[Scene], twin: Twin, seed: int) -> list[Marked]:
    """Per training image its boxes, in shares of its width and height.

    The twin of shuffled labels gives every image the whole annotation of another one, at the same relative places:
    with its boxes where another image has its targets, nothing can be learnt but where targets use to be.
    """
    marked = []
    for scene in scenes:
        corners = [(box.x, box.y, box.x + box.width, box.y + box.height) for box in scene.boxes]
        size = np.array([scene.width, scene.height] * 2, dtype=np.float64)
        labels = np.array([box.label for box in scene.boxes], dtype=np.int64)
        marked.append(Marked(np.array(corners, dtype=np.float64).reshape(-1, 4) / size, labels))
    return [marked[giver] for giver in whose_boxes(len(scenes), twin, seed)]


def fit_and_predict(
    loaded: LoadedModel,
    data: DetectionData,
    settings: DetectionSettings,
    *,
    seed: int,
    twin: Twin = "none",
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    key: str = "",
    progress: Progress = silent,
    make_model: Callable[..., nn.Module] = Detector,
) -> Outcome:
    """Learns from the training part and finds targets in every test image.

    `make_model` is called like `Detector`, and what it makes answers to the same calls.
    """
    told = preparing(progress)
    if not loaded.trainable:
        control = threshold_control(data, twin=twin, seed=seed, progress=told)
        return Outcome(control.rows, [], control.parameters, "fp32", 0.0, None, [])
    device = device or torch.device("cpu")
    largest = settings.image_size * max(settings.resize_range)
    squares = squares_to_learn(data.train, largest, told)
    test = squares_to_test(data.test, settings.image_size, told)
    if twin == "noise_images":
        squares, test = noise_like(squares, data.train, seed), noise_like(test, data.test, seed)
    made = make_model(cast(Encoder, loaded.encoder), len(data.classes), settings, seed=seed)
    model = cast(Detector, made.to(device))
    to_input = input_path(loaded, settings.normalisation)

    def answers(precision: str) -> list[Row]:
        found = predict(model, to_input, test, device, precision)
        return [
            _answer(scene, one, test, position, settings.test_detections)
            for position, (scene, one) in enumerate(zip(data.test, found, strict=True))
        ]

    return fine_tune(
        SceneTraining(model, to_input, settings, squares, annotated(data.train, twin, seed), seed=seed, device=device),
        answers,
        checkpoint=checkpoint,
        key=key,
        progress=progress,
    )


@torch.inference_mode()
def predict(model: Detector, to_input: Any, squares: Squares, device: torch.device, precision: str) -> list[Detected]:
    """What is found in each square, in pixels of the square, in batches."""
    model.eval()
    found: list[Detected] = []
    for low in range(0, len(squares), PREDICT_BATCH):
        grey = torch.from_numpy(np.array(squares.pixels[low : low + PREDICT_BATCH])).to(device)
        with autocast(device, precision):
            found += model.detect(to_input(grey))
    return found


def _answer(scene: Scene, found: Detected, squares: Squares, position: int, most: int) -> Row:
    """Detections of one square in pixels of its file, within the image; the surest `most` of them."""
    content, file = squares.contents[position], squares.files[position]
    scale = np.array([file.width / content.width, file.height / content.height] * 2)
    corners, scores = found.boxes.float().cpu().numpy() * scale, found.scores.float().cpu().numpy()
    boxes, real = within_image(corners, file.width, file.height)
    kept = np.flatnonzero(real & np.isfinite(scores))[:most]
    return answer(scene.image_id, boxes[kept], found.labels.cpu().numpy()[kept], scores[kept])
