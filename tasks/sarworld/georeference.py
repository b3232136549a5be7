"""Where pixels lie on the Earth: the affine of a scene, of its tiles, and their corners (section 14.1).

Scenes are north up. In WGS84 a metre is the same fraction of a degree all over one scene, that of its middle: over a
kilometre the error is below a tenth of a metre. In UTM the grid's own metre is used.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from foundation.errors import UsageError

Corner = tuple[float, float]

# The WGS84 ellipsoid.
_SEMI_MAJOR_M = 6378137.0
_ECCENTRICITY_SQUARED = 0.00669437999014


class GeoTransform(NamedTuple):
    """From pixel corners to coordinates: x = left + column * step_x, y = top + row * step_y; north up."""

    left: float
    step_x: float
    top: float
    step_y: float
    crs: str
    """EPSG:4326 with degrees, or a UTM zone with metres."""

    def at(self, column: float, row: float) -> Corner:
        """Coordinates of a point in pixels, (0, 0) being the top-left corner of the first pixel."""
        return self.left + column * self.step_x, self.top + row * self.step_y

    def tile(self, column: int, row: int) -> GeoTransform:
        """The transform of a tile that begins at that pixel."""
        left, top = self.at(column, row)
        return self._replace(left=left, top=top)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Column and row of a coordinate."""
        return (x - self.left) / self.step_x, (y - self.top) / self.step_y


def metres_per_degree(latitude: float) -> tuple[float, float]:
    """East-west and north-south metres of one degree on the ellipsoid."""
    sine = math.sin(math.radians(latitude))
    bend = 1 - _ECCENTRICITY_SQUARED * sine**2
    meridian = _SEMI_MAJOR_M * (1 - _ECCENTRICITY_SQUARED) / bend**1.5
    parallel = _SEMI_MAJOR_M / math.sqrt(bend) * math.cos(math.radians(latitude))
    return math.radians(parallel), math.radians(meridian)


def utm_zone(longitude: float, latitude: float) -> str:
    """The EPSG code of the UTM zone of a place."""
    number = min(60, int((longitude + 180) // 6) + 1)
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + number}"


def scene_transform(
    longitude: float, latitude: float, shape: tuple[int, int], pixel_m: float, *, utm: bool
) -> GeoTransform:
    """The transform of a scene whose middle lies at that place."""
    if not (-180 <= longitude <= 180 and -80 <= latitude <= 84):
        raise UsageError(
            f"no place for a scene: longitude {longitude}, latitude {latitude}",
            way_out="longitude -180 to 180, latitude -80 to 84",
        )
    rows, columns = shape
    if utm:
        crs = utm_zone(longitude, latitude)
        (x, y), step_x, step_y = _project([(longitude, latitude)], "EPSG:4326", crs)[0], pixel_m, -pixel_m
    else:
        crs = "EPSG:4326"
        per_x, per_y = metres_per_degree(latitude)
        (x, y), step_x, step_y = (longitude, latitude), pixel_m / per_x, -pixel_m / per_y
    return GeoTransform(x - columns / 2 * step_x, step_x, y - rows / 2 * step_y, step_y, crs)


def corner_coordinates(transform: GeoTransform, shape: tuple[int, int]) -> tuple[Corner, ...]:
    """Longitude and latitude of the corners: top left, top right, bottom right, bottom left."""
    rows, columns = shape
    corners = [transform.at(column, row) for column, row in ((0, 0), (columns, 0), (columns, rows), (0, rows))]
    return tuple(corners if transform.crs == "EPSG:4326" else _project(corners, transform.crs, "EPSG:4326"))


def _project(points: list[Corner], source: str, target: str) -> list[Corner]:
    from rasterio.warp import transform

    x, y = transform(source, target, [point[0] for point in points], [point[1] for point in points])
    return list(zip(x, y, strict=True))
