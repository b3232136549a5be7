"""FUSAR-Map: land cover of Gaofen-3 scenes, 610 tiles of 1024 x 1024 pixels at 1.02 m from 8 or 9 scenes.

Layout: `<root>/sar_1024/<City>_<img>_<area>_<row>_<col>_SAR_<nnn>.tif` (uint8) and
`<root>/lab_1024/<same>_Label_<nnn>.tif` (colours); case is passed over, and so is the side in the folder names.
Label maps: `map4` (default; the paper's names), `map4_labelled` (the data set document's; landform questions use it),
`map5`. Split 4:1 by tile; `--group scene` keeps the tiles of `<City>_<img>` together, which is the honest variant.
Published by Fudan University, doi 10.1109/JSTARS.2021.3063797, github.com/fudanxu/FUSAR-Map; no licence file.
"""

from __future__ import annotations

import re
from pathlib import Path

from foundation.errors import MissingError
from tasks.datasets.folders import images_below, require_folder, subfolders, unknown_label_map
from tasks.datasets.options import DataOptions, asked_ratio, effective_choices, require_choice
from tasks.datasets.records import IGNORE, Colour, ImageFile, Listing, Palette

DATASET = "fusar_map"
LAYOUT = "<root>/sar_1024/<City>_<img>_<area>_<row>_<col>_SAR_<nnn>.tif, <root>/lab_1024/<same>_Label_<nnn>.tif"
OPTIONS = ("label_map", "split", "group")
GROUPS = ("tile", "scene")
COLOURS: dict[str, tuple[int, int, int]] = {  # section 5.2
    "unlabelled": (0, 0, 0),
    "building": (255, 0, 0),
    "vegetation": (0, 255, 0),
    "water": (0, 0, 255),
    "road": (255, 255, 0),
}
LABEL_MAPS: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {
    "map4": (
        ("background", "building", "vegetation", "road"),
        {"unlabelled": 0, "water": 0, "building": 1, "vegetation": 2, "road": 3},
    ),
    "map4_labelled": (
        ("building", "vegetation", "water", "road"),
        {"unlabelled": IGNORE, "building": 0, "vegetation": 1, "water": 2, "road": 3},
    ),
    "map5": (
        ("background", "building", "vegetation", "water", "road"),
        {"unlabelled": 0, "building": 1, "vegetation": 2, "water": 3, "road": 4},
    ),
}
"""Class names, and the id that each colour gets (table of section 5.2)."""

_FOLDER = re.compile(r"(?P<kind>sar|lab)_(?P<side>\d+)", re.IGNORECASE)
_TILE = re.compile(r"(?P<tile>(?P<scene>.+_\d+)_\d+_\d+_\d+)_SAR_(?P<number>\d+)", re.IGNORECASE)
_LABEL = re.compile(r"(?P<tile>.+_\d+_\d+_\d+_\d+)_(?:label|lab)_(?P<number>\d+)", re.IGNORECASE)


def find(root: Path, label_map: str, options: DataOptions) -> Listing:
    """Lists the tiles with their label files."""
    if label_map not in LABEL_MAPS:
        raise unknown_label_map(DATASET, label_map, LABEL_MAPS)
    group = options.group or GROUPS[0]
    require_choice("group", group, GROUPS, DATASET)
    ratio = asked_ratio(DATASET, options)
    require_folder(DATASET, root, layout=LAYOUT)
    tiles, labels = _folders(root)
    named = {_key(found): path for path in images_below(labels) if (found := _LABEL.fullmatch(path.stem))}
    files: list[ImageFile] = []
    for path in images_below(tiles):
        file = ImageFile(path.relative_to(root).as_posix(), path)
        found = _TILE.fullmatch(path.stem)
        if found is None:
            file = file._replace(problem="is not named <City>_<img>_<area>_<row>_<col>_SAR_<nnn>")
        else:
            mask = named.get(_key(found))
            scene = found["scene"] if group == "scene" else ""
            file = file._replace(group=scene, mask=mask, problem="" if mask else f"has no label in {labels.name}")
        files.append(file)
    if not any(file.mask for file in files):
        raise _wrong_layout(root, f"none of the {len(files)} tiles in {tiles.name} has a label in {labels.name}")
    classes, ids = LABEL_MAPS[label_map]
    palette: Palette = tuple(Colour(rgb, ids[name]) for name, rgb in COLOURS.items())
    return Listing(
        classes,
        tuple(files),
        palette=palette,
        ratio=ratio,
        choices=effective_choices(label_map, ("group", group), ("split", options.split)),
    )


def _folders(root: Path) -> tuple[Path, Path]:
    """The folder of tiles and the folder of labels, of one side."""
    found: dict[str, dict[str, Path]] = {}
    for folder in subfolders(root):
        match = _FOLDER.fullmatch(folder.name)
        if match:
            found.setdefault(match["side"], {})[match["kind"].lower()] = folder
    whole = {side: folders for side, folders in found.items() if len(folders) == 2}
    if not whole:
        raise _wrong_layout(root, "no folders sar_<side> and lab_<side> of one side")
    if len(whole) > 1:
        # The same ground cut twice would stand in both parts of a split.
        raise _wrong_layout(root, f"tiles of several sides: {', '.join(sorted(whole, key=int))}; keep one of them")
    (folders,) = whole.values()
    return folders["sar"], folders["lab"]


def _key(found: re.Match[str]) -> tuple[str, str]:
    return found["tile"].lower(), found["number"]


def _wrong_layout(root: Path, what: str) -> MissingError:
    return MissingError(
        f"{DATASET}: {what}",
        where=str(root),
        way_out=f"expected layout: {LAYOUT}; put the data there or name another --data-root",
    )
