"""The three invented sensors of the synthetic world (section 14.1 of the task specification)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

from foundation.errors import UsageError
from foundation.names import unknown_name


@dataclass(frozen=True)
class Sensor:
    """What a sensor, or a product made from it, does to the ground."""

    id: str
    like: str
    """The real sensor whose orders of magnitude it borrows."""
    band: str
    pixel_m: float
    resolution_m: float
    """Distance from the peak to the first null of the unweighted response; equals the pixel of a native product."""
    looks: int
    noise_floor_db: float
    side_lobe_db: float
    """Level of the first side lobe of a point target; -13 is the unweighted response."""
    incidence_deg: tuple[float, float]

    def product(
        self,
        pixel_m: float,
        *,
        resolution_m: float | None = None,
        looks: int | None = None,
        side_lobe_db: float | None = None,
    ) -> Sensor:
        """The same sensor on another pixel grid; never sharper than the sensor is.

        A grid coarser than the resolution lowers the resolution to the pixel, a finer one oversamples.
        """
        sharpest = max(self.resolution_m, pixel_m)
        if resolution_m is not None and resolution_m < self.resolution_m:
            raise UsageError(
                f"{self.id} resolves {self.resolution_m} m, not {resolution_m} m",
                where="Sensor.product",
                way_out="ask for a coarser resolution or take a sharper sensor",
            )
        return replace(
            self,
            pixel_m=pixel_m,
            resolution_m=sharpest if resolution_m is None else resolution_m,
            looks=self.looks if looks is None else looks,
            side_lobe_db=self.side_lobe_db if side_lobe_db is None else side_lobe_db,
        )


# Section 14.1, row by row.
SENSORS = MappingProxyType(
    {
        sensor.id: sensor
        for sensor in (
            Sensor("ql1", "Qilu-1", "Ku", 0.2, 0.2, 1, -20.0, -20.0, (35.0, 50.0)),
            Sensor("gf3", "Gaofen-3", "C", 1.0, 1.0, 2, -22.0, -13.0, (25.0, 45.0)),
            Sensor("ht1", "Hongtu-1", "X", 3.0, 3.0, 3, -21.0, -22.0, (25.0, 40.0)),
        )
    }
)


def sensor(name: str) -> Sensor:
    """The sensor of that id."""
    if name not in SENSORS:
        raise unknown_name("sensor", name, SENSORS, see="section 14.1 of the task specification")
    return SENSORS[name]
