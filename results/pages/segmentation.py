"""What the page of a segmentation shows: values per class, confusion, and its maps of the chosen images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from results.figures.charts import bar_chart
from results.figures.colours import IGNORED, RIGHT, WRONG, class_colours, web
from results.figures.figure import Figure, numbers_alone, png_bytes
from results.figures.tiles import IGNORE, decode_mask, error_tile, mask_tile
from results.pages.confusion import write_confusion
from results.pages.folder import CHOSEN, PageFolder
from results.pages.gallery import Gallery
from results.pages.html import Markup, image, picture, section, table, tag
from results.pages.parts import in_order, number
from results.record import Record

if TYPE_CHECKING:
    from results.figures.tiles import Pixels

RULE = "The images are chosen by rule, the most mixed truth first, and are the same for every model."


def figures(record: Record, folder: PageFolder) -> list[Markup]:
    """What the record alone can show."""
    classes = tuple(record.data.classes)
    parts = []
    stored: dict[str, dict[str, Any]] = record.details.get("per_class") or {}
    per_class = {name: stored[name] for name in in_order(stored, classes)}
    if per_class:
        values = [(name, row.get("iou")) for name, row in per_class.items()]
        alt = "Intersection over union per class: " + "; ".join(f"{name} {number(value)}" for name, value in values)
        named = dict(zip(classes, class_colours(classes), strict=True))
        colours = [named[name] for name, _ in values] if all(name in named for name, _ in values) else []
        heads = ("class", "IoU", "accuracy", "labelled pixels", "predicted pixels")
        rows = [
            (name, number(row.get("iou")), number(row.get("accuracy")), row.get("labelled"), row.get("predicted"))
            for name, row in per_class.items()
        ]
        parts.append(
            section(
                "Per class",
                picture(folder.add(bar_chart("iou", alt, values, "intersection over union, %", colours))),
                table(heads, rows, "Values per class, in per cent"),
            )
        )
    matrix = record.details.get("confusion")
    if matrix and classes:
        words = "Rows are the true classes. Each place: per cent of its row, below it the number of pixels."
        shown = write_confusion(classes, matrix, "Confusion matrix of pixels", folder)
        parts.append(section("Confusion", tag("p", words), shown))
    return parts


def panels(answers: Sequence[dict[str, Any]], gallery: Gallery, folder: PageFolder, shared: str) -> Markup:
    """The chosen images: pixels, truth, prediction, errors.

    Args:
        answers: The predictions.
        gallery: The chosen images.
        folder: Of the page.
        shared: From there to the pictures that all models share.
    """
    stored = {str(row["image_id"]): row.get("mask") for row in answers}
    colours = class_colours(gallery.classes)
    found: list[Markup] = []
    numbers = []
    for place, choice in enumerate(gallery.choices):
        text = stored.get(choice.image_id)
        heading = tag("h3", f"{choice.image_id} ({choice.why})")
        if not text:
            found += [heading, tag("p", "There is no answer for this image.")]
            continue
        said, true = decode_mask(text), gallery.mask(place)
        words = right_share(said, true)
        numbers.append((choice.image_id, words))
        tiles = []
        for name, tile, caption in (
            ("prediction", mask_tile(said, colours), f"prediction: {words}"),
            ("error", error_tile(said, true), "errors"),
        ):
            alt = f"{choice.image_id}, {caption}"
            figure = folder.add(Figure(f"{name}-{place}", "png", png_bytes(tile), "", alt, tile.size))
            tiles.append(picture(figure, caption))
        size = gallery.tile(place).picture.size
        first = []
        if gallery.has_images:
            first.append(_shared(f"{shared}/image-{place}.png", "image", choice.image_id, size))
        truth = _shared(f"{shared}/truth-{place}.png", "truth", choice.image_id, size)
        found += [heading, tag("div", *first, truth, *tiles, class_="tiles")]
    folder.add(numbers_alone(CHOSEN, ("image", "shown"), numbers))
    without = f"The images themselves are not here: {gallery.source.missing}." if not gallery.has_images else None
    remark = tag("p", without) if without else None
    return section("Maps of chosen images", tag("p", RULE), remark, legend(gallery.classes), *found)


def legend(classes: tuple[str, ...]) -> Markup:
    """What the colours of maps mean."""
    known = [*zip(class_colours(classes), classes, strict=True), (IGNORED, "not scored")]
    known += [(RIGHT, "right (map of errors)"), (WRONG, "wrong (map of errors)")]
    return tag(
        "ul",
        *(tag("li", tag("span", "", class_="key", style=f"background:{web(c)}"), text) for c, text in known),
        class_="legend",
    )


def right_share(said: Pixels, true: Pixels) -> str:
    """The words under a map."""
    scored = true != IGNORE
    total = int(scored.sum())
    if not total:
        return "no scored pixel"
    return f"{100 * int((said[scored] == true[scored]).sum()) / total:.1f} % of pixels right"


def _shared(source: str, what: str, image_id: str, size: tuple[int, int]) -> Markup:
    return tag("figure", image(source, f"{image_id}, {what}", *size), tag("figcaption", what))
