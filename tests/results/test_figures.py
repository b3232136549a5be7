"""Figures: what is matched and chosen, what is drawn where, and the same bytes each time."""

from __future__ import annotations

import csv
import io
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foundation.errors import CheckError
from results.figures.charts import Line, Range, bar_chart, line_chart, ticks
from results.figures.colours import MATCHED, MISSED, RIGHT, TRUTH, UNMATCHED, WRONG, class_colours, shade
from results.figures.figure import csv_text, drawn_from, png_bytes
from results.figures.matching import Matching, match, overlap_of
from results.figures.radar import OUTER, Axis, radar, spokes
from results.figures.selection import Mixture, choose_detection, choose_disagreement, choose_segmentation, clutter
from results.figures.tiles import (
    IGNORE,
    base_tile,
    contact_sheet,
    decode_mask,
    detection_tile,
    error_tile,
    mask_tile,
    side_by_side,
    truth_tile,
)
from results.reported import columns, reported_rows, reported_value

ALONE = [10.0, 10.0, 20.0, 20.0, 0, False]


def _read(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table)))


# Matching (section 13, Fig. 12)


def test_a_detection_finds_the_target_it_covers_and_scores_below_one_half_are_not_drawn() -> None:
    found = match([[10, 10, 20, 20, 0, 0.5], [10, 10, 20, 20, 0, 0.49]], [ALONE])
    assert (found.matched, found.unmatched, found.missed) == (1, 0, ())


def test_a_second_detection_of_the_same_target_is_unmatched_and_the_surer_one_wins() -> None:
    found = match([[10, 10, 20, 20, 0, 0.6], [11, 10, 20, 20, 0, 0.9]], [ALONE])
    assert [(one.score, one.target) for one in found.detections] == [(0.9, 0), (0.6, None)]


@pytest.mark.parametrize(("height", "matched"), [(10.0, 1), (9.99, 0)])
def test_an_overlap_of_exactly_one_half_counts(height: float, matched: int) -> None:
    assert match([[10, 10, 20, height, 0, 0.9]], [ALONE]).matched == matched


def test_another_class_finds_nothing() -> None:
    found = match([[10, 10, 20, 20, 1, 0.9]], [ALONE])
    assert (found.matched, found.unmatched, found.missed) == (0, 1, (0,))


boxes = st.tuples(*(st.integers(0, 30) for _ in range(2)), *(st.integers(1, 20) for _ in range(2)), st.integers(0, 1))


@given(st.lists(st.tuples(boxes, st.integers(0, 100)), max_size=8), st.lists(boxes, max_size=6))
def test_counts_always_add_up_and_no_target_is_found_twice(
    answers: list[tuple[tuple[int, ...], int]], targets: list[tuple[int, ...]]
) -> None:
    found = match([[*box, score / 100] for box, score in answers], targets)
    assert found.matched + found.unmatched == sum(score >= 50 for _, score in answers)
    assert found.matched + len(found.missed) == len(targets)
    taken = [one.target for one in found.detections if one.target is not None]
    assert len(taken) == len(set(taken))
    for one in found.detections:
        if one.target is not None:
            assert one.overlap == overlap_of(one.box, targets[one.target]) >= 0.5
            assert targets[one.target][4] == one.label


@given(boxes, boxes)
def test_overlap_is_that_of_counted_pixels(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    grid = np.zeros((2, 60, 60), dtype=bool)
    for place, (x, y, width, height, _) in enumerate((first, second)):
        grid[place, y : y + height, x : x + width] = True
    expected = (grid[0] & grid[1]).sum() / (grid[0] | grid[1]).sum()
    assert overlap_of(first, second) == pytest.approx(expected, abs=1e-12)


# Choosing images by rule


def _row(name: str, boxes: Sequence[Sequence[float]]) -> dict[str, object]:
    return {"image_id": name, "width": 100, "height": 100, "boxes": [[*box, 0, False] for box in boxes]}


def test_the_images_with_most_small_targets_near_the_border_come_first_then_strong_clutter() -> None:
    small_at_border, small_inside, large_at_border = (
        [1.0, 50.0, 5.0, 5.0],
        [50.0, 50.0, 5.0, 5.0],
        [0.0, 0.0, 60.0, 60.0],
    )
    truth = [
        _row("inside", [small_inside] * 3),
        _row("one", [small_at_border, large_at_border]),
        _row("two", [small_at_border] * 2),
        _row("large", [large_at_border] * 3),
        _row("wild", []),
        _row("calm", []),
    ]

    def image_of(name: str) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        strength = {"wild": 255, "large": 90}.get(name, 3)
        return (np.random.default_rng(1).random((100, 100)) * strength).astype(np.uint8)

    chosen = [choice.image_id for choice in choose_detection(truth, image_of, count=2)]
    assert chosen == ["two", "one", "wild", "large"]
    without = choose_detection(truth, lambda _: None, count=2)
    assert [choice.image_id for choice in without] == ["two", "one", "inside", "large"]
    assert len({choice.image_id for choice in choose_detection(truth, image_of, count=9)}) == len(truth)


def test_clutter_is_measured_outside_the_boxes_alone() -> None:
    pixels = np.zeros((64, 64), dtype=np.uint8)
    pixels[20:30, 20:30] = np.random.default_rng(0).integers(0, 255, (10, 10))
    assert clutter(pixels, []) > 10
    assert clutter(pixels, [[18.0, 18.0, 14.0, 14.0]]) == 0.0
    assert clutter(pixels, [[0.0, 0.0, 64.0, 64.0]]) == 0.0
    assert clutter(np.zeros((3, 3), dtype=np.uint8), []) == 0.0


def test_the_most_mixed_masks_are_shown_one_of_each_place() -> None:
    masks = [
        Mixture("a-HH", "a", (50, 50)),
        Mixture("a-VV", "a", (50, 50)),
        Mixture("b", "b", (90, 10)),
        Mixture("c", "c", (100, 0)),
        Mixture("d", "d", (0, 0)),
    ]
    assert [choice.image_id for choice in choose_segmentation(masks, count=3)] == ["a-HH", "b", "c"]


def test_models_differ_most_where_half_of_them_are_right() -> None:
    right = [
        ("all", [True] * 4),
        ("none", [False] * 4),
        ("half", [True, False, True, False]),
        ("one", [True, *[False] * 3]),
    ]
    assert [choice.image_id for choice in choose_disagreement(right)] == ["half", "one"]


# Tiles


def test_small_images_are_enlarged_in_squares_and_keep_their_shape() -> None:
    tile = base_tile(np.array([[0, 255]], dtype=np.uint8), 0, 0, side=8)
    assert tile.picture.size == (8, 4) and tile.scale == 4.0
    assert set(np.asarray(tile.picture).ravel()) == {0, 255}


def test_boxes_have_the_colours_of_the_paper_and_lie_where_they_belong() -> None:
    tile = base_tile(np.zeros((64, 64), dtype=np.uint8), 0, 0, side=64)
    targets = [ALONE, [40.0, 40.0, 10.0, 10.0, 0, False]]
    matching = match([[10, 10, 20, 20, 0, 0.9], [2, 50, 8, 8, 0, 0.8]], targets)
    drawn = np.asarray(detection_tile(tile, matching, targets))
    assert tuple(drawn[10, 15]) == MATCHED and tuple(drawn[29, 15]) == MATCHED
    assert tuple(drawn[50, 2]) == UNMATCHED and tuple(drawn[40, 40]) == MISSED
    assert tuple(drawn[20, 20]) == (0, 0, 0), "only the edge is drawn"
    truth = np.asarray(truth_tile(tile, targets))
    assert {tuple(pixel) for pixel in truth.reshape(-1, 3)} == {(0, 0, 0), TRUTH}
    assert not np.asarray(tile.picture).any(), "the shared tile stays as it is"


@given(
    st.tuples(st.integers(-50, 150), st.integers(-50, 150), st.integers(0, 200), st.integers(0, 200)),
    st.integers(1, 300),
    st.integers(1, 300),
)
@settings(max_examples=60)
def test_no_box_breaks_a_tile(box: tuple[int, int, int, int], width: int, height: int) -> None:
    tile = base_tile(None, width, height, side=40)
    assert truth_tile(tile, [[*box, 0, False]]).size == tile.picture.size
    detection_tile(tile, match([[*box, 0, 0.9]], []), [])


def test_maps_show_classes_ignored_and_wrong_pixels() -> None:
    truth = np.array([[0, 1], [2, IGNORE]], dtype=np.uint8)
    said = np.array([[0, 2], [2, 1]], dtype=np.uint8)
    colours = class_colours(("a", "b", "c"))
    shown = np.asarray(mask_tile(truth, colours, side=2))
    assert [tuple(pixel) for pixel in shown.reshape(-1, 3)] == [*colours, (0, 0, 0)]
    wrong = np.asarray(error_tile(said, truth, side=2))
    assert [tuple(pixel) for pixel in wrong.reshape(-1, 3)] == [RIGHT, WRONG, RIGHT, (0, 0, 0)]
    assert mask_tile(truth, colours, side=30).size == (30, 30)


@pytest.mark.parametrize("text", ["", "not base64!", "bm90IGEgcGljdHVyZQ=="])
def test_a_text_that_is_no_mask_is_named(text: str) -> None:
    with pytest.raises(CheckError, match="no 8-bit PNG"):
        decode_mask(text)


def test_sheets_hold_every_tile_and_their_words_stay_inside() -> None:
    tile = base_tile(np.full((8, 8), 200, dtype=np.uint8), 0, 0, side=50).picture
    sheet = side_by_side(
        ["truth", "a model with a very long name"], [("row " * 60, [(tile, "x"), (tile, "y" * 90)])], side=50
    )
    assert sheet.size == (8 + 2 * 58, 24 + 20 + 50 + 20 + 8)
    assert (np.asarray(sheet)[:, -7:] == 255).all(), "nothing runs over the right edge"
    assert contact_sheet([(tile, ("a", "b"))] * 5, columns=4, side=50).size == (8 + 4 * 58, 8 + 2 * (50 + 34 + 8))


def test_classes_have_different_colours_however_many_and_background_is_grey() -> None:
    assert len(set(class_colours(tuple(f"class {place}" for place in range(30))))) == 30
    assert class_colours(("building", "background"))[1] == (128, 128, 128)
    assert shade(0.0) == (255, 255, 255) and shade(-1) == shade(0) and shade(2) == shade(1)


# Charts


def test_ticks_are_round_numbers_inside_the_range() -> None:
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(1, 20) == pytest.approx([5, 10, 15, 20]) and ticks(3, 3) == [3]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_never_leave_the_range_and_are_few(low: float, span: float) -> None:
    found = ticks(low, low + span)
    slack = 1e-6 * max(1.0, abs(low), span)
    assert all(low - slack <= tick <= low + span + slack for tick in found) and len(found) <= 11


def test_charts_are_valid_svg_with_words_and_the_numbers_beside() -> None:
    names = ('A<320> & "co"', "B")
    chart = line_chart(
        "curve", 'says "a < b"', [Line(name, (0, 50, 100), (100.0, 50.0, math.nan)) for name in names],
        Range(0, 100, "recall"), Range(0, 100, "precision"),
    )  # fmt: skip
    root = ElementTree.fromstring(chart.picture)
    assert root.findtext("{http://www.w3.org/2000/svg}title") == 'says "a < b"'
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 2], "a value that is none is not drawn"
    assert len({line.attrib["stroke"] for line in lines}) == 2 and "stroke-dasharray" in lines[1].attrib
    assert [row["series"] for row in _read(chart.table)] == [names[0]] * 3 + [names[1]] * 3


def test_bars_have_the_length_of_their_value_and_a_missing_one_says_so() -> None:
    chart = bar_chart("bars", "alt", [("half", 50.0), ("whole", 100.0), ("none", None)], "%")
    root = ElementTree.fromstring(chart.picture)
    widths = [float(rect.attrib["width"]) for rect in root.findall("{http://www.w3.org/2000/svg}rect")[1:]]
    assert widths[1] == pytest.approx(2 * widths[0]) and len(widths) == 2
    assert b"no value" in chart.picture and _read(chart.table)[2] == {"name": "none", "%": ""}


# Radar (section 13, Fig. 1)

VISION = {
    *("fusar_air_top1", "fusar_ship_top1", "sar_acd_top1"),
    *("fu_as_ap50", "fu_ss_ap50", "air_f_ap50"),
    *("fusar_map_oa", "posar_seg_oa"),
}


def _paper_axes() -> list[Axis]:
    rows = [row for row in reported_rows(4) if row.backbone == "ViT-Base"]
    return [
        Axis(
            column.paper_header,
            {row.model_id: float(reported_value(4, row.model_id, row.backbone, column.column) or 0) for row in rows},
        )
        for column in columns(4)
        if column.column in VISION
    ]


def test_the_papers_own_chart_has_its_printed_readings() -> None:
    found = spokes(_paper_axes(), "fusar_klip")
    assert [round(spoke.chosen) for spoke in found] == [82, 69, 91, 74, 86, 73, 81, 77]
    assert found[2].other == 71.87 and found[2].other_model == "moco_v3", "best other of the same group (errata F)"
    assert all(spoke.outer == OUTER * max(spoke.chosen, spoke.other) for spoke in found)


def test_an_axis_needs_a_value_of_both() -> None:
    axes = [
        Axis("a", {"x": 1.0, "y": 2.0}),
        Axis("b", {"x": 1.0}),
        Axis("c", {"y": 1.0}),
        Axis("zero", {"x": 0.0, "y": 0.0}),
    ]
    assert [(spoke.name, spoke.outer) for spoke in spokes(axes, "x")] == [("a", OUTER * 2), ("zero", 1.0)]
    with pytest.raises(CheckError, match="2 axes"):
        radar("r", axes, "x", "title")


def test_the_radar_is_the_same_bytes_each_time_and_knows_what_it_was_drawn_from() -> None:
    first = radar("r", _paper_axes(), "fusar_klip", "Fig. 1", names={"fusar_klip": "FUSAR-KLIP"}, key="k1")
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "black", "savefig.dpi": 17}):
        again = radar("r", _paper_axes(), "fusar_klip", "Fig. 1", names={"fusar_klip": "FUSAR-KLIP"}, key="k1")
    assert again == first, "the user's own style does not show"
    image = Image.open(io.BytesIO(first.picture))
    assert image.size == first.size and image.info["Drawn from"] == "k1" and "Software" not in image.info
    assert {row["FUSAR-KLIP"] for row in _read(first.table)} >= {"81.9", "91.11"}
    assert "SAR-ACD" in first.alt and "91.11 against 71.87" in first.alt


def test_a_png_keeps_its_key_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path
    (folder / "x.png").write_bytes(png_bytes(Image.new("RGB", (2, 2)), "key"))
    (folder / "y.png").write_bytes(b"not a picture")
    assert [drawn_from(folder / name) for name in ("x.png", "y.png", "z.png")] == ["key", "", ""]
    assert Image.open(folder / "x.png").info == {"Drawn from": "key"}


def test_tables_of_figures_keep_every_digit_and_leave_gaps_empty() -> None:
    assert csv_text(("a", "b"), [(1 / 3, None)]) == "a,b\n0.3333333333333333,\n"
    assert Matching((), ()).matched == 0
