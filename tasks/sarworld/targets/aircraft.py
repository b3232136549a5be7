"""Parked aircraft from public dimensions (section 14.3 of the task specification).

Six types of SAR-ACD, and seven fictional classes for FUSAR-AIR whose members vary from chip to chip.
Apart from length and span, the shares below are read off three-view drawings by eye: orders of magnitude.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from foundation.names import unknown_name
from tasks.sarworld.targets.plan import Plan

# Section 14.3: engines +12 dB, nose and tail +9 dB over the lines of fuselage and wings.
LINE_DB = 3.0  # our choice: with a 1 m cell a line stands some 14 dB above tarmac and noise
ENGINE_DB = LINE_DB + 12.0
NOSE_DB = TAIL_DB = LINE_DB + 9.0
_SPACING_M = 3.2  # our choice: scattering centres on a skin are few; closer, they would draw the aircraft as a line
_FLASH_DB = 9.0  # gain of a fuselage or wing line seen broadside


@dataclass(frozen=True)
class Airframe:
    """A type of aircraft in plan view; lengths in metres, places as shares of length or half span."""

    name: str
    length: float
    span: float
    sweep_deg: float = 27.0
    wing_at: float = 0.36
    """Where the leading edge meets the fuselage, from the nose, share of the length."""
    root_chord: float = 0.19
    """Share of the length."""
    tip_chord: float = 0.045
    fuselage: float = 4.0
    tail_span: float = 0.36
    """Share of the span."""
    engines: tuple[float, ...] = (0.34,)
    """Engines on each wing, share of the half span; none for engines at the rear."""
    rear_engines: bool = False
    propellers: bool = False
    disc: float = 0.0
    """Diameter of a radar disc over the fuselage."""
    boom: float = 0.0
    """Length of a tail boom."""
    delta: bool = False
    wing_height: float = 0.0
    body_db: float = 0.0
    """Fuselage against the usual metal skin; composite returns less."""
    wing_db: float = 0.0
    engine_db: float = 0.0


# Length and span: section 14.3. The rest by eye. The levels are invented, but have their reason: composite skins
# (A220 wings, Boeing787) return less than metal, large fans and engines high at the tail return more.
_REAL = (
    Airframe("A220", 38.7, 35.1, sweep_deg=26, wing_at=0.39, fuselage=3.7, engines=(0.31,), wing_db=-5),
    Airframe("A320321", 41.0, 34.1, sweep_deg=27, wing_at=0.34, fuselage=4.0, engines=(0.34,), wing_db=2),
    Airframe("A330", 61.0, 60.3, sweep_deg=31, wing_at=0.32, root_chord=0.18, fuselage=5.6, engines=(0.31,), wing_db=2),
    Airframe(
        "ARJ21", 33.5, 27.3, sweep_deg=25, wing_at=0.45, fuselage=3.4, engines=(), rear_engines=True, engine_db=4
    ),
    Airframe(
        "Boeing737", 39.5, 35.8, sweep_deg=28, wing_at=0.33, tail_span=0.40, engines=(0.28,), engine_db=-3, body_db=4
    ),
    Airframe(
        "Boeing787", 60.0, 60.1, sweep_deg=36, wing_at=0.29, root_chord=0.20, fuselage=5.8, engines=(0.33,),
        body_db=-5, wing_db=-3, engine_db=3,
    ),
)  # fmt: skip

# The fictional classes of section 14.3.
_FICTIONAL = (
    Airframe(
        "transport", 45.0, 48.0, sweep_deg=18, wing_at=0.34, fuselage=5.6, engines=(0.3, 0.6), wing_height=5.0
    ),
    Airframe("tanker", 58.8, 60.3, sweep_deg=31, wing_at=0.32, fuselage=5.6, engines=(0.31,), boom=9.0),
    Airframe("narrow_civil", 40.0, 35.0),
    Airframe(
        "wide_civil", 60.0, 60.0, sweep_deg=33, wing_at=0.31, fuselage=5.8, engines=(0.32,), body_db=-3, wing_db=-2
    ),
    Airframe(
        "regional", 27.2, 27.0, sweep_deg=3, wing_at=0.42, root_chord=0.1, fuselage=2.8, engines=(0.3,),
        propellers=True, wing_height=2.5,
    ),
    Airframe(
        "fighter", 19.0, 12.5, sweep_deg=48, wing_at=0.38, root_chord=0.42, fuselage=2.2, engines=(),
        rear_engines=True, delta=True,
    ),
    Airframe("early_warning", 46.0, 44.0, wing_at=0.33, fuselage=4.2, engines=(0.3, 0.58), disc=9.5),
)  # fmt: skip

OTHER = "other"
# What SAR-AIRcraft-1.0 gathers as "other" (section 4.3), here: two business jets, a propeller aircraft, a small
# twin, two transports. Sizes are those of common types; the first is what stands for the class.
_OTHERS = (
    Airframe(OTHER, 27.0, 26.0, sweep_deg=30, wing_at=0.47, fuselage=2.6, engines=(), rear_engines=True),
    Airframe(OTHER, 19.5, 18.6, sweep_deg=25, wing_at=0.45, fuselage=2.0, engines=(), rear_engines=True),
    Airframe(
        OTHER, 30.0, 34.0, sweep_deg=4, wing_at=0.38, root_chord=0.11, fuselage=3.0, engines=(0.28, 0.6),
        propellers=True, wing_height=2.5,
    ),
    Airframe(OTHER, 14.2, 16.6, sweep_deg=2, wing_at=0.33, root_chord=0.14, fuselage=1.6, propellers=True),
    Airframe(OTHER, 46.6, 50.5, sweep_deg=18, wing_at=0.33, fuselage=5.4, engines=(0.3, 0.58), wing_height=5.0),
    Airframe(OTHER, 47.0, 40.4, sweep_deg=33, wing_at=0.36, fuselage=3.9, engines=(0.38, 0.66)),
)  # fmt: skip

SAR_ACD_TYPES: Mapping[str, Airframe] = MappingProxyType({frame.name: frame for frame in _REAL})
FUSAR_AIR_TYPES: Mapping[str, Airframe] = MappingProxyType({frame.name: frame for frame in _FICTIONAL})
AIRCRAFT_TYPES: Mapping[str, Airframe] = MappingProxyType({**SAR_ACD_TYPES, **FUSAR_AIR_TYPES, OTHER: _OTHERS[0]})
_MEMBER_SPREAD = 0.06  # fictional classes gather several types; sizes vary by this share


def airframe(name: str) -> Airframe:
    """The type of that name, real or fictional."""
    if name not in AIRCRAFT_TYPES:
        raise unknown_name("aircraft type", name, AIRCRAFT_TYPES, see="tasks/sarworld/README.md")
    return AIRCRAFT_TYPES[name]


def member(name: str, rng: np.random.Generator) -> Airframe:
    """One aircraft of a class: a fictional class varies in size, "other" in shape too, a real type is what it is."""
    frame = airframe(name)
    if name in SAR_ACD_TYPES:
        return frame
    if name == OTHER:
        frame = _OTHERS[int(rng.integers(len(_OTHERS)))]
    factor = 1.0 + _MEMBER_SPREAD * float(np.clip(rng.normal(), -2, 2))
    return replace(frame, length=frame.length * factor, span=frame.span * factor)


def _shaped(frame: Airframe) -> Airframe:
    """An "other" gets the shape that comes in its size; what length and span tell is all that a layout keeps of it."""
    if frame.name != OTHER:
        return frame
    nearest = min(_OTHERS, key=lambda o: math.hypot(math.log(o.length / frame.length), math.log(o.span / frame.span)))
    return replace(nearest, length=frame.length, span=frame.span)


def aircraft_plan(frame: Airframe) -> Plan:
    """Outline and scatterers of one aircraft, nose along +u."""
    plan = Plan()
    frame = _shaped(frame)
    half, nose = frame.span / 2, frame.length / 2
    tail = -nose
    root = nose - frame.wing_at * frame.length
    tip_back = (half - frame.fuselage / 2) * math.tan(math.radians(frame.sweep_deg))
    chord = frame.root_chord * frame.length
    tip_chord = frame.tip_chord * frame.length
    width = frame.fuselage / 2
    plan.outlines.append([(nose, 0), (nose - 1.5 * width, width), (tail, 0.3 * width), (tail, -0.3 * width),
                          (nose - 1.5 * width, -width)])  # fmt: skip
    _fuselage(plan, frame, nose, tail)
    for side in (1.0, -1.0):
        _wing(plan, frame, side, root, tip_back, chord, tip_chord)
        _tailplane(plan, frame, side, tail)
    if frame.rear_engines:
        _rear_engines(plan, frame, tail)
    if frame.disc:
        for corner in range(12):
            angle = corner * math.pi / 6
            plan.point(-4 + frame.disc / 2 * math.cos(angle), frame.disc / 2 * math.sin(angle), LINE_DB + 6, z=2.0)
        plan.point(-4, 0, LINE_DB + 9, z=2.0)
    if frame.boom:
        plan.line((tail, 0), (tail - frame.boom * 0.5, 0), LINE_DB + 7, spacing=1.5)
        plan.point(tail - frame.boom * 0.5, 0, TAIL_DB)
    return plan


def _fuselage(plan: Plan, frame: Airframe, nose: float, tail: float) -> None:
    width = frame.fuselage / 2
    for side in (1.0, -1.0):
        plan.line((nose - 3, side * width), (tail + 0.2 * frame.length, side * width), LINE_DB + frame.body_db,
                  spacing=_SPACING_M, flash_db=_FLASH_DB, outward=(0, side))  # fmt: skip
    plan.line(
        (tail + 0.2 * frame.length, 0), (tail, 0), LINE_DB + frame.body_db, spacing=_SPACING_M, flash_db=_FLASH_DB
    )
    plan.point(nose, 0, NOSE_DB)
    plan.point(nose - 3.0, 0, NOSE_DB - 3)  # cockpit and nose gear
    plan.point(tail, 0, TAIL_DB)
    plan.line((tail, 0), (tail + 0.13 * frame.length, 0), LINE_DB + 4, spacing=_SPACING_M, z=3.0)  # the fin


def _wing(
    plan: Plan, frame: Airframe, side: float, root: float, tip_back: float, chord: float, tip_chord: float
) -> None:
    half, width = frame.span / 2, frame.fuselage / 2
    root_edge, tip_edge = (root, side * width), (root - tip_back, side * half)
    root_rear, tip_rear = (root - chord, side * width), (root - tip_back - tip_chord, side * half)
    if frame.delta:
        tip_rear = (root - chord, side * half)
    plan.outlines.append([root_edge, tip_edge, tip_rear, root_rear])
    z, level = frame.wing_height, LINE_DB + frame.wing_db
    plan.line(root_edge, tip_edge, level + 1, spacing=_SPACING_M, z=z, flash_db=_FLASH_DB, outward=(1, side * 0.3))
    plan.line(root_rear, tip_rear, level - 3, spacing=1.2 * _SPACING_M, z=z, flash_db=_FLASH_DB, outward=(-1, 0))
    plan.point(*tip_edge, LINE_DB + 5, z=z)
    # Fuselage, wing and ground make a corner, brightest to the front of the wing; the gear stands behind it.
    plan.point(root - 1.0, side * width, LINE_DB + 8, normal=(0.6, side * 0.8), flash_db=4.0)
    plan.point(root - 0.75 * chord, side * (width + 1.5), LINE_DB + 5)
    for share in frame.engines:
        v = side * share * half
        u = root - tip_back * (share * half - width) / (half - width) + (1.0 if frame.propellers else 2.0)
        plan.point(u, v, ENGINE_DB + frame.engine_db, z=z, normal=(1, 0), flash_db=3.0)
        plan.point(u - 3.0, v, ENGINE_DB + frame.engine_db - 5, z=z, normal=(-1, 0), flash_db=3.0)
        if frame.propellers:
            plan.line((u + 0.8, v - 2.0), (u + 0.8, v + 2.0), LINE_DB + 5, spacing=1.0, z=z)


def _tailplane(plan: Plan, frame: Airframe, side: float, tail: float) -> None:
    reach = frame.tail_span * frame.span / 2
    chord = 0.1 * frame.length
    back = reach * math.tan(math.radians(frame.sweep_deg + 5))
    front = (tail + chord + min(back, chord), side * 0.5)
    end = (tail + chord + min(back, chord) - back, side * reach)
    plan.outlines.append([front, end, (end[0] - 0.4 * chord, end[1]), (tail + 0.2 * chord, side * 0.5)])
    plan.line(front, end, LINE_DB, spacing=_SPACING_M, flash_db=_FLASH_DB, outward=(1, side * 0.3))
    plan.point(*end, LINE_DB + 3)


def _rear_engines(plan: Plan, frame: Airframe, tail: float) -> None:
    apart = 0.5 * frame.fuselage if frame.delta else frame.fuselage
    u = tail + (0.02 if frame.delta else 0.2) * frame.length
    for side in (1.0, -1.0):
        plan.point(u, side * apart, ENGINE_DB + frame.engine_db, normal=(-1 if frame.delta else 1, 0), flash_db=3.0)
        plan.point(u - (0.0 if frame.delta else 3.0), side * apart, ENGINE_DB - 5)
