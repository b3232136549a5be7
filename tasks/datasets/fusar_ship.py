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
from tasks.datasets.index import ImageFile, Listing

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
LAYOUT = "<root>/ShipCategory/<Category>/<SubCategory>/*.tiff"


def find(root: Path, label_map: str) -> Listing:
    """Lists the chips of the categories of the label map; categories that are absent stay empty."""
    if label_map not in LABEL_MAPS:
        raise unknown_label_map("fusar_ship", label_map, LABEL_MAPS)
    require_folder("fusar_ship", root, layout=LAYOUT)
    top = root / "ShipCategory" if (root / "ShipCategory").is_dir() else root
    present = {folder.name: folder for folder in subfolders(top)}
    classes = LABEL_MAPS[label_map]
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
    return Listing(classes, tuple(files))
