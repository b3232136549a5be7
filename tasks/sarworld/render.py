"""A layout as a sensor sees it: clutter, shadows, layover and strong scatterers, as float32 amplitude.

Every layer draws from its own generator. What belongs to the ground (which scatterers of a target shine, the gains of
its covers) does not depend on the sensor; what belongs to an acquisition (texture, speckle) does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.hashing import hash_bytes
from tasks.sarworld.buildings import building_points, stand_up
from tasks.sarworld.clutter import CLASSES, intensity, mean_power, scene_gains, texture
from tasks.sarworld.draws import Draws
from tasks.sarworld.ground import COVERS, Layout, Raster, Shape, Target, polygon_pixels, rasterise
from tasks.sarworld.scatterers import Scatterers, render, smeared
from tasks.sarworld.sensors import Sensor
from tasks.sarworld.targets.aircraft import aircraft_plan, airframe
from tasks.sarworld.targets.plan import Placed, Plan, View, placed
from tasks.sarworld.targets.ships import Dimensions, ship_plan

Power = NDArray[np.float32]

_TARGET_SHADOW_M = 4.0  # our choice: the mean height that shades, for fuselage, wing and hull alike
_TARGET_SHADOW = 0.35  # our choice: shadows of targets are filled by side lobes and double reflections
_BUILDING_SHADOW = 0.02  # our choice: -17 dB of what lies there; the noise floor is what remains


@dataclass(frozen=True)
class Acquisition:
    """One overflight: the product that is made, from where, over how bright a ground."""

    product: Sensor
    view: View
    gains_db: Mapping[str, float]
    """By clutter class."""
    pass_id: str = ""
    """Tells two overflights of one layout by one sensor apart."""

    @property
    def name(self) -> str:
        """What draws of this acquisition hang on."""
        return f"{self.product.id}{self.pass_id}"


def acquire(draws: Draws, product: Sensor, *, look: int | None = None, pass_id: str = "") -> Acquisition:
    """An overflight with its view and gains drawn; `draws` may be those of a parent of several layouts."""
    rng = draws.generator(f"view {product.id}{pass_id}")
    side = 1 if rng.random() < 0.5 else -1
    incidence = float(rng.uniform(*product.incidence_deg))
    view = View(look=side if look is None else look, incidence_deg=incidence)
    return Acquisition(product, view, scene_gains(draws.generator("gains")), pass_id)


class Scene(NamedTuple):
    """What reaches the sensor: distributed clutter and points."""

    raster: Raster
    power: Power
    """Mean power of every pixel's clutter, texture and shadows included, noise not."""
    points: Scatterers


def scene_of(layout: Layout, shape: Shape, acquisition: Acquisition, seed: int) -> Scene:
    """The layout under a sensor, before speckle."""
    draws, product, view = Draws(seed, layout.scene), acquisition.product, acquisition.view
    raster = rasterise(layout, shape, product.pixel_m)
    targets = [placed_target(target, number, draws, view) for number, target in enumerate(layout.targets)]
    shaded = stand_up(layout.buildings, raster, product.pixel_m, view)
    power = _clutter(raster, acquisition, draws)
    power[shaded] *= np.float32(_BUILDING_SHADOW)
    for outlined in targets:
        _shade(power, outlined, product, view)
    level_db = {
        name: 10 * float(np.log10(mean_power(name, product, view.incidence_deg, acquisition.gains_db[name])))
        for name in ("housing", "industrial")
    }
    parts = [layout.fixtures, building_points(layout.buildings, product, view, level_db, draws.generator("walls"))]
    for number, (placed_there, target) in enumerate(zip(targets, layout.targets, strict=True)):
        points = placed_there.scatterers
        if target.moving_m > 0:
            points = smeared(points, target.moving_m, draws.generator(f"smear {number}"))
        parts.append(points)
    return Scene(raster, power, Scatterers.joined(parts))


def amplitude(layout: Layout, shape: Shape, acquisition: Acquisition, seed: int) -> NDArray[np.float32]:
    """The scene as linear amplitude; one is a mean power of 0 dB."""
    scene = scene_of(layout, shape, acquisition, seed)
    coherent = render(scene.points, shape, acquisition.product)
    rng = Draws(seed, layout.scene).generator(f"speckle {acquisition.name}")
    return np.sqrt(intensity(rng, scene.power, acquisition.product, coherent)).astype(np.float32)


def rounded_hash(image: NDArray[np.float32]) -> str:
    """Hash of an amplitude image to a thousandth of a decibel: how images are compared (section 14.7)."""
    decibels = 20 * np.log10(np.maximum(image, np.float32(1e-6)).astype(np.float64))
    thousandths = np.rint(decibels * 1000).astype("<i4")
    return hash_bytes(repr(image.shape).encode() + thousandths.tobytes())


def placed_target(target: Target, number: int, draws: Draws, view: View) -> Placed:
    """A target of a layout on the ground; the same scatterers shine for every sensor."""
    rng = draws.generator(f"target {number}")
    return placed(_plan(target), rng, target.heading, view, target.gain_db).shifted(target.x, target.y)


def _plan(target: Target) -> Plan:
    if target.kind == "aircraft":
        return aircraft_plan(replace(airframe(target.type), length=target.length, span=target.width))
    return ship_plan(target.type, Dimensions(target.length, target.width))


def _clutter(raster: Raster, acquisition: Acquisition, draws: Draws) -> Power:
    product, incidence = acquisition.product, acquisition.view.incidence_deg
    power = np.zeros(raster.cover.shape, dtype=np.float32)
    for index in np.unique(raster.cover):
        name = COVERS[index]
        inside = raster.cover == index
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        within = inside[window]
        entry = CLASSES[name]
        rng = draws.generator(f"texture {name} {acquisition.name}")
        field = texture(rng, (within.shape[0], within.shape[1]), product.pixel_m, entry.nu, entry.correlation_m)
        level = mean_power(name, product, incidence, acquisition.gains_db[name])
        power[window][within] = level * field[within]
    if raster.gain_db.any():
        power *= np.exp(raster.gain_db * np.float32(np.log(10) / 10))
    return power


def _shade(power: Power, target: Placed, product: Sensor, view: View) -> None:
    """The outlines and what lies behind them as seen from the sensor get little of the beam."""
    shape = (power.shape[0], power.shape[1])
    mask = np.zeros(shape, dtype=bool)
    reach = view.look * view.shadow_per_m * _TARGET_SHADOW_M
    for share in (0.0, 0.5, 1.0):
        for outline in target.outlines:
            mask[polygon_pixels(outline + np.array([share * reach, 0.0]), shape, product.pixel_m)] = True
    power[mask] *= np.float32(_TARGET_SHADOW)
