"""What the question alone tells of its answer: what a model must beat before it has seen anything (section 11.8)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.baselines.majority import MajorityAnswers
from tasks.builders.questions import Question
from tasks.metrics.answers import KINDS
from tasks.vqa.asking import kind_of
from tasks.vqa.data import VqaData

Array = NDArray[np.float64]
_WORD = re.compile(r"[a-z]+")


def answers_from_questions(data: VqaData) -> list[str]:
    """An answer to every test question, learnt from the training questions without their images.

    Questions about a type hold a place; all others are told apart by their kind.
    """
    answers = [question.answer for question in data.train]
    if KINDS[data.task] != "type":
        known = MajorityAnswers([kind_of(question) for question in data.train], answers)
        return known.predict([kind_of(question) for question in data.test])
    from tasks.baselines.features import LinearClassifier

    words = sorted({word for question in data.train for word in _words(question)})
    features = {part: _features(data, data.items(part), words) for part in ("train", "test")}
    labels = [data.classes.index(answer) for answer in answers]
    scores = LinearClassifier(features["train"], labels, len(data.classes)).scores(features["test"])
    # Rounded, so that equally likely answers stay in their order on every machine.
    return [data.classes[label] for label in np.round(scores, 6).argmax(axis=1)]


def places(data: VqaData, questions: Sequence[Question]) -> Array:
    """The centre that is asked about in shares of the sides, and its squares: [N, 4]; [N, 0] where none is."""
    if KINDS[data.task] != "type":
        return np.zeros((len(questions), 0))
    rows = []
    for question in questions:
        left, top, width, height = question.meta["box"]
        image = data.image(question)
        x, y = (left + width / 2) / image.width, (top + height / 2) / image.height
        rows.append((x, y, x * x, y * y))
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _features(data: VqaData, questions: Sequence[Question], words: Sequence[str]) -> Array:
    held = np.array([[word in _words(question) for word in words] for question in questions], dtype=np.float64)
    return np.concatenate([held.reshape(len(questions), len(words)), places(data, questions)], axis=1)


def _words(question: Question) -> set[str]:
    return set(_WORD.findall(question.question.lower()))
