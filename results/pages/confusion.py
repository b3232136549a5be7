"""A confusion matrix as a table that can be read aloud, with shades for the eye."""

from __future__ import annotations

from collections.abc import Sequence

from results.figures.colours import shade, web
from results.figures.figure import numbers_alone
from results.pages.folder import PageFolder
from results.pages.html import Markup, link, scroll, tag


def confusion_table(classes: Sequence[str], matrix: Sequence[Sequence[int]], caption: str, numbers: str) -> Markup:
    """Rows are true classes: per cent of the row, and the count below."""
    heads = tag(
        "tr",
        tag("th", "true \\ said", scope="col"),
        *(tag("th", tag("span", name), scope="col", class_="up") for name in classes),
        tag("th", "all", scope="col", class_="n"),
    )
    body = []
    for name, counts in zip(classes, matrix, strict=True):
        total = sum(counts)
        places = [_place(count, total) for count in counts]
        body.append(tag("tr", tag("th", name, scope="row"), *places, tag("td", _spaced(total), class_="n")))
    whole = tag("table", tag("caption", caption), tag("thead", heads), tag("tbody", *body))
    return tag("div", scroll(whole, caption), tag("p", link(numbers, "numbers (CSV)")) if numbers else None)


def write_confusion(
    classes: Sequence[str], matrix: Sequence[Sequence[int]], caption: str, folder: PageFolder
) -> Markup:
    """Writes the numbers and gives the table."""
    rows = [[name, *counts] for name, counts in zip(classes, matrix, strict=True)]
    figure = folder.add(numbers_alone("confusion", ["true \\ said", *classes], rows))
    return confusion_table(classes, matrix, caption, figure.table_file)


def _place(count: int, total: int) -> Markup:
    if not total:
        return tag("td", "–", class_="n")
    share = count / total
    text = f"{100 * share:.1f}" if count else "0"
    small = tag("small", _spaced(count)) if count else None
    return tag("td", text, small, class_="n shade", style=f"background:{web(shade(share))}")


def _spaced(count: int) -> str:
    return f"{count:,}".replace(",", " ")
