"""FUSAR-Map: tiles of land with colour-coded maps (sections 5.2 and 14.4).

The optical and height layers of the real data set are not written: no task reads them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adapters.mean_clip import mean_clip_uint8
from tasks.sarworld.buildings import mean_layover_m
from tasks.sarworld.draws import Draws
from tasks.sarworld.encoding import tiff
from tasks.sarworld.georeference import corner_coordinates, scene_transform
from tasks.sarworld.ground import grid_shape, map_labels
from tasks.sarworld.places.land import land, land_wish
from tasks.sarworld.plan import TILES_PER_CITY_IMAGE, Item, tables_of
from tasks.sarworld.render import acquire
from tasks.sarworld.sensors import sensor
from tasks.sarworld.sets.maker import Ground, Maker, drawn
from tasks.sarworld.sites import COUNT, site
from tasks.sarworld.truth import LAND_COVERS, Truth

COLOURS = {"building": (255, 0, 0), "vegetation": (0, 255, 0), "water": (0, 0, 255), "road": (255, 255, 0)}
"""Section 5.2; ground that the map does not show is black."""


def ground(item: Item, seed: int) -> Ground:
    """A tile of land; tiles of one city image share the acquisition."""
    image = item.number // TILES_PER_CITY_IMAGE
    place = site((7 * image + 2) % COUNT)  # of which only the coordinates matter here; another one for every image
    extent = (item.grid.side_m, item.grid.side_m)
    wish = land_wish(seed, item.dataset, item.number)
    layout = land(item.scene, Draws(seed, item.scene).generator("layout"), extent, wish)
    parent = f"{item.dataset}/{item.label}"
    acquisition = acquire(Draws(seed, parent), sensor("gf3").product(item.grid.pixel_m))
    return Ground(layout, grid_shape(extent, item.grid.pixel_m), acquisition, "landform", place.id, parent)


def encode(item: Item, seed: int, ground: Ground) -> dict[str, bytes]:
    """The 8-bit image and the map in colours."""
    image, labels = item.files
    named = map_labels(ground.layout, ground.shape, ground.acquisition.product.pixel_m)
    return {image: tiff(mean_clip_uint8(drawn(seed, ground))), labels: tiff(coloured(named))}


def coloured(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The map in the colours of the data set."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    for index, name in enumerate(LAND_COVERS):
        palette[index] = COLOURS[name]
    return palette[labels]


def tables(items: Sequence[Item], truths: Sequence[Truth], seed: int) -> dict[str, bytes]:
    """The table of the data set: where each tile comes from and lies; twelve columns as in the real one.

    `mask_offset_m` says by how much bright walls lie off the ground plan that the labels show (section 14.3).
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = "tile source_scene look_angle resolution_range resolution_azimuth lon_min lon_max lat_min lat_max"
    table.writerow([*columns.split(), "row", "column", "mask_offset_m"])
    for item, row in zip(items, truths, strict=True):
        made = ground(item, seed)
        place = site(int(row.site.removeprefix("site_")))
        tile = item.number % TILES_PER_CITY_IMAGE
        shape = (2 * row.height, 2 * row.width)
        whole = scene_transform(place.longitude, place.latitude, shape, row.pixel_m, utm=False)
        lower, right = divmod(tile, 2)
        corners = corner_coordinates(whole.tile(right * row.width, lower * row.height), (row.height, row.width))
        west, east = corners[0][0], corners[1][0]
        north, south = corners[0][1], corners[2][1]
        offset = mean_layover_m(made.layout.buildings, made.acquisition.view)
        table.writerow(
            [item.name, item.label, row.incidence_deg, row.pixel_m, row.pixel_m]
            + [repr(value) for value in (west, east, south, north)]
            + [lower * row.height, right * row.width, f"{offset:.1f}"]
        )
    return {tables_of("fusar_map")[0]: text.getvalue().encode()}


MAKER = Maker(ground, encode, tables)
