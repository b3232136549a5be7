"""What frozen towers know of the vision tasks, read by a linear classifier: the ladder without fine-tuning.

Fine-tuning asks how far a few epochs get from a start; a linear reading asks what the start knows. Every model sees the
images at the resolution of the mini profile, and one logistic regression reads its standardised features:

- classification: the pooled feature of a chip; Top-1;
- segmentation: each token, for the class that most pixels of its patch have; share of patches that are right;
- detection: each token, for whether the centre of a target lies in its patch, and which; average precision, the mean
  over the classes that occur.

`random-mini` is as many models as seeds, so its spread is that of starts; `brightness` is no model but mean and spread
of the pixels of an image and of each patch. Beside a reading stands how the tokens lie: the share of their energy that
is the same in all of them, and the number of directions that the rest spans. Heads that are trained for a few epochs
see what is large; a logistic regression on standardised features sees all.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from adapters.card import ModelCard
from adapters.interface import Encoder
from adapters.load import load
from adapters.registry import catalog
from klip.zoo import RECIPES
from tasks.baselines.features import LinearClassifier
from tasks.classification.score import ranks
from tasks.datasets.masks import read_mask
from tasks.datasets.records import ImageEntry
from tasks.images import centre_square
from tasks.input_path import input_path
from tasks.protocol import task_settings
from tasks.sarworld.cache import default_world
from tests.bench.ladder.rungs import Grey, Parts, parts, pixels
from tests.bench.ladder.vision import BOXES, CHIPS

MAPS = ("fusar_map", "air_polarsar_seg")
DATASETS = (*CHIPS, *BOXES, *MAPS)
SEEDED = "random-mini"
SIDE = 64
"""Of the images, as in the mini profile."""
_MOST_TOKENS = 12_000
"""Training tokens without a target, and tokens of maps; enough for a few hundred numbers."""
_BATCH = 64
_PATCH = 8
BRIGHTNESS = "brightness"
"""No model: what a tower must say more than."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


class Read(NamedTuple):
    """Frozen features of images."""

    pooled: Floats
    """[N, width]."""
    tokens: Floats
    """[N, cells, width]."""
    side: int
    """Cells along an edge."""


class Shape(NamedTuple):
    """How the tokens of a model lie."""

    common: float
    """Share of their energy that is one and the same vector."""
    directions: float
    """Effective number of directions of the rest: the exponential of the entropy of its spectrum."""


class Reading(NamedTuple):
    """What a linear classifier reads from a model's features, in per cent."""

    dataset: str
    metric: str
    trivial: float
    """The most common answer, or the share of cells with a target."""
    value: float
    shape: Shape


def read(card: ModelCard, images: Sequence[Grey], size: int, *, seed: int) -> Read:
    """Features of grey images brought to `size`, from the card's tower under the statistics of the mini profile."""
    settings = task_settings("mini", "classification", "mini")
    loaded = load(card, image_size=size, seed=seed)
    to_input = input_path(loaded, settings.normalisation)
    encoder = cast(Encoder, loaded.encoder)
    encoder.eval()
    pooled, tokens, side = [], [], 0
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            squares = np.stack([centre_square(image, size) for image in images[start : start + _BATCH]])
            found = encoder(to_input(torch.from_numpy(squares)))
            pooled.append(found.pooled.double().numpy())
            tokens.append(found.tokens.double().numpy())
            side = found.grid.h
    return Read(np.concatenate(pooled), np.concatenate(tokens), side)


def read_brightness(images: Sequence[Grey], size: int) -> Read:
    """Mean and spread of the pixels of an image and of each of its patches, in the place of features."""
    squares = np.stack([centre_square(image, size) for image in images]).astype(np.float64)
    side = size // _PATCH
    patches = squares.reshape(-1, side, _PATCH, side, _PATCH).swapaxes(2, 3).reshape(len(squares), side**2, -1)
    pooled, tokens = (
        np.stack([x.mean(axis=-1), x.std(axis=-1)], axis=-1) for x in (squares.reshape(len(squares), -1), patches)
    )
    return Read(pooled, tokens, side)


def shape_of(tokens: Floats) -> Shape:
    """How tokens [N, cells, width] lie."""
    flat = tokens.reshape(-1, tokens.shape[-1])
    mean = flat.mean(axis=0)
    energy = np.linalg.eigvalsh(np.cov(flat.T))
    shares = np.clip(energy, 0, None) / energy.sum()
    entropy = -sum(share * math.log(share) for share in shares.tolist() if share > 0)
    return Shape(float((mean**2).sum() / (flat**2).sum(axis=1).mean()), math.exp(entropy))


def reading(found: Parts, train: Read, test: Read, dataset: str) -> Reading:
    """The linear reading of one data set from features of its two parts."""
    shape = shape_of(train.tokens)
    if dataset in CHIPS:
        return Reading(dataset, "top1", *_chips(found, train, test), shape)
    if dataset in MAPS:
        return Reading(dataset, "cells", *_maps(found, train, test), shape)
    return Reading(dataset, "cell ap", *_targets(found, train, test), shape)


def _chips(found: Parts, train: Read, test: Read) -> tuple[float, float]:
    truth = np.array([entry.label for entry in found.test])
    labels = [entry.label for entry in found.train]
    model = LinearClassifier(train.pooled, labels, len(found.index.classes))
    most = np.bincount(labels).argmax()
    return 100 * float((truth == most).mean()), 100 * float((ranks(model.scores(test.pooled), truth) < 1).mean())


def _maps(found: Parts, train: Read, test: Read) -> tuple[float, float]:
    labels, truth = (
        np.concatenate([cell_classes(read_mask(found.index, entry), side, len(found.index.classes)) for entry in part])
        for part, side in ((found.train, train.side), (found.test, test.side))
    )
    chosen = _some(np.flatnonzero(labels >= 0))
    model = LinearClassifier(_flat(train)[chosen], labels[chosen], len(found.index.classes))
    known = truth >= 0
    told = model.scores(_flat(test)[known]).argmax(axis=1)
    most = np.bincount(labels[labels >= 0]).argmax()
    return 100 * float((truth[known] == most).mean()), 100 * float((told == truth[known]).mean())


def _targets(found: Parts, train: Read, test: Read) -> tuple[float, float]:
    from sklearn.metrics import average_precision_score

    labels, truth = (
        np.concatenate([cell_targets(entry, side) for entry in part])
        for part, side in ((found.train, train.side), (found.test, test.side))
    )
    chosen = np.concatenate([np.flatnonzero(labels), _some(np.flatnonzero(labels == 0))])
    model = LinearClassifier(_flat(train)[chosen], labels[chosen], len(found.index.classes) + 1)
    scores = model.scores(_flat(test))
    occurring = sorted(set(truth[truth > 0].tolist()))
    values = [average_precision_score(truth == kind, scores[:, kind]) for kind in occurring]
    return 100 * float(np.mean([(truth == kind).mean() for kind in occurring])), 100 * float(np.mean(values))


def _flat(features: Read) -> Floats:
    return features.tokens.reshape(-1, features.tokens.shape[-1])


def _some(rows: Labels) -> Labels:
    return np.sort(np.random.default_rng(0).permutation(rows)[:_MOST_TOKENS])


def cell_classes(mask: NDArray[np.uint8], side: int, classes: int) -> Labels:
    """For each of `side` x `side` cells the class that most of its pixels have, -1 where none is labelled."""
    rows, columns = (np.linspace(0, length, side + 1).astype(int) for length in mask.shape)
    cells = [
        np.bincount(mask[top:bottom, left:right].ravel(), minlength=256)[:classes]
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]
    return np.array([counts.argmax() if counts.any() else -1 for counts in cells], dtype=np.int64)


def cell_targets(entry: ImageEntry, side: int) -> Labels:
    """For each of `side` x `side` cells 1 + the class of the target whose centre it holds, the last one named; else 0.

    The cells are those of the image's central square, which is what a tower sees; targets beside it are left out.
    """
    cells = np.zeros((side, side), dtype=np.int64)
    length = min(entry.width, entry.height)
    left, top = (entry.width - length) / 2, (entry.height - length) / 2
    for box in entry.boxes:
        x, y, width, height = (float(value) for value in box[:4])
        row, column = (y + height / 2 - top) / length * side, (x + width / 2 - left) / length * side
        if 0 <= row <= side and 0 <= column <= side:
            cells[min(int(row), side - 1), min(int(column), side - 1)] = 1 + int(box.label)
    return cells.ravel()


class Probed(NamedTuple):
    """A model on a data set: one reading for every seed."""

    model: str
    readings: tuple[Reading, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(one.value for one in self.readings)

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds, 0 where there is one."""
        return statistics.stdev(one.value for one in self.readings) if len(self.readings) > 1 else 0.0

    @property
    def highest(self) -> float:
        """Of the seeds."""
        return max(one.value for one in self.readings)


def probe(world: Path, models: Sequence[str], *, seeds: int = 5) -> Iterator[tuple[str, list[Probed]]]:
    """Every data set of the vision tasks: each model, `random-mini` as often as there are seeds."""
    cards = catalog()
    for dataset in DATASETS:
        found = parts(world, dataset, BOXES.get(dataset), "HH")
        images = {part: pixels(found, entries) for part, entries in (("train", found.train), ("test", found.test))}
        probed = []
        for model in models:
            readings = []
            for seed in range(seeds if model == SEEDED else 1):
                train, test = (
                    read_brightness(images[part], SIDE)
                    if model == BRIGHTNESS
                    else read(cards[model], images[part], SIDE, seed=seed)
                    for part in ("train", "test")
                )
                readings.append(reading(found, train, test, dataset))
            probed.append(Probed(model, tuple(readings)))
        yield dataset, probed


def print_probes(
    models: Sequence[str] | None = None, *, seeds: int = 5, root: Path | None = None, as_json: bool = False
) -> None:
    """The table, and on which data sets each model is above every start from scratch.

    Args:
        models: By default all small models of the catalogue that have tokens, and `brightness`.
        seeds: Starts from scratch.
        root: A built world; without it that of the cache.
        as_json: Every reading, for programs.
    """
    torch.set_num_threads(1)
    world = root or default_world("mini", 0, workers=2, datasets=DATASETS)
    wanted = tuple(models or [BRIGHTNESS, *RECIPES, SEEDED])
    table = dict(probe(world, wanted, seeds=seeds))
    if as_json:
        rows = [
            {"model": entry.model, **one._asdict(), "shape": one.shape._asdict()}
            for probed in table.values()
            for entry in probed
            for one in entry.readings
        ]
        print(json.dumps({"probes": rows}))
        return
    for dataset, probed in table.items():
        print(lines_of(dataset, probed))
    for model in wanted:
        if model not in (SEEDED, BRIGHTNESS):
            held = above_scratch(model, table)
            missing = ", ".join(name for name in table if name not in held)
            print(
                f"{model}: above every start from scratch on {len(held)} of {len(table)}"
                + (f", not on {missing}" if missing else "")
            )


def above_scratch(model: str, table: Mapping[str, Sequence[Probed]]) -> list[str]:
    """Data sets on which a model is above the highest of the starts from scratch."""
    held = []
    for dataset, probed in table.items():
        by_model = {entry.model: entry for entry in probed}
        if by_model[model].mean > by_model[SEEDED].highest:
            held.append(dataset)
    return held


def lines_of(dataset: str, probed: Sequence[Probed]) -> str:
    """What was read on one data set."""
    first = probed[0].readings[0]
    lines = [f"{dataset}: {first.metric}, trivial {first.trivial:.1f}"]
    for entry in probed:
        seen, several = entry.readings[0].shape, len(entry.readings) > 1
        spread = f"+- {entry.spread:.1f}, highest {entry.highest:.1f} of {len(entry.readings)}" if several else ""
        lines.append(
            f"  {entry.model:18}{entry.mean:6.1f} {spread:27} {seen.common:4.0%} of a token common, "
            f"the rest in {seen.directions:.1f} directions"
        )
    return "\n".join(lines)
