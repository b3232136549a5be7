"""What is true about one rendered image: the rows of `truth.jsonl` (section 14.5 of the task specification).

Plain data, no arrays: texts, captions, questions and the balance report are made from it, and it is read back as it
was written. Pixel coordinates have their origin at the top-left corner of the first pixel, x to the right.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Domain = Literal["aircraft", "ship", "landform"]
Arrangement = Literal["none", "single", "pair", "row", "cluster", "scattered"]
Pattern = Literal["grid", "irregular", "none"]
Boundary = Literal["sharp", "gradual"]
Course = Literal["none", "straight", "winding"]
WaterBody = Literal["none", "river", "lake", "canal", "sea"]

LANDFORMS = ("plain", "river-network plain", "hilly", "coastal", "urban flat")
"""Section 14.1: the five kinds of ground that a site can lie in."""
LAND_COVERS = ("building", "vegetation", "water", "road")
"""Section 6.3: the four names of the landform questions, in their fixed order."""
FUNCTIONS = ("airport", "port", "residential", "industrial", "farming", "river corridor", "mixed")
"""What the ground is used for; one per kind of scene of section 14.1."""
AIRCRAFT_CONTEXTS = ("apron", "runway", "grass")
SHIP_CONTEXTS = ("open sea", "anchorage", "quay")
QUADRANTS = ("top-left", "top-right", "bottom-left", "bottom-right")


@dataclass(frozen=True)
class TrueObject:
    """One target of an image."""

    type: str
    box: tuple[float, float, float, float]
    """x, y, width, height in pixels; two pixels wider than the ground plan on every side, clipped to the image."""
    corners: tuple[tuple[float, float], ...]
    """The oriented box of the ground plan, four corners in pixels."""
    quadrant: str
    cell: int
    """1 to 9, row by row from the top left; of the centre of the box."""
    length_m: float
    width_m: float
    """Span of an aircraft, beam of a ship."""
    heading_deg: float
    """Compass heading of nose or bow, clockwise from north (up)."""
    context: str
    """One of `AIRCRAFT_CONTEXTS` or `SHIP_CONTEXTS`."""


@dataclass(frozen=True)
class Shares:
    """Parts of the area by land cover (building, vegetation, water, road); the rest is unlabelled ground."""

    tile: dict[str, float]
    quadrants: dict[str, dict[str, float]]
    """By quadrant name."""
    cells: tuple[dict[str, float], ...]
    """Nine, row by row."""


@dataclass(frozen=True)
class Facts:
    """What the layout is like, as a person would say it."""

    landform: str
    """One of `LANDFORMS`."""
    function: str
    """One of `FUNCTIONS`."""
    pattern: Pattern
    """How buildings and parcels are arranged; none where there are neither."""
    boundary: Boundary
    """How land covers meet."""
    roads: int
    """Roads crossing the image."""
    road_course: Course
    water: WaterBody
    """The largest body of water."""
    buildings: int
    """Buildings whose ground plan touches the image."""
    arrangement: Arrangement
    """Of the targets."""
    surroundings: tuple[str, ...]
    """What stands or lies around the targets, in a fixed order; of: apron, runway, taxiway, grass, terminal, calm
    water, swell, quay, cranes, breakwater, buildings, woodland, farmland."""


@dataclass(frozen=True)
class Truth:
    """One row of `truth.jsonl`."""

    image_id: str
    domain: Domain
    scene: str
    """The layout; tiles and acquisitions of one layout share it."""
    site: str
    width: int
    height: int
    pixel_m: float
    sensor: str
    look: int
    """1: the sensor looks to the right of the image, -1: to the left."""
    incidence_deg: float
    objects: tuple[TrueObject, ...]
    shares: Shares
    facts: Facts

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        return asdict(self)

    @staticmethod
    def from_json(row: dict[str, Any]) -> Truth:
        """The inverse of `to_json` after a way through JSON."""
        objects = tuple(
            TrueObject(**{**item, "box": tuple(item["box"]), "corners": tuple(tuple(c) for c in item["corners"])})
            for item in row["objects"]
        )
        shares = Shares(**{**row["shares"], "cells": tuple(row["shares"]["cells"])})
        facts = Facts(**{**row["facts"], "surroundings": tuple(row["facts"]["surroundings"])})
        return Truth(**{**row, "objects": objects, "shares": shares, "facts": facts})
