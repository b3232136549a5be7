"""Layouts on pixel grids: polygons, covers, gains and the map."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import polygon

from tasks.sarworld.ground import (
    COVERS,
    UNLABELLED,
    Layout,
    Patch,
    Swell,
    grid_shape,
    map_labels,
    polygon_pixels,
    rasterise,
    rectangle,
    strip,
)
from tasks.sarworld.truth import LAND_COVERS, Facts

FACTS = Facts("plain", "mixed", "none", "sharp", 0, "none", "none", 0, "none", ())
BUILDING, VEGETATION, WATER, ROAD = range(4)


def ground(*patches: Patch, base: str = "grass", swell: Swell | None = None) -> Layout:
    return Layout("test", (60.0, 100.0), base, FACTS, patches=patches, swell=swell)


@given(st.integers(0, 10**6), st.integers(3, 40), st.floats(0.4, 3.0))
def test_pixels_of_a_polygon_are_those_that_scikit_image_finds(seed: int, corners: int, pixel_m: float) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 60)), int(rng.integers(1, 60)))
    points = rng.uniform(-40, 40, (corners, 2))  # edges that cross each other included
    ours, theirs = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    ours[polygon_pixels(points, shape, pixel_m)] = True
    rows, columns = points[:, 1] / pixel_m + (shape[0] - 1) / 2, points[:, 0] / pixel_m + (shape[1] - 1) / 2
    theirs[polygon(rows, columns, shape)] = True
    assert np.array_equal(ours, theirs)


def test_a_square_covers_the_pixels_whose_centres_it_holds() -> None:
    inside = polygon_pixels(rectangle(0.0, 0.0, 4.0, 2.0, 0.0), (6, 10), 1.0)
    mask = np.zeros((6, 10), dtype=bool)
    mask[inside] = True
    assert mask[2:4, 3:7].all() and mask.sum() == 8


@pytest.mark.parametrize("heading", [0.0, 0.7, 2.0])
def test_rectangles_and_strips_have_their_area(heading: float) -> None:
    box = rectangle(3.0, -2.0, 40.0, 15.0, heading)
    end = 20 * math.cos(heading), 20 * math.sin(heading)
    line = strip([(3 - end[0], -2 - end[1]), (3 + end[0], -2 + end[1])], 15.0)
    for corners in (box, line):
        pixels = polygon_pixels(corners, (800, 800), 0.1)
        assert len(pixels[0]) * 0.01 == pytest.approx(600, rel=0.01)


def test_a_bent_strip_keeps_its_width_at_the_joint() -> None:
    bent = strip([(-30.0, 0.0), (0.0, 0.0), (0.0, 30.0)], 10.0)
    mask = np.zeros((700, 700), dtype=bool)
    mask[polygon_pixels(bent, mask.shape, 0.1)] = True
    middle = 350
    assert mask[middle - 200 : middle, middle - 100].sum() == pytest.approx(50, abs=1)
    assert mask[middle + 100, middle : middle + 200].sum() == pytest.approx(50, abs=1)
    assert mask[middle - 40, middle + 40]  # the outer corner of the mitre


def test_later_patches_lie_over_earlier_ones_and_the_base_under_all() -> None:
    raster = rasterise(
        ground(Patch("woodland", rectangle(0, 0, 60, 40, 0)), Patch("water", rectangle(0, 0, 20, 20, 0))),
        (60, 100),
        1.0,
    )
    assert COVERS[raster.cover[30, 50]] == "water"
    assert COVERS[raster.cover[30, 25]] == "woodland"
    assert COVERS[raster.cover[2, 2]] == "grass"


def test_the_same_ground_on_other_pixels_covers_the_same_area() -> None:
    layout = ground(Patch("farmland", rectangle(5, 3, 50, 30, 0.4)), Patch("water", strip([(-60, 9), (60, -9)], 8)))
    shares = []
    for pixel_m in (0.25, 1.0, 2.0):
        labels = map_labels(layout, grid_shape(layout.extent, pixel_m), pixel_m)
        shares.append([(labels == index).mean() for index in range(4)])
    assert np.allclose(shares[0], shares[1], atol=0.01) and np.allclose(shares[0], shares[2], atol=0.02)


def test_the_map_names_covers_and_leaves_bare_ground_out() -> None:
    covers = {"housing": BUILDING, "industrial": BUILDING, "woodland": VEGETATION, "farmland": VEGETATION}
    covers |= {"water": WATER, "sea": WATER, "tarmac": ROAD, "grass": UNLABELLED}
    assert set(covers) == set(COVERS) and len(LAND_COVERS) == 4
    for cover, label in covers.items():
        assert (map_labels(ground(base=cover), (6, 10), 10.0) == label).all()


def test_water_stays_water_on_the_map_under_a_bridge_and_is_road_for_the_radar() -> None:
    river = Patch("water", strip([(-60, 0), (60, 0)], 20), "river")
    bridge = Patch("tarmac", strip([(0, -40), (0, 40)], 10), "road")
    layout = ground(river, bridge)
    assert map_labels(layout, (60, 100), 1.0)[30, 50] == WATER
    assert map_labels(layout, (60, 100), 1.0)[5, 50] == ROAD
    assert COVERS[rasterise(layout, (60, 100), 1.0).cover[30, 50]] == "tarmac"


def test_a_patch_can_be_on_the_map_under_another_name() -> None:
    park = Patch("woodland", rectangle(0, 0, 20, 20, 0), label="building")
    bare = Patch("tarmac", rectangle(30, 0, 10, 10, 0), label="")
    labels = map_labels(ground(park, bare), (60, 100), 1.0)
    assert labels[30, 50] == BUILDING and labels[30, 80] == UNLABELLED


def test_shoulders_are_bright_rims_three_decibels_up_and_four_metres_wide() -> None:
    runway = Patch("tarmac", rectangle(0, 0, 200, 30, 0), "runway", shoulder=True)
    gain = rasterise(ground(runway), (120, 200), 0.5).gain_db
    profile = gain[:, 100]
    assert profile.max() == pytest.approx(3.0)
    assert (profile > 0).sum() * 0.5 == pytest.approx(2 * 4.0, abs=1.0)
    assert profile[60] == 0 and profile[2] == 0


def test_where_two_pieces_of_tarmac_meet_there_is_no_rim() -> None:
    left = Patch("tarmac", rectangle(-20, 0, 40, 20, 0), "apron", shoulder=True)
    right = Patch("tarmac", rectangle(20, 0, 40, 20, 0), "apron", shoulder=True)
    gain = rasterise(ground(left, right), (60, 100), 1.0).gain_db
    assert (gain[30, 48:53] == 0).all()


def test_rows_of_a_field_run_along_their_direction() -> None:
    field = Patch("farmland", rectangle(0, 0, 90, 50, 0), "parcel", gain_db=2.0, rows=(0.0, 10.0))
    gain = rasterise(ground(field), (60, 100), 1.0).gain_db[10:50, 10:90]
    assert np.allclose(gain, gain[:, :1])  # constant along the rows
    assert gain.mean() == pytest.approx(2.0, abs=0.1) and np.ptp(gain[:, 0]) == pytest.approx(2.0, abs=0.2)


def test_swell_moves_the_sea_and_nothing_else() -> None:
    beach = Patch("grass", rectangle(30, 0, 40, 60, 0))
    gain = rasterise(ground(beach, base="sea", swell=Swell(60.0, 0.0, 0.0)), (60, 100), 1.0).gain_db
    assert (gain[:, 62:] == 0).all()
    assert np.ptp(gain[:, :60]) == pytest.approx(3.0, abs=0.05)
