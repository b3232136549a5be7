"""AIR-F: SAR-AIRcraft-1.0 with a fifth of its training images (section 4.3; the reduction is `tasks.few_shot`).

Layout: `<root>/JPEGImages/<id>.jpg`, `<root>/Annotations/<id>.xml` (Pascal VOC) and
`<root>/ImageSets/Main/{train,val,trainval,test}.txt`; 4,368 Gaofen-3 images of 800 to 1500 pixels at 1 m, 16,463 boxes.
Seven classes; mind the slash in `A320/321`: never use class names as file names.
Split: official; the training pool is `train.txt`, with `--pool trainval` also `val.txt`; `--split 4:1`, or no
`ImageSets`, divides by the common rule. Published by the Journal of Radars, doi 10.12000/JR23043; licence unconfirmed
(sister data sets: teaching and research with citation, no commercial use).
"""

from __future__ import annotations

from pathlib import Path

from foundation.errors import MissingError
from tasks.datasets.folders import require_folder, subfolders, unknown_label_map
from tasks.datasets.options import (
    OFFICIAL,
    DataOptions,
    effective_choices,
    require_choice,
    split_ratio,
    wants_official,
)
from tasks.datasets.records import Box, ImageFile, Listing
from tasks.datasets.voc import class_numbers, read_image_set, voc_folders, voc_images

DATASET = "sar_aircraft_few"
CLASSES = ("A220", "A320/321", "A330", "ARJ21", "Boeing737", "Boeing787", "other")  # section 4.3, in this order
LABEL_MAPS = ("aircraft7",)
OPTIONS = ("label_map", "split", "pool", "voc_origin")
POOLS: dict[str, tuple[str, ...]] = {"train": ("train",), "trainval": ("train", "val")}
LAYOUT = "<root>/JPEGImages/<id>.jpg, <root>/Annotations/<id>.xml, <root>/ImageSets/Main/{train,val,test}.txt"


def find(root: Path, label_map: str, options: DataOptions) -> Listing:
    """Lists the images with their boxes and official parts."""
    if label_map not in LABEL_MAPS:
        raise unknown_label_map(DATASET, label_map, LABEL_MAPS)
    require_choice("pool", options.pool, POOLS, DATASET)
    require_choice("voc-origin", options.voc_origin, (0, 1), DATASET)
    official = wants_official(options, default=True)
    require_folder(DATASET, root, layout=LAYOUT)
    folders = voc_folders(root)
    if folders is None:
        raise MissingError(
            f"{DATASET}: no folder of images beside a folder of XML files",
            where=str(root),
            way_out=f"expected layout: {LAYOUT}; put the data there or name another --data-root",
        )
    lists = _lists(root)
    if lists is None and options.split == OFFICIAL:
        raise MissingError(
            f"{DATASET}: no lists of the official parts",
            where=str(root / "ImageSets" / "Main"),
            way_out="fetch ImageSets, or choose --split 4:1",
        )
    pool = POOLS[options.pool] if official and lists is not None else ()
    part_of = _parts(lists, options.pool) if pool and lists is not None else {}
    files = _files(root, folders, part_of, options.voc_origin)
    split, named = (OFFICIAL, options.pool) if pool else (options.split, None)
    return Listing(
        CLASSES,
        tuple(files),
        pool=pool,
        ratio=split_ratio(options.split) if options.split and not official else None,
        choices=effective_choices(
            label_map, ("split", split), ("voc_origin", str(options.voc_origin)), ("pool", named)
        ),
        has_boxes=True,
    )


def _files(root: Path, folders: tuple[Path, Path], part_of: dict[str, str], origin: int) -> list[ImageFile]:
    files: list[ImageFile] = []
    unseen = dict(part_of)
    for image in voc_images(*folders, origin=origin):
        relative, part = image.path.relative_to(root).as_posix(), part_of.get(image.name, "")
        unseen.pop(image.name, None)
        file = ImageFile(relative, image.path, part=part, problem=image.problem)
        if image.annotated is not None:
            try:
                numbers = class_numbers((box.name for box in image.annotated.boxes), CLASSES)
            except ValueError as error:
                file = file._replace(problem=f"{image.name}.xml {error}")
            else:
                boxes = tuple(Box(*box[:4], numbers[box.name], box.difficult) for box in image.annotated.boxes)
                file = file._replace(boxes=boxes, stated_size=image.annotated.size)
        files.append(file)
    for name, part in unseen.items():
        path = folders[0] / f"{Path(name).name}.jpg"
        relative = path.relative_to(root).as_posix()
        files.append(ImageFile(relative, path, part=part, problem=f"is in {part}.txt and not there"))
    return files


def _lists(root: Path) -> Path | None:
    sets = next((folder for folder in subfolders(root) if folder.name.lower() == "imagesets"), None)
    if sets is None:
        return None
    main = next((folder for folder in subfolders(sets) if folder.name.lower() == "main"), sets)
    return main if any(main.glob("*.txt")) else None


def _parts(lists: Path, pool: str) -> dict[str, str]:
    """Image name to official part; no image is in two of them."""
    names = {
        part: read_image_set(lists / f"{part}.txt")
        for part in ("train", "val", "trainval", "test")
        if (lists / f"{part}.txt").is_file()
    }
    if pool == "trainval" and "trainval" in names:
        train = set(names.get("train", names["trainval"]))
        names["train"] = tuple(name for name in names["trainval"] if name in train)
        names["val"] = tuple(name for name in names["trainval"] if name not in train)
        needed: tuple[str, ...] = ("train", "test")
    else:
        needed = (*POOLS[pool], "test")
    for part in needed:
        if not names.get(part):
            raise MissingError(
                f"{DATASET}: the list of the part {part} is missing or empty",
                where=str(lists / f"{part}.txt"),
                way_out="fetch ImageSets anew, choose another --pool, or --split 4:1",
            )
    part_of: dict[str, str] = {}
    for part in ("train", "val", "test"):
        for name in names.get(part, ()):
            if part_of.setdefault(name, part) != part:
                raise MissingError(
                    f"{DATASET}: {name} is listed in {part_of[name]} and in {part}",
                    where=str(lists),
                    way_out="fetch ImageSets anew, or choose --split 4:1",
                )
    return part_of
