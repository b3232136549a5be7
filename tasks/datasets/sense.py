"""FU-AS and FU-SS: scenes with boxes, as COCO files or as a VOC folder (section 4.2), found out by what is there.

A scene that was cut into several images is never divided by a split where the image entry names it (keys `scene`,
`parent`, `scene_id`) or the file name does:

    <scene>_tile<n>, <scene>_crop<n>, <scene>_patch<n>      the running number of a piece
    <scene>_x<n>_y<n>, <scene>_r<n>_c<n>                    the place of a piece
    <scene>_<n>_<n>_<n>_<n>                                 the window of a piece in its scene
"""

from __future__ import annotations

import re
from pathlib import Path

from foundation.errors import MissingError
from tasks.datasets import coco, voc
from tasks.datasets.folders import require_folder, unknown_label_map
from tasks.datasets.footprints import plain_stem
from tasks.datasets.options import DataOptions, asked_ratio, effective_choices, require_choice
from tasks.datasets.records import Box, ImageFile, Listing

LABEL_MAPS = ("agnostic", "fine")
OPTIONS = ("label_map", "split", "group", "voc_origin")
GROUPS = ("scene", "image")
LAYOUT = f"{coco.LAYOUT}; or {voc.LAYOUT}"

NOT_FOUND = "image not found below the root, or several of this name"

_PIECE = re.compile(r"(?P<scene>.+?)_(?:(?:tile|crop|patch)_?\d+|x\d+_y\d+|r\d+_c\d+|\d+_\d+_\d+_\d+)", re.IGNORECASE)


def find(dataset: str, target: str, root: Path, label_map: str, options: DataOptions) -> Listing:
    """Lists the scenes; `target` is the one class of the label map `agnostic`."""
    if label_map not in LABEL_MAPS:
        raise unknown_label_map(dataset, label_map, LABEL_MAPS)
    group = options.group or GROUPS[0]
    require_choice("group", group, GROUPS, dataset)
    require_choice("voc-origin", options.voc_origin, (0, 1), dataset)
    ratio = asked_ratio(dataset, options)
    require_folder(dataset, root, layout=LAYOUT)
    annotations, folders = coco.coco_files(root), voc.voc_folders(root)
    origin = None
    if annotations:
        classes, files = _from_coco(root, annotations, target if label_map == "agnostic" else None)
    elif folders:
        classes, files = _from_voc(root, folders, target if label_map == "agnostic" else None, options.voc_origin)
        origin = str(options.voc_origin)
    else:
        raise _wrong_layout(dataset, root, f"neither {coco.PATTERN} nor a VOC folder found")
    if all(file.problem == NOT_FOUND for file in files):
        raise _wrong_layout(dataset, root, f"none of the {len(files)} annotated images found")
    if not classes and not any(file.problem for file in files):
        raise _wrong_layout(dataset, root, "the annotations name no class")
    if group == "image":
        files = [file._replace(group="") for file in files]
    choices = effective_choices(label_map, ("group", group), ("voc_origin", origin), ("split", options.split))
    return Listing(classes, tuple(files), ratio=ratio, choices=choices, has_boxes=True)


def scene_of(name: str) -> str:
    """The parent scene that a file name carries, or nothing."""
    found = _PIECE.fullmatch(plain_stem(name))
    return found["scene"] if found else ""


def _wrong_layout(dataset: str, root: Path, what: str) -> MissingError:
    return MissingError(
        f"{dataset}: {what}",
        where=str(root),
        way_out=f"expected layout: {LAYOUT}; put the data there or name another --data-root",
    )


def _from_coco(root: Path, annotations: list[Path], target: str | None) -> tuple[tuple[str, ...], list[ImageFile]]:
    read = coco.read_coco(root, annotations)
    classes = (target,) if target else tuple(dict.fromkeys(read.categories.values()))
    numbers = {number: 0 if target else classes.index(name) for number, name in read.categories.items()}
    files: list[ImageFile] = []
    for image in read.images:
        boxes = tuple(Box(*box[:4], numbers[box.category], box.difficult) for box in image.boxes)
        missing = image.path is None
        path = image.path or root / Path(image.file_name.replace("\\", "/")).name
        files.append(
            ImageFile(
                path.relative_to(root).as_posix(),
                path,
                group=image.scene or scene_of(image.file_name),
                boxes=boxes,
                stated_size=image.size,
                problem=NOT_FOUND if missing else "",
            )
        )
    return classes, files


def _from_voc(
    root: Path, folders: tuple[Path, Path], target: str | None, origin: int
) -> tuple[tuple[str, ...], list[ImageFile]]:
    found = voc.voc_images(*folders, origin=origin)
    names = {box.name for image in found if image.annotated for box in image.annotated.boxes}
    classes = (target,) if target else tuple(sorted(names))
    files: list[ImageFile] = []
    for image in found:
        relative = image.path.relative_to(root).as_posix()
        if image.annotated is None:
            files.append(ImageFile(relative, image.path, problem=image.problem))
            continue
        boxes = tuple(
            Box(*box[:4], 0 if target else classes.index(box.name), box.difficult) for box in image.annotated.boxes
        )
        group, size = image.annotated.scene or scene_of(image.name), image.annotated.size
        files.append(ImageFile(relative, image.path, group=group, boxes=boxes, stated_size=size))
    return classes, files
