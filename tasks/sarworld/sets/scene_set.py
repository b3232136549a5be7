"""Georeferenced scenes as a data set of the world (section 14.1)."""

from __future__ import annotations

from pathlib import PurePosixPath

from tasks.sarworld.plan import Item
from tasks.sarworld.scenes import scene_acquisition, scene_domain, scene_files, scene_layout
from tasks.sarworld.sets.maker import Ground, Maker, no_tables
from tasks.sarworld.sites import Site, site


def _site(item: Item) -> Site:
    return site(int(item.name.removeprefix("site_")[:3]))


def ground(item: Item, seed: int) -> Ground:
    """What lies around the scene's site."""
    place = _site(item)
    layout = scene_layout(place, item.grid.side_m, seed)
    acquisition, shape = scene_acquisition(layout, item.label, seed)
    return Ground(layout, shape, acquisition, scene_domain(place), place.id, layout.scene)


def _encode(utm: bool, item: Item, seed: int, ground: Ground) -> dict[str, bytes]:
    files = scene_files(_site(item), ground.layout, ground.acquisition, ground.shape, seed, utm=utm)
    return {path: files[PurePosixPath(path).name] for path in item.files}


def encode(item: Item, seed: int, ground: Ground) -> dict[str, bytes]:
    """In WGS84."""
    return _encode(False, item, seed, ground)


def encode_utm(item: Item, seed: int, ground: Ground) -> dict[str, bytes]:
    """In the site's UTM zone."""
    return _encode(True, item, seed, ground)


WGS84 = Maker(ground, encode, no_tables)
UTM = WGS84._replace(encode=encode_utm)
