"""Pages: complete, readable without colours or a network, the same bytes, and drawn no more often than needed."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from foundation.errors import CellError
from results.pages.html import Markup, key_of, page, table, tag
from results.pages.site import Drawn, Site, write_site
from results.pages.sources import CellSource, DatasetSource
from results.record import Metric, Record
from results.rows import TableRow
from results.tables import build_table
from tests.results import pages_world as world

MakeRecord = Callable[..., Record]

CLASSES = ("zebra", "A320/321", "x<y>")
TASKS = (
    ("classification", "fusar_air", "top1"),
    ("detection", "sar_aircraft_few", "ap50"),
    ("segmentation", "fusar_map", "oa"),
)
NASTY = '<script>alert(1)</script> & "mini"'


class _Reader(HTMLParser):
    """Collects what a reader meets, and complains about markup that does not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"img", "meta", "br"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def _site(
    root: Path,
    make_record: MakeRecord,
    *,
    models: Sequence[tuple[str, float]] = (("random-mini", 0.4), ("other-mini", 0.8)),
    seeds: Sequence[int] = (0,),
    missing: str = "",
    tasks: Sequence[tuple[str, str, str]] = TASKS,
) -> Site:
    cells = []
    for task, dataset, metric in tasks:
        for model, quality in models:
            for seed in seeds:
                values = {metric: 100 * quality, "extra": None}
                record = make_record(
                    model, task, dataset, seed=seed, profile="mini", values=values, world="sarworld v2"
                )
                cells.append(world.cell(record, task, CLASSES, quality=quality, name=f"{NASTY} {model}"))
    datasets = {
        f"{dataset}-d-s": world.dataset(task, f"{dataset}-d-s", CLASSES, missing=missing) for task, dataset, _ in tasks
    }
    rows = [TableRow(model, f"{NASTY} {model}", "ViT-Base") for model, _ in models]
    made = build_table(4, rows, [cell.record for cell in cells])
    return Site(root, "table4-mini", made, cells, datasets)


def _files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Drawn]:
    """Three tasks, two models, drawn once for the tests that only look."""
    from tests.results.conftest import _record

    root = tmp_path_factory.mktemp("reports")
    return root, write_site(_site(root, _record))


def test_every_cell_every_data_set_and_the_table_have_a_page(pages: tuple[Path, Drawn]) -> None:
    root, drawn = pages
    assert len(list(root.glob("cells/mini/*/*/*/seed-0/index.html"))) == 6
    assert len(list(root.glob("compare/mini/*/*/index.html"))) == 3
    assert drawn == Drawn(root / "table4-mini.html", 10, 0, ())
    assert b"table4-mini.html" in (root / "index.html").read_bytes()


def test_pages_close_what_they_open_escape_names_and_name_every_picture(pages: tuple[Path, Drawn]) -> None:
    root, _ = pages
    for path in root.rglob("*.html"):
        reader = _Reader(path.read_text(encoding="utf-8"))
        assert not reader.all("script"), path
        assert all(picture["alt"] for picture in reader.all("img")), path
        assert reader.all("html")[0]["lang"] == "en" and len(reader.all("h1")) == 1
        assert any(meta.get("name") == "viewport" for meta in reader.all("meta"))
        for frame in reader.all("table"):
            assert frame == {}
        assert len(reader.all("caption")) == len(reader.all("table")), path
        assert all(head.get("scope") for head in reader.all("th")), path


def test_every_link_and_picture_is_a_file_beside_and_nothing_comes_from_a_network(pages: tuple[Path, Drawn]) -> None:
    root, _ = pages
    seen = 0
    for path in root.rglob("*.html"):
        reader = _Reader(path.read_text(encoding="utf-8"))
        targets = [entry["href"] for entry in reader.all("a")] + [entry["src"] for entry in reader.all("img")]
        for target in targets:
            assert target is not None and "//" not in target
            if not target.startswith("#"):
                assert (path.parent / unquote(target)).is_file(), (path, target)
                seen += 1
    assert seen > 60


def test_a_page_says_what_the_record_says(pages: tuple[Path, Drawn]) -> None:
    root, _ = pages
    words = " ".join(
        _Reader((root / "cells/mini/detection/sar_aircraft_few/other-mini/seed-0/index.html").read_text()).words
    )
    for said in (
        "SYNTHETIC DATA (sarworld v2)",
        "80.00",
        "79.00 to 81.00",
        "no ground truth",
        "epochs",
        "fp32",
        "d" * 64,
    ):
        assert said in words
    assert words.index("ap50") < words.index("extra"), "the metric of the table comes first"
    assert words.index("zebra") < words.index("A320/321"), "classes stand in the order of their labels"


def test_numbers_of_the_table_link_to_their_cells_and_show_their_intervals(pages: tuple[Path, Drawn]) -> None:
    root, _ = pages
    reader = _Reader((root / "table4-mini.html").read_text())
    links = {entry["href"] for entry in reader.all("a")}
    assert "cells/mini/segmentation/fusar_map/other-mini/seed-0/index.html" in links
    assert "79.00 to 81.00" in reader.words and "SYNTHETIC DATA († sarworld v2)" in " ".join(reader.words)
    assert sum(word == "FUSAR-KLIP" for word in reader.words) == 2


def test_the_panel_has_the_counts_under_each_cell_and_its_numbers_beside(pages: tuple[Path, Drawn]) -> None:
    root, _ = pages
    folder = root / "compare/mini/detection/sar_aircraft_few"
    with (folder / "panel.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    kinds = {row["kind"] for row in rows}
    assert kinds == {"target", "matched detection", "unmatched detection", "unmatched target"}
    shown = {row["image"] for row in rows}
    assert len(shown) == 6
    for image in shown:
        of_image = [row for row in rows if row["image"] == image]
        targets = sum(row["kind"] == "target" for row in of_image)
        for model in {row["column"] for row in of_image} - {"ground truth"}:
            mine = [row["kind"] for row in of_image if row["column"] == model]
            assert mine.count("matched detection") + mine.count("unmatched target") == targets
    words = (folder / "index.html").read_text()
    assert " found, " in words and "missed" in words


def test_the_same_records_give_the_same_bytes(
    pages: tuple[Path, Drawn], tmp_path: Path, make_record: MakeRecord
) -> None:
    write_site(_site(tmp_path, make_record))
    assert _files(tmp_path) == _files(pages[0])


def test_pages_are_not_drawn_twice_but_again_when_their_record_changes(tmp_path: Path, make_record: MakeRecord) -> None:
    write_site(_site(tmp_path, make_record))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cells/**/*") if path.is_file()}

    def never() -> list[dict[str, object]]:
        raise AssertionError("answers are read although the page is there")

    site = _site(tmp_path, make_record)
    lazy = [CellSource(cell.record, cell.row, never) for cell in site.cells]
    again = write_site(Site(site.root, site.name, site.table, lazy, site.datasets))
    assert (again.written, again.kept) == (1, 9)
    assert {path: path.stat().st_mtime_ns for path in before} == before

    changed = _site(tmp_path, make_record, models=(("random-mini", 0.4), ("other-mini", 0.9)), tasks=TASKS[:1])
    assert write_site(changed).written == 3, "the cell, the page of its data set, the table"


def test_leftovers_of_an_older_page_go(tmp_path: Path, make_record: MakeRecord) -> None:
    folder = tmp_path / "cells/mini/classification/fusar_air/random-mini/seed-0"
    folder.mkdir(parents=True)
    (folder / "old.png").write_bytes(b"old")
    (folder / "notes.txt").write_text("mine")
    write_site(_site(tmp_path, make_record, tasks=TASKS[:1]))
    assert not (folder / "old.png").exists() and (folder / "notes.txt").exists()


def test_without_images_pages_say_so_and_lose_none_that_were_drawn(tmp_path: Path, make_record: MakeRecord) -> None:
    bare = tmp_path / "bare"
    write_site(_site(bare, make_record, missing="no --data-root was given"))
    text = (bare / "cells/mini/segmentation/fusar_map/random-mini/seed-0/index.html").read_text()
    assert "no --data-root was given" in text and not list(bare.rglob("image-*.png"))
    assert list(bare.rglob("truth-*.png")), "boxes and maps need no pixels"

    full = tmp_path / "full"
    write_site(_site(full, make_record))
    before = _files(full)
    assert write_site(_site(full, make_record, missing="gone")).written == 1
    assert _files(full) == before
    more = _site(full, make_record, models=(("random-mini", 0.4), ("other-mini", 0.8), ("third", 0.6)), missing="gone")
    write_site(more)
    text = (full / "cells/mini/segmentation/fusar_map/third/seed-0/index.html").read_text()
    assert "gone" not in text and "image-0.png" in text, "a new page uses the pictures that are there"


def test_answers_that_cannot_be_read_leave_a_page_that_says_so_and_is_tried_again(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    def broken() -> list[dict[str, object]]:
        raise CellError("predictions.jsonl is missing", way_out="run again")

    site = _site(tmp_path, make_record, tasks=TASKS[1:2])
    cells = [CellSource(site.cells[0].record, site.cells[0].row, broken), site.cells[1]]
    drawn = write_site(Site(site.root, site.name, site.table, cells, site.datasets))
    assert len(drawn.problems) == 2 and "predictions.jsonl is missing" in drawn.problems[0]
    assert "predictions.jsonl is missing" in (tmp_path / cells[0].folder / "index.html").read_text()
    assert write_site(site).problems == ()
    assert "predictions.jsonl" not in (tmp_path / cells[0].folder / "index.html").read_text()


def test_several_seeds_have_a_page_each_and_one_place_in_the_table(tmp_path: Path, make_record: MakeRecord) -> None:
    write_site(_site(tmp_path, make_record, seeds=(0, 1), tasks=TASKS[:1]))
    words = _Reader((tmp_path / "table4-mini.html").read_text())
    assert any("±" in word for word in words.words)
    links = [entry["href"] for entry in words.all("a") if "other-mini" in (entry["href"] or "")]
    assert [link.split("/")[-2] for link in links if link][:2] == ["seed-0", "seed-1"]


def test_radar_charts_are_drawn_once_per_group_with_enough_axes(tmp_path: Path, make_record: MakeRecord) -> None:
    write_site(_site(tmp_path, make_record))
    names = {path.name for path in tmp_path.glob("figures/*.png")}
    assert names == {f"radar-table4-mini-{name}.png" for name in ("vit-base-ours", "vit-base-paper", "vit-large-paper")}
    with (tmp_path / "figures/radar-table4-mini-vit-base-ours.csv").open() as stream:
        assert [row["axis"] for row in csv.DictReader(stream)] == ["FUSAR-AIR Top1", "AIR-F mAP", "FUSAR-MAP OA"]
    path = tmp_path / "figures/radar-table4-mini-vit-base-ours.png"
    content = path.read_bytes()
    write_site(_site(tmp_path, make_record, tasks=TASKS[:2]))
    assert path.read_bytes() == content, "two axes make no chart, and the old one is not of this table"


def test_a_metric_without_value_and_a_task_without_pictures_make_a_page(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    record = make_record(
        "m",
        "speech",
        "speech",
        metrics={"cider": Metric(value=None, reason="no Java"), "bleu_4": Metric(value=31.0, n=9)},
    )
    source = world.cell(record, "classification", CLASSES)
    source = CellSource(record.model_copy(update={"truth": source.record.truth}), source.row, source.answers)
    empty = DatasetSource("speech-d-s", "b" * 64, lambda: {"classes": [], "test": []}, lambda _: None, "not here")
    made = build_table(6, [source.row], [source.record])
    drawn = write_site(Site(tmp_path, "table6-mini", made, [source], {"speech-d-s": empty}))
    text = (tmp_path / source.folder / "index.html").read_text()
    assert drawn.problems == () and "no Java" in text and "31.00" in text


@pytest.mark.slow
def test_forty_cells_take_seconds_and_none_the_second_time(tmp_path: Path, make_record: MakeRecord) -> None:
    site = _site(tmp_path, make_record, models=[(f"model-{place}", 0.5) for place in range(14)])
    started = time.process_time()
    write_site(site)
    first = time.process_time() - started
    started = time.process_time()
    assert write_site(site).written == 1
    again = time.process_time() - started
    assert first < 15 and again < 2, (first, again)


def test_html_escapes_text_keeps_markup_and_reads_its_key_back() -> None:
    assert (
        tag("b", "<i>", Markup("<br>"), None, title='"', class_="x") == '<b title="&quot;" class="x">&lt;i&gt;<br></b>'
    )
    assert 'class="n"' in table(("a", "b"), [("x", 1.5)], "c") and 'class="n"' not in table(
        ("a",), [("x", "words")], "c"
    )
    assert key_of(page("t", [], key="abc")) == "abc" and key_of(b"<html>") == "" and key_of(b"") == ""
