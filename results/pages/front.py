"""The front page: the paper's table with our rows, every number a link to the page of its cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from results.figures.figure import Figure
from results.pages.cell import compare_folder
from results.pages.folder import PAGE
from results.pages.html import Markup, items, join, link, page, picture, scroll, section, tag
from results.pages.sources import CellSource
from results.rows import rounded
from results.tables import Mark, Table, TableCell, TableColumn, TableLine

_LETTERS: dict[Mark, str] = {"": "span", "best": "strong", "second": "u"}

Links = Mapping[tuple[str, str, str], Sequence[CellSource]]
"""(task, data set, model) to its cells, by seed."""


def front_page(table: Table, cells: Sequence[CellSource], figures: Sequence[tuple[Figure, str]], key: str) -> bytes:
    """The page of a table.

    Args:
        table: Whole.
        cells: Those with a page.
        figures: Drawn for the whole table, each with its folder.
        key: Of what the page was made from.
    """
    links = links_of(cells)
    body: list[object] = [
        tag("p", "Numbers of ours link to their pages. Below each its 95 % interval; in square brackets the paper's."),
        scroll(_grid(table, links), table.title),
        tag("p", tag("strong", "best"), " and ", tag("u", "second best"), " of each group, as printed."),
    ]
    if table.footnotes:
        notes = [tag("li", text, id=f"note-{place}") for place, text in enumerate(table.footnotes, 1)]
        body.append(section("Why numbers are missing, or what to mind", tag("ol", *notes)))
    pages = {compare_folder(cell.record): f"{cell.record.cell.task} on {cell.record.cell.dataset}" for cell in cells}
    if pages:
        shown = items(link(f"{folder}/{PAGE}", text) for folder, text in pages.items())
        body.append(section("All models side by side", shown))
    if figures:
        body.append(section("At a glance", *(picture(figure, folder=folder) for figure, folder in figures)))
    body.append(section("How to read this", items(table.remarks)))
    return page(table.title, body, key=key, banner=table.banner)


def links_of(cells: Sequence[CellSource]) -> Links:
    """Cells by what a place of the table names."""
    found: dict[tuple[str, str, str], list[CellSource]] = {}
    for cell in sorted(cells, key=lambda cell: cell.record.cell.seed):
        name = cell.record.cell
        found.setdefault((name.task, name.dataset, name.model), []).append(cell)
    return found


def _grid(table: Table, links: Links) -> Markup:
    width = 2 + len(table.columns)
    body = []
    for backbone, group in groupby(table.lines, key=lambda line: line.row.backbone):
        lines = list(group)
        body.append(tag("tr", tag("th", backbone, colspan=width, class_="group", scope="rowgroup")))
        body += [_line(table, line, links) for line in lines]
    caption = tag("caption", table.title)
    return tag("table", caption, tag("thead", *_heads(table.columns)), *[tag("tbody", *body)])


def _heads(columns: Sequence[TableColumn]) -> list[Markup]:
    depth = max((len(column.headers) for column in columns), default=1)
    rows = []
    for level in range(depth):
        first = [tag("th", "Model", rowspan=depth, scope="col")] if level == 0 else []
        cells = []
        for prefix, members in groupby(columns, key=lambda column: column.headers[: level + 1]):
            found = list(members)
            if level == depth - 1:
                cells += [_head(prefix[-1], one) for one in found]
            else:
                cells.append(tag("th", prefix[-1], colspan=len(found), scope="colgroup"))
        rows.append(tag("tr", *first, *cells))
    return rows


def _head(text: str, column: TableColumn) -> Markup:
    return tag("th", text, "†" if column.synthetic else None, scope="col", class_="n")


def _line(table: Table, line: TableLine, links: Links) -> Markup:
    places = []
    for column, cell in zip(table.columns, line.cells, strict=True):
        source = column.column
        found = links.get((source.task_id, source.dataset_id, line.row.model), ()) if line.kind == "model" else ()
        places.append(tag("td", *_place(cell, found), class_="n"))
    return tag("tr", tag("th", line.row.name, scope="row"), *places)


def _place(cell: TableCell, found: Sequence[CellSource]) -> list[object]:
    parts: list[object] = []
    if cell.value is None:
        shown: object = "–"
    else:
        shown = tag(_LETTERS[cell.mark], str(rounded(cell.value)))
        if cell.std is not None:
            shown = join((shown, f" ± {rounded(cell.std)}"))
    parts.append(link(f"{found[0].folder}/{PAGE}", shown) if len(found) == 1 else shown)
    if cell.note is not None:
        parts.append(tag("sup", tag("a", cell.note, href=f"#note-{cell.note}", aria_label=f"note {cell.note}")))
    if cell.reported is not None:
        parts.append(join((" [", tag(_LETTERS[cell.reported_mark], str(cell.reported)), "]")))
    if cell.low is not None and cell.high is not None:
        parts.append(tag("small", f"{rounded(cell.low)} to {rounded(cell.high)}"))
    if len(found) > 1:
        seeds = [link(f"{one.folder}/{PAGE}", str(one.record.cell.seed)) for one in found]
        spaced = [piece for seed in seeds for piece in (" ", seed)]
        parts.append(tag("small", "seeds", *spaced))
    return parts
