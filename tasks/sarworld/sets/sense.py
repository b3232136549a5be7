"""Scenes of aircraft (FU-AS) and of ships (FU-SS) with boxes in COCO JSON (sections 4.2 and 14.4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from adapters.mean_clip import mean_clip_uint8
from tasks.sarworld.draws import Draws
from tasks.sarworld.encoding import png
from tasks.sarworld.ground import grid_shape
from tasks.sarworld.places.airport import airport
from tasks.sarworld.places.port import port
from tasks.sarworld.plan import FUSAR_AIR_CLASSES, FUSAR_SHIP_CLASSES, Item, tables_of
from tasks.sarworld.render import acquire
from tasks.sarworld.sensors import sensor
from tasks.sarworld.sets.maker import Ground, Maker, drawn, pretty_json
from tasks.sarworld.sites import sites_of
from tasks.sarworld.targets.wishes import target_wish
from tasks.sarworld.truth import Truth

TILES_PER_PARENT = 2
"""Our choice: neighbouring images were cut from one acquisition, as real scenes are; a split must not divide them."""
CATEGORIES = {"fusar_air_sense": FUSAR_AIR_CLASSES, "fusar_ship_sense": FUSAR_SHIP_CLASSES}


def ground(item: Item, seed: int) -> Ground:
    """An airport, or a stretch of sea or port, under Gaofen-3."""
    aircraft = item.dataset == "fusar_air_sense"
    number = item.number // TILES_PER_PARENT
    places = sites_of("airport" if aircraft else "port", first_set=True)
    place = places[number % len(places)]
    extent = (item.grid.side_m, item.grid.side_m)
    groups = target_wish(seed, item.dataset, item.number, extent, CATEGORIES[item.dataset])
    rng = Draws(seed, item.scene).generator("layout")
    layout = (airport if aircraft else port)(item.scene, rng, extent, groups, place.heading).in_landform(place.landform)
    parent = f"{item.dataset}/parent_{number + 1:04d}"
    acquisition = acquire(Draws(seed, parent), sensor("gf3").product(item.grid.pixel_m))
    shape = grid_shape(extent, item.grid.pixel_m)
    return Ground(layout, shape, acquisition, "aircraft" if aircraft else "ship", place.id, parent)


def encode(item: Item, seed: int, ground: Ground) -> dict[str, bytes]:
    """8-bit PNG by the project's own rule."""
    return {item.files[0]: png(mean_clip_uint8(drawn(seed, ground)))}


def tables(dataset: str, items: Sequence[Item], truths: Sequence[Truth], seed: int) -> dict[str, bytes]:
    """One COCO file for the whole set: it has no official split."""
    del seed
    categories = {name: number for number, name in enumerate(CATEGORIES[dataset], start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (item, row) in enumerate(zip(items, truths, strict=True), start=1):
        images.append(
            {
                "id": number,
                "file_name": item.files[0].removeprefix("images/"),
                "width": row.width,
                "height": row.height,
                "scene": f"parent_{item.number // TILES_PER_PARENT + 1:04d}",
                "site": row.site,
                "pixel_m": row.pixel_m,
            }
        )
        for found in row.objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": categories[found.type],
                    "bbox": list(found.box),
                    "area": round(found.box[2] * found.box[3], 2),
                    "segmentation": [[value for corner in found.corners for value in corner]],
                    "iscrowd": 0,
                }
            )
    kind = "aircraft" if dataset == "fusar_air_sense" else "ship"
    listed = [{"id": number, "name": name, "supercategory": kind} for name, number in categories.items()]
    info = {"description": "rendered by sarworld: invented scenes, no claim of fidelity", "synthetic": True}
    coco = {"info": info, "images": images, "annotations": annotations, "categories": listed}
    return {tables_of(dataset)[0]: pretty_json(coco)}


def _maker(dataset: str) -> Maker:
    return Maker(ground, encode, partial(tables, dataset))


AIR, SHIP = _maker("fusar_air_sense"), _maker("fusar_ship_sense")
