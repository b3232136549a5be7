"""From boxes and masks to the questions of both parts, and to a truth that is enough to score."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.cache import cache_root
from foundation.errors import MissingError
from tasks.builders.questions import LONGEST_QUESTION, word_pieces_at_most
from tasks.datasets.records import Box, DatasetIndex
from tasks.protocol import common_settings
from tasks.registry import get_task
from tasks.vqa.asking import cover_counts
from tasks.vqa.data import VqaData, build, derangement, natural_order, truth_of
from tests.tasks.vqa.toy_questions import counted, entry, index_of, row_of_boxes, small, with_masks, without_tests

WriteImage = Callable[[Path, Any], Path]


def types_index(root: Path = Path("nowhere")) -> DatasetIndex:
    """Aircraft with types, and ships whose boxes only say that they are ships."""
    boxes = tuple(Box(8 * n + 2, 2, 4, 4, label) for n, label in enumerate((0, 1, 2)))
    ships = tuple(box._replace(label=3) for box in boxes)
    images = [
        *(entry(f"fusar_air_sense/{n}.png", part, boxes=boxes) for n, part in enumerate(("train", "train", "test"))),
        *(entry(f"fusar_ship_sense/{n}.png", part, boxes=ships) for n, part in enumerate(("train", "test", "train"))),
    ]
    return index_of(root, images, classes=("A330", "Boeing737", "A320/321", "ship"))


def built(index: DatasetIndex, task: str, **options: Any) -> VqaData:
    return build(index, options.pop("settings", None) or small(), task=task, **options)


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory, write_image: WriteImage) -> DatasetIndex:
    return counted(tmp_path_factory.mktemp("counted"), write_image)


def test_a_task_asks_its_own_questions_of_the_images_of_each_part(counts: DatasetIndex) -> None:
    data = built(counts, "vqa_target_count")
    assert (len(data.train), len(data.test)) == (48, 12)
    assert {question.task for question in (*data.train, *data.test)} == {"vqa_target_count"}
    part = {image.image_id: image.part for image in counts.images}
    assert {part[question.image_id] for question in data.train} == {"train"}
    assert {part[question.image_id] for question in data.test} == {"test"}
    assert data.classes == ("0", "1", "2", "3") and data.counts("train") == (12, 12, 12, 12)
    assert data.counts("test") == (3, 3, 3, 3)
    assert data.warnings == () and data.balanced == () and not data.cut


def test_images_without_a_question_take_no_part(counts: DatasetIndex) -> None:
    data = built(counts, "vqa_target_pos")
    empty = {image.image_id for image in counts.images if not image.boxes}
    assert len(data.split.train) == 36 and not empty & {*data.split.train, *data.split.test}
    assert data.split.hash != built(counts, "vqa_target_count").split.hash
    assert data.classes == ("1", "1,2", "1,2,3")


def test_types_are_asked_where_there_are_some_and_named_as_in_the_label_list() -> None:
    data = built(types_index(), "vqa_target_rec")
    assert {question.image_id.split("/")[0] for question in (*data.train, *data.test)} == {"fusar_air_sense"}
    assert data.types == ("A330", "Boeing737", "A320/321") == data.classes
    assert data.counts("train") == (2, 2, 2) and data.counts("test") == (1, 1, 1)


def test_boxes_without_types_leave_nothing_to_ask_about() -> None:
    index = types_index()
    ships = replace(index, images=index.images[3:])
    with pytest.raises(MissingError, match="vqa_target_rec about 0 images to train with and 0 to test with"):
        built(ships, "vqa_target_rec")


def test_a_limit_counts_images_that_are_asked_about(counts: DatasetIndex) -> None:
    data = built(counts, "vqa_target_pos", limit=3)
    assert (len(data.split.train), len(data.split.test), data.cut) == (3, 3, True)
    assert len(data.train) == len(data.test) == 3
    with pytest.raises(MissingError, match="0 images to train with") as caught:
        built(counts, "vqa_target_pos", limit=0)
    assert "--limit" in caught.value.way_out


def test_paraphrases_ask_everything_three_times_in_both_parts(counts: DatasetIndex) -> None:
    plain, rich = (built(counts, "vqa_target_count", settings=small(paraphrases=value)) for value in (False, True))
    assert (len(rich.train), len(rich.test)) == (3 * len(plain.train), 3 * len(plain.test))
    assert len({question.question_id for question in rich.test}) == 36


def test_coordinates_are_in_the_unit_of_the_settings() -> None:
    percent, pixel = (
        built(types_index(), "vqa_target_rec", settings=small(coords=unit)) for unit in ("percent", "pixel")
    )
    assert any("[16.7, 16.7]" in question.question for question in percent.test)
    assert any("[4.0, 4.0]" in question.question for question in pixel.test)


@pytest.mark.parametrize("coords", ["percent", "pixel"])
@pytest.mark.parametrize("side", [24, 1024, 9999])
def test_no_question_is_longer_than_the_paper_allows(coords: str, side: int) -> None:
    """Table 5: 35 word pieces."""
    boxes = tuple(Box(side * n / 4 + 0.3, side * (3 - n) / 4, side / 8, side / 8, n % 3) for n in range(4))
    images = [
        entry(f"fusar_ship_sense/{part}.png", part, boxes=boxes, width=side, height=side) for part in ("train", "test")
    ]
    for task in ("vqa_target_count", "vqa_target_rec", "vqa_target_pos"):
        data = built(index_of(Path("nowhere"), images), task, settings=small(coords=coords, paraphrases=True))
        assert max(word_pieces_at_most(question.question) for question in data.train) <= LONGEST_QUESTION == 35


def test_an_answer_that_is_too_common_gets_a_warning_and_a_balanced_list() -> None:
    images = [entry(f"fusar_air_sense/{n}.png", "train", boxes=row_of_boxes(n % 2)) for n in range(4)]
    images += [entry(f"fusar_air_sense/{n}.png", "test", boxes=row_of_boxes(int(n < 7))) for n in range(4, 14)]
    data = built(index_of(Path("nowhere"), images), "vqa_target_count")
    assert data.warnings == ("vqa_target_count: 70.0 % of the answers are '0'; see the balanced list",)
    answers = {question.question_id: question.answer for question in data.test}
    assert sorted(answers[name] for name in data.balanced) == ["0"] * 3 + ["1"] * 3
    assert truth_of(data)["balanced"] == list(data.balanced)


MASKS = [
    np.where(np.arange(12)[:, None] < 6, n % 4, 3) * np.ones((12, 12), dtype=int) for n in range(8)
]  # upper half one cover, lower half road


def test_land_covers_are_counted_once_and_read_from_the_cache(
    tmp_path: Path, write_image: WriteImage, own_cache: Path
) -> None:
    index = with_masks(tmp_path, write_image, MASKS)
    first = built(index, "vqa_reg_land")
    assert {question.meta["quadrant"] for question in first.test} >= {"top-left", "bottom-right"}
    assert len(list((own_cache / "land_covers").iterdir())) == 1
    for file in (tmp_path / "labels").iterdir():
        file.unlink()
    assert built(index, "vqa_reg_land").test == first.test
    assert cover_counts(index)["fusar_map/000.png"].tile.covers == (72, 0, 0, 72)


def test_what_counts_as_land_cover_and_as_a_close_call_is_a_setting(
    tmp_path: Path, write_image: WriteImage, own_cache: Path
) -> None:
    """Of a tile half of which is road, and of one that is all road."""
    assert own_cache.is_dir()
    index = with_masks(tmp_path, write_image, MASKS, parts=("train", "test") * 2 + ("test", "train") * 2)

    def answers(task: str, **changes: Any) -> set[str]:
        data = built(index, task, settings=small(**changes))
        return {question.answer for question in (*data.train, *data.test)}

    assert answers("vqa_all_land") == {"building, road", "vegetation, road", "water, road", "road"}
    assert answers("vqa_all_land", min_share=0.6) == {"road"}
    assert answers("vqa_main_land") > {"road"}
    assert answers("vqa_main_land", min_margin=0.1) == {"road"}, "the others are halves"


def test_a_damaged_cache_is_made_again(tmp_path: Path, write_image: WriteImage, own_cache: Path) -> None:
    index = with_masks(tmp_path, write_image, MASKS)
    right = cover_counts(index)
    (note,) = (cache_root() / "land_covers").iterdir()
    for damage in ("{", "[]", '{"fusar_map/000.png": {"tile": [[1], 2], "quadrants": {}}}'):
        note.write_text(damage)
        assert cover_counts(index) == right
    assert own_cache in note.parents


def test_masks_of_another_content_are_counted_anew(tmp_path: Path, write_image: WriteImage, own_cache: Path) -> None:
    before = cover_counts(with_masks(tmp_path, write_image, MASKS))
    index = with_masks(tmp_path, write_image, MASKS[::-1])
    assert cover_counts(replace(index, data_hash="other")) != before
    assert len(list((own_cache / "land_covers").iterdir())) == 2


def test_close_calls_are_asked_on_real_data_and_not_on_synthetic_data(tmp_path: Path, write_image: WriteImage) -> None:
    even = np.zeros((12, 12), dtype=int)
    even[:, :6] = 1  # as much vegetation as buildings
    index = with_masks(tmp_path, write_image, [even, even, MASKS[3], MASKS[3]])
    real, synthetic = (built(replace(index, world=world), "vqa_main_land") for world in (None, "a world"))
    assert [question.meta["ambiguous"] for question in real.test].count(True) == 1
    assert {question.answer for question in synthetic.test} == {"road"} and len(synthetic.test) == 1


def test_a_label_map_with_other_covers_is_refused(tmp_path: Path, write_image: WriteImage) -> None:
    index = replace(with_masks(tmp_path, write_image, MASKS), classes=("land", "sea"))
    with pytest.raises(MissingError, match="land, sea"):
        built(index, "vqa_main_land")


def test_answers_stand_in_the_order_of_their_space() -> None:
    assert natural_order("vqa_target_count", {"10", "9", "0"}, ()) == ("0", "9", "10")
    assert natural_order("vqa_target_pos", {"2", "1,9", "1,2,7", "1"}, ()) == ("1", "1,2,7", "1,9", "2")
    assert natural_order("vqa_target_rec", {"B", "A"}, ("B", "A")) == ("B", "A")
    covers = {"water", "building, road", "building", "vegetation, water"}
    assert natural_order("vqa_all_land", covers, ()) == ("building", "building, road", "vegetation, water", "water")


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 99)), min_size=2, max_size=20, unique=True))
def test_every_image_is_exchanged_for_another_and_none_is_used_twice(made: list[tuple[str, int]]) -> None:
    images = [f"{source}/{number}" for source, number in made]
    others = derangement(images)
    assert set(others) == set(others.values()) == set(images)
    assert all(other != image for image, other in others.items())
    assert others == derangement(images[::-1])
    across = sum(image[0] != other[0] for image, other in others.items())
    sources = len({image[0] for image in images})
    assert across == (sources if sources > 1 else 0)


def test_one_test_image_has_no_other(counts: DatasetIndex) -> None:
    data = built(without_tests(counts, 1), "vqa_target_count")
    assert data.other_images == {} and truth_of(data)["test"][0]["other_image_id"] is None


def test_the_truth_is_json_and_holds_what_the_baselines_need(counts: DatasetIndex) -> None:
    data = built(counts, "vqa_target_count")
    truth = truth_of(data)
    assert json.loads(json.dumps(truth)) == truth
    assert truth["task"] == "vqa_target_count" and truth["classes"] == ["0", "1", "2", "3"]
    assert truth["train_answers"] == {"aircraft": dict.fromkeys("0123", 12)}
    row = truth["test"][0]
    assert row["answer"] == data.test[0].answer and row["question"] == data.test[0].question
    assert row["kind"] == "aircraft" and row["other_image_id"] != row["image_id"]


def test_without_an_image_the_noun_tells_what_is_most_likely() -> None:
    images = [
        entry(f"{source}/{part}{n}.png", part, boxes=row_of_boxes(count))
        for source, count in (("fusar_air_sense", 2), ("fusar_ship_sense", 5))
        for part in ("train", "test")
        for n in range(3)
    ]
    truth = truth_of(built(index_of(Path("nowhere"), images), "vqa_target_count"))
    assert {(row["kind"], row["question_only"]) for row in truth["test"]} == {("aircraft", "2"), ("ship", "5")}


def test_without_an_image_the_place_tells_the_type_where_it_does() -> None:
    def boxes(number: int) -> tuple[Box, ...]:
        shift = number % 4
        return (Box(1 + shift, 10, 4, 4, 0), Box(16 + shift / 2, 10, 4, 4, 1))

    images = [
        entry(f"fusar_air_sense/{n}.png", "test" if n % 4 == 0 else "train", boxes=boxes(n // 4)) for n in range(40)
    ]
    truth = truth_of(built(index_of(Path("nowhere"), images), "vqa_target_rec"))
    assert all(row["question_only"] == row["answer"] for row in truth["test"])
    assert {row["answer"] for row in truth["test"]} == {"A330", "Boeing737"}


def test_planning_and_scoring_need_no_torch() -> None:
    code = "import sys, tasks.vqa.data, tasks.vqa.score; print({'torch', 'klip'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


def test_the_registry_builds_each_task_with_its_own_questions(counts: DatasetIndex) -> None:
    data: Any = get_task("vqa_target_pos").build(counts, common_settings("mini", "vqa_target_pos"), limit=4)
    assert data.task == "vqa_target_pos" and len(data.train) == 4
