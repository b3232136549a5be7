"""`--implementation openmmlab`: the protocol, data and splits of our tasks through mmdet's and mmseg's networks.

Order, augmentation, schedule, optimiser, checkpoints and the form of the predictions are our own, so a run resumes like
ours and our scorers score it; from the encoder's maps to boxes, masks and losses, everything is theirs. mmengine's
runner is not used here: its checkpoints cannot be read without running code from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from adapters.interface import Encoder, LoadedModel
from foundation.errors import UsageError
from foundation.progress import Progress, silent
from foundation.seeds import derive_seed
from tasks.datasets.images import read_pixels
from tasks.detection import fit as detection
from tasks.detection.data import DetectionData
from tasks.detection.squares import noise_like, squares_to_learn, squares_to_test
from tasks.input_path import input_path
from tasks.openmmlab.detector import OpenMMLabDetector
from tasks.openmmlab.segmenter import OpenMMLabSegmenter
from tasks.optimiser import build_optimiser
from tasks.protocol.settings import DetectionSettings, SegmentationSettings, TrainingSettings
from tasks.segmentation import fit as segmentation
from tasks.segmentation.data import SegmentationData
from tasks.segmentation.mask_text import mask_to_text
from tasks.segmentation.tiling import MaskTiles, Pixels, Tiling, load_tiles, noise_of, noise_tiles
from tasks.task import Outcome, Row, Twin
from tasks.training import History, accumulate, autocast, resolve_precision, train


class TileBatch(NamedTuple):
    """8-bit tiles and their masks, which are of the same size."""

    tiles: Tensor
    masks: Tensor

    def __len__(self) -> int:
        """Items, not fields."""
        return int(self.tiles.shape[0])


class TileTraining:
    """mmseg's segmenter as the training loop wants it; the same tiles in the same order as ours."""

    def __init__(
        self,
        model: OpenMMLabSegmenter,
        to_input: Any,
        settings: SegmentationSettings,
        tiles: Pixels,
        masks: MaskTiles,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model = model
        self.to_input = to_input
        self.settings = settings
        self.tiles = tiles
        self.masks = masks
        self.seed = seed
        self.device = device
        self.plan = accumulate(len(tiles), settings.training)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps per epoch."""
        return len(self.plan)

    def batches(self, epoch: int) -> Iterator[list[TileBatch]]:
        """Every training tile once, in an order that hangs on seed and epoch alone."""
        order = np.random.default_rng(derive_seed("order", self.seed, epoch)).permutation(len(self.tiles))
        for step in self.plan:
            batches = []
            for low, high in step:
                chosen = order[low:high]
                tiles = torch.from_numpy(np.array(self.tiles[chosen]))
                masks = torch.from_numpy(np.array(self.masks.masks[self.masks.rows[chosen]]))
                batches.append(TileBatch(tiles.to(self.device), masks.to(self.device)))
            yield batches

    def loss(self, micro: TileBatch) -> Tensor:
        """Their cross entropy over the labelled pixels."""
        loss: Tensor = self.model(self.to_input(micro.tiles), micro.masks)
        return loss


def fit_and_predict_boxes(
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
) -> Outcome:
    """What `tasks.detection.fit.fit_and_predict` does, with mmdet's heads on the same encoder and pyramid."""
    encoder, device = _trainable(loaded), device or torch.device("cpu")
    preparing = partial(_preparing, progress)
    squares = squares_to_learn(data.train, settings.image_size * max(settings.resize_range), preparing)
    test = squares_to_test(data.test, settings.image_size, preparing)
    if twin == "noise_images":
        squares, test = noise_like(squares, data.train, seed), noise_like(test, data.test, seed)
    model = OpenMMLabDetector(encoder, len(data.classes), settings, seed=seed).to(device)
    alike = cast(Any, model)  # answers to the same calls
    marked = detection.annotated(data.train, twin, seed)
    task = detection.FineTuning(alike, loaded, settings, squares, marked, seed=seed, device=device)
    history = train(
        task,
        _optimiser(model, settings.training),
        settings.training,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        key=key,
        progress=progress,
    )
    precision = resolve_precision(settings.training.precision, device)
    found = detection.predict(alike, task.to_input, test, device, precision)
    rows = [
        detection._answer(scene, one, test, position, settings.test_detections)
        for position, (scene, one) in enumerate(zip(data.test, found, strict=True))
    ]
    return _outcome(model, rows, history, precision)


def fit_and_predict_masks(
    loaded: LoadedModel,
    data: SegmentationData,
    settings: SegmentationSettings,
    *,
    seed: int,
    twin: Twin = "none",
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    key: str = "",
    progress: Progress = silent,
) -> Outcome:
    """What `tasks.segmentation.fit.fit_and_predict` does, with mmseg's decoder on the same encoder."""
    encoder, device = _trainable(loaded), device or torch.device("cpu")
    if settings.augment:
        raise UsageError(
            "turned tiles are not offered with --implementation openmmlab",
            where="augment of the segmentation settings",
            way_out="leave --augment or --implementation out",
        )
    tiling = Tiling(settings.tile, settings.stride)
    preparing = partial(_preparing, progress)
    if twin == "noise_images":
        tiles = noise_tiles(data.train, tiling, seed).pixels
    else:
        tiles = load_tiles(data.index, data.train, tiling, preparing).pixels
    masks = segmentation._masks(data, tiling, twin, seed, preparing)
    to_input = input_path(loaded, settings.normalisation)
    model = OpenMMLabSegmenter(encoder, len(data.classes), settings, seed=seed).to(device)
    history = train(
        TileTraining(model, to_input, settings, tiles, masks, seed=seed, device=device),
        _optimiser(model, settings.training),
        settings.training,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        key=key,
        progress=progress,
    )
    precision = resolve_precision(settings.training.precision, device)
    model.eval()
    read = noise_of(seed) if twin == "noise_images" else partial(read_pixels, data.index)
    rows = []
    for entry in data.test:
        with autocast(device, precision):
            mask = _mask(model, to_input, read(entry), tiling, device)
        rows.append({"image_id": entry.image_id, "mask": mask_to_text(mask)})
    return _outcome(model, rows, history, precision)


def _mask(model: OpenMMLabSegmenter, to_input: Any, pixels: Pixels, tiling: Tiling, device: torch.device) -> Pixels:
    """The classes of one image, filled up with zeros to whole windows and cut back (section 5.1)."""
    height, width = pixels.shape[:2]
    below = tiling.starts(height)[-1] + tiling.side - height
    beside = tiling.starts(width)[-1] + tiling.side - width
    padded = np.pad(pixels, [(0, below), (0, beside), *[(0, 0)] * (pixels.ndim - 2)])
    classes = model.classify(to_input(torch.from_numpy(padded)[None].to(device)))
    mask: Pixels = classes[:height, :width].to(torch.uint8).cpu().numpy()
    return mask


def _trainable(loaded: LoadedModel) -> Encoder:
    if not loaded.trainable:
        raise UsageError(
            f"{loaded.card.id} is no network; mmdet and mmseg cannot build on it",
            where="--implementation openmmlab",
            way_out="leave it out of --models, or leave --implementation out",
        )
    return cast(Encoder, loaded.encoder)


def _optimiser(model: OpenMMLabDetector | OpenMMLabSegmenter, settings: TrainingSettings) -> torch.optim.Optimizer:
    return build_optimiser(
        model,
        settings.optimiser,
        layer_id=model.layer_id,
        layer_count=model.layer_count,
        positions=model.no_weight_decay(),
    )


def _outcome(model: nn.Module, rows: list[Row], history: History, precision: str) -> Outcome:
    return Outcome(
        predictions=rows,
        losses=history.losses,
        parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        precision=precision,
        earlier_seconds=history.earlier_seconds,
        resumed_from_epoch=history.resumed_from_epoch,
        warnings=history.warnings,
    )


def _preparing(progress: Progress, done: int, total: int, note: str = "") -> None:
    progress(0, 1, f"{note} {done} of {total}")  # not yet part of the work that is counted
