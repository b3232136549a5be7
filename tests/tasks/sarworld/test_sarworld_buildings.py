"""Buildings under a radar: layover towards it, a bright foot, a shadow behind (section 14.3)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.sarworld.buildings import DOUBLE_BOUNCE_DB, building_points, mean_layover_m, stand_up
from tasks.sarworld.ground import COVERS, Building, Layout, Raster
from tasks.sarworld.render import Acquisition, amplitude
from tasks.sarworld.sensors import sensor
from tasks.sarworld.targets.plan import View
from tasks.sarworld.truth import Facts

FACTS = Facts("plain", "residential", "grid", "sharp", 0, "none", "none", 1, "none", ())
FROM_LEFT, FROM_RIGHT = View(1, 40.0), View(-1, 40.0)
LEVELS = {"housing": -9.0, "industrial": -6.0}
NO_GAINS = dict.fromkeys(COVERS, 0.0)


def bare(rows: int = 200, columns: int = 200) -> Raster:
    return Raster(
        np.full((rows, columns), COVERS.index("grass"), dtype=np.uint8), np.zeros((rows, columns), dtype=np.float32)
    )


def columns_of(mask: np.ndarray, row: int = 100) -> tuple[int, int]:
    found = np.flatnonzero(mask[row])
    return int(found[0]), int(found[-1])


@pytest.mark.parametrize(("view", "look"), [(FROM_LEFT, 1), (FROM_RIGHT, -1)])
def test_layover_leans_to_the_sensor_and_shadow_falls_away(view: View, look: int) -> None:
    block = Building(0.0, 0.0, 40.0, 20.0, math.pi / 2, 15.0)  # 20 m across, 40 m along the track
    raster = bare()
    shaded = stand_up([block], raster, 1.0, view)
    housing = raster.cover == COVERS.index("housing")
    layover, shadow = 15 / math.tan(math.radians(40)), 15 * math.tan(math.radians(40))
    left, right = columns_of(housing)
    dark_left, dark_right = columns_of(shaded)
    if look > 0:
        assert left == pytest.approx(100 - 10 - layover, abs=1.5)
        assert dark_right == pytest.approx(100 + 10 + shadow, abs=1.5)
        assert dark_left > left
    else:
        assert right == pytest.approx(99 + 10 + layover, abs=1.5)
        assert dark_left == pytest.approx(100 - 10 - shadow, abs=1.5)
        assert dark_right < right
    assert not (shaded & housing).any()
    assert not housing[:70].any() and not shaded[:70].any()


def test_the_strip_of_the_wall_is_four_decibels_over_the_class() -> None:
    raster = bare()
    stand_up([Building(0.0, 0.0, 40.0, 20.0, math.pi / 2, 15.0)], raster, 1.0, FROM_LEFT)
    assert raster.gain_db[100, 85] == pytest.approx(4.0)


def test_a_turned_building_shades_what_a_ray_tracer_finds() -> None:
    """Brute force: a ground pixel is dark if a ray from the sensor to it meets the box above the ground."""
    block, view = Building(3.0, -4.0, 30.0, 14.0, 0.6, 12.0), View(1, 35.0)
    raster = bare()
    shaded = stand_up([block], raster, 1.0, view)
    rows, columns = np.indices(shaded.shape)
    x, y = columns - 99.5, rows - 99.5
    behind = np.zeros(shaded.shape, dtype=bool)
    for height in np.linspace(0, 12.0, 121):
        at = x - height * math.tan(math.radians(35.0))  # where a ray that ends at x passes that height
        u = (at - 3.0) * math.cos(0.6) + (y + 4.0) * math.sin(0.6)
        v = -(at - 3.0) * math.sin(0.6) + (y + 4.0) * math.cos(0.6)
        behind |= (np.abs(u) <= 15.0) & (np.abs(v) <= 7.0)
    lit = raster.cover == COVERS.index("housing")  # drawn over it
    assert (shaded != behind)[~lit].mean() < 0.004  # pixels on the outline itself


def test_only_walls_that_face_the_sensor_shine_and_parallel_ones_most() -> None:
    cell = sensor("gf3")
    rng = np.random.default_rng(0)
    straight = [Building(0.0, 60.0 * n, 30.0, 12.0, math.pi / 2, 6.0) for n in range(200)]
    oblique = [Building(0.0, 60.0 * n, 30.0, 12.0, math.pi / 2 - math.radians(50), 6.0) for n in range(200)]
    parallel = building_points(straight, cell, FROM_LEFT, LEVELS, rng)
    assert parallel.x == pytest.approx(np.full(len(parallel), -6.0))  # the foot of the western wall
    low, high = DOUBLE_BOUNCE_DB
    assert parallel.rcs_db.mean() == pytest.approx(LEVELS["housing"] + high, abs=0.7)
    turned = building_points(oblique, cell, FROM_LEFT, LEVELS, rng)
    assert turned.rcs_db.mean() < LEVELS["housing"] + high - 3
    assert turned.rcs_db.mean() > LEVELS["housing"] + low - 1
    away = building_points(straight, cell, FROM_RIGHT, LEVELS, rng)
    assert away.x == pytest.approx(np.full(len(away), 6.0))


def test_a_finer_sensor_sees_the_same_wall_in_more_points_of_the_same_brightness() -> None:
    wall = [Building(0.0, 60.0 * n, 30.0, 12.0, math.pi / 2, 6.0) for n in range(100)]
    per_cell = {}
    for name in ("ql1", "gf3", "ht1"):
        product = sensor(name)
        points = building_points(wall, product, FROM_LEFT, LEVELS, np.random.default_rng(1))
        power = (10 ** (points.rcs_db / 10)).sum() / 3000  # per metre of wall
        per_cell[name] = 10 * math.log10(power / product.resolution_m)  # within one cell of the image
    assert max(per_cell.values()) - min(per_cell.values()) < 1.0


def test_a_house_renders_as_bright_line_bright_strip_and_dark_shadow() -> None:
    house = Building(0.0, 0.0, 40.0, 20.0, math.pi / 2, 15.0)
    layout = Layout("test/house", (128.0, 128.0), "grass", FACTS, buildings=(house,))
    images = [
        amplitude(layout, (128, 128), Acquisition(sensor("gf3"), FROM_LEFT, NO_GAINS, pass_id=f" {n}"), n) ** 2
        for n in range(12)
    ]
    profile = 10 * np.log10(np.mean(images, axis=0)[50:78].mean(axis=0))
    grass, foot = profile[:30].mean(), profile[52:56].max()
    assert foot > grass + 8
    assert profile[38:50].mean() > grass + 3  # the strip in front
    assert profile[60:72].mean() < grass - 4  # its shadow: the noise floor


def test_how_far_walls_lie_off_the_map_is_known() -> None:
    houses = [Building(0, 0, 10, 10, 0, 10.0), Building(0, 0, 10, 10, 0, 20.0)]
    assert mean_layover_m(houses, View(1, 45.0)) == pytest.approx(15.0)
    assert mean_layover_m([], View(1, 45.0)) == 0.0
