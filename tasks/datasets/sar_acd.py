"""SAR-ACD: aircraft chips of Gaofen-3 (C band, HH, 1 m), six classes.

Layout: `<root>/images/<class>/<nnn>.jpg`, 8-bit grey JPEG, every chip its own size (widths 35-200, heights 32-150).
Counts of the public part: A220 464, A320321 510, A330 512, ARJ21 514, Boeing737 528, Boeing787 504; 3,032 in all.
Published by AICyberTeam, doi 10.1109/TGRS.2022.3166174; no licence file, citation asked for. The public part is
"after expansion": augmented copies of one aircraft may cross the split, hence the near-duplicate count of the record.
"""

from __future__ import annotations

from pathlib import Path

from tasks.datasets.folders import images_below, require_folder, require_images, unknown_label_map
from tasks.datasets.options import DataOptions, asked_ratio, effective_choices
from tasks.datasets.records import ImageFile, Listing

LABEL_MAPS = ("acd6",)
OPTIONS = ("label_map", "split")
LAYOUT = "<root>/images/<class>/<nnn>.jpg"
CLASSES = ("A220", "A320321", "A330", "ARJ21", "Boeing737", "Boeing787")


def find(root: Path, label_map: str, options: DataOptions) -> Listing:
    """Lists the chips of the six class folders."""
    if label_map not in LABEL_MAPS:
        raise unknown_label_map("sar_acd", label_map, LABEL_MAPS)
    ratio = asked_ratio("sar_acd", options)
    require_folder("sar_acd", root / "images", layout=LAYOUT)
    files: list[ImageFile] = []
    for label, name in enumerate(CLASSES):
        folder = root / "images" / name
        require_folder("sar_acd", folder, layout=LAYOUT)
        images = images_below(folder)
        require_images("sar_acd", folder, images)
        files += [ImageFile(path.relative_to(root).as_posix(), path, label, "HH") for path in images]
    choices = effective_choices(label_map, ("split", options.split))
    return Listing(CLASSES, tuple(files), ratio=ratio, choices=choices)
