"""Georeferenced scenes: one layout under all three sensors, as GeoTIFF with its metadata (section 14.1).

A scene is a folder `<site>_<kind>/` with, per sensor, `<sensor>.tif` (float32 amplitude), `<sensor>_8bit.tif` (the
project's own 8-bit rule) and `<sensor>.json` (the metadata).
"""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.mean_clip import mean_clip_uint8
from foundation.errors import UsageError
from tasks.sarworld.draws import Draws
from tasks.sarworld.georeference import GeoTransform, corner_coordinates, scene_transform
from tasks.sarworld.ground import Layout, Shape, grid_shape
from tasks.sarworld.kinds import layout_of_kind
from tasks.sarworld.render import Acquisition, acquire, amplitude
from tasks.sarworld.sensors import sensor
from tasks.sarworld.sites import Site
from tasks.sarworld.truth import Domain

SMALLEST_M, LARGEST_M = 64, 2048
"""Sides that a scene can have: below, nothing fits in; above, the finest sensor's image exceeds a gigabyte."""
_FIRST_DAY = datetime.date(2023, 1, 1)
_DAYS = 730


def scene_layout(site: Site, side_m: float, seed: int) -> Layout:
    """What lies around a site; the same for all sensors."""
    if not SMALLEST_M <= side_m <= LARGEST_M:
        raise UsageError(
            f"a scene of {side_m:g} m cannot be made",
            where=site.id,
            way_out=f"choose a side of {SMALLEST_M} to {LARGEST_M} m",
        )
    scene = f"scenes/{site.id}/{side_m:g}m"
    return layout_of_kind(site.kind, scene, Draws(seed, scene).generator("layout"), (side_m, side_m), site)


def scene_acquisition(layout: Layout, sensor_id: str, seed: int) -> tuple[Acquisition, Shape]:
    """How that sensor sees it, and the size of the image."""
    product = sensor(sensor_id)
    return acquire(Draws(seed, layout.scene), product), grid_shape(layout.extent, product.pixel_m)


def scene_domain(site: Site) -> Domain:
    """Which kind of texts a scene has."""
    return "aircraft" if site.kind == "airport" else "ship" if site.kind == "port" else "landform"


def scene_files(
    site: Site, layout: Layout, acquisition: Acquisition, shape: Shape, seed: int, *, utm: bool
) -> dict[str, bytes]:
    """The files of one scene under one sensor, by name."""
    name = acquisition.product.id
    transform = scene_transform(site.longitude, site.latitude, shape, acquisition.product.pixel_m, utm=utm)
    image = amplitude(layout, shape, acquisition, seed)
    meta = metadata(site, layout, acquisition, shape, transform, seed)
    return {
        f"{name}.tif": geotiff(image, transform),
        f"{name}_8bit.tif": geotiff(mean_clip_uint8(image), transform),
        f"{name}.json": (json.dumps(meta, indent=2) + "\n").encode(),
    }


def metadata(
    site: Site, layout: Layout, acquisition: Acquisition, shape: Shape, transform: GeoTransform, seed: int
) -> dict[str, Any]:
    """What a product's header says."""
    product, view = acquisition.product, acquisition.view
    day = int(Draws(seed, layout.scene).generator(f"date {product.id}").integers(_DAYS))
    return {
        "synthetic": True,
        "note": "rendered by sarworld: invented ground, no claim of fidelity",
        "scene": layout.scene,
        "site": site.id,
        "kind": site.kind,
        "landform": layout.facts.landform,
        "sensor": product.id,
        "like": product.like,
        "band": product.band,
        "polarisation": "HH",
        "looks": product.looks,
        "pixel_m": product.pixel_m,
        "incidence_deg": round(view.incidence_deg, 3),
        "look_side": "right of the image" if view.look > 0 else "left of the image",
        "unit": "linear amplitude, 1 is a mean power of 0 dB",
        "acquired": str(_FIRST_DAY + datetime.timedelta(days=day)),
        "rows": shape[0],
        "columns": shape[1],
        "crs": transform.crs,
        "affine": [transform.step_x, 0.0, transform.left, 0.0, transform.step_y, transform.top],
        "corners_lon_lat": [list(corner) for corner in corner_coordinates(transform, shape)],
    }


def geotiff(image: NDArray[Any], transform: GeoTransform) -> bytes:
    """One band as GeoTIFF: tiled and compressed without loss."""
    from affine import Affine
    from rasterio.io import MemoryFile

    profile = {
        "driver": "GTiff",
        "height": image.shape[0],
        "width": image.shape[1],
        "count": 1,
        "dtype": str(image.dtype),
        "crs": transform.crs,
        "transform": Affine(transform.step_x, 0.0, transform.left, 0.0, transform.step_y, transform.top),
        "compress": "deflate",
        "predictor": 3 if np.issubdtype(image.dtype, np.floating) else 2,
    }
    if min(image.shape) >= 512:
        profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512}
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(image, 1)
        return bytes(memory.getbuffer())
