"""Pages of language cells: what was asked and said, with images, scores and marks that need no colour."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results.pages.examples import by_hash
from results.pages.retrieval import ranked
from results.pages.site import Drawn, Site, write_site
from results.pages.sources import CellSource, DatasetSource
from results.record import DataProvenance, FileReference, Metric, Record
from results.rows import TableRow
from results.tables import build_table
from tests.results.pages_world import Pixels

MakeRecord = Callable[..., Record]

IMAGES = tuple(f"fusar_ship_sense/images/{place:02d}.png" for place in range(10))
COVERS = ("building", "vegetation", "water", "road")
NASTY = "<script>alert(1)</script>"


def _pixels(image_id: str) -> Pixels:
    return np.full((32, 48), 20 * IMAGES.index(image_id), dtype=np.uint8)


def _asked(answers: Sequence[str] = COVERS) -> dict[str, Any]:
    rows = [
        {
            "question_id": f"q{place}",
            "image_id": image_id,
            "other_image_id": IMAGES[place - 1],
            "question": f"Which land cover takes up the largest area, {NASTY}?",
            "kind": "",
            "answer": answers[place % len(answers)],
            "question_only": answers[0],
        }
        for place, image_id in enumerate(IMAGES)
    ]
    return {"classes": list(answers), "test": rows, "task": "vqa_main_land", "types": []}


def _said(truth: dict[str, Any], wrong: Sequence[int] = (3, 7)) -> list[dict[str, Any]]:
    rows = []
    for place, row in enumerate(truth["test"]):
        text = None if place == 7 else "a desert" if place in wrong else row["answer"].upper()
        rows.append(
            {
                "question_id": row["question_id"],
                "answer": text,
                "answer_other_image": "road",
                "right": place not in wrong,
            }
        )
    return rows


def _captioned() -> dict[str, Any]:
    rows = [{"image_id": name, "references": [f"{place} ships, {NASTY}.", "N5"]} for place, name in enumerate(IMAGES)]
    return {"classes": [], "test": rows, "most_common_caption": "one ship"}


def _gallery() -> dict[str, Any]:
    rows = [
        {
            "image_id": name,
            "captions": [{"caption_id": f"{place}-{n}", "text": f"text {n} of {place} {NASTY}"} for n in range(2)],
        }
        for place, name in enumerate(IMAGES)
    ]
    return {"classes": [], "test": rows}


def _retrieved(truth: dict[str, Any], *, first: bool = True) -> list[dict[str, Any]]:
    rows = []
    captions = [one["caption_id"] for row in truth["test"] for one in row["captions"]]
    for place, row in enumerate(truth["test"]):
        own = [one["caption_id"] for one in row["captions"]]
        others = [name for name in captions if name not in own]
        found = [own[0], *others[:6]] if first else [*others[:7]]
        rows.append(
            {"way": "i2t", "query": row["image_id"], "candidates": found, "scores": [1 - n / 9 for n in range(7)]}
        )
        wrong = IMAGES[place - 1]
        for caption in own:
            scores = [0.5, 0.5] if first else [0.5, 0.4]
            pair = [row["image_id"], wrong] if first else [wrong, row["image_id"]]
            rows.append({"way": "t2i", "query": caption, "candidates": pair, "scores": scores})
    return rows


def _cell(
    make_record: MakeRecord,
    task: str,
    dataset: str,
    answers: Callable[[], Sequence[dict[str, Any]]],
    details: dict[str, Any],
    metrics: dict[str, Metric],
) -> CellSource:
    record = make_record("tiny", task, dataset, profile="mini", metrics=metrics, world="sarworld v2", majority={})
    data = DataProvenance.model_validate(record.data.model_dump() | {"test_items": 10})
    truth = FileReference(name=f"splits/{task}-d-s/truth.json", sha256="b" * 64)
    whole = record.model_copy(update={"data": data, "details": details | {"losses": [2.0, 1.0]}, "truth": truth})
    return CellSource(whole, TableRow("tiny", "Tiny", "mini"), answers)


def _site(root: Path, make_record: MakeRecord, *, missing: str = "", asked: dict[str, Any] | None = None) -> Site:
    questions = asked or _asked()
    truths = {"vqa_main_land": questions, "caption": _captioned(), "retrieval": _gallery()}
    said = [
        {"image_id": name, "caption": "" if n == 0 else f"{n} ships" if n < 5 else "ships"}
        for n, name in enumerate(IMAGES)
    ]
    score = Metric(value=50.0, low=40.0, high=60.0, n=10)
    cells = [
        _cell(
            make_record,
            "vqa_main_land",
            "vqa_landform",
            lambda: _said(questions),
            {"accuracy_by_kind": {}},
            {"accuracy": score, "accuracy_question_only": score},
        ),
        _cell(
            make_record,
            "caption",
            "rs_captions",
            lambda: said,
            {"different_captions": 6, "cider_by_image": {name: 100.0 + n for n, name in enumerate(IMAGES)}},
            {"bleu_4": score, "spice": Metric(value=None, reason="no jars")},
        ),
        _cell(
            make_record,
            "retrieval",
            "rs_captions",
            lambda: _retrieved(truths["retrieval"]),
            {},
            {"i2t_r1": score, "r_mean": score},
        ),
    ]
    datasets = {
        f"{task}-d-s": DatasetSource(
            f"{task}-d-s", "b" * 64, partial(dict, truth), (lambda _: None) if missing else _pixels, missing
        )
        for task, truth in truths.items()
    }
    table = build_table(6, [cell.row for cell in cells[:1]], [cell.record for cell in cells])
    return Site(root, "table6-mini", table, cells, datasets)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Drawn]:
    """The three kinds of language cells, drawn once."""
    from tests.results.conftest import _record

    root = tmp_path_factory.mktemp("reports")
    return root, write_site(_site(root, _record))


def _page(root: Path, task: str) -> str:
    (path,) = root.glob(f"cells/mini/{task}/*/tiny/seed-0/index.html")
    return path.read_text(encoding="utf-8")


def test_every_cell_has_its_page_and_every_picture_its_words(pages: tuple[Path, Drawn]) -> None:
    root, drawn = pages
    assert drawn.problems == () and drawn.written == 7
    for task in ("vqa_main_land", "caption", "retrieval"):
        text = _page(root, task)
        assert "<script>" not in text and 'alt=""' not in text and "What stands under majority" in text
    assert "cells/mini/vqa_main_land/vqa_landform/tiny/seed-0/index.html" in (root / "table6-mini.html").read_text()


def test_a_question_page_shows_its_confusion_and_examples_with_both_answers(pages: tuple[Path, Drawn]) -> None:
    text = _page(pages[0], "vqa_main_land")
    assert "Answers to the test questions" in text and "another answer" in text
    with next(pages[0].glob("cells/mini/vqa_main_land/*/tiny/seed-0/confusion.csv")).open() as stream:
        rows = {row["true \\ said"]: row for row in csv.DictReader(stream)}
    assert rows["building"]["building"] == "3", "spelling is not what makes an answer wrong"
    assert rows["road"]["road"] == "0" and rows["road"]["another answer"] == "2"
    assert text.count("✓ ") == 8 and text.count("✗ ") == 2 and "no answer" in text
    assert "right: road" in text and "with another image: road" in text and "without any image: building" in text
    assert "8 of these 10 answers are right, 8 of all 10." in text
    assert text.count('src="example-') == 10


def test_models_are_compared_on_the_questions_that_divide_them(tmp_path: Path, make_record: MakeRecord) -> None:
    site = _site(tmp_path, make_record)
    first = site.cells[0]
    cell = first.record.cell.model_copy(update={"model": "other"})
    all_right = CellSource(
        first.record.model_copy(update={"cell": cell}),
        TableRow("other", "Other", "mini"),
        lambda: _said(_asked(), wrong=()),
    )
    write_site(Site(tmp_path, site.name, site.table, [first, all_right], site.datasets))
    (path,) = tmp_path.glob("compare/mini/vqa_main_land/*/index.html")
    text = path.read_text(encoding="utf-8")
    assert "What each model says" in text and text.count("1 of 2 models right") == 2
    assert text.count("✓ ") == 2 and text.count("✗ ") == 2 and len(list(path.parent.glob("example-*.png"))) == 2
    write_site(Site(tmp_path / "one", site.name, site.table, [first], site.datasets))
    (path,) = (tmp_path / "one").glob("compare/mini/vqa_main_land/*/index.html")
    assert "There is no question that some answer rightly" in path.read_text()


def test_many_different_answers_are_listed_by_how_often_they_are_given(
    tmp_path: Path, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("results.pages.questions.LARGEST_CONFUSION", 3)
    write_site(_site(tmp_path, make_record))
    text = _page(tmp_path, "vqa_main_land")
    assert "4 different answers are right somewhere" in text and "most common of 6 answers" not in text
    with next(tmp_path.glob("cells/mini/vqa_main_land/*/tiny/seed-0/answers.csv")).open() as stream:
        rows = {row["answer"]: row for row in csv.DictReader(stream)}
    assert rows["building"]["right answer of"] == "3" and rows["building"]["given and right"] == "3"
    assert rows["a desert"]["given"] == "1" and rows["no answer"]["given"] == "1"


def test_kinds_of_questions_are_told_apart_where_there_are_some(tmp_path: Path, make_record: MakeRecord) -> None:
    site = _site(tmp_path, make_record)
    kinds = {"top-left": {"accuracy": 75.0, "n": 4}, "bottom-right": {"accuracy": 25.0, "n": 4}}
    record = site.cells[0].record
    record = record.model_copy(update={"details": record.details | {"accuracy_by_kind": kinds}})
    write_site(
        Site(
            tmp_path,
            site.name,
            site.table,
            [CellSource(record, site.cells[0].row, site.cells[0].answers)],
            site.datasets,
        )
    )
    assert "bottom-right (4) 25.00; top-left (4) 75.00" in _page(tmp_path, "vqa_main_land")


def test_a_caption_page_shows_hypothesis_references_and_the_score_of_the_image(pages: tuple[Path, Drawn]) -> None:
    text = _page(pages[0], "caption")
    assert "6 different captions for 10 images" in text and "no jars" in text
    shown = by_hash(IMAGES, 8)
    for name in shown:
        assert f"CIDEr of this image: {100 + IMAGES.index(name):.2f}" in text
        assert f"{IMAGES.index(name)} ships, &lt;script&gt;" in text
    assert text.count("CIDEr of this image") == 8
    with next(pages[0].glob("cells/mini/caption/*/tiny/seed-0/captions.csv")).open() as stream:
        assert next(csv.DictReader(stream)) == {"caption": "ships", "images": "5"}
    assert "(empty)" in (next(pages[0].glob("cells/mini/caption/*/tiny/seed-0/captions.csv"))).read_text()


def test_a_retrieval_page_shows_places_and_the_first_five_answers(pages: tuple[Path, Drawn]) -> None:
    text = _page(pages[0], "retrieval")
    assert "Place of the first right answer: images that rank texts" in text
    folder = next(pages[0].glob("cells/mini/retrieval/*/tiny/seed-0"))
    with (folder / "places-i2t.csv").open() as stream:
        assert {row["name"]: row["share of the queries, %"] for row in csv.DictReader(stream)}["1"] == "100.0"
    with (folder / "places-t2i.csv").open() as stream:
        found = {row["name"]: float(row["share of the queries, %"]) for row in csv.DictReader(stream)}
    assert found["1"] == 0.0 and found["2 to 5"] == 100.0, "a tie counts against the model"
    assert text.count("<ol>") == 4 and text.count("<li><span") == 20, "five texts for each of four images"
    assert text.count("✓ ") == 8


@pytest.mark.parametrize(
    ("scores", "place"),
    [
        ([0.9, 0.5, 0.1], 2),
        ([0.5, 0.5, 0.5], 3),
        ([0.1, 0.9, 0.5], 1),
        ([None, 0.9, 0.5], 2),
        ([math.nan, 0.9, math.nan], 3),
        ([0.9, None, 0.5], None),
        ([0.9, -math.inf, 0.5], None),
    ],
)
def test_places_follow_the_rules_of_recall(scores: list[float | None], place: int | None) -> None:
    row = {"query": "q", "candidates": ["a", "right", "b"], "scores": scores}
    assert ranked(row, frozenset({"right"})).place == place


def test_without_images_pages_say_so(tmp_path: Path, make_record: MakeRecord) -> None:
    drawn = write_site(_site(tmp_path, make_record, missing="no --data-root was given"))
    assert drawn.problems == () and not list(tmp_path.rglob("example-*.png"))
    for task in ("vqa_main_land", "caption", "retrieval"):
        text = _page(tmp_path, task)
        assert "The images themselves are not here: no --data-root was given." in text and IMAGES[0] in text


def test_a_test_part_without_questions_makes_a_page(tmp_path: Path, make_record: MakeRecord) -> None:
    drawn = write_site(_site(tmp_path, make_record, asked={**_asked(), "test": []}))
    assert drawn.problems == () and "There are no test questions." in _page(tmp_path, "vqa_main_land")


def test_pages_are_the_same_bytes_and_not_drawn_twice(
    pages: tuple[Path, Drawn], tmp_path: Path, make_record: MakeRecord
) -> None:
    write_site(_site(tmp_path, make_record))
    for path in pages[0].rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.relative_to(pages[0])).read_bytes(), path
    assert write_site(_site(tmp_path, make_record)).written == 1


def test_examples_hang_on_no_model_and_no_order() -> None:
    names = [f"q{place}" for place in range(50)]
    assert by_hash(names, 5) == by_hash(reversed(names), 5) and len(set(by_hash(names * 2, 60))) == 50
    assert by_hash(names, 5) == by_hash(names, 9)[:5] and by_hash(names, 5) != sorted(names)[:5]


def test_pictures_are_drawn_once_each(tmp_path: Path) -> None:
    from results.pages.examples import Pictures
    from results.pages.folder import PageFolder

    asked: list[str] = []

    def image_of(image_id: str) -> Pixels | None:
        asked.append(image_id)
        return _pixels(image_id) if image_id in IMAGES else None

    pictures = Pictures(DatasetSource("d", "", dict, image_of), PageFolder(tmp_path))
    shown = [pictures.alone(name) for name in (IMAGES[0], "not there", IMAGES[0], "not there")]
    assert asked == [IMAGES[0], "not there"] and len(list(tmp_path.iterdir())) == 1 and "not there" in shown[1]
    assert isinstance(pictures.figure(IMAGES[0], "words"), str)
