"""A target in plan view: outline and scatterers in its own frame, and how it is put on the ground.

Body frame: u forward, v to the left, z up, in metres, the origin in the middle of the outline's length.
Ground frame: x ground range (columns), y azimuth (rows). The sensor looks along +x or -x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.sarworld.scatterers import Scatterers

Floats = NDArray[np.float64]
Point = tuple[float, float]

LOSS_PROBABILITY = 0.2  # section 14.3: each scatterer lost
JITTER_DB = 2.0  # section 14.3
# Our choice, from looking at real chips: a few points shine far above their neighbours, and none stands in line.
GLINT_PROBABILITY, GLINT_MEAN_DB, GLINT_MOST_DB = 0.1, 8.0, 18.0
WANDER_M = 0.6
"""How far, one standard deviation, a scattering centre lies off its place on the plan."""
_ANY_DIRECTION = (0.0, 0.0)


@dataclass
class Plan:
    """A target under construction: outlines, and one row of numbers per scatterer."""

    outlines: list[list[Point]] = field(default_factory=list)
    _rows: list[tuple[float, ...]] = field(default_factory=list)

    def point(
        self,
        u: float,
        v: float,
        rcs_db: float,
        *,
        z: float = 0.0,
        normal: Point = _ANY_DIRECTION,
        flash_db: float = 0.0,
        two_sided: bool = False,
    ) -> None:
        """Adds one scatterer; `flash_db` is gained when `normal` points at the sensor, half of it lost when away."""
        self._rows.append((u, v, z, rcs_db, *normal, flash_db, float(two_sided)))

    def line(
        self,
        start: Point,
        end: Point,
        rcs_db: float,
        *,
        spacing: float = 2.0,
        z: float = 0.0,
        flash_db: float = 0.0,
        outward: Point | None = None,
    ) -> None:
        """Adds a row of scatterers; it flashes to its outward side, or to both sides if `outward` is not given."""
        du, dv = end[0] - start[0], end[1] - start[1]
        length = math.hypot(du, dv)
        if length == 0:
            return
        normal = (-dv / length, du / length)
        if outward is not None and normal[0] * outward[0] + normal[1] * outward[1] < 0:
            normal = (-normal[0], -normal[1])
        count = max(2, round(length / spacing) + 1)
        for step in range(count):
            share = step / (count - 1)
            self.point(
                start[0] + share * du,
                start[1] + share * dv,
                rcs_db,
                z=z,
                normal=normal,
                flash_db=flash_db,
                two_sided=outward is None,
            )

    def rows(self) -> Floats:
        """All scatterers, one row each: u, v, z, rcs_db, normal u, normal v, flash_db, two_sided."""
        return np.array(self._rows, dtype=np.float64).reshape(-1, 8)


@dataclass(frozen=True)
class View:
    """How the sensor sees the ground: along +x (`look` 1) or -x (-1), at an incidence angle."""

    look: int
    incidence_deg: float

    @property
    def layover_per_m(self) -> float:
        """Metres of ground range, towards the sensor, by which a point one metre up is displaced."""
        return 1.0 / math.tan(math.radians(self.incidence_deg))

    @property
    def shadow_per_m(self) -> float:
        """Metres of ground range, away from the sensor, that a point one metre up shades."""
        return math.tan(math.radians(self.incidence_deg))


@dataclass(frozen=True)
class Placed:
    """A target on the ground: what shines and what is true about it."""

    scatterers: Scatterers
    outlines: tuple[Floats, ...]
    """Polygons of the ground plan, (corners, 2) as x, y."""
    heading: float

    def box(self) -> tuple[float, float, float, float]:
        """West, north, east, south borders of the ground plan: smallest x, smallest y, largest x, largest y."""
        corners = np.concatenate(self.outlines)
        low, high = corners.min(axis=0), corners.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def shifted(self, x: float, y: float) -> Placed:
        """The same target elsewhere."""
        moved = tuple(outline + np.array([x, y]) for outline in self.outlines)
        return Placed(self.scatterers.shifted(x, y), moved, self.heading)


def placed(plan: Plan, rng: np.random.Generator, heading: float, view: View, gain_db: float = 0.0) -> Placed:
    """Turns the plan by `heading`, loses and jitters scatterers, applies aspect and layover.

    Draws do not depend on heading or view, so the same generator gives the same target from all sides.
    """
    rows = plan.rows()
    count = len(rows)
    kept = rng.random(count) >= LOSS_PROBABILITY
    jitter = rng.normal(0.0, JITTER_DB, count)
    jitter += (rng.random(count) < GLINT_PROBABILITY) * np.minimum(rng.exponential(GLINT_MEAN_DB, count), GLINT_MOST_DB)
    phase = rng.uniform(0.0, 2 * np.pi, count)
    wander = rng.normal(0.0, WANDER_M, (2, count))
    u, v, z, rcs_db, normal_u, normal_v, flash_db, two_sided = rows.T
    u, v = u + wander[0], v + wander[1]
    cos, sin = math.cos(heading), math.sin(heading)
    towards_sensor = -view.look * (normal_u * cos - normal_v * sin)
    facing = np.where(two_sided > 0, np.abs(towards_sensor), towards_sensor)
    # The cube keeps a flash to within some 30 degrees; a facet turned away is partly shaded by the body.
    aspect = flash_db * np.where(facing > 0, facing**3, 0.5 * facing)
    points = Scatterers(
        (u * cos - v * sin - view.look * view.layover_per_m * z)[kept],
        (u * sin + v * cos)[kept],
        (rcs_db + jitter + aspect + gain_db)[kept],
        phase[kept],
    )
    turn = np.array([[cos, sin], [-sin, cos]])
    outlines = tuple(np.array(outline, dtype=np.float64) @ turn for outline in plan.outlines)
    return Placed(points, outlines, heading)
