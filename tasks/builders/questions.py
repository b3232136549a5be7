"""Questions about targets with their canonical answers, and what is common to all questions (section 6.3).

Each task has one canonical form and two paraphrases. Which boxes are asked about is decided by hash, so neither the
order of the annotations nor anything drawn at random changes a question.

The paper limits questions to 35 word pieces (Table 5). Which pieces a word has depends on a vocabulary that is not
part of this package, so `word_pieces_at_most` counts from above.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any, Literal, NamedTuple

from foundation.errors import CheckError
from foundation.hashing import hash_bytes
from tasks.builders.captions import NOUNS, Domain, Target
from tasks.builders.geometry import Size, cell, closer_than, tenths

Task = Literal["vqa_target_count", "vqa_target_rec", "vqa_target_pos", "vqa_main_land", "vqa_all_land", "vqa_reg_land"]
Coords = Literal["percent", "pixel"]

FORMS: dict[Task, tuple[str, str, str]] = {
    "vqa_target_count": (
        "How many {many} does this SAR image contain?",
        "What is the number of {many} in this SAR image?",
        "Count the {many} that can be seen here.",
    ),
    "vqa_target_rec": (
        "Name the type of the {one} centred at [{x}, {y}].",
        "Which type is the {one} at [{x}, {y}]?",
        "The {one} with its centre at [{x}, {y}] is of which type?",
    ),
    "vqa_target_pos": (
        "Number a 3x3 grid 1 to 9 row by row. Which cells hold {many}?",
        "In a 3x3 grid numbered 1 to 9 row by row, where are {many}?",
        "List the cells with {many} of a 3x3 grid numbered 1 to 9 row by row.",
    ),
    "vqa_main_land": (
        "Which land cover takes up the largest area?",
        "What kind of land cover is most common here?",
        "Name the land cover with the largest share of this image.",
    ),
    "vqa_all_land": (
        "List every land cover that occurs here.",
        "Which kinds of land cover are in this image?",
        "Name all land covers that can be found here.",
    ),
    "vqa_reg_land": (
        "Which land cover dominates the {quadrant} quarter?",
        "What is the main land cover in the {quadrant} quarter?",
        "Name the land cover with the largest share of the {quadrant} quarter.",
    ),
}
"""The canonical form of section 6.3, then the two paraphrases."""

LONGEST_QUESTION = 35
"""Word pieces, the first and last mark included (Table 5)."""
RECOGNISED_PER_IMAGE = 3
"""Boxes whose type is asked, per image (section 6.3)."""
TOO_CLOSE = 2
"""Per cent of the image: of two centres closer than this, neither is asked about (section 6.3)."""

LETTERS_PER_PIECE = 6
"""Our estimate for plain English words, on the safe side."""
COMMON_ANSWER = Fraction(6, 10)
"""An answer with a larger share calls for a balanced list (section 6.3)."""


@dataclass(frozen=True)
class Question:
    """A question record of section 2.1."""

    question_id: str
    image_id: str
    task: Task
    question: str
    answer: str
    """Canonical."""
    answer_set: tuple[str, ...] | None
    """The parts of the answer where it is a set."""
    meta: dict[str, Any]
    """`form`: 0 for the canonical wording, 1 and 2 for paraphrases; `quadrant`, `ambiguous`, `box` where they apply."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in a question file."""
        row = asdict(self)
        row["answer_set"] = None if self.answer_set is None else list(self.answer_set)
        return row


class AnswerBalance(NamedTuple):
    """How the answers of one task are distributed."""

    histogram: dict[str, int]
    """Answer to number of questions, most common first."""
    warning: str
    """Empty where no answer exceeds `COMMON_ANSWER`."""
    balanced: tuple[str, ...]
    """Question ids of the balanced list, in hash order; empty where none is needed or possible.

    No answer occurs in it more often than the second most common one does in all questions. Equal numbers of every
    answer would leave next to nothing where some answer is rare.
    """


def target_questions(
    image_id: str,
    targets: Sequence[Target],
    size: Size,
    domain: Domain,
    *,
    coords: Coords = "percent",
    paraphrases: bool = False,
) -> list[Question]:
    """Number, types and cells of the targets of one image.

    Types are not asked of class-agnostic boxes, cells not of an image without targets.

    Args:
        image_id: of the records.
        targets: in any order.
        size: of the image.
        domain: what the targets are called.
        coords: unit of the centre in the question about a type; the paper does not say (section 6.3).
        paraphrases: ask everything in all three forms.
    """
    noun = NOUNS[domain]._asdict()
    questions = worded(image_id, "vqa_target_count", str(len(targets)), noun, paraphrases=paraphrases)
    asked = [(target, target.type) for target in recognisable(image_id, targets, size) if target.type is not None]
    for number, (target, name) in enumerate(asked, start=1):
        x, y = _spoken(target, size, coords)
        questions += worded(
            image_id,
            "vqa_target_rec",
            name,
            {**noun, "x": x, "y": y},
            part=f"/{number}",
            meta={"box": _sides(target)},
            paraphrases=paraphrases,
        )
    if targets:
        cells = tuple(str(number) for number in sorted({cell(target.box.centre, size) for target in targets}))
        questions += worded(
            image_id, "vqa_target_pos", ",".join(cells), noun, answer_set=cells, paraphrases=paraphrases
        )
    return questions


def recognisable(image_id: str, targets: Sequence[Target], size: Size) -> list[Target]:
    """The targets whose type is asked, in hash order: alone at their place, at most three."""
    close: set[int] = set()
    for (i, a), (j, b) in combinations(enumerate(targets), 2):
        if closer_than(a.box.centre, b.box.centre, size, TOO_CLOSE):
            close |= {i, j}
    alone = [target for number, target in enumerate(targets) if number not in close]
    return sorted(alone, key=lambda target: _box_key(image_id, target))[:RECOGNISED_PER_IMAGE]


def worded(
    image_id: str,
    task: Task,
    answer: str,
    slots: dict[str, str],
    *,
    part: str = "",
    answer_set: tuple[str, ...] | None = None,
    meta: dict[str, Any] | None = None,
    paraphrases: bool = False,
) -> list[Question]:
    """The records of one thing that is asked: the canonical wording, and on demand its paraphrases.

    Args:
        image_id: of the records.
        task: whose forms are used.
        answer: canonical.
        slots: what the forms leave open.
        part: tells questions of one task and image apart.
        answer_set: the parts of the answer where it is a set.
        meta: of the records, without the number of the form.
        paraphrases: all three forms.
    """
    questions = []
    for form, wording in enumerate(FORMS[task][: 3 if paraphrases else 1]):
        text = wording.format(**slots)
        if (pieces := word_pieces_at_most(text)) > LONGEST_QUESTION:
            raise CheckError(
                f"a question of up to {pieces} word pieces, {LONGEST_QUESTION} are allowed: {text}",
                where=image_id,
                way_out="use --coords percent, whose numbers are short",
            )
        name = f"{image_id}#{task}{part}" + (f"~{form}" if form else "")
        questions.append(Question(name, image_id, task, text, answer, answer_set, {"form": form, **(meta or {})}))
    return questions


def answer_balance(questions: Iterable[Question]) -> dict[Task, AnswerBalance]:
    """How the answers of each task are distributed, and what to do where one of them stands out."""
    by_task: dict[Task, list[Question]] = defaultdict(list)
    for question in questions:
        by_task[question.task].append(question)
    return {task: _balance(task, by_task[task]) for task in FORMS if task in by_task}


def word_pieces_at_most(text: str) -> int:
    """The word pieces of a question, counted from above, with the marks before and after it.

    BERT splits at spaces and around every punctuation mark, then words into pieces. Punctuation is one piece each. A
    word with digits is counted as one piece per character, which is the most it can have; a word of letters as one
    piece per six letters begun, where the plain English words of the forms are one piece or two.
    """
    words = re.findall(r"[^\W_]+|[^\w\s]|_", text)
    pieces = (-(-len(word) // LETTERS_PER_PIECE) if word.isalpha() else len(word) for word in words)
    return sum(pieces) + 2


def _balance(task: Task, questions: Sequence[Question]) -> AnswerBalance:
    ordered = sorted(questions, key=lambda question: _hash(f"balanced-v1|{question.question_id}"))
    counts = Counter(question.answer for question in ordered)
    histogram = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    answer, most = next(iter(histogram.items()))
    if Fraction(most, len(ordered)) <= COMMON_ANSWER:
        return AnswerBalance(histogram, "", ())
    warning = f"{task}: {100 * most / len(ordered):.1f} % of the answers are {answer!r}"
    if len(histogram) == 1:
        return AnswerBalance(histogram, f"{warning}; there is no other answer to balance it with", ())
    cap = sorted(counts.values())[-2]
    taken: Counter[str] = Counter()
    kept = []
    for question in ordered:
        taken[question.answer] += 1
        if taken[question.answer] <= cap:
            kept.append(question.question_id)
    return AnswerBalance(histogram, f"{warning}; see the balanced list", tuple(kept))


def _spoken(target: Target, size: Size, coords: Coords) -> tuple[str, str]:
    centre = target.box.centre
    if coords == "pixel":
        return tenths(centre.x, 1, 1), tenths(centre.y, 1, 1)
    return tenths(centre.x, size.width, 100), tenths(centre.y, size.height, 100)


def _box_key(image_id: str, target: Target) -> str:
    box = ",".join(repr(side) for side in _sides(target))
    return _hash(f"rec-v1|{image_id}|{box}|{target.type}")


def _sides(target: Target) -> list[float]:
    return [float(side) + 0.0 for side in target.box]  # adding zero makes 0.0 of -0.0


def _hash(text: str) -> str:
    return hash_bytes(text.encode())
