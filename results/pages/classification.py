"""What the page of a classification shows: confusion matrix, recall of each class, the surest errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from results.figures.charts import bar_chart
from results.figures.figure import Figure, csv_text, png_bytes
from results.figures.selection import ImageOf
from results.figures.tiles import base_tile, contact_sheet
from results.pages.confusion import write_confusion
from results.pages.folder import PageFolder
from results.pages.html import Markup, picture, section, tag
from results.record import Record

SHOWN_ERRORS = 12


class Answer(NamedTuple):
    """What a model said of one image."""

    image_id: str
    true: int
    said: int
    surety: float
    """Softmax of the scores: comparable within one model, not between models."""


def answers(predictions: Sequence[dict[str, Any]], truth: Sequence[dict[str, Any]]) -> list[Answer]:
    """Answers beside the truth, in its order; an image without a usable answer is left out."""
    scores = {str(row["image_id"]): row["scores"] for row in predictions}
    found = []
    for row in truth:
        values = scores.get(str(row["image_id"]), ())
        if values and all(value is not None and math.isfinite(value) for value in values):
            said = max(range(len(values)), key=lambda place: (values[place], -place))
            total = sum(math.exp(value - values[said]) for value in values)
            found.append(Answer(str(row["image_id"]), int(row["label"]), said, 1 / total))
    return found


def figures(record: Record, folder: PageFolder) -> list[Markup]:
    """What the record alone can show."""
    classes = list(record.data.classes)
    parts = []
    matrix = record.details.get("confusion")
    if matrix and classes:
        words = "Rows are the true classes. Each place: per cent of its row, below it the number of images."
        shown = write_confusion(classes, matrix, "Confusion matrix", folder)
        parts.append(section("Confusion", tag("p", words), shown))
    recall = record.details.get("recall")
    if recall and classes:
        alt = "Recall per class: " + "; ".join(
            f"{name} {'no test images' if value is None else f'{value:.2f}'}"
            for name, value in zip(classes, recall, strict=False)
        )
        chart = bar_chart("recall", alt, list(zip(classes, recall, strict=False)), "recall, %")
        parts.append(section("Recall per class", picture(folder.add(chart))))
    return parts


def errors(
    found: Sequence[Answer], classes: Sequence[str], image_of: ImageOf, missing: str, folder: PageFolder
) -> Markup:
    """The surest wrong answers as one sheet."""
    wrong = sorted((answer for answer in found if answer.said != answer.true), key=lambda a: (-a.surety, a.image_id))
    title = "Surest errors"
    if not wrong:
        return section(title, tag("p", "Every answer is right." if found else "There are no answers."))
    shown = wrong[:SHOWN_ERRORS]
    tiles = []
    for answer in shown:
        words = (
            answer.image_id.rpartition("/")[2],
            f"true {classes[answer.true]}",
            f"said {classes[answer.said]} {100 * answer.surety:.0f} %",
        )
        tiles.append((base_tile(image_of(answer.image_id), 1, 1, side=150).picture, words))
    sheet = contact_sheet(tiles)
    rows = [(a.image_id, classes[a.true], classes[a.said], a.surety) for a in shown]
    alt = f"The {len(shown)} surest of {len(wrong)} wrong answers: " + "; ".join(
        f"{a.image_id}: {classes[a.said]} instead of {classes[a.true]}" for a in shown
    )
    table = csv_text(("image", "true", "said", "softmax"), rows)
    figure = folder.add(Figure("errors", "png", png_bytes(sheet), table, alt, sheet.size))
    note = f" Without the images: {missing}." if missing else ""
    caption = f"The {len(shown)} surest of {len(wrong)} wrong answers out of {len(found)}.{note}"
    return section(title, picture(figure, caption))
