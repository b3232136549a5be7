"""The questions of both parts of a data set, ready to be learnt and scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from foundation.errors import MissingError
from foundation.hashing import hash_bytes
from tasks.builders.landform import LAND_COVERS
from tasks.builders.questions import Question, answer_balance
from tasks.datasets.composed import part_of
from tasks.datasets.division import divide
from tasks.datasets.records import DatasetIndex, ImageEntry
from tasks.language.targets import types_of
from tasks.metrics.answers import KINDS
from tasks.parts import TaskParts, limited
from tasks.protocol.settings import VqaSettings
from tasks.splits import Split
from tasks.task import Part, Row
from tasks.vqa.asking import kind_of, questions_of


@dataclass(frozen=True)
class VqaData(TaskParts[Question]):
    """Questions of one task; `classes` are the answers of the training part in their natural order."""

    task: str = ""
    types: tuple[str, ...] = ()
    """The label list, for questions about a type."""
    balanced: tuple[str, ...] = ()
    """Test questions of the answer-balanced list, where one answer is too common (section 6.3)."""

    def counts(self, part: Part) -> tuple[int, ...]:
        """Questions per answer."""
        found = Counter(question.answer for question in self.items(part))
        return tuple(found[answer] for answer in self.classes)

    def images(self, part: Part) -> tuple[ImageEntry, ...]:
        """The images that are asked about, in hash order."""
        return tuple(self._by_id[name] for name in getattr(self.split, part))

    def image(self, question: Question) -> ImageEntry:
        """The image of a question."""
        return self._by_id[question.image_id]

    @cached_property
    def other_images(self) -> dict[str, str]:
        """Another test image for each; empty where there is one only."""
        return derangement(self.split.test)

    @cached_property
    def _by_id(self) -> dict[str, ImageEntry]:
        return {image.image_id: image for image in self.index.images}


def build(
    index: DatasetIndex,
    settings: VqaSettings,
    *,
    task: str,
    ratio: tuple[int, int] = (4, 1),
    limit: int | None = None,
) -> VqaData:
    """Asks the images of both parts; those without a question of this task take no part."""
    parts = divide(index, ratio=ratio)
    chosen = {*parts.train, *parts.test}
    asked = questions_of(index, [image for image in index.images if image.image_id in chosen], task, settings)
    train, test = (tuple(name for name in names if name in asked) for names in (parts.train, parts.test))
    used, cut = limited(Split(train, test, parts.dropped), limit)
    if not used.train or not used.test:
        raise MissingError(
            f"questions of {task} about {len(used.train)} images to train with and {len(used.test)} to test with",
            where=str(index.root),
            way_out="raise --limit, or leave it out" if limit is not None else "look at the boxes and masks",
        )
    questions = {
        part: tuple(q for name in names for q in asked[name])
        for part, names in used._asdict().items()
        if part != "dropped"
    }
    types = types_of(index)
    balance = answer_balance(questions["test"])[questions["test"][0].task]
    return VqaData(
        index=index,
        split=used,
        classes=natural_order(task, {question.answer for question in questions["train"]}, types),
        train=questions["train"],
        test=questions["test"],
        cut=cut,
        warnings=(balance.warning,) if balance.warning else (),
        task=task,
        types=types,
        balanced=balance.balanced,
    )


def truth_of(data: VqaData) -> Row:
    """What predictions are scored against, and what the answers without an image need."""
    from tasks.vqa.blind import answers_from_questions

    blind = answers_from_questions(data)
    test = [
        {
            "question_id": question.question_id,
            "image_id": question.image_id,
            "other_image_id": data.other_images.get(question.image_id),
            "question": question.question,
            "kind": kind_of(question),
            "answer": question.answer,
            "question_only": answer,
        }
        for question, answer in zip(data.test, blind, strict=True)
    ]
    histogram: dict[str, Counter[str]] = {}
    for question in data.train:
        histogram.setdefault(kind_of(question), Counter())[question.answer] += 1
    return {
        **data.truth(test),
        "task": data.task,
        "types": list(data.types),
        "balanced": list(data.balanced),
        "train_answers": {kind: dict(found) for kind, found in histogram.items()},
    }


def natural_order(task: str, answers: set[str], types: Sequence[str]) -> tuple[str, ...]:
    """Canonical answers in the order of their space: numbers, cells, covers and names as they are listed."""
    kind = KINDS[task]

    def place(answer: str) -> tuple[int, ...]:
        if kind in ("count", "cells"):
            return tuple(int(number) for number in answer.split(","))
        names = types if kind == "type" else LAND_COVERS
        return tuple(names.index(name) for name in answer.split(", "))

    return tuple(sorted(answers, key=place))


def derangement(images: Sequence[str]) -> dict[str, str]:
    """For each image another one, where possible of the same source; decided by hash."""
    ordered = sorted(images, key=lambda name: (part_of(name), hash_bytes(f"other-image-v1|{name}".encode()), name))
    if len(ordered) < 2:
        return {}
    return dict(zip(ordered, [*ordered[1:], ordered[0]], strict=True))
