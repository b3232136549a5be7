"""`harness data build language`, and where plans find the data sets that texts and questions are made from."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from foundation.errors import CheckError, MissingError, UsageError
from foundation.files import write_bytes
from harness import language_data
from harness.cli import app
from harness.data_commands import text_lines
from harness.language_data import MARKER, TextChoices, Written, build_language
from harness.plan import State, make_plan, prepare
from harness.request import RunRequest
from harness.sources import data_source, read
from tasks.builders.questions import FORMS, word_pieces_at_most
from tasks.catalog import COMPOSED
from tests.harness.conftest import Harness

Rows = list[dict[str, Any]]


def rows(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written(root: Path, out: Path, **choices: Any) -> dict[str, Written]:
    found, _ = build_language(RunRequest(data_root=root), out, TextChoices(**choices))
    return {one.dataset: one for one in found}


@pytest.fixture(scope="module")
def texts(tiny_vision_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes for one data set with boxes and one with masks."""
    out = tmp_path_factory.mktemp("texts")
    written(tiny_vision_root, out)
    return out


# ---- what is written


def test_a_caption_file_holds_five_records_of_every_image_and_their_part(texts: Path) -> None:
    found = rows(texts / "rs_captions/captions.jsonl")
    assert list(found[0]) == ["image_id", "caption_id", "template", "text", "part"]  # section 2.1
    assert Counter(row["part"] for row in found) == {"train": 40, "test": 10}
    assert set(Counter(row["image_id"] for row in found).values()) == {5}
    assert len({row["caption_id"] for row in found}) == 50
    assert all(row["image_id"].startswith("fusar_ship_sense/") and "\n" not in row["text"] for row in found)


def test_a_question_file_holds_the_records_of_section_2_1_within_the_limit_of_table_5(texts: Path) -> None:
    for dataset in ("vqa_targets", "vqa_landform"):
        found = rows(texts / dataset / "questions.jsonl")
        fields = ["question_id", "image_id", "task", "question", "answer", "answer_set", "meta", "part"]
        assert found and all(list(row) == fields for row in found)
        assert len({row["question_id"] for row in found}) == len(found)
        assert max(word_pieces_at_most(row["question"]) for row in found) <= 35
        trained = {row["image_id"] for row in found if row["part"] == "train"}
        assert not trained & {row["image_id"] for row in found if row["part"] == "test"}


def test_files_hold_exactly_what_the_tasks_ask(texts: Path, tiny_vision_root: Path) -> None:
    request = RunRequest(data_root=tiny_vision_root)
    for task, dataset in (("vqa_target_pos", "vqa_targets"), ("vqa_reg_land", "vqa_landform")):
        source = data_source(request, dataset, build_world=False)
        assert source is not None
        data = prepare(request, task, source)
        own = [row for row in rows(texts / dataset / "questions.jsonl") if row["task"] == task]
        for part in ("train", "test"):
            expected = [question.to_json() | {"part": part} for question in getattr(data, part)]
            assert [row for row in own if row["part"] == part] == expected


def test_the_histogram_counts_the_answers_of_the_file(texts: Path) -> None:
    for dataset in ("vqa_targets", "vqa_landform"):
        told = json.loads((texts / dataset / "histogram.json").read_text())
        found = rows(texts / dataset / "questions.jsonl")
        assert set(told["tasks"]) == {row["task"] for row in found}
        for task, facts in told["tasks"].items():
            for part in ("train", "test"):
                counts = Counter(row["answer"] for row in found if row["task"] == task and row["part"] == part)
                assert facts["answers"][part] == dict(counts) and facts["questions"][part] == counts.total()
                share = 100 * max(counts.values()) / counts.total()
                assert facts["most_common_share"][part] == pytest.approx(share, abs=0.051)


def test_an_answer_that_stands_out_is_told_and_gets_a_balanced_list(texts: Path) -> None:
    # Every one of the tiny scenes holds two ships, so there is nothing that could balance the number.
    told = json.loads((texts / "vqa_targets/histogram.json").read_text())["tasks"]["vqa_target_count"]
    assert told["most_common_share"]["test"] == 100.0 and "'2'" in told["warning"] and told["balanced"] == 0
    assert not (texts / "vqa_targets/balanced/vqa_target_count.txt").exists()


def test_a_balanced_list_names_test_questions_and_flattens_their_answers(tmp_path: Path) -> None:
    root = tmp_path / "data"
    _ships(root, lambda number: 1 if number % 8 else 2)
    found = written(root, tmp_path / "out", only=("vqa_targets",))["vqa_targets"]
    assert any("vqa_target_count" in warning for warning in found.warnings)
    listed = (tmp_path / "out/vqa_targets/balanced/vqa_target_count.txt").read_text().splitlines()
    tested = {row["question_id"]: row for row in rows(tmp_path / "out/vqa_targets/questions.jsonl")}
    answers = Counter(tested[name]["answer"] for name in listed)
    rare = Counter(
        row["answer"] for row in tested.values() if row["part"] == "test" and row["task"] == "vqa_target_count"
    )["2"]
    assert answers == {"1": rare, "2": rare} and all(tested[name]["part"] == "test" for name in listed)


def _ships(root: Path, count: Callable[[int], int], scenes: int = 40) -> None:
    """FU-SS with so many ships in each scene."""
    import numpy as np
    from PIL import Image

    folder = root / "fusar_ship_sense"
    (folder / "images").mkdir(parents=True)
    boxes = []
    for number in range(scenes):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        boxes += [{"image_id": number, "category_id": 1, "bbox": [8 * n, 4, 6, 6]} for n in range(count(number))]
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(scenes)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "ship"}]}
    (folder / "instances_all.json").write_text(json.dumps(content))


def test_same_data_and_choices_give_the_same_bytes_wherever_they_lie(
    texts: Path, tiny_vision_root: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(tiny_vision_root, tmp_path / "elsewhere")
    written(moved, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(texts)
    assert str(tmp_path).encode() not in b"".join(contents(tmp_path / "out").values())
    before = contents(tmp_path / "out")
    written(moved, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_the_marker_tells_data_and_choices_and_every_file(texts: Path) -> None:
    from foundation.hashing import hash_bytes

    about = json.loads((texts / MARKER).read_text())
    assert about["complete"] and about["choices"]["coords"] == "percent" and about["choices"]["images"] is None
    others = {name: hash_bytes(data) for name, data in contents(texts).items() if name != MARKER}
    assert about["files"] == others
    assert set(about["data"]) == set(COMPOSED) and len(about["data"]["rs_captions"]["data_hash"]) == 64


# ---- choices


def test_paraphrases_ask_everything_three_times(tiny_vision_root: Path, tmp_path: Path, texts: Path) -> None:
    written(tiny_vision_root, tmp_path, paraphrases=True, only=("vqa_landform",))
    once, thrice = (rows(folder / "vqa_landform/questions.jsonl") for folder in (texts, tmp_path))
    assert len(thrice) == 3 * len(once)
    assert [row for row in thrice if row["meta"]["form"] == 0] == once
    assert {row["question"] for row in thrice if row["task"] == "vqa_main_land"} == set(FORMS["vqa_main_land"])


def test_places_are_told_in_pixels_on_demand(tmp_path: Path, write_air_f: Callable[[Path], Path]) -> None:
    root = write_air_f(tmp_path / "data")
    asked = {}
    for coords in ("percent", "pixel"):
        written(root, tmp_path / coords, coords=coords, only=("vqa_targets",))
        found = rows(tmp_path / coords / "vqa_targets/questions.jsonl")
        asked[coords] = {row["question"].partition("[")[2] for row in found if row["task"] == "vqa_target_rec"}
    assert asked == {"percent": {"22.5, 23.3]."}, "pixel": {"9.0, 7.0]."}}


@pytest.fixture(scope="session")
def write_air_f() -> Callable[[Path], Path]:
    """SAR-AIRcraft-1.0 with four training and two test images of one aircraft each."""

    def write(root: Path) -> Path:
        import numpy as np
        from PIL import Image

        folder = root / "SAR-AIRcraft-1.0"
        for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (folder / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.random.default_rng(number).integers(0, 256, (30, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "JPEGImages" / f"{number}.jpg")
            box = "<bndbox><xmin>5</xmin><ymin>3</ymin><xmax>14</xmax><ymax>12</ymax></bndbox>"
            size = "<size><width>40</width><height>30</height></size>"
            content = f"<annotation>{size}<object><name>A330</name>{box}</object></annotation>"
            (folder / "Annotations" / f"{number}.xml").write_text(content)
        for part, numbers in {"train": range(4), "val": (), "test": (4, 5)}.items():
            lines = "".join(f"{number}\n" for number in numbers)
            (folder / "ImageSets/Main" / f"{part}.txt").write_text(lines)
        return root

    return write


def test_fewer_images_are_taken_in_hash_order_from_every_source(
    tmp_path: Path, write_air_f: Callable[[Path], Path]
) -> None:
    root = write_air_f(tmp_path / "data")
    _ships(root, lambda number: number % 3, scenes=18)
    every, some = (
        written(root, tmp_path / name, images=images, only=("rs_captions",))["rs_captions"]
        for name, images in (("every", None), ("some", 12))
    )
    assert sum(every.images.values()) == 24 and sum(some.images.values()) == 12
    assert all(set(some.histogram[part]["images"]) == {"fusar_ship_sense", "sar_aircraft_few"} for part in some.images)
    whole, part = (rows(tmp_path / name / "rs_captions/captions.jsonl") for name in ("every", "some"))
    assert part == [row for row in whole if row in part], "the same records, in the same order"
    with pytest.raises(CheckError, match="learnt and asked"):
        written(root, tmp_path / "one", images=1)


def test_another_split_reaches_the_parts(tiny_vision_root: Path, tmp_path: Path) -> None:
    request = RunRequest(data_root=tiny_vision_root, data_choices={"split": {"fusar_map": "7:3"}})
    found, _ = build_language(request, tmp_path, TextChoices(only=("vqa_landform",)))
    assert found[0].images == {"train": 7, "test": 3}


def test_land_covers_of_another_label_map_are_refused(tiny_vision_root: Path, tmp_path: Path) -> None:
    request = RunRequest(data_root=tiny_vision_root, data_choices={"label_map": {"fusar_map": "map5"}})
    with pytest.raises(MissingError, match="background") as caught:
        build_language(request, tmp_path, TextChoices(only=("vqa_landform",)))
    assert "map4_labelled" in caught.value.way_out


# ---- folders


def test_files_of_an_earlier_call_are_replaced_and_those_of_others_are_not(
    tiny_vision_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    written(tiny_vision_root, out)
    written(tiny_vision_root, out, only=("vqa_targets",))
    assert {path.name for path in out.iterdir()} == {MARKER, "vqa_targets"}
    (out / "vqa_targets/mine.txt").write_text("notes")
    before = contents(out)
    with pytest.raises(UsageError, match=r"vqa_targets/mine\.txt"):
        written(tiny_vision_root, out)
    assert contents(out) == before


def test_a_folder_of_somebody_else_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/captions.jsonl").write_text("")
    with pytest.raises(UsageError, match="did not write") as caught:
        written(tmp_path / "no data here", tmp_path / "out")
    assert "empty folder" in caught.value.way_out
    with pytest.raises(UsageError):  # a file is no folder
        written(tmp_path, tmp_path / "out/captions.jsonl")


@pytest.mark.parametrize("when", range(1, 5))
def test_a_call_that_was_killed_is_finished_by_the_next_one(
    texts: Path, tiny_vision_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    from harness import language_data

    written(tiny_vision_root, tmp_path, only=("vqa_landform",), paraphrases=True)
    left = when

    def dying(path: Path, data: bytes, write: Callable[[Path, bytes], None] = write_bytes) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            path.parent.mkdir(exist_ok=True)
            (path.parent / ".partial-torn").write_bytes(data[:3])
            raise KeyboardInterrupt
        write(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(language_data, "write_bytes", dying)
        with pytest.raises(KeyboardInterrupt):  # of the four files of two data sets; the third is to go
            written(tiny_vision_root, tmp_path, only=("rs_captions", "vqa_targets"))
    written(tiny_vision_root, tmp_path)
    assert contents(tmp_path) == contents(texts)


# ---- the command


def test_the_command_prints_histograms_and_is_silent_as_data(
    harness: Harness, tiny_vision_root: Path, tmp_path: Path
) -> None:
    done = harness("data", "build", "language", "--out", "texts", "--data-root", tiny_vision_root)
    assert done.returncode == 0, done.stderr
    assert "rs_captions: 10 images, 40 captions to train, 10 to test" in done.stdout
    assert "vqa_target_count, test answers: 2 (2); the most common 100 %" in done.stdout
    assert "note: fusar_air_sense, sar_aircraft_few is not there and left out" in done.stdout
    again = harness("data", "build", "language", "--out", "texts", "--data-root", tiny_vision_root, "--json")
    told = json.loads(again.stdout)
    assert [one["dataset"] for one in told["datasets"]] == list(COMPOSED) and told["missing"] == []
    assert all((tmp_path / "texts" / name).is_file() for one in told["datasets"] for name in one["files"])


def test_data_are_read_and_divided_as_in_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[RunRequest] = []

    def noted(request: RunRequest, *_: object) -> tuple[list[Written], list[object]]:
        asked.append(request)
        return [], []

    monkeypatch.setattr(language_data, "build_language", noted)
    read_as = {
        "split": "fusar_map=7:3",
        "split_file": "fusar_ship_sense=ships.json",
        "group": "fusar_map=scene",
        "group_near_duplicates": "fusar_air_sense=yes",
        "pool": "sar_aircraft_few=train",
        "voc_origin": "sar_aircraft_few=1",
    }
    given = [word for name, value in read_as.items() for word in (f"--{name.replace('_', '-')}", value)]
    words = ["data", "build", "language", "--out", str(tmp_path), "--profile", "paper", *given]
    done = CliRunner().invoke(app, words)
    assert done.exception is None, done.output
    chosen = {name: dict([value.split("=")]) for name, value in read_as.items()}
    assert (asked[0].profile, asked[0].data_choices) == ("paper", chosen)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("language",), "need a folder"),
        (("language", "--out", "x", "--size", "ci"), "--size"),
        (("language", "--out", "x", "--utm"), "--utm"),
        (("language", "--out", "x", "--world", "cj"), "unknown size"),
        (("language", "--out", "x", "--only", "vqa_target"), "unknown data set of texts"),
        (("language", "--out", "x", "--coords", "metres"), "unknown unit"),
        (("language", "--out", "x", "--data-root", "nowhere"), "not a folder"),
        (("language", "--out", "x", "--split", "sar_acdc=4:1"), "unknown data set"),
        (("langauge", "--out", "x"), "belongs to texts"),
        (("sarworld", "--coords", "pixel"), "--coords"),
        (("sarworld", "--n-images", "10"), "--n-images"),
        (("sarworld", "--group", "fusar_map=scene"), "--group"),
        (("sarworld", "--profile", "paper"), "--profile"),
    ],
)
def test_what_means_nothing_is_refused_with_the_way_out(
    arguments: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = CliRunner().invoke(app, ["data", "build", *arguments]).exception
    assert isinstance(error, UsageError) and says in str(error) and error.way_out


def test_long_lists_of_answers_are_cut_in_print_and_whole_in_the_file() -> None:
    answers = {str(number): 1 for number in range(9)}
    told = {"answers": {"test": answers}, "most_common_share": {"test": 11.1}}
    found = Written(
        "vqa_targets",
        "questions",
        None,
        {"train": 1, "test": 1},
        {"train": 0, "test": 9},
        {"tasks": {"t": told}},
        (),
        (),
    )
    assert "5 (1) and 3 more; the most common 11 %" in text_lines(found)[1]


# ---- plans


LANGUAGE = "retrieval,caption,vqa"


def plan(**request: Any) -> dict[str, tuple[State, str, str]]:
    """State, reason and way out by data set."""
    made = make_plan(RunRequest(models="random-mini", **request), build_world=False)
    return {cell.cell.dataset: (cell.state, cell.reason, cell.way_out) for cell in made.cells}


def test_one_part_is_enough_for_a_composed_data_set(tiny_vision_root: Path, tmp_path: Path) -> None:
    only_ships = tmp_path / "data"
    shutil.copytree(tiny_vision_root / "fusar_ship_sense", only_ships / "fusar_ship_sense")
    found = plan(tasks="language", data_root=only_ships)
    assert {found[name][0] for name in ("rs_captions", "vqa_targets")} <= {State.TODO, State.DATA}
    assert found["rs_captions"][0] is State.TODO
    state, reason, way_out = found["vqa_landform"]
    assert state is State.DATA and "none of them is under the data root" in reason and "fusar_map" in way_out


def test_without_any_part_a_named_data_set_ends_the_plan_and_says_what_to_put_where(tiny_root: Path) -> None:
    with pytest.raises(MissingError, match="rs_captions") as caught:
        plan(tasks="rs_captions", data_root=tiny_root)
    for folder in ("fusar_air_sense", "fusar_ship_sense", "SAR-AIRcraft-1.0"):
        assert folder in caught.value.way_out


def test_a_task_that_a_group_brought_along_keeps_its_cells_without_data(tiny_root: Path) -> None:
    found = plan(tasks="language", data_root=tiny_root)
    assert {state for state, _, _ in found.values()} == {State.DATA}
    with pytest.raises(MissingError, match="could be made from"):
        build_language(RunRequest(data_root=tiny_root), tiny_root.parent / "never", TextChoices())


def test_of_the_synthetic_world_only_the_parts_that_are_needed_are_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUSAR_KLIP_CACHE", str(tmp_path / "cache"))
    request = RunRequest(models="random-mini", tasks="vqa_main_land", world="ci")
    (cell,) = make_plan(request, build_world=False).cells
    assert cell.state is State.TODO and "not built yet" in cell.reason
    found, _ = build_language(request, tmp_path / "out", TextChoices(only=("vqa_landform",)))
    assert found[0].world is not None and "ci" in found[0].world
    (world,) = (tmp_path / "cache/sarworld").iterdir()
    assert {path.name for path in world.iterdir() if path.is_dir()} == {"fusar_map"}
    (cell,) = make_plan(request, build_world=False).cells
    assert cell.state is State.TODO and not cell.reason and cell.train_items > 0
    source = data_source(request, "vqa_landform", build_world=False)
    assert source is not None and source.root == world and read(request, source).world == found[0].world
