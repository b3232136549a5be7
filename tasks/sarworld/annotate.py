"""From a layout to what is true about its image: boxes, places, shares of land cover (section 14.5)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tasks.builders.geometry import Point, Size, cell, quadrant
from tasks.sarworld.draws import Draws
from tasks.sarworld.ground import Layout, Shape, Target, map_labels
from tasks.sarworld.render import Acquisition, placed_target
from tasks.sarworld.truth import LAND_COVERS, QUADRANTS, Domain, Shares, TrueObject, Truth

_BOX_MARGIN_PX = 2.0  # section 14.3: the box of the plan outline + 2 px
_LEAST_VISIBLE = 0.5  # our choice: a target with less than half of its plan inside the image is no object of it


def truth_of(
    layout: Layout, shape: Shape, acquisition: Acquisition, seed: int, *, image_id: str, domain: Domain, site: str
) -> Truth:
    """What is true about the image of a layout; nothing is rendered."""
    draws, pixel_m = Draws(seed, layout.scene), acquisition.product.pixel_m
    objects = []
    for number, target in enumerate(layout.targets):
        if target.labelled:
            outlines = placed_target(target, number, draws, acquisition.view).outlines
            found = _object(target, np.concatenate(outlines), shape, pixel_m)
            if found is not None:
                objects.append(found)
    return Truth(
        image_id=image_id,
        domain=domain,
        scene=layout.scene,
        site=site,
        width=shape[1],
        height=shape[0],
        pixel_m=pixel_m,
        sensor=acquisition.product.id,
        look=acquisition.view.look,
        incidence_deg=round(acquisition.view.incidence_deg, 2),
        objects=tuple(objects),
        shares=shares_of(map_labels(layout, shape, pixel_m)),
        facts=layout.facts,
    )


def _object(target: Target, outline: NDArray[np.float64], shape: Shape, pixel_m: float) -> TrueObject | None:
    height, width = shape
    points = outline / pixel_m + np.array([width, height]) / 2  # metres around the middle to pixels from the corner
    low, high = points.min(axis=0) - _BOX_MARGIN_PX, points.max(axis=0) + _BOX_MARGIN_PX
    whole = float(np.prod(high - low))
    low, high = np.clip(low, 0, [width, height]), np.clip(high, 0, [width, height])
    if float(np.prod(high - low)) < _LEAST_VISIBLE * whole:
        return None
    box = tuple(round(float(value), 2) for value in (*low, *(high - low)))
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    return TrueObject(
        type=target.type,
        box=(box[0], box[1], box[2], box[3]),
        corners=_oriented(outline, target.heading, width, height, pixel_m),
        quadrant=quadrant(Point(x, y), Size(width, height)),
        cell=cell(Point(x, y), Size(width, height)),
        length_m=round(target.length, 1),
        width_m=round(target.width, 1),
        heading_deg=round((90 + math.degrees(target.heading)) % 360, 1),
        context=target.context,
    )


def _oriented(
    outline: NDArray[np.float64], heading: float, width: int, height: int, pixel_m: float
) -> tuple[tuple[float, float], ...]:
    """The smallest rectangle along the heading that holds the ground plan."""
    along = np.array([math.cos(heading), math.sin(heading)])
    across = np.array([-along[1], along[0]])
    u, v = outline @ along, outline @ across
    ends = [(u.max(), v.max()), (u.max(), v.min()), (u.min(), v.min()), (u.min(), v.max())]
    middle = np.array([width, height]) / 2
    corners = [(a * along + b * across) / pixel_m + middle for a, b in ends]
    return tuple((round(float(x), 2), round(float(y), 2)) for x, y in corners)


def shares_of(labels: NDArray[np.uint8]) -> Shares:
    """Parts of the area by land cover: of the whole, of its quadrants and of its nine cells.

    A pixel belongs to the part that its centre lies in.
    """
    height, width = labels.shape
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    quarters = 2 * (y >= height / 2)[:, None] + (x >= width / 2)[None, :]
    ninths = 3 * np.floor(3 * y / height).astype(int)[:, None] + np.floor(3 * x / width).astype(int)[None, :]
    by_quadrant = {name: _parts(labels[quarters == index]) for index, name in enumerate(QUADRANTS)}
    return Shares(_parts(labels), by_quadrant, tuple(_parts(labels[ninths == index]) for index in range(9)))


def _parts(labels: NDArray[np.uint8]) -> dict[str, float]:
    counts = np.bincount(labels.ravel(), minlength=256)
    return {name: round(float(counts[index]) / labels.size, 4) for index, name in enumerate(LAND_COVERS)}
