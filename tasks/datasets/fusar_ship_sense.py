"""FU-SS (FUSAR-SHIP-Sense): 3,838 Gaofen-3 scenes around the ship chips of FUSAR-SHIP, with boxes.

Not public, so everything about its files is unconfirmed. Layout, found out by what is there: COCO files
`instances_*.json` anywhere below the root with an image folder, or a VOC folder; see `sense` for what names a scene.
Classes: `agnostic` (default) is ship alone, `fine` the types of the file in the order of their ids.
Split 4:1 by parent scene where the files name one, else by image. Paper: arXiv 2509.23927; no licence known.
"""

from __future__ import annotations

from pathlib import Path

from tasks.datasets import sense
from tasks.datasets.options import DataOptions
from tasks.datasets.records import Listing

OPTIONS = sense.OPTIONS
TARGET = "ship"


def find(root: Path, label_map: str, options: DataOptions) -> Listing:
    """Lists the scenes and their ships."""
    return sense.find("fusar_ship_sense", TARGET, root, label_map, options)
