"""Lines that go right through the ground: roads, rivers, canals.

A course runs along a straight axis and swings about it, so the distance of any point from it is a closed formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Swing(NamedTuple):
    """One sinusoid of a winding course."""

    amplitude: float
    wavelength: float
    phase: float


_NONE = Swing(0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Course:
    """A line of some width from one edge of the ground to another."""

    x: float
    y: float
    """A point of the axis."""
    heading: float
    width: float
    reach: float
    """How far it goes either way from that point; beyond the border of the ground, if it is no ramp."""
    swings: tuple[Swing, ...] = ()
    swell: Swing = _NONE
    """By how much the half width rises and falls."""

    def aside(self, along: Floats) -> Floats:
        """How far the line lies off its axis."""
        return sum((s.amplitude * np.sin(2 * np.pi * along / s.wavelength + s.phase) for s in self.swings), along * 0.0)

    def half_width(self, along: Floats) -> Floats:
        """Half the width."""
        half: Floats = np.full_like(along, self.width / 2)
        if self.swell.amplitude:
            half += self.swell.amplitude * np.sin(2 * np.pi * along / self.swell.wavelength + self.swell.phase)
        return half

    def inside(self, x: Floats, y: Floats) -> Floats:
        """How far points lie within the banks, in metres; negative outside."""
        along = (x - self.x) * np.cos(self.heading) + (y - self.y) * np.sin(self.heading)
        across = -(x - self.x) * np.sin(self.heading) + (y - self.y) * np.cos(self.heading)
        beyond: Floats = self.reach - np.abs(along)
        if self.swings:
            across = (across - self.aside(along)) / np.sqrt(1 + self._slope(along) ** 2)
        margin: Floats = np.minimum(self.half_width(along) - np.abs(across), beyond)
        return margin

    def polygon(self, step: float, wider: float = 0.0) -> Floats:
        """The ground between the banks, `wider` metres more on either side."""
        along = self._steps(step)
        across, half = self.aside(along), self.half_width(along) + wider
        one = self._ground(*_beside(along, across, half))
        other = self._ground(*_beside(along, across, -half))
        return np.concatenate([one, other[::-1]])

    def on_axis(self, step: float) -> Floats:
        """(n, 2) points at most `step` metres apart along the middle line."""
        along = np.linspace(-self.reach, self.reach, max(2, round(2 * self.reach / step)))
        return self._ground(along, self.aside(along))

    def _slope(self, along: Floats) -> Floats:
        waves = ((2 * np.pi / s.wavelength, s) for s in self.swings)
        return sum((s.amplitude * k * np.cos(k * along + s.phase) for k, s in waves), along * 0.0)

    def _steps(self, step: float) -> Floats:
        straight = not self.swings and not self.swell.amplitude
        count = 2 if straight else max(2, round(2 * self.reach / step))
        return np.linspace(-self.reach, self.reach, count)

    def _ground(self, along: Floats, across: Floats) -> Floats:
        cosine, sine = np.cos(self.heading), np.sin(self.heading)
        return np.stack([self.x + along * cosine - across * sine, self.y + along * sine + across * cosine], axis=1)


def _beside(along: Floats, across: Floats, shift: Floats | float) -> tuple[Floats, Floats]:
    slope = np.gradient(across, along)
    length = np.sqrt(1 + slope**2)
    return along - shift * slope / length, across + shift / length


def winding(rng: np.random.Generator, amplitude: float, wavelength: float) -> tuple[Swing, ...]:
    """Swings of about that size: a long one and a shorter one."""
    phases = rng.uniform(0, 2 * np.pi, 2)
    sizes = rng.uniform(0.7, 1.3, 4)
    return (
        Swing(amplitude * float(sizes[0]), wavelength * float(sizes[1]), float(phases[0])),
        Swing(0.3 * amplitude * float(sizes[2]), 0.37 * wavelength * float(sizes[3]), float(phases[1])),
    )


def reach_of(extent: tuple[float, float]) -> float:
    """Long enough to leave the ground from anywhere on it."""
    return 1.1 * float(np.hypot(*extent))


@dataclass(frozen=True)
class Ring:
    """A ramp that turns by a full circle."""

    x: float
    y: float
    radius: float
    width: float

    def inside(self, x: Floats, y: Floats) -> Floats:
        """How far points lie within the borders, in metres; negative outside."""
        margin: Floats = self.width / 2 - np.abs(np.hypot(x - self.x, y - self.y) - self.radius)
        return margin

    def polygon(self, step: float, wider: float = 0.0) -> Floats:
        """The ground that it covers."""
        half = self.width / 2 + wider
        outer = _circle(self.radius + half, step)
        inner = _circle(self.radius - half, step)[::-1]
        seamed: Floats = np.concatenate([outer, outer[:1], inner[-1:], inner, outer[:1]]) + np.array([self.x, self.y])
        return seamed


@dataclass(frozen=True)
class Pond:
    """A rounded body of water."""

    x: float
    y: float
    radius: float
    lobes: tuple[Swing, ...]
    """By how much the radius swings around the middle; the wavelength is the number of lobes."""

    def inside(self, x: Floats, y: Floats) -> Floats:
        """How far points lie within the shore, in metres along their radius; negative outside."""
        angle = np.arctan2(y - self.y, x - self.x)
        margin: Floats = self._radius(angle) - np.hypot(x - self.x, y - self.y)
        return margin

    def polygon(self, step: float, wider: float = 0.0) -> Floats:
        """Its shore, or a line `wider` metres further out."""
        angle = np.linspace(0, 2 * np.pi, max(12, round(2 * np.pi * self.radius / step)), endpoint=False)
        radius = self._radius(angle) + wider
        return np.stack([self.x + radius * np.cos(angle), self.y + radius * np.sin(angle)], axis=1)

    def _radius(self, angle: Floats) -> Floats:
        lobes = (s.amplitude * np.sin(round(s.wavelength) * angle + s.phase) for s in self.lobes)
        return self.radius * (1 + sum(lobes, angle * 0.0))


def _circle(radius: float, step: float) -> Floats:
    angle = np.linspace(0, 2 * np.pi, max(12, round(2 * np.pi * radius / step)), endpoint=False)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
