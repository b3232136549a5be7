"""What the page of a question task shows: what was asked, what was said, and examples with their images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from results.figures.charts import bar_chart
from results.figures.figure import numbers_alone
from results.figures.selection import choose_disagreement
from results.pages.confusion import write_confusion
from results.pages.examples import RULE, Pictures, by_hash, verdict
from results.pages.folder import PageFolder
from results.pages.gallery import Gallery
from results.pages.html import Markup, join, link, picture, section, table, tag
from results.pages.parts import number
from results.record import Record

EXAMPLES = 12
LARGEST_CONFUSION = 24
"""Answers in a confusion matrix; more are listed by how often they are asked."""
LISTED = 20
_OTHER = "another answer"


class Answered(NamedTuple):
    """One test question with what a model said."""

    row: Mapping[str, Any]
    """Of the truth."""
    said: str | None
    right: bool
    other: str | None
    """The answer with another test image in the place of the own one."""

    @property
    def true(self) -> str:
        """The canonical answer."""
        return str(self.row["answer"])


def figures(record: Record, folder: PageFolder) -> list[Markup]:
    """What the record alone can show."""
    kinds: dict[str, dict[str, Any]] = record.details.get("accuracy_by_kind") or {}
    if len(kinds) < 2:
        return []
    bars = [(f"{kind or 'others'} ({row['n']})", row["accuracy"]) for kind, row in sorted(kinds.items())]
    alt = "Accuracy by kind of question: " + "; ".join(f"{kind} {number(value)}" for kind, value in bars)
    chart = bar_chart("kinds", alt, bars, "accuracy, % (in brackets the number of questions)")
    return [section("By kind of question", picture(folder.add(chart)))]


def answered(predictions: Sequence[Mapping[str, Any]], truth: Mapping[str, Any]) -> list[Answered]:
    """Answers beside the truth, in its order; `right` of a prediction goes before a comparison of texts."""
    said = {str(row["question_id"]): row for row in predictions}
    found = []
    for row in truth["test"]:
        own = said.get(str(row["question_id"]), {})
        text = own.get("answer")
        right = own.get("right")
        same = text is not None and str(text).strip().lower() == str(row["answer"]).strip().lower()
        found.append(Answered(row, text, same if right is None else bool(right), own.get("answer_other_image")))
    return found


def panels(predictions: Sequence[dict[str, Any]], gallery: Gallery, folder: PageFolder) -> Markup:
    """What was said in all, and examples.

    Args:
        predictions: The answers, `right` where somebody judged them.
        gallery: Truth and images of the data set.
        folder: Of the page.
    """
    found = answered(predictions, gallery.truth)
    return join((_said(found, folder), _examples(found, gallery, folder)))


def sheet(models: Sequence[tuple[str, Sequence[dict[str, Any]]]], gallery: Gallery, folder: PageFolder) -> Markup:
    """The questions on which models differ most, with what each of them says (section 13, Fig. 15).

    Args:
        models: Printed name and predictions of each.
        gallery: Truth and images of the data set.
        folder: Of the page.
    """
    said = [{str(one.row["question_id"]): one for one in answered(rows, gallery.truth)} for _, rows in models]
    names = [str(row["question_id"]) for row in gallery.truth["test"]]
    chosen = choose_disagreement([(name, [found[name].right for found in said]) for name in names])
    title = "Where the models differ"
    if not chosen:
        return section(title, tag("p", "There is no question that some answer rightly and others do not."))
    pictures = Pictures(gallery.source, folder)
    rows = []
    for choice in chosen:
        answers = [found[choice.image_id] for found in said]
        row = answers[0].row
        what = tag("span", row["question"], tag("br"), tag("small", choice.why))
        shown = [verdict("no answer" if one.said is None else one.said or "(empty)", one.right) for one in answers]
        rows.append([what, pictures.alone(str(row["image_id"])), answers[0].true, *shown])
    heads = ("question", "test image", "right answer", *(name for name, _ in models))
    words = "Chosen by rule: the questions on which the share of right models is closest to one half."
    return section(title, tag("p", words), pictures.note, table(heads, rows, "What each model says"))


def _said(found: Sequence[Answered], folder: PageFolder) -> Markup:
    true = Counter(one.true for one in found)
    names = sorted(true, key=lambda name: (len(name), name) if name.isdecimal() else (99, name))
    if not found:
        return section("Answers", tag("p", "There are no test questions."))
    if len(names) > LARGEST_CONFUSION:
        return section("Answers", *_histogram(found, true, folder))
    # What counts as right stands on the diagonal, however it was spelt.
    pairs = [(one.true, one.true if one.right else (one.said or "").strip()) for one in found]
    classes = [*names, *([_OTHER] if any(said not in true for _, said in pairs) else [])]
    places = {name: place for place, name in enumerate(classes)}
    matrix = [[0] * len(classes) for _ in classes]
    for name, said in pairs:
        matrix[places[name]][places.get(said, len(names))] += 1
    words = "Rows are the true answers. Each place: per cent of its row, below it the number of questions."
    return section(
        "Answers", tag("p", words), write_confusion(classes, matrix, "Answers to the test questions", folder)
    )


def _histogram(found: Sequence[Answered], true: Counter[str], folder: PageFolder) -> list[Markup]:
    said = Counter("no answer" if one.said is None else one.said for one in found)
    right = Counter(one.true for one in found if one.right)
    names = [*dict(true.most_common()), *(name for name, _ in said.most_common() if name not in true)]
    rows = [(name, true[name], said[name], right[name]) for name in names]
    heads = ("answer", "right answer of", "given", "given and right")
    numbers = folder.add(numbers_alone("answers", heads, rows))
    most, times = said.most_common(1)[0]
    words = (
        f"{len(true)} different answers are right somewhere, {len(said)} were given; the most common one given is "
        f"“{most}”, {100 * times / len(found):.1f} % of all."
    )
    return [
        tag("p", words),
        table(heads, rows[:LISTED], f"The {min(LISTED, len(rows))} most common of {len(rows)} answers, by questions"),
        tag("p", link(numbers.table_file, "all of them (CSV)")),
    ]


def _examples(found: Sequence[Answered], gallery: Gallery, folder: PageFolder) -> Markup:
    by_id = {str(one.row["question_id"]): one for one in found}
    pictures = Pictures(gallery.source, folder)
    shown = [by_id[name] for name in by_hash(by_id, EXAMPLES)]
    tiles = [pictures.figure(str(one.row["image_id"]), *_words(one)) for one in shown]
    right, whole = sum(one.right for one in shown), sum(one.right for one in found)
    words = f"{RULE} {right} of these {len(shown)} answers are right, {whole} of all {len(found)}."
    return section("Examples", tag("p", words), pictures.note, tag("div", *tiles, class_="tiles"))


def _words(one: Answered) -> list[object]:
    said = "no answer" if one.said is None else (one.said or "(empty)")
    lines: list[object] = [tag("strong", one.row["question"]), tag("br"), verdict(said, one.right)]
    if not one.right:
        lines += [tag("br"), f"right: {one.true}"]
    if one.other is not None:
        lines += [tag("br"), tag("small", f"with another image: {one.other}")]
    if one.row.get("question_only") is not None:
        lines += [tag("br"), tag("small", f"without any image: {one.row['question_only']}")]
    return lines
