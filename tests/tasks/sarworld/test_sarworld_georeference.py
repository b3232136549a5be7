"""Where pixels lie: transforms, tiles, corners, and one target under two sensors."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.io import MemoryFile
from rasterio.warp import transform as warp

from foundation.errors import UsageError
from tasks.sarworld.annotate import truth_of
from tasks.sarworld.georeference import corner_coordinates, metres_per_degree, scene_transform, utm_zone
from tasks.sarworld.ground import Layout, Target, grid_shape
from tasks.sarworld.render import Acquisition, amplitude
from tasks.sarworld.scatterers import Scatterers
from tasks.sarworld.scenes import scene_acquisition, scene_files, scene_layout
from tasks.sarworld.sensors import SENSORS, sensor
from tasks.sarworld.sites import COUNT, KINDS, Site, site, sites_of
from tasks.sarworld.targets.plan import View
from tasks.sarworld.truth import LANDFORMS, Facts

BARE = Facts("plain", "airport", "none", "sharp", 0, "none", "none", 0, "single", ())


def geodesic_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Metres between two close places, by the curvature in the middle."""
    per_x, per_y = metres_per_degree((a[1] + b[1]) / 2)
    return math.hypot((a[0] - b[0]) * per_x, (a[1] - b[1]) * per_y)


def test_there_are_135_sites_on_land_of_every_kind_and_landform() -> None:
    sites = [site(number) for number in range(COUNT)]
    assert len({place.id for place in sites}) == 135
    assert {place.kind for place in sites} == set(KINDS)
    assert {place.landform for place in sites} == set(LANDFORMS)
    assert min(len(sites_of(kind)) for kind in KINDS) >= 19
    assert all(place.landform == "coastal" for place in sites_of("port"))
    with pytest.raises(UsageError, match="no site"):
        site(135)


@pytest.mark.parametrize("utm", [False, True])
@given(latitude=st.floats(-60, 70), longitude=st.floats(-179, 179), column=st.integers(0, 900), row=st.integers(0, 900))
def test_corners_of_a_tile_agree_with_the_scene_to_a_billionth_of_a_degree(
    utm: bool, latitude: float, longitude: float, column: int, row: int
) -> None:
    whole = scene_transform(longitude, latitude, (1024, 1024), 1.0, utm=utm)
    tile = whole.tile(column, row)
    corners = corner_coordinates(tile, (100, 120))
    offsets = [(0, 0), (120, 0), (120, 100), (0, 100)]
    points = [whole.at(column + right, row + down) for right, down in offsets]
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    lon, lat = warp(whole.crs, "EPSG:4326", xs, ys)
    for corner, x, y in zip(corners, lon, lat, strict=True):
        assert abs(corner[0] - x) < 1e-9 and abs(corner[1] - y) < 1e-9


@pytest.mark.parametrize("number", [0, 7, 30, 64, 100, 134])
def test_a_scene_is_as_wide_on_the_earth_as_it_says(number: int) -> None:
    place = site(number)
    for utm, allowed in ((False, 0.2), (True, 1.2)):  # the scale of a UTM grid is off by up to a thousandth
        transform = scene_transform(place.longitude, place.latitude, (1024, 1024), 1.0, utm=utm)
        top_left, top_right, bottom_right, _ = corner_coordinates(transform, (1024, 1024))
        assert geodesic_m(top_left, top_right) == pytest.approx(1024, abs=allowed)
        assert geodesic_m(top_right, bottom_right) == pytest.approx(1024, abs=allowed)


def test_zones_and_impossible_places() -> None:
    assert utm_zone(113.5, 22.1) == "EPSG:32649"
    assert utm_zone(-47.0, -22.0) == "EPSG:32723"
    with pytest.raises(UsageError, match="no place for a scene"):
        scene_transform(0.0, 91.0, (10, 10), 1.0, utm=False)


@pytest.mark.parametrize("utm", [False, True])
def test_a_target_lies_at_the_same_place_under_all_sensors(utm: bool) -> None:
    """Its brightest part, taken to ground coordinates by the scene's transform, within a pixel of the coarser one."""
    # A tug's winch and wheelhouse: what shines lies within a few metres. Many draws: single ones depend on phases.
    place = site(1)
    apart: dict[tuple[str, str], list[float]] = {}
    for number in range(12):
        tug = Target("ship", "Tug", 37.0, -21.0, 0.5 * number, 20.0, 7.0, "open sea", gain_db=20.0)
        layout = Layout(f"test/tug {number}", (192.0, 192.0), "water", BARE, targets=(tug,))
        seen = {name: brightest_place(layout, name, place, utm=utm) for name in SENSORS}
        for name, other in (("gf3", "ht1"), ("gf3", "ql1"), ("ht1", "ql1")):
            apart.setdefault((name, other), []).append(geodesic_m(seen[name], seen[other]))
    for (name, other), distances in apart.items():
        coarser = max(sensor(name).pixel_m, sensor(other).pixel_m)
        assert np.median(distances) <= coarser, (name, other, distances)


def brightest_place(layout: Layout, name: str, place: Site, *, utm: bool) -> tuple[float, float]:
    """Longitude and latitude of the middle of what is bright."""
    product = sensor(name)
    shape = grid_shape(layout.extent, product.pixel_m)
    image = amplitude(layout, shape, Acquisition(product, View(1, 35.0), dict.fromkeys(GAINS, 0.0)), 0)
    power = image.astype(np.float64) ** 2
    power[image < 0.1 * image.max()] = 0.0
    rows, columns = np.indices(shape)
    row, column = (float((axis * power).sum() / power.sum()) + 0.5 for axis in (rows, columns))
    transform = scene_transform(place.longitude, place.latitude, shape, product.pixel_m, utm=utm)
    x, y = transform.at(column, row)
    lon, lat = warp(transform.crs, "EPSG:4326", [x], [y])
    return lon[0], lat[0]


def test_a_lone_point_lies_at_the_same_place_to_half_a_pixel() -> None:
    point = Scatterers(np.array([11.0]), np.array([-29.0]), np.array([45.0]), np.array([0.3]))
    layout = Layout("test/point", (192.0, 192.0), "water", BARE, fixtures=point)
    seen = {name: brightest_place(layout, name, site(1), utm=False) for name in SENSORS}
    for name, there in seen.items():
        for other, here in seen.items():
            coarser = max(sensor(name).pixel_m, sensor(other).pixel_m)
            assert geodesic_m(there, here) <= 0.5 * coarser, (name, other)


def test_boxes_of_one_target_agree_on_the_ground_under_all_sensors() -> None:
    aircraft = Target("aircraft", "A330", 20.0, 31.0, 1.1, 61.0, 60.3, "apron")
    layout, place = Layout("test/box", (192.0, 192.0), "tarmac", BARE, targets=(aircraft,)), site(0)
    centres = {}
    for name in SENSORS:
        product = sensor(name)
        shape = grid_shape(layout.extent, product.pixel_m)
        acquisition = Acquisition(product, View(-1, 30.0), dict.fromkeys(GAINS, 0.0))
        row = truth_of(layout, shape, acquisition, 0, image_id="i", domain="aircraft", site=place.id)
        x, y, width, height = row.objects[0].box
        transform = scene_transform(place.longitude, place.latitude, shape, product.pixel_m, utm=False)
        centres[name] = transform.at(x + width / 2, y + height / 2)
    assert max(geodesic_m(a, b) for a in centres.values() for b in centres.values()) < 0.2  # the finest pixel


GAINS = ("water", "sea", "tarmac", "grass", "farmland", "woodland", "housing", "industrial")


@pytest.mark.parametrize("utm", [False, True])
def test_files_of_a_scene_agree_with_their_metadata(utm: bool) -> None:
    place = sites_of("urban")[0]
    layout = scene_layout(place, 96, seed=0)
    acquisition, shape = scene_acquisition(layout, "gf3", 0)
    files = scene_files(place, layout, acquisition, shape, 0, utm=utm)
    assert set(files) == {"gf3.tif", "gf3_8bit.tif", "gf3.json"}
    meta = json.loads(files["gf3.json"])
    assert meta["synthetic"] is True and (meta["rows"], meta["columns"]) == (96, 96)
    with MemoryFile(files["gf3.tif"]) as memory, memory.open() as scene:
        assert scene.dtypes == ("float32",) and scene.shape == (96, 96)
        assert list(scene.transform)[:6] == pytest.approx(meta["affine"], rel=1e-12)
        assert scene.crs == rasterio.crs.CRS.from_string(meta["crs"])
        amplitude_seen = scene.read(1)
        corners = [scene.transform @ corner for corner in ((0, 0), (96, 0), (96, 96), (0, 96))]
        xs, ys = zip(*corners, strict=True)
        lon, lat = warp(scene.crs, "EPSG:4326", list(xs), list(ys))
    assert np.allclose(np.array(meta["corners_lon_lat"]), np.stack([lon, lat], axis=1), atol=1e-9, rtol=0)
    assert np.array_equal(amplitude_seen, amplitude(layout, shape, acquisition, 0))
    with MemoryFile(files["gf3_8bit.tif"]) as memory, memory.open() as eight:
        assert eight.dtypes == ("uint8",)


@pytest.mark.parametrize("side", [0.0, 10.0, 5000.0])
def test_impossible_sides_are_refused(side: float) -> None:
    with pytest.raises(UsageError, match="cannot be made"):
        scene_layout(site(0), side, seed=0)


def test_all_sensors_see_the_same_layout() -> None:
    layout = scene_layout(site(0), 128, seed=3)
    again = scene_layout(site(0), 128, seed=3)
    assert layout.targets == again.targets
    assert scene_acquisition(layout, "gf3", 3)[0].gains_db == scene_acquisition(layout, "ht1", 3)[0].gains_db
