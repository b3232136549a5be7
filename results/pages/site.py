"""All pages of a store: draws what is new, keeps what was made from the same record by the same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from foundation.files import write_bytes
from foundation.hashing import hash_sources, hash_value
from foundation.progress import Progress, silent
from results.figures.figure import Figure, drawn_from, write_figure
from results.figures.radar import FEWEST, Axis, radar, spokes
from results.pages.cell import cell_key, write_cell
from results.pages.compared import write_compared
from results.pages.folder import PAGE, PageFolder
from results.pages.front import front_page
from results.pages.gallery import Gallery
from results.pages.html import items, link, page
from results.pages.sources import CellSource, DatasetSource, source_name
from results.reported import Column
from results.tables import GROUPS, Table

FIGURES = "figures"
IMAGES = "images"
RADAR_METRICS = frozenset({"top1", "ap50", "oa", "r_mean", "cider", "accuracy"})
"""One axis per data set: these metrics (section 13, Fig. 1)."""
_PROPOSED = "fusar_klip"
"""The paper's own model stands in front of its chart, as in Fig. 1."""


@dataclass(frozen=True)
class Site:
    """Everything that pages are made of."""

    root: Path
    """Folder of the reports."""
    name: str
    """Of the table's page, like that of its other forms."""
    table: Table
    cells: Sequence[CellSource]
    datasets: Mapping[str, DatasetSource]
    """By the name that `source_name` gives."""
    chosen: str | None = None
    """The model in front of the radar chart of its group; None: the paper's own, else the one with most best marks."""


class Drawn(NamedTuple):
    """How it went."""

    front: Path
    written: int
    kept: int
    problems: tuple[str, ...]


@dataclass
class _Count:
    written: int = 0
    kept: int = 0
    problems: list[str] = field(default_factory=list)


def write_site(site: Site, progress: Progress = silent) -> Drawn:
    """Writes the pages of all cells, data sets and the table; pages that are there already are not even read whole."""
    home = f"{site.name}.html"
    count = _Count()
    order = {line.row.model: place for place, line in enumerate(site.table.lines)}
    columns: dict[tuple[str, str], list[CellSource]] = {}
    for cell in site.cells:
        columns.setdefault((source_name(cell.record), cell.record.cell.task), []).append(cell)
    done = 0
    for (name, task), cells in columns.items():
        gallery = Gallery(site.datasets[name], task, site.root / IMAGES / task / name, code_hash())
        cells.sort(key=lambda cell: (order.get(cell.record.cell.model, len(order)), cell.record.cell.seed))
        for cell in cells:
            progress(done, len(site.cells), "pages")
            done += 1
            if PageFolder(site.root / cell.folder).is_current(*(cell_key(cell, key, home) for key in gallery.keys)):
                count.kept += 1
                continue
            count.problems += write_cell(cell, gallery, site.root, home)
            count.written += 1
        written, problems = write_compared(cells, gallery, site.root, home)
        count.written, count.kept = count.written + written, count.kept + (not written)
        count.problems += problems
    progress(len(site.cells), len(site.cells), "pages")
    figures = [(figure, f"{FIGURES}/") for figure in radars(site)]
    write_bytes(site.root / home, front_page(site.table, site.cells, figures, code_hash()))
    _write_index(site.root)
    return Drawn(site.root / home, count.written + 1, count.kept, tuple(count.problems))


@cache
def code_hash() -> str:
    """What chooses, draws and words; pages made by other code are made anew."""
    home = Path(__file__).resolve().parent.parent
    sources = [*home.glob("pages/*.py"), *home.glob("figures/*.py"), home / "compare.py", home / "rows.py"]
    return hash_sources(sources)


def radars(site: Site) -> list[Figure]:
    """Fig. 1 for every group that has enough numbers: of ours, and beside it of the paper's."""
    found = []
    for group in GROUPS:
        for ours in (True, False):
            figure = _radar(site, group, ours=ours)
            if figure is not None:
                found.append(figure)
    return found


def _radar(site: Site, group: str, *, ours: bool) -> Figure | None:
    table = site.table
    lines = [line for line in table.lines if line.kind == "model" and line.row.backbone == group]
    axes = []
    for place, column in enumerate(table.columns):
        if column.column.metric_id in RADAR_METRICS:
            cells = {line.row.model: line.cells[place] for line in lines}
            values = {
                model: float(value)
                for model, cell in cells.items()
                if (value := cell.value if ours else cell.reported) is not None
            }
            axes.append(Axis(_axis_name(column.column), values))
    chosen = _front(site, group, ours=ours)
    if chosen is None or len(spokes(axes, chosen)) < FEWEST:
        return None
    names = {line.row.model: line.row.name for line in lines}
    kind = "our numbers" if ours else "the paper's printed numbers"
    title = f"{table.title.partition(': ')[2] or table.title}, group {group}: {kind}"
    name = f"radar-{site.name}-{group.lower()}-{'ours' if ours else 'paper'}"
    remark = table.banner if ours else ""
    key = hash_value([[axis.name, sorted(axis.values.items())] for axis in axes] + [chosen, title, remark, code_hash()])
    path = site.root / FIGURES / f"{name}.png"
    figure = radar(name, axes, chosen, title, names=names, remark=remark, key=key, picture=_drawn(path, key))
    write_figure(figure, path.parent, atomic=True)
    return figure


def _drawn(path: Path, key: str) -> bytes | None:
    """The picture that is there already, if it was drawn from the same."""
    return path.read_bytes() if drawn_from(path) == key else None


def _front(site: Site, group: str, *, ours: bool) -> str | None:
    """The model whose polygon lies in front."""
    lines = [line for line in site.table.lines if line.kind == "model" and line.row.backbone == group]
    if ours and any(line.row.model == site.chosen for line in lines):
        return site.chosen
    for line in lines:
        if line.row.paper_model == _PROPOSED and (not ours or any(cell.value is not None for cell in line.cells)):
            return line.row.model
    best = [(-sum(cell.mark == "best" for cell in line.cells), place) for place, line in enumerate(lines)]
    return lines[min(best)[1]].row.model if best and ours else None


def _axis_name(column: Column) -> str:
    headers = column.paper_header.split(" / ")
    return " ".join(headers[-2:])


def _write_index(root: Path) -> None:
    """One line per table that has a page; the table of one profile is not lost when that of another is written."""
    tables = sorted(path.name for path in root.glob("table*.html"))
    content = page("Results", [items(link(name, name.removesuffix(".html")) for name in tables)], key="")
    write_bytes(root / PAGE, content)
