"""The three classification sets: one target in the middle of a chip (sections 3.2 to 3.4 and 14.4)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from foundation.seeds import derive_seed
from tasks.sarworld.chip_ground import chip_layout
from tasks.sarworld.draws import Draws
from tasks.sarworld.encoding import jpeg, tiff
from tasks.sarworld.plan import Item, tables_of
from tasks.sarworld.render import acquire
from tasks.sarworld.sensors import Sensor, sensor
from tasks.sarworld.sets.maker import Amplitude, Ground, Maker, drawn, no_tables
from tasks.sarworld.sites import site_for
from tasks.sarworld.truth import Domain, Truth

_CHIP_RESOLUTION_M = 1.6  # our choice: published SAR-ACD chips are oversampled, neighbouring pixels correlate
_CHIP_SIDE_LOBE_DB = -25.0  # the option of section 14.1: the published chips show no crosses
_MOST_LOOKS = 4
COUNTS_PER_AMPLITUDE = 2000.0
"""Of a 16-bit chip: tarmac lies near 250 counts, and 30 dB, brighter than any target, just fits."""
# Share of a chip's pixels below the white level. Published SAR-ACD chips saturate in 0.1 to 0.4 % of their pixels.
_AIRCRAFT_WHITE, _SHIP_WHITE = 0.998, 0.995


def product_of(item: Item, seed: int) -> Sensor:
    """The sensor of a chip on the chip's pixels."""
    pixel_m = item.grid.pixel_m
    if item.dataset == "sar_acd":
        return sensor("gf3").product(pixel_m, resolution_m=_CHIP_RESOLUTION_M, looks=1, side_lobe_db=_CHIP_SIDE_LOBE_DB)
    if item.dataset == "fusar_air" and Draws(seed, item.scene).generator("sensor").random() < 0.5:
        # Section 14.4: a mix of sensors. Bandwidth that a coarser pixel does not need goes into looks.
        fine = sensor("ql1")
        return fine.product(pixel_m, looks=min(_MOST_LOOKS, round(pixel_m / fine.pixel_m)))
    return sensor("gf3").product(pixel_m)


def ground(item: Item, seed: int) -> Ground:
    """The stand or the water around one target."""
    layout, shape = chip_layout(item, seed)
    acquisition = acquire(Draws(seed, item.scene), product_of(item, seed))
    ship = item.dataset == "fusar_ship"
    place = site_for("port" if ship else "airport", item.scene)
    domain: Domain = "ship" if ship else "aircraft"
    return Ground(layout.in_landform(place.landform), shape, acquisition, domain, place.id, item.scene)


def encode(item: Item, seed: int, ground: Ground) -> dict[str, bytes]:
    """The file type that the real data set has."""
    return {item.files[0]: chip_bytes(item.dataset, drawn(seed, ground))}


def chip_bytes(dataset: str, amplitude: Amplitude) -> bytes:
    """8-bit JPEG and TIFF scaled to the chip's peak (dark ground, bright target), or 16-bit counts on one scale."""
    if dataset == "sar_acd":
        return jpeg(_peak_uint8(amplitude, _AIRCRAFT_WHITE))
    if dataset == "fusar_ship":
        return tiff(_peak_uint8(amplitude, _SHIP_WHITE))
    return tiff(np.rint(np.minimum(amplitude * COUNTS_PER_AMPLITUDE, 65535)).astype(np.uint16))


def _peak_uint8(amplitude: Amplitude, white: float) -> NDArray[np.uint8]:
    peak = max(float(np.quantile(amplitude, white)), 1e-12)
    grey: NDArray[np.uint8] = np.rint(np.minimum(amplitude / peak, 1.0) * 255).astype(np.uint8)
    return grey


def ship_table(items: Sequence[Item], truths: Sequence[Truth], seed: int) -> dict[str, bytes]:
    """The table of FUSAR-Ship (section 3.2): one row per chip, the folder with a back slash."""
    del seed
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = "id mmsi length width polarMode centerLookAngle heightspace widthspace path"
    table.writerow(columns.split())
    for item, row in zip(items, truths, strict=True):
        place, ship = PurePosixPath(item.files[0]), row.objects[0]
        table.writerow(
            [
                place.stem,
                999_000_000 + derive_seed("mmsi", item.name) % 1_000_000,  # no country has this prefix: invented ships
                f"{ship.length_m:.1f}",
                f"{ship.width_m:.1f}",
                "HH",
                f"{row.incidence_deg:.2f}",
                row.pixel_m,
                row.pixel_m,
                "\\".join(place.parts[1:-1]),
            ]
        )
    return {tables_of("fusar_ship")[0]: text.getvalue().encode()}


CHIPS = Maker(ground, encode, no_tables)
SHIPS = Maker(ground, encode, ship_table)
