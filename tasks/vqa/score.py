"""Scores of answers: a pure function of stored predictions and truth (section 11.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from foundation.errors import CheckError
from results.record import Baselines, Metric
from tasks.answer_rows import require_unrepeated, rows_by_id
from tasks.baselines.majority import MajorityAnswers, answer_chance
from tasks.metrics.answers import AnswerScores
from tasks.metrics.answers import score as score_answers
from tasks.task import Row, Scored

OWN, OTHER = "answer", "answer_other_image"
"""Fields of a prediction: the answer with the image, and with another test image in its place."""
ACCURACIES = ("accuracy", "accuracy_strict", "accuracy_balanced")
"""All questions, the same with order and repeats (of answers that are lists), and the balanced list if there is one."""
CONTROLS = ("accuracy_other_image", "accuracy_question_only")
"""What a model must beat: the wrong image and no image."""

Said = Mapping[str, str | None]
"""By question id."""


class _Asked(NamedTuple):
    """The test questions and how answers to them are read."""

    task: str
    types: tuple[str, ...]
    answers: dict[str, str]
    images: dict[str, str] | None
    """By question; None where the truth does not name them."""
    balanced: tuple[str, ...]

    def scored(self, said: Said) -> AnswerScores:
        """Accuracy and diagnostics over all questions."""
        return score_answers(self.task, self.answers, dict(said), self.types, images=self.images)

    def metrics(self, said: Said) -> dict[str, Metric]:
        """The same with the accuracy over the balanced list, where there is one."""
        found = self.scored(said).metrics
        if not self.balanced:
            return found
        wanted = {name: self.answers[name] for name in self.balanced}
        given = {name: said.get(name) for name in self.balanced}
        accuracy = score_answers(self.task, wanted, given, self.types, images=self.images).metrics["accuracy"]
        return {"accuracy": found["accuracy"], "accuracy_balanced": accuracy, **found}


def score(predictions: Sequence[Row], truth: Row) -> Scored:
    """Metrics, baselines, details and warnings of one cell."""
    rows = truth["test"]
    require_unrepeated("question", [row["question_id"] for row in rows])
    asked = _Asked(
        truth["task"],
        tuple(truth["types"]),
        {row["question_id"]: row["answer"] for row in rows},
        _images(rows),
        tuple(truth["balanced"]),
    )
    said = _said(predictions, list(asked.answers))
    own = asked.scored(said[OWN])
    metrics = asked.metrics(said[OWN])
    metrics["accuracy_other_image"] = _other_image(asked, said[OTHER], rows)
    metrics["accuracy_question_only"] = asked.scored(
        {row["question_id"]: row["question_only"] for row in rows}
    ).metrics["accuracy"]
    unseen = sum(row["answer"] not in set(truth["classes"]) for row in rows)
    warnings = [*own.warnings]
    if unseen:
        warnings.append(
            f"the answers to {unseen} of {len(rows)} questions never occur in training: ranking cannot win them"
        )
    return {
        "metrics": metrics,
        "baselines": _baselines(asked, truth, metrics),
        "details": {
            "accuracy_by_kind": _by_kind(own.right, rows),
            "answers": dict(Counter(row["answer"] for row in rows).most_common()),
            "unanswered": own.unanswered,
            "unseen": unseen,
        },
        "warnings": warnings,
    }


def _images(rows: Sequence[Row]) -> dict[str, str] | None:
    """The image of every question."""
    images = {row["question_id"]: row.get("image_id") for row in rows}
    named = {question: image for question, image in images.items() if image is not None}
    return named if len(named) == len(images) else None


def _other_image(asked: _Asked, said: Said, rows: Sequence[Row]) -> Metric:
    if all(row["other_image_id"] is None for row in rows):
        return Metric(value=None, reason="there is no other test image")
    if all(answer is None for answer in said.values()):
        return Metric(value=None, reason="no answer was given for other images")
    return asked.scored(said).metrics["accuracy"]


def _baselines(asked: _Asked, truth: Row, metrics: Mapping[str, Metric]) -> Baselines:
    """Guessing evenly in the answer space, and the most common training answer, of the quadrant where one is named."""
    seen = [(kind, answer, n) for kind, found in truth["train_answers"].items() for answer, n in found.items()]
    kinds = [kind for kind, _, n in seen for _ in range(n)]
    common = [answer for _, answer, n in seen for _ in range(n)]
    own_kind: Callable[[str], str] = str if asked.task == "vqa_reg_land" else lambda _: ""
    known = MajorityAnswers([own_kind(kind) for kind in kinds], common)
    said = dict(zip(asked.answers, known.predict([own_kind(row["kind"]) for row in truth["test"]]), strict=True))
    majority = {name: metric.value for name, metric in asked.metrics(said).items()}
    is_count = asked.task == "vqa_target_count"
    chance = answer_chance(
        asked.task,
        largest_count=max(int(answer) for answer in common) if is_count else None,
        types=len(asked.types) or None,
    )
    return Baselines(
        chance={name: chance for name in (*ACCURACIES, *CONTROLS) if name in metrics},
        majority={**majority, **dict.fromkeys(CONTROLS, majority["accuracy"])},
    )


def _by_kind(right: Mapping[str, bool], rows: Sequence[Row]) -> dict[str, dict[str, float | int]]:
    outcomes: dict[str, list[bool]] = {}
    for row in rows:
        outcomes.setdefault(row["kind"], []).append(right[row["question_id"]])
    if set(outcomes) == {""}:
        return {}
    return {kind: {"accuracy": 100.0 * sum(own) / len(own), "n": len(own)} for kind, own in sorted(outcomes.items())}


def _said(predictions: Sequence[object], asked: Sequence[str]) -> dict[str, dict[str, str | None]]:
    """What was said with the image and with another one."""
    rows = rows_by_id(predictions, asked, "question_id", OWN)
    return {field: {name: _text(row.get(field), name) for name, row in rows.items()} for field in (OWN, OTHER)}


def _text(answer: Any, question: str) -> str | None:
    if answer is None or isinstance(answer, str):
        return answer
    raise CheckError(
        f"the answer to {question} is no text but {type(answer).__name__}", way_out="give a text, or null for no answer"
    )
