"""What the page of a captioning shows: how varied the captions are, and examples with references and scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from results.figures.figure import numbers_alone
from results.pages.examples import RULE, Pictures, beside, by_hash
from results.pages.folder import PageFolder
from results.pages.gallery import Gallery
from results.pages.html import Markup, items, join, link, section, table, tag
from results.pages.parts import number
from results.record import Record

EXAMPLES = 8
LISTED = 5


def figures(record: Record, _folder: PageFolder) -> list[Markup]:
    """What the record alone can show."""
    details = record.details
    told = []
    if "different_captions" in details:
        told.append(f"{details['different_captions']} different captions for {record.data.test_items} images")
    if "readable" in details:
        told.append(f"{details['readable']} captions that the grammar of the references reads")
    if details.get("tokenizer"):
        told.append(f"tokenizer: {details['tokenizer']}")
    if details.get("most_common_caption"):
        told.append(f"the caption of the majority row: “{details['most_common_caption']}”")
    return [section("Captions at a glance", items(told))] if told else []


def panels(
    predictions: Sequence[dict[str, Any]], gallery: Gallery, folder: PageFolder, scores: dict[str, float]
) -> Markup:
    """The most common captions, and examples.

    Args:
        predictions: A caption for each image.
        gallery: Truth and images of the data set.
        folder: Of the page.
        scores: CIDEr by image.
    """
    said = {str(row["image_id"]): str(row["caption"]) for row in predictions}
    return join((_common(said, folder), _examples(said, gallery, folder, scores)))


def _common(said: dict[str, str], folder: PageFolder) -> Markup:
    counted = Counter(said.values()).most_common()
    rows = [(text or "(empty)", count) for text, count in counted]
    numbers = folder.add(numbers_alone("captions", ("caption", "images"), rows))
    caption = f"The {min(LISTED, len(rows))} most common of {len(rows)} different captions"
    return section(
        "What is said most",
        table(("caption", "images"), rows[:LISTED], caption),
        tag("p", link(numbers.table_file, "all of them (CSV)")),
    )


def _examples(said: dict[str, str], gallery: Gallery, folder: PageFolder, scores: dict[str, float]) -> Markup:
    pictures = Pictures(gallery.source, folder)
    found: list[Markup] = []
    for name in by_hash(gallery.rows, EXAMPLES):
        text = said.get(name)
        words = "There is no caption for this image." if text is None else (text or "(empty)")
        score = scores.get(name)
        found.append(
            beside(
                pictures.alone(name),
                tag("h3", name),
                tag("p", tag("strong", words)),
                tag("p", f"CIDEr of this image: {number(score)}") if score is not None else None,
                tag("p", "References:"),
                items(gallery.rows[name]["references"]),
            )
        )
    return section("Examples", tag("p", RULE), pictures.note, *found)
