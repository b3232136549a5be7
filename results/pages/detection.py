"""What the page of a detection shows: precision and recall, values per class, and its answers on the chosen images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from results.figures.charts import Line, Range, line_chart
from results.figures.colours import MATCHED, MISSED, TRUTH, UNMATCHED, web
from results.figures.figure import Figure, csv_text, numbers_alone, png_bytes
from results.figures.matching import SHOWN_IOU, SHOWN_SCORE, Matching, match
from results.figures.tiles import detection_tile, side_by_side
from results.pages.folder import CHOSEN, PageFolder
from results.pages.gallery import Gallery
from results.pages.html import Markup, image, picture, section, table, tag
from results.pages.parts import in_order, number
from results.record import Record

PANEL_MODELS = 6
"""Models in one panel; more would be too small to see."""
PANEL_HEADS = ("image", "column", "kind", "x", "y", "width", "height", "class", "score", "iou")
RULE = (
    f"Detections with a score of at least {SHOWN_SCORE:g}, matched greedily by score within their class at an overlap "
    f"of at least {SHOWN_IOU:g}. The images are chosen by rule and are the same for every model."
)


def figures(record: Record, folder: PageFolder) -> list[Markup]:
    """What the record alone can show."""
    parts = []
    curves = record.details.get("precision_at_recall") or {}
    lines = [
        Line(str(name), [100 * place / (len(points) - 1) for place in range(len(points))], points)
        for name in in_order(curves, record.data.classes)
        if (points := curves[name]) and len(points) > 1
    ]
    per_class = record.details.get("per_class") or {}
    if lines:
        alt = "Precision over recall at IoU 0.5 for each class: " + "; ".join(
            f"{line.name} AP50 {number(per_class.get(line.name, {}).get('ap50'))}" for line in lines
        )
        axes = (Range(0, 100, "recall, %"), Range(0, 100, "precision, %"))
        chart = line_chart("precision_recall", alt, lines, *axes)
        parts.append(section("Precision and recall", picture(folder.add(chart), "At IoU 0.5, interpolated.")))
    if per_class:
        known = [(name, per_class[name]) for name in in_order(per_class, record.data.classes)]
        heads = ("class", "AP50", "AP50:95", "recall at 100", "boxes in the test part", "detections")
        keys = ("ap50", "ap50_95", "recall100", "boxes", "detections")
        rows = [(name, *(_shown(values.get(key)) for key in keys)) for name, values in known]
        parts.append(section("Per class", table(heads, rows, "Average precision per class, in per cent")))
    return parts


def panels(answers: Sequence[dict[str, Any]], gallery: Gallery, folder: PageFolder, shared: str) -> Markup:
    """The chosen images with truth and answers beside each other.

    Args:
        answers: The predictions.
        gallery: The chosen images.
        folder: Of the page.
        shared: From there to the pictures that all models share.
    """
    stored = {str(row["image_id"]): row["boxes"] for row in answers}
    found, numbers = [], []
    for place, choice in enumerate(gallery.choices):
        targets = gallery.rows[choice.image_id]["boxes"]
        matching = match(stored.get(choice.image_id, ()), targets)
        words = counts(matching, len(targets))
        numbers.append((choice.image_id, words, matching.matched, matching.unmatched, len(matching.missed)))
        tile = detection_tile(gallery.tile(place), matching, targets)
        alt = f"{choice.image_id}: {words}"
        figure = folder.add(Figure(f"prediction-{place}", "png", png_bytes(tile), "", alt, tile.size))
        truth = image(f"{shared}/truth-{place}.png", f"{choice.image_id}: {len(targets)} true targets", *tile.size)
        found += [
            tag("h3", f"{choice.image_id} ({choice.why})"),
            tag(
                "div",
                tag("figure", truth, tag("figcaption", f"truth: {len(targets)} targets")),
                picture(figure, words),
                class_="tiles",
            ),
        ]
    folder.add(numbers_alone(CHOSEN, ("image", "shown", "found", "false", "missed"), numbers))
    without = f" The images themselves are not here: {gallery.source.missing}." if not gallery.has_images else ""
    return section("Answers on chosen images", tag("p", RULE, without), legend(), *found)


def legend() -> Markup:
    """What the colours of boxes mean."""
    known = (
        (TRUTH, "true target (column of the truth)"),
        (MATCHED, "detection that found a target"),
        (UNMATCHED, "detection of nothing (dashed)"),
        (MISSED, "target that was not found (dotted)"),
    )
    return tag(
        "ul",
        *(tag("li", tag("span", "", class_="key", style=f"background:{web(c)}"), text) for c, text in known),
        class_="legend",
    )


def counts(matching: Matching, targets: int) -> str:
    """The words under a tile."""
    return f"{matching.matched} of {targets} found, {matching.unmatched} false, {len(matching.missed)} missed"


def panel(gallery: Gallery, models: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> Figure:
    """Fig. 12: rows are images, columns the ground truth and then models, counts under each (section 13).

    Args:
        gallery: The chosen images.
        models: Printed name and predictions of each.
    """
    from PIL import Image

    stored = [(name, {str(row["image_id"]): row["boxes"] for row in rows}) for name, rows in models]
    rows: list[tuple[str, list[tuple[Image.Image, str]]]] = []
    lines: list[Sequence[object]] = []
    for place, choice in enumerate(gallery.choices):
        targets = gallery.rows[choice.image_id]["boxes"]
        names = gallery.classes
        truth: Image.Image = Image.open(gallery.folder / f"truth-{place}.png")
        tiles = [(truth, f"{len(targets)} targets")]
        lines += [
            (choice.image_id, "ground truth", "target", *row[:4], names[int(row[4])], None, None) for row in targets
        ]
        for name, boxes in stored:
            matching = match(boxes.get(choice.image_id, ()), targets)
            words = f"{matching.matched} found {matching.unmatched} false {len(matching.missed)} missed"
            tiles.append((detection_tile(gallery.tile(place), matching, targets), words))
            lines += _lines(choice.image_id, name, matching, targets, names)
        rows.append((f"{choice.image_id} ({choice.why})", tiles))
    sheet = side_by_side(["ground truth", *(name for name, _ in models)], rows)
    alt = f"Detections of {', '.join(name for name, _ in models)} beside the ground truth on {len(rows)} images. {RULE}"
    return Figure("panel", "png", png_bytes(sheet), csv_text(PANEL_HEADS, lines), alt, sheet.size)


def _lines(
    image_id: str, model: str, matching: Matching, targets: Sequence[Sequence[float]], names: Sequence[str]
) -> list[Sequence[object]]:
    lines: list[Sequence[object]] = []
    for found in matching.detections:
        kind = "unmatched detection" if found.target is None else "matched detection"
        iou = found.overlap if found.target is not None else None
        lines.append((image_id, model, kind, *found.box, names[found.label], found.score, iou))
    for place in matching.missed:
        row = targets[place]
        lines.append((image_id, model, "unmatched target", *row[:4], names[int(row[4])], None, None))
    return lines


def _shown(value: object) -> object:
    if isinstance(value, int):
        return value
    return number(float(value)) if isinstance(value, float) else "–"
