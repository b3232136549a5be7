"""AIR-PolSAR-Seg: places under four polarisations with coarse classes (sections 5.3 and 14.4)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.clutter import speckle
from tasks.sarworld.draws import Draws
from tasks.sarworld.encoding import png, tiff
from tasks.sarworld.ground import COVERS, Raster, grid_shape, rasterise
from tasks.sarworld.places.land import land, land_wish
from tasks.sarworld.plan import POLARISATIONS, Item
from tasks.sarworld.render import acquire, scene_of
from tasks.sarworld.scatterers import render
from tasks.sarworld.sensors import sensor
from tasks.sarworld.sets.maker import Ground, Maker, no_tables
from tasks.sarworld.sites import COUNT, site

COLOURS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "industrial": (0, 0, 255),
        "natural": (0, 255, 0),
        "land use": (255, 0, 0),
        "water": (0, 255, 255),
        "other": (255, 255, 255),
        "housing": (255, 255, 0),
    }
)
"""Section 5.3; black is to be ignored."""
CLASS_OF_COVER = {
    "water": "water", "sea": "water", "tarmac": "other", "grass": "natural", "farmland": "land use",
    "woodland": "natural", "housing": "housing", "industrial": "industrial",
}  # fmt: skip
# Cross- against co-polarised power: woodland, water and buildings from section 14.4, the others by us between them.
CROSS_DB = {
    "water": -12.0, "sea": -12.0, "tarmac": -11.0, "grass": -9.0, "farmland": -9.5,
    "woodland": -6.0, "housing": -8.0, "industrial": -8.0,
}  # fmt: skip
# HH against VV, by us: rough surfaces return more VV, walls more HH.
HH_OVER_VV_DB = {
    "water": -2.0, "sea": -2.0, "tarmac": -1.0, "grass": -0.5, "farmland": -0.5,
    "woodland": 0.0, "housing": 1.5, "industrial": 1.5,
}  # fmt: skip
_COHERENCE = 0.6  # our choice: between the speckle of HH and VV
COUNTS_PER_AMPLITUDE = 1000.0
"""Water lies near a hundred counts, towns in the thousands, as in the public samples (section 5.3)."""
_STRIP_PROBABILITY = 0.3
_STRIP_SHARE = (0.06, 0.2)


def ground(item: Item, seed: int) -> Ground:
    """A kilometre of land and more; buildings are finer than its pixels."""
    extent = (item.grid.side_m, item.grid.side_m)
    wish = land_wish(seed, item.dataset, item.number)
    rng = Draws(seed, item.scene).generator("layout")
    layout = land(item.scene, rng, extent, wish, finest_m=2 * item.grid.pixel_m)
    acquisition = acquire(Draws(seed, item.scene), sensor("gf3").product(item.grid.pixel_m))
    shape = grid_shape(extent, item.grid.pixel_m)
    return Ground(layout, shape, acquisition, "landform", site((7 * item.number + 3) % COUNT).id, item.scene)


def encode(item: Item, seed: int, ground: Ground) -> dict[str, bytes]:
    """Four 16-bit images and the map."""
    images = polarisations(item, seed, ground)
    files = {
        path: tiff(np.rint(np.minimum(images[name] * COUNTS_PER_AMPLITUDE, 65535)).astype(np.uint16))
        for name, path in zip(POLARISATIONS, item.files[:4], strict=True)
    }
    return files | {item.files[4]: png(labels(item, seed, ground))}


def polarisations(item: Item, seed: int, ground: Ground) -> dict[str, NDArray[np.float32]]:
    """Amplitude under each polarisation; the two cross-polarised ones see the same field, but for noise."""
    scene = scene_of(ground.layout, ground.shape, ground.acquisition, seed)
    product, shape = ground.acquisition.product, ground.shape
    coherent = render(scene.points, shape, product)
    rng = Draws(seed, item.scene).generator("polarimetric speckle")
    hh, other, cross = (speckle(rng, shape, product) for _ in range(3))
    vv = _COHERENCE * hh + np.float32(np.sqrt(1 - _COHERENCE**2)) * other
    balance = _by_cover(HH_OVER_VV_DB, scene.raster)
    across = _by_cover(CROSS_DB, scene.raster)
    walls = 10 ** (CROSS_DB["housing"] / 20)
    fields = {
        "HH": hh * np.sqrt(scene.power) + coherent,
        "VV": vv * np.sqrt(scene.power / balance) + coherent / np.sqrt(10 ** (HH_OVER_VV_DB["housing"] / 10)),
        "HV": cross * np.sqrt(scene.power * across) + walls * coherent,
    }
    fields["VH"] = fields["HV"]
    noise = np.sqrt(10 ** (product.noise_floor_db / 10))
    images = {}
    for name in POLARISATIONS:
        field = fields[name] + noise * speckle(rng, shape, product)
        images[name] = np.sqrt(np.mean(field.real**2 + field.imag**2, axis=0)).astype(np.float32)
    return images


def _by_cover(decibels: Mapping[str, float], raster: Raster) -> NDArray[np.float32]:
    table = np.array([10 ** (decibels[name] / 10) for name in COVERS], dtype=np.float32)
    return table[raster.cover]


def labels(item: Item, seed: int, ground: Ground) -> NDArray[np.uint8]:
    """The map in colours, with a black strip along a border in some places (section 14.4)."""
    raster = rasterise(ground.layout, ground.shape, ground.acquisition.product.pixel_m)
    palette = np.array([COLOURS[CLASS_OF_COVER[name]] for name in COVERS], dtype=np.uint8)
    colours = palette[raster.cover]
    rng = Draws(seed, item.scene).generator("strip")
    if rng.random() < _STRIP_PROBABILITY:
        wide = round(float(rng.uniform(*_STRIP_SHARE)) * ground.shape[0])
        turns = int(rng.integers(4))
        np.rot90(colours, turns)[:wide] = 0
    return colours


MAKER = Maker(ground, encode, no_tables)
