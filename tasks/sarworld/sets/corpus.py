"""Images of all three domains with their texts, for pre-training; no task tests on them."""

from __future__ import annotations

from adapters.mean_clip import mean_clip_uint8
from tasks.sarworld.draws import Draws
from tasks.sarworld.encoding import png
from tasks.sarworld.ground import grid_shape
from tasks.sarworld.places.airport import airport
from tasks.sarworld.places.land import land, land_wish
from tasks.sarworld.places.port import port
from tasks.sarworld.plan import FUSAR_AIR_CLASSES, FUSAR_SHIP_CLASSES, SAR_ACD_CLASSES, Item
from tasks.sarworld.render import acquire
from tasks.sarworld.sensors import sensor
from tasks.sarworld.sets.maker import Ground, Maker, drawn, no_tables
from tasks.sarworld.sites import site_for
from tasks.sarworld.targets.wishes import target_wish

SENSORS = {"aircraft": ("ql1", "gf3"), "ship": ("gf3", "ht1"), "landform": ("ql1", "gf3")}
"""In turn; the coarsest only where its resolution shows a target whole."""
_KINDS = {"aircraft": ("airport",), "ship": ("port",), "landform": ("urban", "industrial", "rural", "river", "mixed")}
_SHIP_PIXEL = 2.25  # against the grid's pixel: ships are four times as long as aircraft, their scenes twice as wide
_MOST_LOOKS = 4


def ground(item: Item, seed: int) -> Ground:
    """An airport, a port or a tile of land."""
    domain = item.label
    names = SENSORS[domain]
    native = sensor(names[item.number % len(names)])
    pixel_m = item.grid.pixel_m * (_SHIP_PIXEL if domain == "ship" else 1.0)
    extent = (item.grid.side_px * pixel_m, item.grid.side_px * pixel_m)
    place = site_for(_KINDS[domain][item.number % len(_KINDS[domain])], item.scene)
    rng = Draws(seed, item.scene).generator("layout")
    if domain == "landform":
        layout = land(item.scene, rng, extent, land_wish(seed, item.dataset, item.number))
    elif domain == "aircraft":
        groups = target_wish(seed, "corpus-aircraft", item.number, extent, FUSAR_AIR_CLASSES + SAR_ACD_CLASSES)
        layout = airport(item.scene, rng, extent, groups, place.heading).in_landform(place.landform)
    else:
        groups = target_wish(seed, "corpus-ship", item.number, extent, FUSAR_SHIP_CLASSES)
        layout = port(item.scene, rng, extent, groups, place.heading)
    # Bandwidth that a coarser pixel does not need goes into looks.
    looks = min(_MOST_LOOKS, max(native.looks, round(pixel_m / native.pixel_m)))
    acquisition = acquire(Draws(seed, item.scene), native.product(pixel_m, looks=looks))
    shape = grid_shape(extent, pixel_m)
    return Ground(layout, shape, acquisition, domain, place.id, item.scene)  # type: ignore[arg-type]


def encode(item: Item, seed: int, ground: Ground) -> dict[str, bytes]:
    """8-bit PNG by the project's own rule."""
    return {item.files[0]: png(mean_clip_uint8(drawn(seed, ground)))}


MAKER = Maker(ground, encode, no_tables)
