"""What the world consists of: the chips of each data set, their places and sizes, in the real layouts.

Pure planning: nothing is drawn and no array library is imported, so asking what a world holds costs nothing.
Layouts: sections 3.2 to 3.4 of the task specification; counts and sizes: section 14.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from foundation.names import unknown_name

WORLD_VERSION = 1
"""Rises with any visible change of any chip (section 14.7)."""

Size = Literal["ci", "mini", "default"]
SIZES: tuple[Size, ...] = get_args(Size)
DATASETS = ("fusar_air", "fusar_ship", "sar_acd")

# Folder order is the readers' class order. Section 14.3 names the seven fictional classes of fusar_air.
FUSAR_AIR_CLASSES = ("early_warning", "fighter", "narrow_civil", "regional", "tanker", "transport", "wide_civil")
SAR_ACD_CLASSES = ("A220", "A320321", "A330", "ARJ21", "Boeing737", "Boeing787")  # section 3.4
# From the most to the least frequent; the first is four times as frequent as the last (section 14.4).
FUSAR_SHIP_CLASSES = ("Cargo", "Fishing", "Tanker", "Passenger", "Dredger", "Tug", "LawEnforce")
FUSAR_SHIP_TINY = ("DiveVessel", "WingInGrnd")  # dropped by the rule of section 2.4.4
TINY_COUNT = 3  # section 14.4
LONG_TAIL = 4.0  # section 14.4: 4:1

# The fifteen categories in alphabetical order (section 3.2) give the number after "C" in a file name.
SHIP_CATEGORIES = (
    "Cargo", "DiveVessel", "Dredger", "Fishing", "HighSpeedCraft", "LawEnforce", "Other", "Passenger", "PortTender",
    "Reserved", "SAR", "Tanker", "Tug", "Unspecified", "WingInGrnd",
)  # fmt: skip
SHIP_SUBCATEGORIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"Cargo": ("BulkCarrier", "ContainerShip", "GeneralCargo"), "Tanker": ("ChemicalTanker", "OilTanker")}
)


@dataclass(frozen=True)
class Grid:
    """Pixels of the chips of one data set in one size."""

    pixel_m: float
    chip_px: int
    """Side of a chip; the largest side where every chip has its own."""
    smallest_px: int
    """Equal to `chip_px` where all chips have one size."""
    per_class: int
    """Mean number of chips per class."""


# Section 14.4. The ground that a chip shows is the same in all sizes with 64 and 128 px: 77 m for aircraft (the largest
# is 61 m), 288 m for ships (the largest is 250 m).
GRIDS: Mapping[Size, Mapping[str, Grid]] = MappingProxyType(
    {
        "ci": {
            "fusar_air": Grid(1.2, 64, 64, 12),
            "fusar_ship": Grid(4.5, 64, 64, 12),
            "sar_acd": Grid(0.8, 96, 32, 12),
        },
        "mini": {
            "fusar_air": Grid(1.2, 64, 64, 90),
            "fusar_ship": Grid(4.5, 64, 64, 90),
            "sar_acd": Grid(0.8, 96, 32, 90),
        },
        "default": {
            "fusar_air": Grid(0.6, 128, 128, 150),
            "fusar_ship": Grid(2.25, 128, 128, 150),
            "sar_acd": Grid(0.5, 160, 32, 150),
        },
    }
)


@dataclass(frozen=True)
class Chip:
    """One file to be made: where it goes, what it shows, on which pixels."""

    dataset: str
    path: str
    """POSIX path below the data set's folder."""
    label: str
    size: Size

    @property
    def chip_id(self) -> str:
        """What the chip's random draws hang on; independent of size and of the other chips."""
        return f"{self.dataset}/{self.path}"

    @property
    def grid(self) -> Grid:
        """Its pixels."""
        return GRIDS[self.size][self.dataset]


def plan(dataset: str, size: Size) -> list[Chip]:
    """All chips of a data set, in the order of their paths."""
    if dataset not in DATASETS:
        raise unknown_name("synthetic data set", dataset, DATASETS, see="harness data build --help")
    if size not in SIZES:
        raise unknown_name("world size", size, SIZES, see="harness data build --help")
    per_class = GRIDS[size][dataset].per_class
    places: list[tuple[str, str]] = []
    if dataset == "sar_acd":
        places = [(name, f"images/{name}/{n:03d}.jpg") for name in SAR_ACD_CLASSES for n in range(1, per_class + 1)]
    elif dataset == "fusar_air":
        places = [(name, f"{name}/{n:04d}.tif") for name in FUSAR_AIR_CLASSES for n in range(1, per_class + 1)]
    else:
        for name, count in ship_counts(per_class).items():
            places += [(name, _ship_path(name, n)) for n in range(count)]
    return sorted((Chip(dataset, path, name, size) for name, path in places), key=lambda chip: chip.path)


def ship_counts(mean: int) -> dict[str, int]:
    """Chips per category: a geometric fall of 4:1 over the seven classes, and the tiny ones."""
    steps = len(FUSAR_SHIP_CLASSES) - 1
    weights = [LONG_TAIL ** (-step / steps) for step in range(steps + 1)]
    scale = mean * len(weights) / sum(weights)
    counts = {name: round(scale * weight) for name, weight in zip(FUSAR_SHIP_CLASSES, weights, strict=True)}
    return counts | dict.fromkeys(FUSAR_SHIP_TINY, TINY_COUNT)


def _ship_path(category: str, index: int) -> str:
    subcategories = SHIP_SUBCATEGORIES.get(category, (category,))
    sub = index % len(subcategories)
    name = f"Ship_C{SHIP_CATEGORIES.index(category) + 1:02d}S{sub + 1:02d}N{index // len(subcategories) + 1:04d}.tiff"
    return f"ShipCategory/{category}/{subcategories[sub]}/{name}"


def extra_files(dataset: str) -> tuple[str, ...]:
    """Files of a data set besides its chips and the marker."""
    return ("meta.csv",) if dataset == "fusar_ship" else ()


def chosen(datasets: Sequence[str] | None) -> tuple[str, ...]:
    """The data sets asked for, checked, in the world's order; all of them for None."""
    if datasets is None:
        return DATASETS
    for name in datasets:
        if name not in DATASETS:
            raise unknown_name("synthetic data set", name, DATASETS, see="harness data build --help")
    return tuple(name for name in DATASETS if name in datasets)
