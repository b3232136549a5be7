"""AIR-PolSAR-Seg: land cover of Gaofen-3 quad-pol scenes at 8 m, 500 places of 512 x 512 in four polarisations.

Layout: `<root>/{train_set,test_set}/AIR-PolarSAR-Seg-<i>_{HH,HV,VH,VV}.tiff` (uint16 amplitude) and `..._gt.png`
(colours). Copies with rotated extra files exist: names with `rot` are passed over.
Six classes; black is ignored. `--pol each` (default: the paper counts 2,000 slices) makes every polarisation an image
of its own, `pseudo` a composite R = (HV + VH) / 2, G = HH, B = VV, `HH` takes that one alone.
Split 4:1 by place, so that its polarisations stay together; `--split official` takes the two folders.
Published by AICyberTeam, doi 10.1109/JSTARS.2022.3170326, github.com/AICyberTeam/AIR-PolSAR-Seg; no licence file.
"""

from __future__ import annotations

import re
from pathlib import Path

from foundation.errors import MissingError, UsageError
from tasks.datasets.folders import images_below, require_folder, subfolders, unknown_label_map
from tasks.datasets.options import DataOptions, effective_choices, require_choice, split_ratio, wants_official
from tasks.datasets.records import IGNORE, Colour, ImageFile, Listing, Palette

DATASET = "air_polarsar_seg"
LAYOUT = "<root>/{train_set,test_set}/AIR-PolarSAR-Seg-<i>_{HH,HV,VH,VV}.tiff and ..._gt.png"
LABEL_MAPS = ("polsar6",)
OPTIONS = ("label_map", "split", "polarisation", "class_order")
POLARISATIONS = ("each", "pseudo", "HH")
BANDS = ("HH", "HV", "VH", "VV")
CLASSES = ("industrial", "natural", "land use", "water", "other", "housing")  # section 5.3, ids 0 to 5
COLOURS: dict[str, tuple[int, int, int]] = {  # section 5.3
    "housing": (255, 255, 0),
    "industrial": (0, 0, 255),
    "natural": (0, 255, 0),
    "land use": (255, 0, 0),
    "water": (0, 255, 255),
    "other": (255, 255, 255),
}
BLACK = Colour((0, 0, 0), IGNORE)
PARTS = {"train_set": "train", "test_set": "test"}

_SLICE = re.compile(r"(?P<place>.+)_(?P<band>HH|HV|VH|VV)", re.IGNORECASE)
_TRUTH = re.compile(r"(?P<place>.+)_gt", re.IGNORECASE)


def find(root: Path, label_map: str, options: DataOptions) -> Listing:
    """Lists the slices, or the composites, with their masks."""
    if label_map not in LABEL_MAPS:
        raise unknown_label_map(DATASET, label_map, LABEL_MAPS)
    require_choice("polarisation", options.polarisation, POLARISATIONS, DATASET)
    official = wants_official(options, default=False)
    classes = options.class_order or CLASSES
    if sorted(classes) != sorted(CLASSES):
        raise UsageError(
            f"{DATASET}: not an order of its classes: {', '.join(classes)}",
            way_out=f"name each of {', '.join(CLASSES)} once",
        )
    require_folder(DATASET, root, layout=LAYOUT)
    folders = {PARTS[folder.name.lower()]: folder for folder in subfolders(root) if folder.name.lower() in PARTS}
    if official and len(folders) < 2:
        raise MissingError(
            f"{DATASET}: the official split needs train_set and test_set",
            where=str(root),
            way_out=f"expected layout: {LAYOUT}; or leave --split out",
        )
    files = [file for part, folder in folders.items() for file in _of_folder(root, folder, part, options.polarisation)]
    if not any(file.mask for file in files):
        raise MissingError(
            f"{DATASET}: no slice with a mask found",
            where=str(root),
            way_out=f"expected layout: {LAYOUT}; put the data there or name another --data-root",
        )
    palette: Palette = (BLACK, *(Colour(rgb, classes.index(name)) for name, rgb in COLOURS.items()))
    order = ", ".join(classes) if options.class_order else None
    return Listing(
        tuple(classes),
        tuple(files),
        palette=palette,
        pool=("train",) if official else (),
        ratio=split_ratio(options.split) if options.split and not official else None,
        choices=effective_choices(
            label_map, ("polarisation", options.polarisation), ("split", options.split), ("class_order", order)
        ),
    )


def _of_folder(root: Path, folder: Path, part: str, polarisation: str) -> list[ImageFile]:
    """The images of one official part; a place is known by its folder and its name."""
    places: dict[str, dict[str, Path]] = {}
    masks: dict[str, Path] = {}
    for path in images_below(folder):
        if "rot" in path.name.lower():
            continue
        if found := _SLICE.fullmatch(path.stem):
            places.setdefault(_place(root, path, found), {})[found["band"].upper()] = path
        elif found := _TRUTH.fullmatch(path.stem):
            masks[_place(root, path, found)] = path
    files: list[ImageFile] = []
    for place, slices in places.items():
        known = ImageFile(place, next(iter(slices.values())), group=place, part=part, mask=masks.get(place))
        if known.mask is None:
            known = known._replace(problem="has no mask ..._gt.png")
        files += _images(root, known, slices, polarisation)
    files += [
        ImageFile(place, path, group=place, part=part, problem="is a mask without slices")
        for place, path in masks.items()
        if place not in places
    ]
    return files


def _images(root: Path, place: ImageFile, slices: dict[str, Path], polarisation: str) -> list[ImageFile]:
    wanted = ("HH",) if polarisation == "HH" else BANDS
    missing = [band for band in wanted if band not in slices]
    lacking = f"has no {', '.join(missing)}" if missing else ""
    if polarisation == "pseudo":
        if missing:
            return [place._replace(problem=place.problem or lacking)]
        paths = [slices[band] for band in BANDS]
        return [place._replace(path=paths[0], more=tuple(paths[1:]), band="pseudo")]
    found = [
        place._replace(image_id=slices[band].relative_to(root).as_posix(), path=slices[band], band=band)
        for band in wanted
        if band in slices
    ]
    return [*found, *([place._replace(problem=lacking)] if missing else [])]


def _place(root: Path, path: Path, found: re.Match[str]) -> str:
    return f"{path.parent.relative_to(root).as_posix()}/{found['place']}"
