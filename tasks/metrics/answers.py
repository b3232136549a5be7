"""Accuracy of answers to questions (section 11.5 of the task specification).

Both sides are normalised alike; then numbers are compared as numbers, names after folding their spellings, lists as
sets. What is missing or cannot be read is wrong, never dropped. Whole sentences are not read here: cutting an answer
out of free text is a step before this one (section 10.1).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from foundation.errors import CheckError
from foundation.names import unknown_name
from results.record import Metric
from results.statistics import Z_95, wilson
from tasks.builders.geometry import CELLS
from tasks.builders.landform import LAND_COVERS

Kind = Literal["count", "type", "cells", "cover", "covers"]
Answer = int | str | frozenset[str]

LISTS = ("cells", "covers")
"""Answers that are lists: their accuracy is also reported strictly (section 8.4 of the specification of the method)."""
KINDS: dict[str, Kind] = {
    "vqa_target_count": "count",
    "vqa_target_rec": "type",
    "vqa_target_pos": "cells",
    "vqa_main_land": "cover",
    "vqa_all_land": "covers",
    "vqa_reg_land": "cover",
}
"""Task to what its answers are."""

COVER_SPELLINGS: dict[str, str] = {
    **dict.fromkeys(("built-up", "urban", "houses", "residential", "structures"), "building"),
    **dict.fromkeys(("forest", "trees", "woodland", "farmland", "crops", "grass", "field"), "vegetation"),
    **dict.fromkeys(("river", "lake", "sea", "pond", "reservoir"), "water"),
    **dict.fromkeys(("street", "highway", "runway", "transport line"), "road"),
}
"""The alias table of section 10.1; spaces, hyphens and slashes do not count."""
TYPE_SPELLINGS: dict[str, str] = {"boeing737800": "boeing737", "a320": "a320321", "a321": "a320321"}
"""The examples of section 10.1, both sides without spaces, hyphens and slashes; never used on a label's own name."""

NO_IMAGES = "the interval takes questions as independent: their images are not known"

_CELL_NUMBERS = tuple(str(cell) for cell in range(1, CELLS + 1))
_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_NUMBER_WORD = re.compile(rf"\b({'|'.join(sorted(_NUMBERS, key=len, reverse=True))})\b")


@dataclass(frozen=True)
class AnswerScores:
    """What the answers to one task are worth."""

    metrics: dict[str, Metric]
    """`accuracy`, of lists also `accuracy_strict`, and the diagnostics of the task: `mean_absolute_error` and
    `within_1`, `jaccard` and `first_cell`, or `jaccard` and `f1_<cover>`."""
    right: dict[str, bool]
    """By question id, in the order asked."""
    unanswered: int
    """Without an answer, or with one that cannot be read."""
    warnings: tuple[str, ...]


def normalised(text: str) -> str:
    """Lower case, single spaces, number words as digits, without a final full stop and a leading article."""
    return re.sub(r"^(?:a|an|the) ", "", _with_article(text))


def read_answer(task: str, text: str, types: Sequence[str] = ()) -> Answer | None:
    """What an answer means; equal meanings are equal values. None where it lies outside the answer space.

    Args:
        task: one of `KINDS`.
        text: as a model gave it, or canonical.
        types: label list of the data set, for `vqa_target_rec`.
    """
    kind = _kind(task)
    if kind == "type":
        return _folded_type(text, tuple(types))
    plain = normalised(text)
    if kind == "count":
        return int(plain) if re.fullmatch(r"[0-9]{1,9}", plain) else None
    if kind == "cover":
        return plain if plain in LAND_COVERS else _BARE_COVERS.get(_bare(plain))
    return _set_of(plain, _CELL_NUMBERS if kind == "cells" else LAND_COVERS)


def is_right(task: str, given: str | None, truth: str, types: Sequence[str] = ()) -> bool:
    """Whether an answer means the same as the canonical one; no answer is wrong."""
    meant = None if given is None else read_answer(task, given, types)
    return meant is not None and meant == read_answer(task, truth, types)


def is_strictly_right(given: str | None, truth: str) -> bool:
    """Whether a list names the same elements in the same order, each as often; no answer is wrong."""
    return given is not None and _parts(normalised(given)) == _parts(normalised(truth))


def score(
    task: str,
    truth: Mapping[str, str],
    given: Mapping[str, str | None],
    types: Sequence[str] = (),
    *,
    images: Mapping[str, str] | None = None,
) -> AnswerScores:
    """Accuracy and diagnostics of one task.

    Args:
        task: one of `KINDS`.
        truth: canonical answers by question id.
        given: the model's; what is missing or None is wrong.
        types: label list of the data set, for `vqa_target_rec`; else the types that occur in `truth`.
        images: the image of every question, by question id: what the intervals take as independent. None: every
            question counts as independent, and the metrics say so.
    """
    if odd := sorted(set(given) - set(truth)):
        raise CheckError(
            f"{len(odd)} answers to questions that were not asked, e.g. {odd[0]}",
            way_out="answer the questions of the truth file, by their question_id",
        )
    if _kind(task) == "type":
        types = types or sorted(set(truth.values()))
        _check_types(types)
    wanted = {name: read_answer(task, answer, types) for name, answer in truth.items()}
    if unread := [name for name, answer in wanted.items() if answer is None]:
        raise CheckError(
            f"the true answer {truth[unread[0]]!r} lies outside the answer space of {task}",
            where=unread[0],
            way_out="write canonical answers, and give the whole label list",
        )
    meant = {name: None if (text := given.get(name)) is None else read_answer(task, text, types) for name in truth}
    right = {name: meant[name] == wanted[name] for name in truth}
    share = _Share(images, tuple(truth))
    metrics = {"accuracy": share.of(right.values())}
    if not truth:
        return AnswerScores(metrics, right, 0, ())
    if _kind(task) in LISTS:
        metrics["accuracy_strict"] = share.of(is_strictly_right(given.get(name), truth[name]) for name in truth)
    metrics |= _diagnostics(_kind(task), wanted, meant, given, share)
    unanswered = sum(answer is None for answer in meant.values())
    warnings = (f"{unanswered} of {len(truth)} answers are missing or unreadable and count as wrong",)
    return AnswerScores(metrics, right, unanswered, warnings if unanswered else ())


def _kind(task: str) -> Kind:
    if task not in KINDS:
        raise unknown_name("question task", task, KINDS, see="harness list tasks")
    return KINDS[task]


def _with_article(text: str) -> str:
    folded = " ".join(unicodedata.normalize("NFKC", text).lower().split()).removesuffix(".").rstrip()
    return _NUMBER_WORD.sub(lambda match: str(_NUMBERS.index(match[0])), folded)


def _folded_type(text: str, types: tuple[str, ...]) -> str | None:
    """The label that is meant, by the closest reading that fits exactly one label.

    A leading article may be the A of `A 330`, so the text is read with and without it.
    """
    whole, plain = _with_article(text), normalised(text)
    labels = _labels_by_spelling(types)
    readings = [(labels.whole, whole), (labels.plain, plain)]
    readings += [(labels.bare, _bare(spelling)) for spelling in (whole, plain)]
    readings += [(labels.bare, TYPE_SPELLINGS.get(_bare(spelling), "")) for spelling in (whole, plain)]
    for table, spelling in readings:
        if spelling and len(meant := table.get(spelling, ())) == 1:
            return meant[0]
    return None


class _Labels(NamedTuple):
    """Spelling to the labels that have it."""

    whole: dict[str, tuple[str, ...]]
    plain: dict[str, tuple[str, ...]]
    bare: dict[str, tuple[str, ...]]


@lru_cache(maxsize=64)
def _labels_by_spelling(types: tuple[str, ...]) -> _Labels:
    labels = _Labels({}, {}, {})
    for name in dict.fromkeys(types):
        spellings = (_with_article(name), normalised(name), _bare(_with_article(name)))
        for table, spelling in zip(labels, spellings, strict=True):
            table[spelling] = (*table.get(spelling, ()), name)
    return labels


def _check_types(types: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in types:
        before = seen.setdefault(_with_article(name), name)
        if before != name:
            raise CheckError(
                f"the types {before!r} and {name!r} cannot be told apart in an answer",
                way_out="rename one of them in the label list",
            )


def _set_of(plain: str, space: Sequence[str]) -> frozenset[str] | None:
    parts = _parts(plain)
    return frozenset(parts) if parts and set(parts) <= set(space) else None


def _parts(plain: str) -> list[str]:
    return [part.strip() for part in re.split(r"[,;]|\band\b", plain) if part.strip()]


class _Share(NamedTuple):
    """Shares of questions, with intervals whose unit is the image."""

    images: Mapping[str, str] | None
    questions: tuple[str, ...]

    def of(self, outcomes: Iterable[bool]) -> Metric:
        """Per cent of the questions, in their order."""
        right = list(outcomes)
        if not right:
            return Metric(value=None, reason="no test questions")
        n, hits = len(right), sum(right)
        value = 100.0 * hits / n
        if self.images is None:
            low, high = wilson(hits, n)
            return Metric(value=value, low=low, high=high, interval="wilson", n=n, reason=NO_IMAGES)
        tallies: dict[str, list[int]] = {}
        for question, outcome in zip(self.questions, right, strict=True):
            tally = tallies.setdefault(self.images[question], [0, 0])
            tally[0] += outcome
            tally[1] += 1
        if len(tallies) == n:
            low, high = wilson(hits, n)
            return Metric(value=value, low=low, high=high, interval="wilson", n=n)
        low, high = wilson(hits, n, Z_95 * math.sqrt(_design_effect(tallies.values(), hits, n)))
        return Metric(value=value, low=low, high=high, interval="wilson by image", n=n)


def _design_effect(tallies: Iterable[Sequence[int]], hits: int, n: int) -> float:
    """How many times the variance of a share is that of independent questions (Kish; Korn and Graubard 1998).

    From the linearised ratio of right to asked by image. Wilson's interval with z times its root is the interval of
    n / effect independent questions: asking everything several times with the same outcome changes nothing. It is
    never taken below 1. Where all questions have one outcome, or there is one image, nothing is known of how the
    questions of an image hang together, and they count as one.
    """
    counts = list(tallies)
    if hits in (0, n) or len(counts) == 1:
        return sum(asked * asked for _, asked in counts) / n
    # In whole numbers until the division, so that the order of the images does not matter.
    squares = sum((n * right - hits * asked) ** 2 for right, asked in counts)
    return max(1.0, squares / (n * hits * (n - hits)))


def _diagnostics(
    kind: Kind, wanted: Mapping[str, Any], meant: Mapping[str, Any], given: Mapping[str, str | None], share: _Share
) -> dict[str, Metric]:
    if kind == "count":
        return _count_errors([(wanted[name], meant[name]) for name in wanted], share)
    if kind == "cells":
        first = [meant[name] is not None and _first(given[name]) in wanted[name] for name in wanted]
        return {"jaccard": _jaccard(wanted, meant), "first_cell": share.of(first)}
    if kind == "covers":
        scores = {f"f1_{cover}": _cover_f1(cover, wanted, meant) for cover in LAND_COVERS}
        return {"jaccard": _jaccard(wanted, meant), **scores}
    return {}


def _count_errors(pairs: Sequence[tuple[int, int | None]], share: _Share) -> dict[str, Metric]:
    errors = [abs(truth - number) for truth, number in pairs if number is not None]
    within = share.of(number is not None and abs(truth - number) <= 1 for truth, number in pairs)
    if not errors:
        return {"mean_absolute_error": Metric(value=None, unit="none", reason="no answers"), "within_1": within}
    lost = len(pairs) - len(errors)
    reason = f"over the answered ones; {lost} are not" if lost else ""
    mean = Metric(value=sum(errors) / len(errors), unit="none", n=len(errors), reason=reason)
    return {"mean_absolute_error": mean, "within_1": within}


def _first(text: str | None) -> str:
    return _parts(normalised(text or ""))[0]


def _jaccard(wanted: Mapping[str, frozenset[str]], meant: Mapping[str, frozenset[str] | None]) -> Metric:
    """Mean overlap of the sets; no answer overlaps nothing."""
    values = []
    for name, truth in wanted.items():
        answer = meant[name] or frozenset()
        values.append(len(truth & answer) / len(truth | answer))
    return Metric(value=100.0 * math.fsum(values) / len(values), n=len(values))


def _cover_f1(cover: str, wanted: Mapping[str, frozenset[str]], meant: Mapping[str, frozenset[str] | None]) -> Metric:
    pairs = [(cover in truth, cover in (meant[name] or ())) for name, truth in wanted.items()]
    both = sum(truth and said for truth, said in pairs)
    total = sum(truth + said for truth, said in pairs)
    if not total:
        return Metric(value=None, reason=f"{cover} is neither true nor answered anywhere")
    return Metric(value=200.0 * both / total, n=len(pairs))


def _bare(text: str) -> str:
    return re.sub(r"[\s/-]", "", text)


_BARE_COVERS = {_bare(spelling): cover for spelling, cover in COVER_SPELLINGS.items()}
