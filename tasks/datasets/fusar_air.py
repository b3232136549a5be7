"""FUSAR-AIR: aircraft chips; the paper cites a dissertation and no public copy is known.

Everything about its files is unconfirmed, so the reader accepts what class-folder data sets use:
`<root>/<class>/*.{tif,tiff,png,jpg,bmp}` or `<root>/{train,test}/<class>/*` (both parts are pooled and split by the
common rule; `--split official` takes them as they are, section 3.3). Classes in alphabetical order; an optional
`classes.txt` fixes another order, one name per line.
"""

from __future__ import annotations

from pathlib import Path

from foundation.errors import MissingError
from tasks.datasets.folders import images_below, require_folder, require_images, subfolders, unknown_label_map
from tasks.datasets.options import DataOptions, effective_choices, split_ratio, wants_official
from tasks.datasets.records import ImageFile, Listing

LABEL_MAPS = ("folders",)
OPTIONS = ("label_map", "split")
PARTS = ("train", "test")
LAYOUT = "<root>/<class>/*.tif or <root>/{train,test}/<class>/*.tif"


def find(root: Path, label_map: str, options: DataOptions) -> Listing:
    """Lists the chips of every class folder, with the parts that they lie in."""
    if label_map not in LABEL_MAPS:
        raise unknown_label_map("fusar_air", label_map, LABEL_MAPS)
    official = wants_official(options, default=False)
    require_folder("fusar_air", root, layout=LAYOUT)
    parts = [part for part in PARTS if (root / part).is_dir()]
    if official and len(parts) < len(PARTS):
        raise MissingError(
            "fusar_air: the official split needs train and test",
            where=str(root),
            way_out=f"expected layout: {LAYOUT}; or leave --split out",
        )
    folders = [folder for part in parts or [""] for folder in subfolders(root / part)]
    classes = _order(root, {folder.name for folder in folders})
    if len(classes) < 2:
        raise MissingError(
            f"fusar_air: {len(classes)} class folders found, at least two are needed",
            where=str(root),
            way_out=f"expected layout: {LAYOUT}; put the data there or name another --data-root",
        )
    files: list[ImageFile] = []
    for folder in folders:
        images = images_below(folder)
        require_images("fusar_air", folder, images)
        label, part = classes.index(folder.name), folder.parent.name if parts else ""
        files += [ImageFile(path.relative_to(root).as_posix(), path, label, part=part) for path in images]
    return Listing(
        classes,
        tuple(files),
        pool=("train",) if official else (),
        ratio=split_ratio(options.split) if options.split and not official else None,
        choices=effective_choices(label_map, ("split", options.split)),
    )


def _order(root: Path, found: set[str]) -> tuple[str, ...]:
    fixed = root / "classes.txt"
    if not fixed.is_file():
        return tuple(sorted(found))
    names = tuple(line.strip() for line in fixed.read_text(encoding="utf-8").splitlines() if line.strip())
    if set(names) != found or len(set(names)) != len(names):
        odd = sorted(set(names) ^ found) or sorted(name for name in names if names.count(name) > 1)
        raise MissingError(
            f"fusar_air: classes.txt and the class folders disagree about {', '.join(odd)}",
            where=str(fixed),
            way_out="list every class folder exactly once",
        )
    return names
