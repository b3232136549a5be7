"""The two parts of a data set as a task uses them, ready to be learnt and scored. Never imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

from tasks.datasets.records import DatasetIndex
from tasks.splits import Split
from tasks.task import Part, Row

Item = TypeVar("Item")


@dataclass(frozen=True)
class TaskParts(ABC, Generic[Item]):
    """Items of both parts; what every task knows of them."""

    index: DatasetIndex
    split: Split
    """The images of both parts as they are used."""
    classes: tuple[str, ...]
    train: tuple[Item, ...]
    test: tuple[Item, ...]
    dropped_classes: tuple[str, ...] = ()
    """Classes that the split rule found too small."""
    cut: bool = False
    """A limit left images out."""
    warnings: tuple[str, ...] = ()
    """What a reader of the numbers should know of this data."""

    @abstractmethod
    def counts(self, part: Part) -> tuple[int, ...]:
        """Images, boxes or labelled pixels per class, whatever the task learns from."""

    def items(self, part: Part) -> tuple[Item, ...]:
        """The items of one part."""
        return self.train if part == "train" else self.test

    def truth(self, test: list[Row]) -> Row:
        """The true rows of the test part, and which data they belong to; enough to score without the data set."""
        return {
            "dataset": self.index.dataset,
            "synthetic": self.index.synthetic,
            "world": self.index.world,
            "data_hash": self.index.data_hash,
            "split_hash": self.split.hash,
            "classes": list(self.classes),
            "train_counts": list(self.counts("train")),
            "test": test,
        }


def limited(split: Split, limit: int | None) -> tuple[Split, bool]:
    """A split of at most so many images per part, and whether that left any out."""
    used = Split(split.train[:limit], split.test[:limit], split.dropped)
    return used, limit is not None and limit < max(len(split.train), len(split.test))
