"""What the world consists of: the files of each data set, their places and sizes, in the real layouts.

Pure planning: nothing is drawn and no array library is imported, so asking what a world holds costs nothing.
Layouts: sections 3 to 5 of the task specification; counts and sizes: section 14.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from foundation.names import unknown_name
from klip.corpus import CLEAN, PLANTED, TEMPLATE_TEXTS, TEXTS
from tasks.catalog import DATASETS as REAL
from tasks.sarworld.draws import WORLD_VERSION
from tasks.sarworld.sites import KINDS

__all__ = ["DATASETS", "GRIDS", "SIZES", "WORLD_VERSION", "Grid", "Item", "Size", "chosen", "folder_of", "plan"]

Size = Literal["ci", "mini", "default"]
SIZES: tuple[Size, ...] = get_args(Size)
DATASETS = (*REAL, "corpus", "scenes")
"""The eight data sets of the paper; a corpus of images with texts for pre-training; georeferenced scenes."""

# Folder order is the readers' class order. Section 14.3 names the seven fictional classes of fusar_air.
FUSAR_AIR_CLASSES = ("early_warning", "fighter", "narrow_civil", "regional", "tanker", "transport", "wide_civil")
SAR_ACD_CLASSES = ("A220", "A320321", "A330", "ARJ21", "Boeing737", "Boeing787")  # section 3.4
SAR_AIRCRAFT_CLASSES = ("A220", "A320/321", "A330", "ARJ21", "Boeing737", "Boeing787", "other")  # section 4.3
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
POLARISATIONS = ("HH", "HV", "VH", "VV")
CITIES = ("Aldenport", "Brackwater", "Corvale", "Dunmere", "Eastholm", "Farrowdale", "Glenhaven", "Harrowgate", "Ilmar")
"""Invented, nine as in section 5.2: the data set's tiles come from 8 or 9 scenes."""


@dataclass(frozen=True)
class Grid:
    """Number and pixels of the images of one data set in one size."""

    count: int
    """Images; mean number per class where there are class folders; scenes."""
    side_px: int
    """Side of an image, the largest one where they differ."""
    pixel_m: float
    smallest_px: int | None = None
    """The smallest side where they differ."""

    @property
    def side_m(self) -> float:
        """Side of the ground of the largest image."""
        return self.side_px * self.pixel_m


# Counts of ci and default: section 14.4. The ground that an image shows is the same in all sizes wherever a target has
# to fit in: 77 m for aircraft chips (the largest is 61 m), 288 m for ship chips (the largest is 250 m), 256 m and more
# for scenes with aircraft, 576 m and more with ships. `mini` has the images of ci, in numbers that can be learnt from.
GRIDS: Mapping[Size, Mapping[str, Grid]] = MappingProxyType(
    {
        "ci": {
            "fusar_air": Grid(12, 64, 1.2),
            "fusar_ship": Grid(12, 64, 4.5),
            "sar_acd": Grid(12, 96, 0.8, 32),
            "fusar_air_sense": Grid(24, 128, 2.0),
            "fusar_ship_sense": Grid(24, 128, 4.5),
            "sar_aircraft_few": Grid(30, 160, 2.0, 112),
            "fusar_map": Grid(12, 128, 2.04),
            "air_polarsar_seg": Grid(10, 128, 8.0),
            "corpus": Grid(30, 128, 2.0),
            "scenes": Grid(7, 128, 1.0),
        },
        "mini": {
            "fusar_air": Grid(90, 64, 1.2),
            "fusar_ship": Grid(90, 64, 4.5),
            "sar_acd": Grid(90, 96, 0.8, 32),
            "fusar_air_sense": Grid(240, 128, 2.0),
            "fusar_ship_sense": Grid(240, 128, 4.5),
            "sar_aircraft_few": Grid(300, 160, 2.0, 112),
            "fusar_map": Grid(240, 128, 2.04),
            "air_polarsar_seg": Grid(80, 128, 8.0),
            "corpus": Grid(6000, 128, 2.0),
            "scenes": Grid(7, 256, 1.0),
        },
        "default": {
            "fusar_air": Grid(150, 128, 0.6),
            "fusar_ship": Grid(150, 128, 2.25),
            "sar_acd": Grid(150, 160, 0.5, 32),
            "fusar_air_sense": Grid(400, 512, 1.0),
            "fusar_ship_sense": Grid(400, 512, 2.25),
            "sar_aircraft_few": Grid(600, 1500, 1.0, 800),
            "fusar_map": Grid(120, 512, 1.02),
            "air_polarsar_seg": Grid(100, 256, 8.0),
            "corpus": Grid(6000, 256, 1.5),
            "scenes": Grid(7, 1024, 1.0),
        },
    }
)


@dataclass(frozen=True)
class Item:
    """One thing to be drawn: an image of a data set, or a scene under one sensor."""

    dataset: str
    name: str
    """Its id within the data set; what its random draws hang on, independent of size and of the other items."""
    files: tuple[str, ...]
    """POSIX paths below the data set's folder; the first is the image."""
    size: Size
    number: int
    """From zero; designs that are balanced over many images go by it."""
    label: str = ""
    """Class of a chip, domain of a corpus image, sensor of a scene."""

    @property
    def grid(self) -> Grid:
        """Its pixels."""
        return GRIDS[self.size][self.dataset]

    @property
    def scene(self) -> str:
        """The id of its ground."""
        return f"{self.dataset}/{self.name}"


def folder_of(dataset: str) -> str:
    """The data set's folder below the world's root, with its published name."""
    return REAL[dataset].folder if dataset in REAL else dataset


def plan(dataset: str, size: Size) -> list[Item]:
    """Everything that is drawn for a data set, in the order of names."""
    if dataset not in DATASETS:
        raise unknown_name("synthetic data set", dataset, DATASETS, see="harness data build --help")
    if size not in SIZES:
        raise unknown_name("world size", size, SIZES, see="harness data build --help")
    return _PLANS[dataset](size)


def _chips(dataset: str, size: Size, places: Sequence[tuple[str, str]]) -> list[Item]:
    ordered = sorted(places, key=lambda place: place[1])
    return [Item(dataset, path, (path,), size, number, label) for number, (label, path) in enumerate(ordered)]


def _fusar_air(size: Size) -> list[Item]:
    count = GRIDS[size]["fusar_air"].count
    return _chips(
        "fusar_air", size, [(name, f"{name}/{n:04d}.tif") for name in FUSAR_AIR_CLASSES for n in range(1, count + 1)]
    )


def _sar_acd(size: Size) -> list[Item]:
    count = GRIDS[size]["sar_acd"].count
    return _chips(
        "sar_acd", size, [(name, f"images/{name}/{n:03d}.jpg") for name in SAR_ACD_CLASSES for n in range(1, count + 1)]
    )


def _fusar_ship(size: Size) -> list[Item]:
    counts = ship_counts(GRIDS[size]["fusar_ship"].count)
    return _chips(
        "fusar_ship", size, [(name, _ship_path(name, n)) for name, count in counts.items() for n in range(count)]
    )


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


def _numbered(dataset: str, pattern: str) -> Callable[[Size], list[Item]]:
    def items(size: Size) -> list[Item]:
        names = [pattern.format(number + 1) for number in range(GRIDS[size][dataset].count)]
        return [Item(dataset, name, (name,), size, number) for number, name in enumerate(names)]

    return items


def _sar_aircraft(size: Size) -> list[Item]:
    return [
        Item(
            "sar_aircraft_few", f"{n + 1:07d}", (f"JPEGImages/{n + 1:07d}.jpg", f"Annotations/{n + 1:07d}.xml"), size, n
        )
        for n in range(GRIDS[size]["sar_aircraft_few"].count)
    ]


TILES_PER_CITY_IMAGE = 4
"""Our choice: tiles of `fusar_map` that share a parent scene, its sensor's view and its grounds' gains."""


def _fusar_map(size: Size) -> list[Item]:
    grid, items = GRIDS[size]["fusar_map"], []
    for n in range(grid.count):
        image, tile = divmod(n, TILES_PER_CITY_IMAGE)
        city, number = CITIES[image % len(CITIES)], image // len(CITIES) + 1
        place = f"{city}_{number:02d}_01_{tile // 2 + 1:02d}_{tile % 2 + 1:02d}"
        files = tuple(
            f"{kind}_{grid.side_px}/{place}_{tag}_{n + 1:03d}.tif" for kind, tag in (("sar", "SAR"), ("lab", "Label"))
        )
        items.append(Item("fusar_map", f"{place}_{n + 1:03d}", files, size, n, f"{city}_{number:02d}"))
    return items


OFFICIAL_TEST_EVERY = 5
"""Our choice: every fifth place of AIR-PolSAR-Seg lies in `test_set`, the 4:1 of section 5.3."""


def _polsar(size: Size) -> list[Item]:
    items = []
    for n in range(GRIDS[size]["air_polarsar_seg"].count):
        part = "test_set" if n % OFFICIAL_TEST_EVERY == OFFICIAL_TEST_EVERY - 1 else "train_set"
        stem = f"{part}/AIR-PolarSAR-Seg-{n + 1}"
        files = (*(f"{stem}_{name}.tiff" for name in POLARISATIONS), f"{stem}_gt.png")
        items.append(Item("air_polarsar_seg", f"place_{n + 1}", files, size, n))
    return items


DOMAINS = ("aircraft", "ship", "landform")


def _corpus(size: Size) -> list[Item]:
    items = []
    for n in range(GRIDS[size]["corpus"].count):
        domain = DOMAINS[n % len(DOMAINS)]
        path = f"images/{domain}_{n // len(DOMAINS) + 1:05d}.png"
        items.append(Item("corpus", path, (path,), size, n // len(DOMAINS), domain))
    return items


SCENE_SENSORS: Mapping[Size, tuple[str, ...]] = MappingProxyType(
    {"ci": ("gf3", "ht1"), "mini": ("gf3", "ht1", "ql1"), "default": ("gf3", "ht1", "ql1")}
)
"""Every scene under every sensor; the finest one only for the first scene in ci, where twenty megabytes are all."""


def _scenes(size: Size) -> list[Item]:
    items = []
    for n in range(GRIDS[size]["scenes"].count):
        place = _scene_site(n)
        sensors = SCENE_SENSORS[size] if n or size != "ci" else (*SCENE_SENSORS[size], "ql1")
        for name in sensors:
            stem = f"{place}/{name}"
            items.append(Item("scenes", stem, (f"{stem}.tif", f"{stem}_8bit.tif", f"{stem}.json"), size, n, name))
    return items


def _scene_site(number: int) -> str:
    """The first sites, whose kinds come in turn."""
    return f"site_{number:03d}_{KINDS[number % len(KINDS)]}"


_PLANS: dict[str, Callable[[Size], list[Item]]] = {
    "fusar_air": _fusar_air,
    "fusar_ship": _fusar_ship,
    "sar_acd": _sar_acd,
    "fusar_air_sense": _numbered("fusar_air_sense", "images/fuas_{:04d}.png"),
    "fusar_ship_sense": _numbered("fusar_ship_sense", "images/fuss_{:04d}.png"),
    "sar_aircraft_few": _sar_aircraft,
    "fusar_map": _fusar_map,
    "air_polarsar_seg": _polsar,
    "corpus": _corpus,
    "scenes": _scenes,
}


TRUTH = "truth.jsonl"
TEMPLATE_SETS = ("corpus",)
"""Data sets with true texts in one fixed wording besides: that for pre-training (Table 8, first row)."""
TEXT_SETS = ("fusar_air_sense", "fusar_ship_sense", "sar_aircraft_few", "fusar_map", "corpus", "scenes")
"""Data sets whose images have the eight-field texts."""
IMAGE_SETS = ("train", "val", "test", "trainval")
_TABLES = {
    "fusar_ship": ("meta.csv",),
    "fusar_air_sense": ("annotations/instances_fuas.json",),
    "fusar_ship_sense": ("annotations/instances_fuss.json",),
    "sar_aircraft_few": tuple(f"ImageSets/Main/{name}.txt" for name in IMAGE_SETS),
    "fusar_map": ("datasets_info.csv",),
}


def tables_of(dataset: str) -> tuple[str, ...]:
    """Files of the real layout that stand beside the images."""
    return _TABLES.get(dataset, ())


def extra_files(dataset: str) -> tuple[str, ...]:
    """All files of a data set besides images and marker: its tables, the truth, the texts."""
    texts: tuple[str, ...] = (TEXTS, CLEAN, PLANTED) if dataset in TEXT_SETS else ()
    if dataset in TEMPLATE_SETS:
        texts += (TEMPLATE_TEXTS,)
    return (*tables_of(dataset), TRUTH, *texts)


def chosen(datasets: Sequence[str] | None) -> tuple[str, ...]:
    """The data sets asked for, checked, in the world's order; all of them for None."""
    if datasets is None:
        return DATASETS
    for name in datasets:
        if name not in DATASETS:
            raise unknown_name("synthetic data set", name, DATASETS, see="harness data build --help")
    return tuple(name for name in DATASETS if name in datasets)


# Bytes per pixel of all files of an item, by measurement on the ci size, rounded up; the last is for tables.
_BYTES_PER_PIXEL = {"fusar_air": 2.5, "scenes": 5.5, "air_polarsar_seg": 9.0, "sar_aircraft_few": 0.9}
_OTHER_BYTES_PER_PIXEL = 1.4
_BYTES_PER_ITEM = 12_000


def size_in_bytes(dataset: str, size: Size) -> int:
    """About how much disk a data set takes."""
    total = 0.0
    for item in plan(dataset, size):
        pixels = float(item.grid.side_px**2)
        if dataset == "scenes":
            from tasks.sarworld.sensors import sensor

            pixels = (item.grid.side_m / sensor(item.label).pixel_m) ** 2
        total += pixels * _BYTES_PER_PIXEL.get(dataset, _OTHER_BYTES_PER_PIXEL) + _BYTES_PER_ITEM
    return int(total)
