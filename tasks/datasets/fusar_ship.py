"""FUSAR-SHIP: ship chips of Gaofen-3 (C band, about 1.1 x 1.7 m), fifteen categories.

Layout: `<root>/ShipCategory/<Category>/<SubCategory>/Ship_C<xx>S<yy>N<zzzz>.tiff`, 512 x 512 chips with the ship in the
centre; an archive of ships alone omits `ShipCategory/`. `MarineCategory/` holds clutter and is no ship class.
Published by Fudan University's electromagnetic-wave laboratory, doi 10.1007/s11432-019-2772-5; no licence stated.
Known to hold byte-identical duplicates, which therefore stay together in a split.
"""

from __future__ import annotations

from pathlib import Path

from foundation.errors import MissingError
from tasks.datasets.folders import images_below, require_folder, require_images, subfolders, unknown_label_map
from tasks.datasets.options import DataOptions, asked_ratio, effective_choices
from tasks.datasets.records import ImageFile, Listing

CATEGORIES = (
    "Cargo",
    "DiveVessel",
    "Dredger",
    "Fishing",
    "HighSpeedCraft",
    "LawEnforce",
    "Other",
    "Passenger",
    "PortTender",
    "Reserved",
    "SAR",
    "Tanker",
    "Tug",
    "Unspecified",
    "WingInGrnd",
)
TINY = frozenset({"DiveVessel", "HighSpeedCraft", "PortTender", "SAR", "WingInGrnd"})
LABEL_MAPS: dict[str, tuple[str, ...]] = {
    "ship15": CATEGORIES,
    "ship10": tuple(name for name in CATEGORIES if name not in TINY),
    "ship7": ("Cargo", "Dredger", "Fishing", "LawEnforce", "Passenger", "Tanker", "Tug"),
}
OPTIONS = ("label_map", "split")
MARINE10: dict[str, tuple[str, ...]] = {
    "Bridges": ("MarineCategory", "bridge"),
    "Cargo": ("ShipCategory", "Cargo", "CargoShip"),
    "CoastalLands_island": ("MarineCategory", "landseaside_island"),
    "Fishing": ("ShipCategory", "Fishing", "Fishing"),
    "LandPatches": ("MarineCategory", "land"),
    "OtherShip": ("ShipCategory", "Other", "Othertypeofship"),
    "SeaClutterWaves": ("MarineCategory", "wave"),
    "SeaPatches": ("MarineCategory", "sea"),
    "StrongFalseAlarms": ("MarineCategory", "likeship"),
    "Tanker": ("ShipCategory", "Tanker"),
}
"""`marine10`: the mix of ships and clutter of SAR-JEPA, its names in its order, and the folder of each.

The names are those of its published few-shot reader; the folders are as UniSAR's evaluation notes found them. They say,
too, that SAR-JEPA took a part of the tankers only; which part is unconfirmed, so all are taken here.
"""
LAYOUT = "<root>/ShipCategory/<Category>/<SubCategory>/*.tiff"
MARINE_LAYOUT = f"{LAYOUT} and <root>/MarineCategory/{{bridge,land,landseaside_island,likeship,sea,wave}}/*.tiff"


def find(root: Path, label_map: str, options: DataOptions) -> Listing:
    """Lists the chips of the categories of the label map; categories that are absent stay empty."""
    if label_map not in LABEL_MAPS and label_map != "marine10":
        raise unknown_label_map("fusar_ship", label_map, [*LABEL_MAPS, "marine10"])
    ratio = asked_ratio("fusar_ship", options)
    require_folder("fusar_ship", root, layout=LAYOUT)
    classes, files = _marine(root) if label_map == "marine10" else _ships(root, LABEL_MAPS[label_map])
    choices = effective_choices(label_map, ("split", options.split))
    return Listing(classes, files, ratio=ratio, choices=choices)


def _ships(root: Path, classes: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[ImageFile, ...]]:
    """The chips of ship categories."""
    top = root / "ShipCategory" if (root / "ShipCategory").is_dir() else root
    present = {folder.name: folder for folder in subfolders(top)}
    files: list[ImageFile] = []
    for label, name in enumerate(classes):
        if name not in present:
            continue
        images = images_below(present[name])
        require_images("fusar_ship", present[name], images)
        files += [ImageFile(path.relative_to(root).as_posix(), path, label) for path in images]
    if not files:
        raise MissingError(
            "fusar_ship: none of its category folders found",
            where=str(top),
            way_out=f"expected layout: {LAYOUT}; put the data there or name another --data-root",
        )
    return classes, tuple(files)


def _marine(root: Path) -> tuple[tuple[str, ...], tuple[ImageFile, ...]]:
    """The ten classes of `marine10`; all of them must be there, as a mix without clutter is another task."""
    files: list[ImageFile] = []
    for label, (name, folders) in enumerate(MARINE10.items()):
        folder = _descend(root, folders)
        images = images_below(folder) if folder else []
        if folder is None or not images:
            raise MissingError(
                f"fusar_ship: no images of the class {name} of marine10",
                where=str(root.joinpath(*folders)),
                way_out=f"expected layout: {MARINE_LAYOUT}; the archive of ships alone has no clutter: choose ship15",
            )
        files += [ImageFile(path.relative_to(root).as_posix(), path, label) for path in images]
    return tuple(MARINE10), tuple(files)


def _descend(root: Path, names: tuple[str, ...]) -> Path | None:
    """The folder below a root; case, blanks and signs in names are passed over."""
    folder = root
    for wanted in names:
        found = next((one for one in subfolders(folder) if _plain(one.name) == _plain(wanted)), None)
        if found is None:
            return None
        folder = found
    return folder


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
