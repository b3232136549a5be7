"""The body of a target of a layout: its plan, and where its outline lies on the ground."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.targets.aircraft import AIRCRAFT_TYPES, aircraft_plan, airframe, member
from tasks.sarworld.targets.plan import Plan
from tasks.sarworld.targets.ships import Dimensions, draw_dimensions, ship_plan, ship_type

if TYPE_CHECKING:
    from tasks.sarworld.ground import Target

Floats = NDArray[np.float64]
Size = tuple[float, float]


def is_aircraft(type_name: str) -> bool:
    """Whether a type flies; anything else is taken for a ship."""
    return type_name in AIRCRAFT_TYPES


def typical_size(type_name: str) -> Size:
    """Length and span, or length and beam, of a middling member of a type."""
    if is_aircraft(type_name):
        frame = airframe(type_name)
        return frame.length, frame.span
    kind = ship_type(type_name)
    return sum(kind.length) / 2, sum(kind.beam) / 2


def draw_size(type_name: str, rng: np.random.Generator) -> Size:
    """Length and span, or length and beam, of one member of a type."""
    if is_aircraft(type_name):
        frame = member(type_name, rng)
        return frame.length, frame.span
    size = draw_dimensions(type_name, rng)
    return size.length, size.beam


def body_plan(type_name: str, length: float, width: float) -> Plan:
    """Outlines and scatterers of a member of that size, nose or bow along +u."""
    if is_aircraft(type_name):
        return aircraft_plan(replace(airframe(type_name), length=length, span=width))
    return ship_plan(type_name, Dimensions(length, width))


@lru_cache(maxsize=256)
def _outlines(type_name: str, length: float, width: float) -> tuple[Floats, ...]:
    outlines = body_plan(type_name, length, width).outlines
    found = tuple(np.array(outline, dtype=np.float64) for outline in outlines)
    for outline in found:
        outline.setflags(write=False)
    return found


def turned_corners(type_name: str, size: Size, heading: float) -> Floats:
    """All corners of the outlines around the origin, (n, 2) as x and y."""
    cos, sin = np.cos(heading), np.sin(heading)
    corners: Floats = np.concatenate(_outlines(type_name, *size)) @ np.array([[cos, sin], [-sin, cos]])
    return corners


def ground_plan(target: Target) -> tuple[Floats, ...]:
    """The outlines on the ground, each (n, 2) as x and y."""
    cos, sin = np.cos(target.heading), np.sin(target.heading)
    turn, place = np.array([[cos, sin], [-sin, cos]]), np.array([target.x, target.y])
    return tuple(outline @ turn + place for outline in _outlines(target.type, target.length, target.width))


def ground_box(target: Target) -> tuple[float, float, float, float]:
    """Smallest x, smallest y, largest x, largest y of the ground plan."""
    corners = turned_corners(target.type, (target.length, target.width), target.heading)
    (left, low), (right, high) = corners.min(axis=0), corners.max(axis=0)
    return float(target.x + left), float(target.y + low), float(target.x + right), float(target.y + high)
