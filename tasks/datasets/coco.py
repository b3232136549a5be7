"""COCO: `instances_*.json` with images, annotations and categories, anywhere below the root; several are pooled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from foundation.errors import BenchError, MissingError
from foundation.files import read_json
from tasks.datasets.folders import images_below, subfolders

PATTERN = "instances_*.json"
LAYOUT = "<root>/annotations/instances_<part>.json with <root>/images/<file_name>"
SCENE_KEYS = ("scene", "parent", "scene_id")
"""Keys of an image entry that name its parent scene."""
_USUAL_FOLDERS = ("images", "JPEGImages", "imgs")


class CocoBox(NamedTuple):
    """A box whose class is still the id of a category."""

    x: float
    y: float
    width: float
    height: float
    category: int
    difficult: bool


class CocoImage(NamedTuple):
    """An image of the JSON files; `path` is None where no such file is there."""

    file_name: str
    path: Path | None
    size: tuple[int, int] | None
    scene: str
    boxes: tuple[CocoBox, ...]


class Coco(NamedTuple):
    """All JSON files of a data set together."""

    categories: dict[int, str]
    """By id, in ascending order; ids need not be contiguous."""
    images: tuple[CocoImage, ...]


def coco_files(root: Path) -> list[Path]:
    """The annotation files below a root, hidden folders left out."""
    return sorted(
        path
        for path in root.rglob(PATTERN)
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def read_coco(root: Path, files: Iterable[Path]) -> Coco:
    """Pools annotation files; an image that several of them hold must look the same in all."""
    pictures = _Pictures(root)
    categories: dict[int, str] = {}
    images: dict[Path | str, tuple[CocoImage, Path]] = {}
    for path in files:
        raw = _load(path)
        known = _categories(path, raw)
        for number, name in known.items():
            if categories.setdefault(number, name) != name:
                raise _broken(path, f"category {number} is {name!r} here and {categories[number]!r} in another file")
        for image in _images(path, raw, known, pictures):
            first, place = images.setdefault(image.path or image.file_name, (image, path))
            if first._replace(file_name=image.file_name) != image:
                raise _broken(path, f"{image.file_name} occurs before with other boxes or facts, in {place.name}")
    ordered = sorted(images.values(), key=lambda pair: (str(pair[0].path or ""), pair[0].file_name))
    return Coco(dict(sorted(categories.items())), tuple(image for image, _ in ordered))


class _Pictures:
    """Image files below the root by every name they may be called; nothing outside the root is ever found."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.exact: dict[str, Path] = {}
        self.by_name: dict[str, list[Path]] = defaultdict(list)
        linked = [folder for folder in subfolders(root) if folder.is_symlink()]  # a search does not enter them itself
        for path in (found for folder in (root, *linked) for found in images_below(folder)):
            self.exact[path.relative_to(root).as_posix()] = path
            self.by_name[path.name].append(path)

    def find(self, file_name: str, annotations: Path) -> Path | None:
        """The file that an annotation file means; folders with the name of its part come before the others."""
        name = PurePosixPath(file_name.replace("\\", "/"))
        part = annotations.stem.partition("_")[2]
        near = [
            folder.relative_to(self.root).as_posix()
            for folder in annotations.parents
            if folder.is_relative_to(self.root)
        ]
        of_part = (part, f"images/{part}", f"{part}/images")
        for folder in (*of_part, *near, *_USUAL_FOLDERS):
            found = self.exact.get((PurePosixPath(folder) / name).as_posix())
            if found is not None:
                return found
        alike = [path for path in self.by_name[name.name] if path.as_posix().endswith(f"/{name.as_posix()}")]
        alike = alike or self.by_name[name.name]
        return alike[0] if len(alike) == 1 else None


def _load(path: Path) -> dict[str, Any]:
    try:
        raw = read_json(path)
    except BenchError as error:
        raise MissingError(error.what, where=str(path), way_out="fetch the annotation file anew") from error
    except RecursionError as error:
        raise _broken(path, "nested too deeply") from error
    if not isinstance(raw, dict) or not all(
        isinstance(raw.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise _broken(path, "images, annotations and categories are not three lists in it")
    return raw


def _categories(path: Path, raw: dict[str, Any]) -> dict[int, str]:
    found: dict[int, str] = {}
    for entry in raw["categories"]:
        try:
            number, name = int(entry["id"]), str(entry["name"])
        except (TypeError, KeyError, ValueError) as error:
            raise _broken(path, f"not a category: {entry!r}") from error
        if found.setdefault(number, name) != name:
            raise _broken(path, f"category {number} occurs twice")
    return found


def _images(path: Path, raw: dict[str, Any], known: dict[int, str], pictures: _Pictures) -> list[CocoImage]:
    boxes: dict[Any, list[CocoBox]] = {}
    images: list[CocoImage] = []
    for entry in raw["images"]:
        try:
            number, name = entry["id"], str(entry["file_name"])
            size = (int(entry.get("width") or 0), int(entry.get("height") or 0))
            scene = next((str(entry[key]) for key in SCENE_KEYS if entry.get(key) not in (None, "")), "")
            repeated = number in boxes
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise _broken(path, f"not an image: {_shown(entry)}") from error
        if repeated:
            raise _broken(path, f"image id {number!r} occurs twice")
        boxes[number] = []
        images.append(CocoImage(name, pictures.find(name, path), size if min(size) > 0 else None, scene, ()))
    for entry in raw["annotations"]:
        try:
            x, y, width, height = (float(side) for side in entry["bbox"])
            difficult = any(entry.get(key) for key in ("difficult", "ignore", "iscrowd"))
            category = int(entry["category_id"])
            mine = boxes[entry["image_id"]]
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise _broken(path, f"not a box of an image of this file: {_shown(entry)}") from error
        if category not in known:
            raise _broken(path, f"category {category} is not in its list of categories")
        mine.append(CocoBox(x, y, width, height, category, difficult))
    return [image._replace(boxes=tuple(found)) for image, found in zip(images, boxes.values(), strict=True)]


def _shown(entry: Any) -> str:
    if isinstance(entry, dict):
        entry = {key: value for key, value in entry.items() if key != "segmentation"}
    return repr(entry)[:120]


def _broken(path: Path, what: str) -> MissingError:
    return MissingError(
        f"broken annotation file: {what}", where=str(path), way_out="fetch it anew, or mend it where it is wrong"
    )
