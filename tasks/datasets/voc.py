"""Pascal VOC: one XML file per image with the boxes of its targets.

Accepted are `Annotations/` and `JPEGImages/` (or `images/`) in any case, and `ImageSets/Main/*.txt` with one image per
line. Annotation files come from strangers: entity declarations, which can make a small file endless, are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from foundation.errors import MissingError
from tasks.datasets.folders import SUFFIXES, images_below, subfolders

LAYOUT = "<root>/JPEGImages/<id>.jpg with <root>/Annotations/<id>.xml"
SCENE_KEYS = ("scene", "parent", "scene_id")
"""Elements of an annotation that name the parent scene."""
_ANNOTATIONS = ("annotations",)
_IMAGES = ("jpegimages", "images")


class NamedBox(NamedTuple):
    """A box whose class is still a name."""

    x: float
    y: float
    width: float
    height: float
    name: str
    difficult: bool


class Annotated(NamedTuple):
    """What one XML file says."""

    boxes: tuple[NamedBox, ...]
    size: tuple[int, int] | None
    scene: str = ""
    """The parent scene, where an element of the annotation names it."""


class VocImage(NamedTuple):
    """An image and its annotation; either may be missing, or the annotation broken."""

    name: str
    path: Path
    annotated: Annotated | None
    problem: str


def voc_folders(root: Path) -> tuple[Path, Path] | None:
    """Folder of images and folder of annotations, if the root has both."""
    found = {folder.name.lower(): folder for folder in subfolders(root)} if root.is_dir() else {}
    images = next((found[name] for name in _IMAGES if name in found), None)
    annotations = next((found[name] for name in _ANNOTATIONS if name in found), None)
    if images is None or annotations is None or not any(annotations.glob("*.xml")):
        return None
    return images, annotations


def voc_images(images: Path, annotations: Path, *, origin: int) -> list[VocImage]:
    """Every image of the folders with what its XML says, in name order; what has only one of the two has a problem."""
    pictures = {path.relative_to(images).with_suffix("").as_posix(): path for path in images_below(images)}
    texts = {
        path.relative_to(annotations).with_suffix("").as_posix(): path
        for path in sorted(annotations.rglob("*.xml"))
        if not path.name.startswith(".")
    }
    found: list[VocImage] = []
    for name in sorted({*pictures, *texts}):
        if name not in texts:
            found.append(VocImage(name, pictures[name], None, "has no annotation"))
        elif name not in pictures:
            found.append(VocImage(name, texts[name], None, "has no image"))
        else:
            try:
                found.append(VocImage(name, pictures[name], read_voc(texts[name], origin=origin), ""))
            except (OSError, ValueError) as error:
                problem = f"{texts[name].relative_to(annotations.parent).as_posix()} {error}"
                found.append(VocImage(name, pictures[name], None, problem))
    return found


def read_voc(path: Path, *, origin: int) -> Annotated:
    """The boxes of an XML file.

    VOC counts pixels and includes the last one: x = xmin - origin, width = xmax - xmin + 1 (section 4.1).

    Raises:
        ValueError: The file is no annotation, or an object of it is not whole.
    """
    top = parse_xml(path.read_bytes())
    if top.tag != "annotation":
        raise ValueError(f"is no annotation but <{top.tag}>")
    scene = next((text.strip() for key in SCENE_KEYS if (text := top.findtext(key)) and text.strip()), "")
    return Annotated(tuple(_box(thing, origin) for thing in top.iter("object")), _size(top), scene)


def parse_xml(data: bytes) -> Element:
    """The top element of a document that may not declare entities."""
    parser = expat.ParserCreate()
    builder = TreeBuilder()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = _refuse_entity
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError) as error:
        raise ValueError(f"is no XML: {error}" if data.strip() else "is empty") from error
    top: Element = builder.close()
    return top


def class_numbers(names: Iterable[str], classes: tuple[str, ...]) -> Mapping[str, int]:
    """Names to labels; case and signs are passed over, so that `A320321` is found as `A320/321`.

    Raises:
        ValueError: A name is none of the classes.
    """
    known = {_plain(name): label for label, name in enumerate(classes)}
    found: dict[str, int] = {}
    for name in names:
        if _plain(name) not in known:
            raise ValueError(f"has an object of the unknown class {name!r}")
        found[name] = known[_plain(name)]
    return found


def read_image_set(path: Path) -> tuple[str, ...]:
    """The image names of a list: the first word of each line, an image ending left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MissingError(
            f"cannot read the list of images: {error}", where=str(path), way_out="fetch it anew"
        ) from error
    words = [line.split()[0] for line in text.splitlines() if line.strip()]
    return tuple(Path(word).stem if Path(word).suffix.lower() in SUFFIXES else word for word in words)


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _box(thing: Element, origin: int) -> NamedBox:
    name = (thing.findtext("name") or "").strip()
    if not name:
        raise ValueError("has an object without a name")
    left, top, right, bottom = _corners(thing, name)
    # Some writers spell it with a capital.
    difficult = next((part.text or "" for part in thing if part.tag.lower() == "difficult"), "")
    return NamedBox(
        left - origin, top - origin, right - left + 1, bottom - top + 1, name, difficult.strip() not in {"", "0"}
    )


def _corners(thing: Element, name: str) -> tuple[float, float, float, float]:
    """xmin, ymin, xmax, ymax; of turned boxes and polygons, as SSDD has them besides, the extent."""
    upright = thing.find("bndbox")
    if upright is not None:
        left, top, right, bottom = (_number(upright, side, name) for side in ("xmin", "ymin", "xmax", "ymax"))
        return left, top, right, bottom
    turned, outline = thing.find("rotated_bndbox"), thing.find("segm")
    if turned is not None:
        x, y = ([_number(turned, f"{axis}{number}", name) for number in (1, 2, 3, 4)] for axis in "xy")
    elif outline is not None and outline.find("point") is not None:
        try:
            points = [[float(side) for side in (point.text or "").split(",")] for point in outline.iter("point")]
            x, y = [point[0] for point in points], [point[1] for point in points]
        except (ValueError, IndexError):
            raise ValueError(f"has a broken outline of {name}") from None
    else:
        raise ValueError(f"has an object without bndbox: {name}")
    return min(x), min(y), max(x), max(y)


def _number(corners: Element, side: str, name: str) -> float:
    text = corners.findtext(side)
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"has {side} {text!r} in a box of {name}") from None


def _size(top: Element) -> tuple[int, int] | None:
    try:
        width, height = int(top.findtext("size/width") or 0), int(top.findtext("size/height") or 0)
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _refuse_entity(name: str, *_rest: object) -> None:
    raise ValueError(f"declares the entity {name!r}, which annotations never need")
