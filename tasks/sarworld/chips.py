"""One chip: clutter, one target, a few distractors, as float32 amplitude.

Every layer of a chip (layout, target, distractors, clutter) has its own generator, seeded by the world's version
and seed and the chip's id: no chip depends on another, and a change of one layer leaves the others as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from foundation.hashing import hash_bytes
from foundation.seeds import derive_seed
from tasks.sarworld.clutter import (
    CLASSES,
    SHOULDER_GAIN_DB,
    SHOULDER_WIDTH_M,
    SWELL_WAVELENGTH_M,
    intensity,
    mean_power,
    scene_gains,
    swell_db,
    texture,
)
from tasks.sarworld.layouts import WORLD_VERSION, Chip
from tasks.sarworld.scatterers import Scatterers, pixel_centres, render, smeared
from tasks.sarworld.sensors import Sensor, sensor
from tasks.sarworld.targets.aircraft import FUSAR_AIR_TYPES, SAR_ACD_TYPES, aircraft_plan, airframe, member
from tasks.sarworld.targets.plan import Placed, View, placed
from tasks.sarworld.targets.ships import Dimensions, draw_dimensions, ship_plan

Floats = NDArray[np.float64]

_GAIN_SPREAD_DB = 2.0  # our choice: gain of a whole target from chip to chip (calibration, wetness)
_FREE_HEADING_PROBABILITY = 0.15
_STAND_HEADING, _STAND_SPREAD = math.radians(20.0), math.radians(8.0)
_QUAY_PROBABILITY = 0.12
_NEIGHBOUR_PROBABILITY = 0.15
_TERMINAL_PROBABILITY = 0.25
_SMEAR_PROBABILITY = 0.15


@dataclass(frozen=True)
class Ground:
    """What lies under a chip: a class per pixel, and gains in dB."""

    classes: NDArray[np.int64]
    gain_db: Floats
    names: tuple[str, ...]


def generator(chip: Chip, seed: int, layer: str) -> np.random.Generator:
    """The generator of one layer of one chip."""
    return np.random.default_rng(derive_seed("sarworld", WORLD_VERSION, seed, chip.chip_id, layer))


def ship_dimensions(chip: Chip, seed: int) -> Dimensions:
    """Length and beam of the ship on a chip, without drawing it."""
    return draw_dimensions(chip.label, generator(chip, seed, "dimensions"))


def view_of(chip: Chip, seed: int, product: Sensor) -> View:
    """From where the sensor sees a chip."""
    rng = generator(chip, seed, "view")
    return View(look=1 if rng.random() < 0.5 else -1, incidence_deg=float(rng.uniform(*product.incidence_deg)))


def product_of(chip: Chip, seed: int) -> Sensor:
    """The sensor of a chip on the chip's pixels."""
    pixel_m = chip.grid.pixel_m
    if chip.dataset == "sar_acd":
        # The published chips are oversampled: neighbouring pixels correlate. One look, no window.
        return sensor("gf3").product(pixel_m, resolution_m=1.6, looks=1)
    if chip.dataset == "fusar_air" and generator(chip, seed, "sensor").random() < 0.5:
        # Section 14.4: a mix of sensors. Bandwidth that a coarser pixel does not need goes into looks, four at most.
        return sensor("ql1").product(pixel_m, looks=min(4, round(pixel_m / sensor("ql1").pixel_m)))
    return sensor("gf3").product(pixel_m)


def amplitude(chip: Chip, seed: int) -> NDArray[np.float32]:
    """The chip as linear amplitude; one is a mean power of 0 dB."""
    product = product_of(chip, seed)
    view = view_of(chip, seed, product)
    if chip.dataset == "fusar_ship":
        shape, target, ground, points = _ship_scene(chip, seed, product, view)
    else:
        shape, target, ground, points = _aircraft_scene(chip, seed, product, view)
    rng = generator(chip, seed, "clutter")
    power = _clutter_power(rng, ground, product, view) * _shadow(target, shape, product, view)
    coherent = render(Scatterers.joined([target.scatterers, *points]), shape, product)
    return np.sqrt(intensity(rng, power, product, coherent)).astype(np.float32)


def rounded_hash(image: NDArray[np.float32]) -> str:
    """Hash of an amplitude image to a thousandth of a decibel: how images are compared (section 14.7)."""
    decibels = 20 * np.log10(np.maximum(image, np.float32(1e-6)).astype(np.float64))
    thousandths = np.rint(decibels * 1000).astype("<i4")
    return hash_bytes(repr(image.shape).encode() + thousandths.tobytes())


Scene = tuple[tuple[int, int], Placed, Ground, list[Scatterers]]


def _aircraft_scene(chip: Chip, seed: int, product: Sensor, view: View) -> Scene:
    layout, rng = generator(chip, seed, "layout"), generator(chip, seed, "target")
    heading = _stand_heading(layout)
    gain_db = float(layout.normal(0.0, _GAIN_SPREAD_DB))
    frame = member(chip.label, rng)
    target = placed(aircraft_plan(frame), rng, heading, view, gain_db)
    shape, target = _framed(chip, target, layout)
    ground = _aircraft_ground(layout, shape, product)
    rng = generator(chip, seed, "distractors")
    points = [_vehicles(rng, shape, product)]
    if rng.random() < _TERMINAL_PROBABILITY:
        points.append(_terminal(rng, shape, product))
    if rng.random() < _NEIGHBOUR_PROBABILITY:
        kinds = sorted(SAR_ACD_TYPES if chip.dataset == "sar_acd" else FUSAR_AIR_TYPES)
        other = airframe(kinds[int(rng.integers(len(kinds)))])
        # Parked in a row: same heading, wing tip to wing tip, mostly beyond the border.
        apart = (frame.span + other.span) / 2 + float(rng.uniform(3, 10))
        side = 1.0 if rng.random() < 0.5 else -1.0
        neighbour = placed(aircraft_plan(other), rng, heading, view, gain_db)
        points.append(neighbour.shifted(-side * apart * math.sin(heading), side * apart * math.cos(heading)).scatterers)
    return shape, target, ground, points


def _stand_heading(rng: np.random.Generator) -> float:
    """Aircraft stand as the stands of the airport do: nose in from either side of a pier; a few stand anyhow."""
    anyhow = rng.random() < _FREE_HEADING_PROBABILITY
    if anyhow:
        return float(rng.uniform(0, 2 * np.pi))
    return float(_STAND_HEADING + np.pi * rng.integers(2) + rng.normal(0.0, _STAND_SPREAD))


def _framed(chip: Chip, target: Placed, rng: np.random.Generator) -> tuple[tuple[int, int], Placed]:
    """The chip's shape, and the target moved to where the frame puts it."""
    grid = chip.grid
    left, low, right, high = target.box()
    extent = np.array([high - low, right - left]) / grid.pixel_m
    if grid.smallest_px == grid.chip_px:
        shape = np.array([grid.chip_px, grid.chip_px])
        slack = np.maximum((shape - extent) / 2 - 1, 0)
        shift = rng.uniform(-1, 1, 2) * np.minimum(slack, 0.06 * grid.chip_px) * grid.pixel_m
    else:
        margin = rng.uniform(0.02, 0.16, (2, 2)) * extent + rng.uniform(1, 5, (2, 2))
        shape = np.clip(np.ceil(extent + margin.sum(axis=0)), grid.smallest_px, grid.chip_px).astype(int)
        shift = (margin[0] - margin[1]) / 2 * grid.pixel_m
    middle = np.array([(low + high) / 2, (left + right) / 2])
    moved = target.shifted(float(shift[1] - middle[1]), float(shift[0] - middle[0]))
    return (int(shape[0]), int(shape[1])), moved


def _aircraft_ground(rng: np.random.Generator, shape: tuple[int, int], product: Sensor) -> Ground:
    """An apron; an apron or a runway with a grass edge and its shoulder; sometimes grass alone."""
    x, y = _coordinates(shape, product)
    kind, angle = float(rng.random()), float(rng.uniform(0, 2 * np.pi))
    half = max(shape) * product.pixel_m / 2
    edge = float(rng.uniform(0.1, 1.0)) * half
    beyond = x * math.cos(angle) + y * math.sin(angle) - edge
    if kind < 0.45:
        beyond = np.full(shape, -1e3)
    elif kind < 0.65:
        width = float(rng.uniform(30, 45))
        beyond = np.abs(beyond + edge) - width / 2
    elif kind < 0.72:
        beyond = np.full(shape, 1e3)
    shoulder = (beyond <= 0) & (beyond > -SHOULDER_WIDTH_M)
    return Ground((beyond > 0).astype(np.int64), np.where(shoulder, SHOULDER_GAIN_DB, 0.0), ("tarmac", "grass"))


def _vehicles(rng: np.random.Generator, shape: tuple[int, int], product: Sensor) -> Scatterers:
    """Up to four cars, poles and stairs anywhere on the chip."""
    count = int(rng.integers(0, 5))
    extent = np.array(shape)[:, None] * product.pixel_m / 2
    y, x = rng.uniform(-1, 1, (2, count)) * extent
    return Scatterers(x, y, rng.normal(-4.0, 4.0, count), rng.uniform(0, 2 * np.pi, count))


def _terminal(rng: np.random.Generator, shape: tuple[int, int], product: Sensor) -> Scatterers:
    """The corner of a terminal or a jet bridge: a cluster of bright points at one border."""
    count = int(rng.integers(8, 25))
    half = np.array(shape) * product.pixel_m / 2
    angle = float(rng.uniform(0, 2 * np.pi))
    along, depth = rng.uniform(-0.45, 0.45, count) * half.min(), rng.exponential(3.0, count)
    reach = 0.95 * half.min() / max(abs(math.cos(angle)), abs(math.sin(angle))) + depth
    x = reach * math.cos(angle) - along * math.sin(angle)
    y = reach * math.sin(angle) + along * math.cos(angle)
    return Scatterers(x, y, rng.normal(0.0, 5.0, count), rng.uniform(0, 2 * np.pi, count))


def _ship_scene(chip: Chip, seed: int, product: Sensor, view: View) -> Scene:
    layout, rng = generator(chip, seed, "layout"), generator(chip, seed, "target")
    heading = float(layout.uniform(0, 2 * np.pi))
    gain_db = float(layout.normal(0.0, _GAIN_SPREAD_DB))
    size = ship_dimensions(chip, seed)
    target = placed(ship_plan(chip.label, size), rng, heading, view, gain_db)
    shape, target = _framed(chip, target, layout)
    at_quay = layout.random() < _QUAY_PROBABILITY
    moving = not at_quay and layout.random() < _SMEAR_PROBABILITY
    if moving:
        points = smeared(target.scatterers, float(layout.uniform(1.5, 4.0)) * product.resolution_m, rng)
        target = Placed(points, target.outlines, target.heading)
    ground, points_ashore = _sea_ground(layout, shape, product, heading, size if at_quay else None)
    return shape, target, ground, points_ashore


def _sea_ground(
    rng: np.random.Generator, shape: tuple[int, int], product: Sensor, heading: float, moored: Dimensions | None
) -> tuple[Ground, list[Scatterers]]:
    """Sea with swell, or calm water, or water along a quay with cranes when a ship is moored."""
    x, y = _coordinates(shape, product)
    calm = moored is not None or rng.random() < 0.25
    swell = np.zeros(shape)
    if not calm:
        swell = swell_db(x, y, *_swell_draw(rng))
    classes = np.full(shape, 1 if calm else 0)
    points: list[Scatterers] = []
    if moored is not None:
        side = 1.0 if rng.random() < 0.5 else -1.0
        edge = moored.beam / 2 + 5.0 + 0.04 * max(shape) * product.pixel_m
        across = side * (-x * math.sin(heading) + y * math.cos(heading))
        classes[across > edge] = 3  # first the quay, then what stands on it
        classes[across > edge + float(rng.uniform(12, 40))] = 2
        count = int(rng.integers(6, 16))
        along = rng.uniform(-1, 1, count) * max(shape) * product.pixel_m / 2
        depth = edge + rng.exponential(12.0, count)
        points.append(
            Scatterers(
                along * math.cos(heading) - side * depth * math.sin(heading),
                along * math.sin(heading) + side * depth * math.cos(heading),
                rng.normal(8.0, 5.0, count),
                rng.uniform(0, 2 * np.pi, count),
            )
        )
    return Ground(classes, swell, ("sea", "water", "industrial", "tarmac")), points


def _swell_draw(rng: np.random.Generator) -> tuple[float, float, float]:
    return float(rng.uniform(*SWELL_WAVELENGTH_M)), float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0, 2 * np.pi))


def _coordinates(shape: tuple[int, int], product: Sensor) -> tuple[Floats, Floats]:
    y, x = (pixel_centres(count, product.pixel_m) for count in shape)
    return np.broadcast_to(x[None, :], shape), np.broadcast_to(y[:, None], shape)


def _clutter_power(rng: np.random.Generator, ground: Ground, product: Sensor, view: View) -> Floats:
    gains = scene_gains(rng)
    shape = (ground.classes.shape[0], ground.classes.shape[1])
    power = np.zeros(shape)
    for index, name in enumerate(ground.names):
        inside = ground.classes == index
        if inside.any():
            entry = CLASSES[name]
            field = texture(rng, shape, product.pixel_m, entry.nu, entry.correlation_m)
            power[inside] = mean_power(name, product, view.incidence_deg, gains[name]) * field[inside]
    shaped: Floats = power * 10 ** (ground.gain_db / 10)
    return shaped


_SHADOW_HEIGHT_M = 4.0  # our choice: the mean height that shades, for fuselage, wing and hull alike
_SHADOW_POWER = 0.35  # our choice: shadows are filled by side lobes and double reflections


def _shadow(target: Placed, shape: tuple[int, int], product: Sensor, view: View) -> Floats:
    """Factor on the clutter: the outlines and what lies behind them as seen from the sensor get little of the beam."""
    mask = Image.new("L", (shape[1], shape[0]), 0)
    pen = ImageDraw.Draw(mask)
    reach = view.look * view.shadow_per_m * _SHADOW_HEIGHT_M
    middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    for share in (0.0, 0.5, 1.0):
        for outline in target.outlines:
            corners = (outline + np.array([share * reach, 0.0])) / product.pixel_m + middle
            pen.polygon([(float(a), float(b)) for a, b in corners], fill=1)
    return np.where(np.asarray(mask) > 0, _SHADOW_POWER, 1.0)
