"""The test images that every page of a data set shows: chosen once by rule, their pictures shared by all models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.files import pretty_json, write_bytes
from foundation.hashing import hash_value
from results.figures.colours import class_colours
from results.figures.figure import Figure, png_bytes, write_figure
from results.figures.selection import Choice, Mixture, choose_detection, choose_segmentation
from results.figures.tiles import IGNORE, Tile, base_tile, decode_mask, mask_tile, truth_tile
from results.pages.sources import DatasetSource

if TYPE_CHECKING:
    from PIL import Image

    from results.figures.selection import Pixels

CHOICE = "choice.json"


@dataclass
class Gallery:
    """The chosen images of one data set and split."""

    source: DatasetSource
    task: str
    folder: Path
    """Where its pictures lie."""
    code: str
    """Hash of the code that chooses and draws."""

    @property
    def key(self) -> str:
        """What the choice and the pictures hang on."""
        return self._key(self.source.missing)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Keys of what may stay: pictures that were drawn while the images were here are not lost when they are not."""
        return tuple(dict.fromkeys((self.key, self._key(""))))

    @property
    def has_images(self) -> bool:
        """Whether the pixels of the chosen images can be shown: they are here, or were when the gallery was made."""
        return not self.source.missing or (bool(self.choices) and (self.folder / "image-0.png").is_file())

    @cached_property
    def truth(self) -> dict[str, Any]:
        """The truth of the whole test part."""
        return self.source.truth()

    @cached_property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The truth by image."""
        return {str(row["image_id"]): row for row in self.truth["test"]}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.truth["classes"])

    @cached_property
    def choices(self) -> list[Choice]:
        """Which images are shown; their pictures are drawn where they are not there yet."""
        try:
            stored = json.loads((self.folder / CHOICE).read_bytes())
            if stored["key"] in self.keys:
                return [Choice(*entry) for entry in stored["images"]]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not there or damaged: it can be made again
        for old in self.folder.glob("*.png"):
            old.unlink()
        chosen = self._choose()
        for place, choice in enumerate(chosen):
            self._draw(place, choice)
        content = {"key": self.key, "images": [list(choice) for choice in chosen]}
        write_bytes(self.folder / CHOICE, pretty_json(content))
        return chosen

    def tile(self, place: int) -> Tile:
        """The chosen image at the size of a tile."""
        if place not in self._tiles:
            image_id = self.choices[place].image_id
            self._tiles[place] = self._kept(place, image_id) or self._base(image_id)
        return self._tiles[place]

    def mask(self, place: int) -> Pixels:
        """The true mask of a chosen image."""
        if place not in self._masks:
            self._masks[place] = decode_mask(self.rows[self.choices[place].image_id]["mask"])
        return self._masks[place]

    @cached_property
    def _tiles(self) -> dict[int, Tile]:
        return {}

    @cached_property
    def _masks(self) -> dict[int, Pixels]:
        return {}

    def _key(self, missing: str) -> str:
        return hash_value([self.task, self.source.state, missing, self.code])

    def _kept(self, place: int, image_id: str) -> Tile | None:
        """The tile that was drawn while the images were here, if they are not any more."""
        from PIL import Image

        if not self.source.missing or not self.has_images:
            return None
        row = self.rows[image_id]
        with Image.open(self.folder / f"image-{place}.png") as picture:
            tile = picture.convert("RGB")
        return Tile(tile, tile.width / row["width"] if "width" in row else 1.0)

    def _base(self, image_id: str) -> Tile:
        row = self.rows[image_id]
        pixels = self.source.image_of(image_id)
        if pixels is None and "mask" in row:
            mask = decode_mask(row["mask"])
            return base_tile(None, mask.shape[1], mask.shape[0])
        if "mask" in row:
            return base_tile(pixels, 0, 0)
        # The boxes are in pixels of the size that the truth states.
        tile = base_tile(pixels, row["width"], row["height"])
        return tile._replace(scale=tile.picture.width / row["width"])

    def _choose(self) -> list[Choice]:
        rows = list(self.rows.values())
        if self.task == "detection":
            return choose_detection(rows, self.source.image_of)
        counts = {text: self._pixels(text) for text in dict.fromkeys(row["mask"] for row in rows)}
        return choose_segmentation(
            [Mixture(str(row["image_id"]), str(row.get("unit", row["image_id"])), counts[row["mask"]]) for row in rows]
        )

    def _pixels(self, text: str) -> list[int]:
        import numpy as np

        counts = np.bincount(decode_mask(text).ravel(), minlength=IGNORE + 1)
        return [int(count) for count in counts[: len(self.classes)]]

    def _draw(self, place: int, choice: Choice) -> None:
        row = self.rows[choice.image_id]
        tile = self._tiles[place] = self._base(choice.image_id)
        if not self.source.missing:
            _save(self.folder, f"image-{place}", tile.picture)
        if "mask" in row:
            mask = self._masks[place] = decode_mask(row["mask"])
            _save(self.folder, f"truth-{place}", mask_tile(mask, class_colours(self.classes)))
        else:
            _save(self.folder, f"truth-{place}", truth_tile(tile, row["boxes"]))


def _save(folder: Path, name: str, image: Image.Image) -> None:
    write_figure(Figure(name, "png", png_bytes(image), "", "", image.size), folder)
