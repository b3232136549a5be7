"""The page of one cell, from its record and its answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from foundation.errors import BenchError
from foundation.hashing import hash_value
from results.pages import captions, classification, detection, questions, retrieval, segmentation
from results.pages.folder import PageFolder
from results.pages.gallery import Gallery
from results.pages.html import Markup, page, picture, section, tag
from results.pages.parts import loss_chart, provenance, scores, warnings
from results.pages.sources import CellSource, DatasetSource
from results.record import Record

Panels = Callable[[Sequence[dict[str, Any]], Gallery, PageFolder, str], Markup]

GALLERIES: dict[str, Panels] = {"detection": detection.panels, "segmentation": segmentation.panels}
"""Tasks whose pages show the same chosen images for every model."""

_FIGURES: dict[str, Callable[[Record, PageFolder], list[Markup]]] = {
    "classification": classification.figures,
    "detection": detection.figures,
    "segmentation": segmentation.figures,
    "caption": captions.figures,
}

_QUESTIONS = "vqa_"


def cell_key(source: CellSource, gallery: str, home: str) -> str:
    """What a cell's page hangs on: its record, one of the keys of its gallery, the page it links to."""
    return hash_value([source.state, gallery, home])


def write_cell(source: CellSource, gallery: Gallery, root: Path, home: str) -> list[str]:
    """Writes the page of a cell; returns what could not be shown, in words.

    Args:
        source: The cell.
        gallery: The chosen images of its data set.
        root: Folder of the reports.
        home: Page of the table, from there.
    """
    folder = PageFolder(root / source.folder)
    record = source.record
    up = os.path.relpath(root / home, folder.path)
    problems: list[str] = []
    body: list[object] = [warnings(record), scores(record, source.row), *_figures(record, folder)]
    try:
        body.append(_answers(source, gallery, folder))
    except BenchError as error:
        problems.append(f"{record.cell}: {error.what}")
        body.append(section("Answers", tag("p", f"The answers cannot be shown: {error.what}")))
    chart = loss_chart(record)
    if chart is not None:
        body.append(section("Training", picture(folder.add(chart))))
    body.append(provenance(record))
    cell = record.cell
    title = f"{record.model.name} on {cell.dataset}: {cell.task}, profile {cell.profile}, seed {cell.seed}"
    # A page that lacks something is no finished page: without a key it is written anew the next time.
    key = "" if problems else cell_key(source, gallery.key, home)
    folder.finish(
        page(title, body, key=key, banner=banner_of(record), up=[(up, "table"), *_compared(root, folder, record)])
    )
    return problems


def banner_of(record: Record) -> str:
    """The warning above everything that comes from synthetic or destroyed data."""
    data = record.data
    if data.twin != "none":
        return f"SANITY TWIN: {data.twin.replace('_', ' ')}, must score at chance"
    return f"SYNTHETIC DATA ({data.world or 'sarworld'}): not comparable with the paper" if data.synthetic else ""


def compare_folder(record: Record) -> str:
    """Where the page lies that shows all models on this data set, below the reports."""
    return f"compare/{record.cell.profile}/{record.cell.task}/{record.cell.dataset}"


def _compared(root: Path, folder: PageFolder, record: Record) -> Sequence[tuple[str, str]]:
    place = os.path.relpath(root / compare_folder(record) / "index.html", folder.path)
    return [(place, f"all models on {record.cell.dataset}")]


def _figures(record: Record, folder: PageFolder) -> list[Markup]:
    shown = questions.figures if asks(record) else _FIGURES.get(record.cell.task)
    return shown(record, folder) if shown else []


def _answers(source: CellSource, gallery: Gallery, folder: PageFolder) -> Markup:
    record = source.record
    if record.cell.task == "classification":
        found = classification.answers(source.answers(), gallery.truth["test"])
        data: DatasetSource = gallery.source
        return classification.errors(found, gallery.classes, data.image_of, data.missing, folder)
    if record.cell.task == "caption":
        scores = record.details.get("cider_by_image") or {}
        return captions.panels(source.answers(), gallery, folder, scores)
    if record.cell.task == "retrieval":
        return retrieval.panels(source.answers(), gallery, folder)
    if asks(record):
        return questions.panels(source.answers(), gallery, folder)
    shown = GALLERIES.get(record.cell.task)
    if shown is None:
        return Markup("")
    return shown(source.answers(), gallery, folder, os.path.relpath(gallery.folder, folder.path))


def asks(record: Record) -> bool:
    """Whether its task is one of the questions."""
    return record.cell.task.startswith(_QUESTIONS)
