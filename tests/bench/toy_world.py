"""The toy world of section 13.4 of the KLIP specification: eight attributes that an image shows and a text names.

An image is three by three cells; eight of them show the pattern of an attribute's value under noise, the ninth noise
alone. A text has one segment for each attribute, its value is one token, and a share of the values is wrong. Everything
goes through the files and classes that a real corpus goes through.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from foundation.seeds import derive_seed
from klip.augment import normalise
from klip.corpus import Corpus, read_corpus_folder
from klip.model.klip import KLIP
from klip.model.pretrainer import PairBatch, Pretrainer, StepContext
from klip.pixels import load_pixels
from klip.pretrain.segments import drop_segments
from klip.scio.material import Material, material_of
from klip.settings import PretrainingSettings
from klip.store.text_store import TextStore
from klip.text import TARGET_FIELDS
from klip.tokens.batch import TokenBatch, pack
from klip.tokens.vocabulary import Vocabulary

Flags = NDArray[np.bool_]

VALUES = 6
CELL = 8
CELLS = 3
SIDE = CELL * CELLS
MEAN, STD = (0.5,) * 3, (0.25,) * 3

_COUNTS = ("one", "two", "three", "four", "five", "six")
_SIZES = ("10m", "20m", "30m", "40m", "50m", "60m")
_LETTERS = "abcdef"


def words(field: str) -> tuple[str, ...]:
    """The values of a field; counts and sizes must look like such."""
    if field == "Count":
        return _COUNTS
    return _SIZES if field == "Size" else tuple(f"{field.lower()}{letter}" for letter in _LETTERS)


def vocabulary() -> Vocabulary:
    """One piece for every word."""
    labels = [field.lower() for field in TARGET_FIELDS]
    values = [word for field in TARGET_FIELDS for word in words(field)]
    return Vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[SEG]", ":", *labels, *values])


@dataclass(frozen=True)
class Plan:
    """What a world is made of."""

    pairs: int = 6144
    values: int = VALUES
    """Of each attribute, six at most."""
    wrong: float = 0.2
    noise: float = 0.5
    """Spread of the noise over that of the patterns."""
    seed: int = 0
    implied: bool = False
    """Whether the second attribute follows from the first."""
    agreeing: bool = False
    """Whether the wrong values of the first two attributes belong together."""
    constant: bool = False
    """Whether the last attribute has the same value everywhere."""


@dataclass(frozen=True)
class World:
    """A corpus in memory and on disk."""

    corpus: Corpus
    store: TextStore
    pixels: NDArray[np.uint8]
    truth: NDArray[np.int64]
    """[N, 8]: what the image shows."""
    planted: Flags
    """[N, 8]: where the text says something else."""

    def material(self, version: int = 0) -> Material:
        """A version of the texts with the images."""
        hashes = self.corpus.image_hashes
        return material_of(self.store, version, self.pixels, MEAN, STD, image_hashes=hashes)


def make_world(folder: Path, plan: Plan, budget: PretrainingSettings) -> World:
    """Writes the corpus and its text store into `folder`."""
    rng = np.random.default_rng(derive_seed("toy world", plan.seed))
    truth = rng.integers(plan.values, size=(plan.pairs, len(TARGET_FIELDS)))
    if plan.implied:
        truth[:, 1] = (truth[:, 0] + 1) % plan.values
    if plan.constant:
        truth[:, -1] = 0
    planted = rng.random(truth.shape) < plan.wrong
    stated = np.where(planted, (truth + rng.integers(1, plan.values, size=truth.shape)) % plan.values, truth)
    if plan.agreeing:
        both = planted[:, 0] & planted[:, 1]
        stated[both, 1] = (stated[both, 0] + 1) % plan.values
        planted = stated != truth
    images = _images(truth, plan, rng)
    corpus_folder = folder / "corpus"
    _write(corpus_folder, truth, stated, planted, images)
    corpus = read_corpus_folder(corpus_folder)
    store = TextStore.create(folder / "store", corpus, vocabulary(), budget.text)
    return World(corpus, store, load_pixels(corpus, SIDE), truth, planted)


def toy_settings(**changes: Any) -> PretrainingSettings:
    """The model of section 13.4: width 48, two layers in each tower."""
    data: dict[str, Any] = {
        "model": {
            "size": "tiny",
            "spread": "width",
            "embed_dim": 32,
            "vision_width": 48,
            "vision_depth": 2,
            "vision_heads": 4,
            "text_width": 48,
            "text_layers": 2,
            "text_heads": 4,
            "text_ffn": 192,
            "positions": 64,
        },
        "image": {"size": SIDE, "patch": CELL, "aug": "none"},
        "text": {"max_len": 40, "max_seg_len": 4},
        "queue": {"size": 1024},
        "batch_size_per_device": 64,
    }
    for group, values in changes.items():
        if isinstance(values, dict):
            data[group] = data.get(group, {}) | values
        else:
            data[group] = values
    return PretrainingSettings.model_validate(data)


@dataclass
class Learner:
    """Pre-training in a bare loop, so that the experiment is about the losses and SCIO alone."""

    world: World
    settings: PretrainingSettings
    seed: int
    steps: int
    rate: float = 1e-3

    def __post_init__(self) -> None:
        torch.manual_seed(derive_seed("toy dropout", self.seed))
        book = self.world.store.vocabulary
        settings = self.settings.model_copy(update={"seed": self.seed})
        self.pretrainer = Pretrainer(settings, book.size, book.specials, dropout=0.0)
        parameters = [p for p in self.pretrainer.online.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(parameters, lr=self.rate, weight_decay=0.05, fused=True)
        self.step = 0

    def train(self, version: int, steps: int, noise: Flags | None = None) -> dict[str, float]:
        """Some steps on a version of the texts; the means of the losses of the last hundred."""
        material = self.world.material(version)
        tokens = pack(material.tokens, material.vocabulary.specials)
        hidden = torch.from_numpy(np.zeros_like(self.world.planted) if noise is None else noise)
        self.pretrainer.train()
        lately: list[dict[str, float]] = []
        for rows in _batches(len(material), self.settings.batch_size_per_device, self.seed, self.step, steps):
            losses = self.pretrainer(self._pairs(material, tokens, hidden, rows), self._context())
            self._move(losses["loss"])
            lately.append({name: float(value.detach()) for name, value in losses.items() if value.numel() == 1})
            del lately[:-100]
        return {name: float(np.mean([entry[name] for entry in lately])) for name in lately[0]}

    def _pairs(self, material: Material, tokens: TokenBatch, noise: torch.Tensor, rows: torch.Tensor) -> PairBatch:
        some = tokens.rows(rows)
        generator = torch.Generator().manual_seed(derive_seed("toy segments", self.seed, self.step))
        some = drop_segments(some, self.settings.text.segment_dropout, generator, material.vocabulary.specials.pad)
        grey = torch.from_numpy(self.world.pixels[rows.numpy()]).float() / 255
        hashes = torch.from_numpy(material.text_hash)[rows]
        return PairBatch(normalise(grey, MEAN, STD), some.trimmed(), rows, hashes, noise[rows])

    def _context(self) -> StepContext:
        ramp = min(1.0, self.step / max(1, 2 * len(self.world.pixels) // self.settings.batch_size_per_device))
        generator = torch.Generator().manual_seed(derive_seed("toy losses", self.seed, self.step))
        return StepContext(alpha=self.settings.itc.alpha * ramp, generator=generator)

    def _move(self, loss: torch.Tensor) -> None:
        warm = min(1.0, (self.step + 1) / 200)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * warm * max(0.05, 1 - self.step / self.steps)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.pretrainer.online.parameters(), 1.0)
        self.optimiser.step()
        self.pretrainer.follow()
        self.step += 1


def _batches(count: int, size: int, seed: int, first: int, steps: int) -> Iterator[torch.Tensor]:
    """Rows of every step: each epoch is a permutation of its own."""
    per_epoch = count // size
    for step in range(first, first + steps):
        epoch, place = divmod(step, per_epoch)
        generator = torch.Generator().manual_seed(derive_seed("toy order", seed, epoch))
        order = torch.randperm(count, generator=generator)
        yield order[place * size : (place + 1) * size].sort().values


def _images(truth: NDArray[np.int64], plan: Plan, rng: np.random.Generator) -> NDArray[np.uint8]:
    patterns = rng.standard_normal((len(TARGET_FIELDS), VALUES, CELL, CELL))
    images = plan.noise * rng.standard_normal((len(truth), SIDE, SIDE))
    for slot in range(len(TARGET_FIELDS)):
        row, column = divmod(slot, CELLS)
        here = np.s_[:, row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        images[here] += patterns[slot, truth[:, slot]]
    return np.clip(127.5 + 50 * images, 0, 255).astype(np.uint8)


def _write(
    folder: Path, truth: NDArray[np.int64], stated: NDArray[np.int64], planted: Flags, images: NDArray[np.uint8]
) -> None:
    (folder / "images").mkdir(parents=True)
    names = [f"images/{row:05d}.png" for row in range(len(truth))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / name, compress_level=1)
    for file, values in (("texts.jsonl", stated), ("texts_clean.jsonl", truth)):
        lines = [
            json.dumps({"id": name} | {field: words(field)[v] for field, v in zip(TARGET_FIELDS, row, strict=True)})
            for name, row in zip(names, values.tolist(), strict=True)
        ]
        (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows, slots = planted.nonzero()
    errors = [
        json.dumps({"image_id": names[row], "field": TARGET_FIELDS[slot], "kind": "wrong"})
        for row, slot in zip(rows.tolist(), slots.tolist(), strict=True)
    ]
    (folder / "planted.jsonl").write_text("".join(f"{line}\n" for line in errors), encoding="utf-8")


def untrained(world: World, settings: PretrainingSettings, *, spread: float = 0.25) -> KLIP:
    """A model with weights so large that its scores differ from text to text, without any training."""
    book = world.store.vocabulary
    model = KLIP(settings, book.size, book.specials).eval()
    generator = torch.Generator().manual_seed(derive_seed("toy model", settings.seed))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=spread, generator=generator)
        model.language_head.bias[book.specials.seg] = 30.0  # it ends its values as soon as it may
    return model
