"""One line of the ladder, the world's data as the real readers give them, and the tables that are printed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from adapters.decode import read_grey
from foundation.seeds import derive_seed
from tasks.datasets import DataOptions, DatasetIndex, DataSource, read_index
from tasks.datasets.records import NO_LABEL, ImageEntry
from tasks.images import centre_square
from tasks.sarworld.plan import folder_of
from tasks.sarworld.truth import Truth
from tasks.splits import Item, split

T = TypeVar("T")
Grey = NDArray[np.uint8]
Twin = str
TWINS: tuple[Twin, ...] = ("none", "shuffled_labels", "noise_images")


@dataclass(frozen=True)
class Rung:
    """A task on a data set: all levels in per cent."""

    task: str
    dataset: str
    metric: str
    chance: float
    majority: float
    simple: float
    oracle: float
    items: int
    """Test items that the score is a mean over."""
    ceiling: float = 100.0
    """What the oracle can reach, below 100 where the specification says that answers are ambiguous."""
    best_constant: float = 0.0
    """The most that one and the same answer to every test question can reach, where there are many answers."""
    binomial: bool = True
    """Whether the score is a share of items that are right."""
    network: float | None = None
    """A tiny ViT from scratch (rung 2), where the task can be trained and it was asked for."""

    @property
    def trivial(self) -> float:
        """The most that is reached without looking at the image."""
        return max(self.chance, self.majority, self.best_constant)

    @property
    def standard_error(self) -> float:
        """Of the better trivial answer on that many items; none is known for AP, BLEU and shares of pixels.

        With two right and two wrong ones added, as Agresti and Coull do: answers that are almost never right would
        otherwise have no spread.
        """
        share = (self.trivial / 100 * self.items + 2) / (self.items + 4)
        return 100 * math.sqrt(share * (1 - share) / self.items) if self.binomial and self.items else 0.0


@dataclass(frozen=True)
class Parts:
    """A data set divided by the split rule."""

    index: DatasetIndex
    train: tuple[ImageEntry, ...]
    test: tuple[ImageEntry, ...]
    truth: dict[str, Truth]
    """By path of the image."""


@lru_cache(maxsize=32)
def parts(world: Path, dataset: str, label_map: str | None = None, polarisation: str = "each") -> Parts:
    """A written data set, read and divided as a run would do it."""
    root = world / folder_of(dataset)
    index = read_index(DataSource(dataset, root), DataOptions(label_map=label_map, polarisation=polarisation))
    labels = {image.image_id: image.label for image in index.images}
    items = [
        Item(image.image_id, image.unit, None if image.label == NO_LABEL else image.label) for image in index.images
    ]
    divided = split(dataset, items)
    by_id = {image.image_id: image for image in index.images}
    assert labels.keys() == by_id.keys()
    rows = [Truth.from_json(json.loads(line)) for line in (root / "truth.jsonl").read_text().splitlines()]
    return Parts(
        index,
        tuple(by_id[name] for name in divided.train),
        tuple(by_id[name] for name in divided.test),
        {row.image_id: row for row in rows},
    )


def pixels(found: Parts, entries: Sequence[ImageEntry], twin: Twin = "none", square: int | None = None) -> list[Grey]:
    """Images in their order; noise of the same shapes for the noise twin.

    Args:
        found: The data set.
        entries: Which images.
        twin: Whether they are replaced.
        square: Side to which chips of all sizes are brought, as the task does. Noise is drawn on that square: what is
            left of a chip's own size (blur, see `size_alone`) is destroyed with the rest.
    """
    images = [read_grey(found.index.root / entry.path) for entry in entries]
    if square is not None:
        images = [centre_square(image, square) for image in images]
    if twin != "noise_images":
        return images
    made = []
    for entry, image in zip(entries, images, strict=True):
        rng = np.random.default_rng(derive_seed("ladder noise", entry.image_id))
        made.append(rng.integers(0, 256, image.shape, dtype=np.uint8))
    return made


def shuffled(values: Sequence[T], twin: Twin, name: str) -> list[T]:
    """Training answers in another order for that twin."""
    if twin != "shuffled_labels":
        return list(values)
    order = np.random.default_rng(derive_seed("ladder shuffle", name)).permutation(len(values))
    return [values[index] for index in order]


def table(rungs: Sequence[Rung]) -> str:
    """All rungs as text."""
    heads = ("task", "data set", "metric", "chance", "majority", "simple", "vit", "oracle", "ceiling", "items")
    rows = [
        (
            *(r.task, r.dataset, r.metric),
            *(f"{value:.1f}" for value in (r.chance, r.majority, r.simple)),
            "-" if r.network is None else f"{r.network:.1f}",
            *(f"{value:.1f}" for value in (r.oracle, r.ceiling)),
            str(r.items),
        )
        for r in rungs
    ]
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]
    return "\n".join("  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip() for row in [heads, *rows])


ENOUGH = {"detection": 5.0, "retrieval": 5.0}
"""Points by which level 1 shall exceed level 0; ten elsewhere (section 14.8)."""


def gains(rungs: Sequence[Rung]) -> dict[str, float]:
    """Mean over the data sets of each task: simple features over the better of chance and the most common answer."""
    by_task: dict[str, list[float]] = {}
    for rung in rungs:
        by_task.setdefault(rung.task, []).append(rung.simple - max(rung.chance, rung.majority))
    return {task: float(np.mean(values)) for task, values in by_task.items()}


def steps_that_hold(rungs: Sequence[Rung]) -> list[str]:
    """Tasks whose simple features are far enough above chance."""
    return [task for task, gain in gains(rungs).items() if gain >= ENOUGH.get(task, 10.0)]
