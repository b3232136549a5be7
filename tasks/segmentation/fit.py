"""Fine-tuning an encoder with a mask decoder on tiles, or fitting statistics of patches; masks out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adapters.interface import Encoder, Grid, LoadedModel
from foundation.errors import CellError
from foundation.progress import Progress, silent
from foundation.seeds import derive_seed
from tasks.baselines.patches import PATCH, PatchSegmenter
from tasks.datasets.images import read_pixels
from tasks.datasets.records import IGNORE, ImageEntry
from tasks.fine_tuning import Chosen, FineTuning, fine_tune, preparing
from tasks.input_path import HH, InputPath, input_path
from tasks.protocol.settings import SegmentationSettings
from tasks.segmentation.data import SegmentationData
from tasks.segmentation.loss import class_shares, mask_cross_entropy
from tasks.segmentation.mask_text import mask_to_text
from tasks.segmentation.network import Segmenter
from tasks.segmentation.predict import predict
from tasks.segmentation.tiling import (
    MaskTiles,
    Pixels,
    TileSet,
    Tiling,
    load_mask_tiles,
    load_tiles,
    noise_of,
    noise_tiles,
)
from tasks.task import Outcome, Row, Twin

_TURNS = 8  # quarter turns, with and without a flip
_MOST_PATCHES = 1_000_000  # of the control: more would take gigabytes and be thrown away by it


class Batch(NamedTuple):
    """8-bit tiles, their masks as the loss wants them, and which pixels are labelled if not all are."""

    tiles: Tensor
    targets: Tensor
    valid: Tensor | None

    def __len__(self) -> int:
        """Items, not fields."""
        return int(self.tiles.shape[0])


class TileTraining(FineTuning[Segmenter, SegmentationSettings, Batch]):
    """A segmentation as the training loop wants it: every tile in every epoch, turned as the epoch says."""

    def __init__(
        self,
        model: Segmenter,
        to_input: InputPath,
        settings: SegmentationSettings,
        tiles: Pixels,
        masks: MaskTiles,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(model, to_input, settings, len(tiles), seed=seed, device=device)
        self.tiles = tiles
        self.masks = masks
        self.targets = self.targets_of(masks.masks)
        self.ignoring = np.array([bool((mask == IGNORE).any()) for mask in masks.masks])

    def prepared(self, epoch: int, chosen: Chosen) -> Batch:
        """The chosen tiles with their targets."""
        rows = self.masks.rows[chosen]
        batch = Batch(
            torch.from_numpy(np.array(self.tiles[chosen])),
            self.targets[torch.from_numpy(rows)],
            torch.from_numpy(self.masks.masks[rows] != IGNORE) if self.ignoring[rows].any() else None,
        )
        return turned(batch, self._turns(epoch)[chosen]) if self.settings.augment else batch

    def placed(self, batch: Batch) -> Batch:
        """The batch on the device."""
        valid = None if batch.valid is None else batch.valid.to(self.device)
        return Batch(batch.tiles.to(self.device), batch.targets.to(self.device), valid)

    def targets_of(self, masks: Pixels) -> Tensor:
        """What the loss wants of masks [M, S, S]: the share of every class in each patch."""
        return class_shares(masks, self.model.classes, self._grid(), self.device)

    def loss(self, micro: Batch) -> Tensor:
        """Cross entropy over the labelled pixels, without class weights (section 5.1)."""
        logits = self.model(self.to_input(micro.tiles))
        return mask_cross_entropy(logits, micro.targets, micro.valid, self.settings.tile)

    def _turns(self, epoch: int) -> NDArray[np.int64]:
        """For every tile how it is turned."""
        return np.random.default_rng(derive_seed("turns", self.seed, epoch)).integers(0, _TURNS, self.items)

    @torch.inference_mode()
    def _grid(self) -> Grid:
        """What the encoder makes of a tile."""
        self.model.eval()
        side = self.settings.tile
        blank = torch.zeros((1, side, side, *self.tiles.shape[3:]), dtype=torch.uint8, device=self.device)
        return Grid(*self.model(self.to_input(blank)).shape[1:3])


def turned(batch: Batch, turns: NDArray[np.int64]) -> Batch:
    """Each item flipped and turned by quarters as its number says: bits for upside down, left to right, transposed."""
    out = Batch(*(None if part is None else torch.empty_like(part) for part in batch))  # type: ignore[arg-type]
    for turn in np.unique(turns):
        chosen = torch.from_numpy(np.flatnonzero(turns == turn))
        flips = [axis for bit, axis in ((1, 1), (2, 2)) if turn & bit]
        for part, target in zip(batch, out, strict=True):
            if part is not None and target is not None:
                moved = part[chosen].flip(flips)
                target[chosen] = moved.transpose(1, 2) if turn & 4 else moved
    return out


def make_segmenter(encoder: Encoder, classes: int, settings: SegmentationSettings, *, seed: int) -> Segmenter:
    """Our own network."""
    return Segmenter(encoder, classes, blocks=settings.decoder_blocks, dropout=settings.decoder_dropout, seed=seed)


class Network(NamedTuple):
    """A network, how it learns from tiles, and how it answers for images; each is called like our own."""

    make_model: Callable[..., nn.Module]
    training: Callable[..., TileTraining]
    predict: Callable[..., Iterator[Pixels]]


OURS = Network(make_segmenter, TileTraining, predict)


def fit_and_predict(
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
    network: Network = OURS,
) -> Outcome:
    """Learns from the training part and gives every test image a mask."""
    device = device or torch.device("cpu")
    tiling = Tiling(settings.tile, settings.stride)
    told = preparing(progress)

    def tiles_of(entries: Sequence[ImageEntry]) -> TileSet:
        if twin == "noise_images":
            return noise_tiles(entries, tiling, seed)
        return load_tiles(data.index, entries, tiling, told)

    tiles = tiles_of(data.train).pixels
    masks = _masks(data, tiling, twin, seed, told)
    if not loaded.trainable:
        return _control(loaded, data, tiles, masks, twin=twin, seed=seed, progress=progress)
    to_input = input_path(loaded, settings.normalisation)
    made = network.make_model(cast(Encoder, loaded.encoder), len(data.classes), settings, seed=seed)
    model = cast(Segmenter, made.to(device))
    return fine_tune(
        network.training(model, to_input, settings, tiles, masks, seed=seed, device=device),
        lambda precision: _rows(
            data, network.predict(model, to_input, tiles_of(data.test), data.test, tiling, device, precision)
        ),
        checkpoint=checkpoint,
        key=key,
        progress=progress,
        remarks=_remarks(data, loaded),
    )


def _masks(data: SegmentationData, tiling: Tiling, twin: Twin, seed: int, progress: Progress) -> MaskTiles:
    if not any(data.counts("train")):
        raise CellError(
            "the training masks hold no labelled pixels",
            where=data.index.dataset,
            way_out="raise --limit, or leave it out; or choose another --label-map",
        )
    masks = load_mask_tiles(data.index, data.train, tiling, progress)
    if twin == "shuffled_labels":
        order = np.random.default_rng(derive_seed("shuffled_labels", seed)).permutation(len(masks.rows))
        masks = masks._replace(rows=masks.rows[order])
    return masks


def _control(
    loaded: LoadedModel,
    data: SegmentationData,
    tiles: Pixels,
    masks: MaskTiles,
    *,
    twin: Twin,
    seed: int,
    progress: Progress,
) -> Outcome:
    """Learns from the same tiles, and sees whole images when it answers."""
    progress(0, 2, "statistics of the training part")
    most = max(1, _MOST_PATCHES * PATCH**2 // tiles[0].size)
    chosen = np.arange(len(tiles))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(derive_seed("tiles", seed)).permutation(len(tiles))[:most])
    segmenter = PatchSegmenter(
        [_grey(tiles[row]) for row in chosen],
        [masks.masks[masks.rows[row]] for row in chosen],
        classes=len(data.classes),
        seed=seed,
    )
    progress(1, 2, "masks of the test part")
    read = noise_of(seed) if twin == "noise_images" else partial(read_pixels, data.index)
    rows = _rows(data, (segmenter.predict([_grey(read(entry))])[0] for entry in data.test))
    progress(2, 2, "predicted")
    return Outcome(rows, [], segmenter.parameters, "fp32", 0.0, None, _remarks(data, loaded))


def _grey(pixels: Pixels) -> Pixels:
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., HH])


def _rows(data: SegmentationData, answers: Iterator[Pixels]) -> list[Row]:
    return [
        {"image_id": entry.image_id, "mask": mask_to_text(mask)} for entry, mask in zip(data.test, answers, strict=True)
    ]


def _remarks(data: SegmentationData, loaded: LoadedModel) -> list[str]:
    if data.train[0].more and loaded.contract.channels != 3:
        return ["the model does not take three channels: of each composite it saw HH alone"]
    return []
