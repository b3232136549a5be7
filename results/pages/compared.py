"""The page of one data set: its models side by side, in numbers and on the same images."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from foundation.errors import BenchError
from foundation.hashing import hash_value
from results.figures.figure import Figure, png_bytes
from results.figures.selection import choose_disagreement
from results.figures.tiles import base_tile
from results.pages import classification, detection, questions, segmentation
from results.pages.cell import GALLERIES, asks, banner_of, cell_key, compare_folder
from results.pages.folder import CHOSEN, PAGE, PageFolder
from results.pages.gallery import Gallery
from results.pages.html import Markup, image, link, page, picture, scroll, section, table, tag
from results.pages.parts import interval, metric_names, number
from results.pages.sources import CellSource


def write_compared(cells: Sequence[CellSource], gallery: Gallery, root: Path, home: str) -> tuple[bool, list[str]]:
    """Writes the page of one task and data set, if it is not there; returns whether it was written, and problems.

    Args:
        cells: All cells of this task and data set, in the order of the table.
        gallery: The chosen images.
        root: Folder of the reports.
        home: Page of the table, from there.
    """
    first = cells[0].record
    folder = PageFolder(root / compare_folder(first))
    keys = [hash_value([[cell_key(cell, part, home), cell.folder] for cell in cells]) for part in gallery.keys]
    if folder.is_current(*keys):
        return False, []
    problems: list[str] = []
    body: list[object] = [_numbers(cells, root, folder)]
    models = _one_per_model(cells)
    try:
        if first.cell.task == "classification":
            body.append(_disagreement(models, gallery, folder))
        elif asks(first):
            body.append(questions.sheet([(cell.row.name, cell.answers()) for cell in models], gallery, folder))
        elif first.cell.task in GALLERIES:
            body += _side_by_side(models, gallery, root, folder)
    except BenchError as error:
        problems.append(f"{first.cell.task}/{first.cell.dataset}: {error.what}")
        body.append(section("Answers", tag("p", f"The answers cannot be shown: {error.what}")))
    title = f"All models on {first.cell.dataset}: {first.cell.task}, profile {first.cell.profile}"
    up = os.path.relpath(root / home, folder.path)
    content = page(title, body, key="" if problems else keys[0], banner=banner_of(first), up=[(up, "table")])
    folder.finish(content)
    return True, problems


def _one_per_model(cells: Sequence[CellSource]) -> list[CellSource]:
    """The lowest seed of each model, in the order of the table."""
    lowest: dict[str, CellSource] = {}
    for cell in cells:
        model = cell.record.cell.model
        if model not in lowest or cell.record.cell.seed < lowest[model].record.cell.seed:
            lowest[model] = cell
    return list(lowest.values())


def _numbers(cells: Sequence[CellSource], root: Path, folder: PageFolder) -> Markup:
    names = metric_names([cell.record for cell in cells])
    rows: list[Sequence[object]] = []
    for cell in cells:
        record = cell.record
        row: list[object] = [link(_page_of(cell, root, folder), cell.row.name), cell.row.backbone, record.cell.seed]
        for name in names:
            metric = record.metrics.get(name)
            row.append(_with_interval(number(metric.value), interval(metric)) if metric else "–")
        rows.append(row)
    for title, values in (
        ("chance", cells[0].record.baselines.chance),
        ("majority", cells[0].record.baselines.majority),
    ):
        rows.append([title, "baseline", "", *(number(values.get(name)) for name in names)])
    heads = ("model", "group", "seed", *names)
    return section("Scores", table(heads, rows, "Scores on the test part, with 95 % intervals"))


def _with_interval(value: str, ends: str) -> object:
    return tag("span", value, tag("small", f" {ends}")) if ends else value


def _disagreement(cells: Sequence[CellSource], gallery: Gallery, folder: PageFolder) -> Markup:
    """The images on which the models differ most, with what each of them says."""
    test = gallery.truth["test"]
    said = [{answer.image_id: answer for answer in classification.answers(cell.answers(), test)} for cell in cells]
    right = [
        (name, [name in found and found[name].said == row["label"] for found in said])
        for row in test
        for name in (str(row["image_id"]),)
    ]
    chosen = choose_disagreement(right)
    title = "Where the models differ"
    if not chosen:
        return section(title, tag("p", "There is no image on which some are right and others wrong."))
    rows = []
    for place, choice in enumerate(chosen):
        truth = int(gallery.rows[choice.image_id]["label"])
        row: list[object] = [tag("span", choice.image_id, tag("br"), tag("small", choice.why))]
        pixels = gallery.source.image_of(choice.image_id)
        if pixels is None:
            row.append("not here")
        else:
            tile = base_tile(pixels, 0, 0, side=160).picture
            figure = folder.add(Figure(f"image-{place}", "png", png_bytes(tile), "", choice.image_id, tile.size))
            row.append(image(figure.file, figure.alt, *figure.size))
        row.append(gallery.classes[truth])
        for found in said:
            answer = found.get(choice.image_id)
            row.append("no answer" if answer is None else _verdict(gallery.classes[answer.said], answer.said == truth))
        rows.append(row)
    heads = ("test image", "pixels", "true class", *(cell.row.name for cell in cells))
    words = "Chosen by rule: the images on which the share of right models is closest to one half."
    words += f" The images themselves are not here: {gallery.source.missing}." if gallery.source.missing else ""
    return section(title, tag("p", words), table(heads, rows, "What each model says"))


def _verdict(name: str, right: bool) -> Markup:
    return tag("span", "✓ " if right else "✗ ", name, style=None if right else "color:#a11")


def _side_by_side(cells: Sequence[CellSource], gallery: Gallery, root: Path, folder: PageFolder) -> list[Markup]:
    parts = []
    task = cells[0].record.cell.task
    if task == "detection":
        parts.append(_panel(cells, gallery, folder))
    shared = os.path.relpath(gallery.folder, folder.path)
    size = [gallery.tile(place).picture.size for place in range(len(gallery.choices))]
    first = ["truth"] if not gallery.has_images or task == "detection" else ["image", "truth"]
    words = [_words(root / cell.folder) for cell in cells]
    rows = []
    for place, choice in enumerate(gallery.choices):
        tiles = [
            tag("td", image(f"{shared}/{name}-{place}.png", f"{choice.image_id}, {name}", *size[place]), class_="tile")
            for name in first
        ]
        for cell, said in zip(cells, words, strict=True):
            target = f"{os.path.relpath(root / cell.folder, folder.path)}/prediction-{place}.png"
            text = said.get(choice.image_id)
            shown = image(target, f"{choice.image_id}, {cell.row.name}: {text}", *size[place]) if text else "no answer"
            tiles.append(tag("td", shown, tag("small", text) if text else None, class_="tile"))
        rows.append(tag("tr", tag("th", choice.image_id, tag("br"), tag("small", choice.why), scope="row"), *tiles))
    heads = tag(
        "tr", *(tag("th", text, scope="col") for text in ("test image", *first, *(cell.row.name for cell in cells)))
    )
    caption = "The same images for every model"
    grid = tag("table", tag("caption", caption), tag("thead", heads), tag("tbody", *rows))
    legend = detection.legend() if task == "detection" else segmentation.legend(gallery.classes)
    words_first = (
        detection.RULE if task == "detection" else "The images are chosen by rule, the most mixed truth first."
    )
    return [*parts, section("On the same images", tag("p", words_first), legend, scroll(grid, caption))]


def _panel(cells: Sequence[CellSource], gallery: Gallery, folder: PageFolder) -> Markup:
    """Fig. 12 with the best models in the order of the table."""

    def value(cell: CellSource) -> float:
        metric = cell.record.metrics.get("ap50")
        return metric.value if metric is not None and metric.value is not None else -1.0

    best = sorted(range(len(cells)), key=lambda place: (-value(cells[place]), place))[: detection.PANEL_MODELS]
    shown = [cells[place] for place in sorted(best)]
    figure = folder.add(detection.panel(gallery, [(cell.row.name, cell.answers()) for cell in shown]))
    left_out = len(cells) - len(shown)
    caption = "Detection panel after the paper's Fig. 12" + (
        f"; the {len(shown)} models with the best AP50, {left_out} left out." if left_out else "."
    )
    return section("Panel", picture(figure, caption))


def _words(folder: Path) -> Mapping[str, str]:
    try:
        with (folder / f"{CHOSEN}.csv").open(encoding="utf-8", newline="") as stream:
            return {row["image"]: row["shown"] for row in csv.DictReader(stream)}
    except (OSError, KeyError, csv.Error):
        return {}


def _page_of(cell: CellSource, root: Path, folder: PageFolder) -> str:
    return os.path.relpath(root / cell.folder / PAGE, folder.path)
