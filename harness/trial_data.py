"""Tiny data sets for the trials of a model: a few dozen bright shapes on speckle, made once and kept in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.cache import cache_root
from foundation.files import exclusive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHIPS_PER_CLASS = 5
"""The smallest class that the split keeps."""
CHIP_SIDE = 24
SCENES = 10
SCENE_SIDE = 64

_VERSION = 2


def tiny_chips() -> Path:
    """Chips in the layout of SAR-ACD; where a stripe lies tells the class."""
    return _made("chips", _write_chips)


def tiny_scenes() -> Path:
    """Scenes with two bright rectangles each, in the COCO layout of FU-SS."""
    return _made("scenes", _write_scenes)


def tiny_tiles() -> Path:
    """Tiles in the layout of FUSAR-MAP; how bright a half is tells its cover."""
    return _made("tiles", _write_tiles)


def _made(name: str, write: Callable[[Path], None]) -> Path:
    root = cache_root() / "model_trials" / f"{name}-{_VERSION}"
    done = root / "complete"
    with exclusive(root.with_suffix(".lock")):
        if not done.exists():
            root.mkdir(parents=True, exist_ok=True)
            write(root)
            done.touch()
    return root


def _write_chips(root: Path) -> None:
    from tasks.datasets.sar_acd import CLASSES

    rng = _generator()
    for label, name in enumerate(CLASSES):
        folder = root / "images" / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(CHIPS_PER_CLASS):
            chip = rng.gamma(2.0, 20.0, (CHIP_SIDE, CHIP_SIDE))
            chip[:, 2 + 3 * label : 5 + 3 * label] += 120
            _save(chip, folder / f"{number:03d}.png")


def _write_scenes(root: Path) -> None:
    rng = _generator()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(SCENES):
        scene = rng.gamma(2.0, 12.0, (SCENE_SIDE, SCENE_SIDE))
        for side in (0, SCENE_SIDE // 2):
            x, y = side + int(rng.integers(2, 12)), int(rng.integers(2, 40))
            width, height = (int(value) for value in rng.integers(10, 18, 2))
            scene[y : y + height, x : x + width] += 130
            box = [x, y, width, height]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": box, "iscrowd": 0}
            )
        name = f"scene{number}.png"
        images.append({"id": number, "file_name": name, "width": SCENE_SIDE, "height": SCENE_SIDE})
        _save(scene, root / "images" / name)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "ship"}]}
    (root / "instances_all.json").write_text(json.dumps(content))


def _write_tiles(root: Path) -> None:
    import numpy as np
    import tifffile

    colours = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))
    rng = _generator()
    for folder in ("sar_1024", "lab_1024"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(SCENES):
        tile = np.zeros((SCENE_SIDE, SCENE_SIDE))
        labels = np.zeros((SCENE_SIDE, SCENE_SIDE, 3), dtype=np.uint8)
        for half in (slice(0, SCENE_SIDE // 2), slice(SCENE_SIDE // 2, SCENE_SIDE)):
            cover = int(rng.integers(4))
            tile[:, half] = rng.gamma(4.0, 4.0 + 10.0 * cover, (SCENE_SIDE, SCENE_SIDE // 2))
            labels[:, half] = colours[cover]
        place = f"Town_01_01_01_{number:02d}"
        tifffile.imwrite(root / "sar_1024" / f"{place}_SAR_{number:03d}.tif", _grey(tile))
        tifffile.imwrite(root / "lab_1024" / f"{place}_Label_{number:03d}.tif", labels)


def _generator() -> np.random.Generator:
    import numpy as np

    return np.random.default_rng(0)


def _grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    import numpy as np

    grey: NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
    return grey


def _save(values: NDArray[Any], path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_grey(values)).save(path)
