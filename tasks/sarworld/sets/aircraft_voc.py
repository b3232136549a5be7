"""SAR-AIRcraft-1.0: larger scenes of aircraft in Pascal VOC, from another domain (sections 4.3 and 14.4).

The shift: airports that no other set shows, another gain, and a class `other` of types that have no class.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from adapters.mean_clip import mean_clip_uint8
from tasks.sarworld.draws import Draws
from tasks.sarworld.encoding import jpeg
from tasks.sarworld.ground import grid_shape
from tasks.sarworld.places.airport import airport
from tasks.sarworld.plan import IMAGE_SETS, SAR_AIRCRAFT_CLASSES, Item
from tasks.sarworld.render import acquire
from tasks.sarworld.sensors import sensor
from tasks.sarworld.sets.maker import Ground, Maker, drawn
from tasks.sarworld.sites import sites_of
from tasks.sarworld.targets.wishes import target_wish
from tasks.sarworld.truth import Truth

FOLDER_OF_CLASS = {"A320/321": "A320321"}
"""Types of the world that are written otherwise in this data set."""
_GROUND_GAIN_DB = 3.0  # our choice: how much brighter all grounds are than in the other sets
_PARTS = ("train",) * 6 + ("val",) + ("test",) * 3
"""Part of every number in a block of ten; the official sizes are unconfirmed (section 4.3)."""


def ground(item: Item, seed: int) -> Ground:
    """An airport of the second set of sites."""
    places = sites_of("airport", first_set=False)
    place, grid = places[item.number % len(places)], item.grid
    draws = Draws(seed, item.scene)
    smallest = grid.smallest_px or grid.side_px
    height, width = (int(side) for side in draws.generator("size").integers(smallest, grid.side_px + 1, 2))
    extent = (height * grid.pixel_m, width * grid.pixel_m)
    types = tuple(FOLDER_OF_CLASS.get(name, name) for name in SAR_AIRCRAFT_CLASSES)
    groups = target_wish(seed, item.dataset, item.number, extent, types)
    layout = airport(item.scene, draws.generator("layout"), extent, groups, place.heading).in_landform(place.landform)
    acquisition = acquire(draws, sensor("gf3").product(grid.pixel_m))
    brighter = {name: gain + _GROUND_GAIN_DB for name, gain in acquisition.gains_db.items()}
    acquisition = dataclasses.replace(acquisition, gains_db=brighter)
    return Ground(layout, grid_shape(extent, grid.pixel_m), acquisition, "aircraft", place.id, item.scene)


def encode(item: Item, seed: int, ground: Ground) -> dict[str, bytes]:
    """The JPEG and its annotation."""
    from tasks.sarworld.sets.maker import truth

    image, xml = item.files
    row = truth(item, seed, ground)
    return {image: jpeg(mean_clip_uint8(drawn(seed, ground))), xml: annotation(item, row).encode()}


def annotation(item: Item, row: Truth) -> str:
    """Pascal VOC: corners are pixel indices from 1, both inclusive."""
    names = {folder: name for name, folder in FOLDER_OF_CLASS.items()}
    objects = "".join(
        _OBJECT.format(
            name=escape(names.get(found.type, found.type)),
            xmin=math.floor(found.box[0]) + 1,
            ymin=math.floor(found.box[1]) + 1,
            xmax=min(row.width, math.ceil(found.box[0] + found.box[2])),
            ymax=min(row.height, math.ceil(found.box[1] + found.box[3])),
        )
        for found in row.objects
    )
    return _ANNOTATION.format(name=item.name, width=row.width, height=row.height, objects=objects)


_ANNOTATION = """<annotation>
\t<folder>JPEGImages</folder>
\t<filename>{name}.jpg</filename>
\t<source><database>sarworld (synthetic)</database></source>
\t<size>
\t\t<width>{width}</width>
\t\t<height>{height}</height>
\t\t<depth>1</depth>
\t</size>
\t<segmented>0</segmented>
{objects}</annotation>
"""
_OBJECT = """\t<object>
\t\t<name>{name}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>{xmin}</xmin>
\t\t\t<ymin>{ymin}</ymin>
\t\t\t<xmax>{xmax}</xmax>
\t\t\t<ymax>{ymax}</ymax>
\t\t</bndbox>
\t</object>
"""


def tables(items: Sequence[Item], truths: Sequence[Truth], seed: int) -> dict[str, bytes]:
    """The official parts, one id a line."""
    del truths, seed
    parts: dict[str, list[str]] = {name: [] for name in IMAGE_SETS}
    for item in items:
        parts[_PARTS[item.number % len(_PARTS)]].append(item.name)
    parts["trainval"] = sorted(parts["train"] + parts["val"])
    return {f"ImageSets/Main/{name}.txt": "".join(f"{i}\n" for i in ids).encode() for name, ids in parts.items()}


MAKER = Maker(ground, encode, tables)
