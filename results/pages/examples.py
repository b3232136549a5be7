"""Examples on the pages of language tasks: which test items are shown, and an image with words beside it."""

from __future__ import annotations

from collections.abc import Iterable

from foundation.hashing import hash_bytes
from results.figures.figure import Figure, png_bytes
from results.figures.tiles import base_tile
from results.pages.folder import PageFolder
from results.pages.html import Markup, image, picture, tag
from results.pages.sources import DatasetSource

SIDE = 192
"""Longest side of an example's image in pixels."""
RULE = "The examples are the first in the order of hashes: chosen by no model, and the same for every model."
_RIGHT, _WRONG = "#176b2c", "#a11"


def by_hash(names: Iterable[str], count: int) -> list[str]:
    """`count` names in an order that neither a model nor the order of the file decides."""
    return sorted(dict.fromkeys(names), key=lambda name: (hash_bytes(name.encode()), name))[:count]


def verdict(text: str, right: bool | None) -> Markup:
    """An answer with its mark: a sign and a colour, so that neither alone has to be seen."""
    if right is None:
        return tag("span", text)
    return tag("span", "✓ " if right else "✗ ", text, style=f"color:{_RIGHT if right else _WRONG}")


def beside(image_or_name: Markup, *words: object) -> Markup:
    """An image with words at its side, or below it where there is no room."""
    return tag("div", image_or_name, tag("div", *words, style="flex:1;min-width:14rem"), class_="tiles")


class Pictures:
    """The images of the examples of one page, each drawn once."""

    def __init__(self, source: DatasetSource, folder: PageFolder) -> None:
        self._source = source
        self._folder = folder
        self._drawn: dict[str, Figure | None] = {}

    @property
    def note(self) -> Markup | None:
        """Why there are no images, if there are none."""
        missing = self._source.missing
        return tag("p", f"The images themselves are not here: {missing}.") if missing else None

    def figure(self, image_id: str, *caption: object) -> Markup:
        """An image with words under it; the words alone where the image is not here."""
        drawn = self._figure(image_id)
        words = tag("figcaption", *caption) if caption else None
        if drawn is None:
            return tag("figure", tag("p", image_id), words)
        return tag("figure", image(drawn.file, drawn.alt, *drawn.size), words)

    def alone(self, image_id: str) -> Markup:
        """An image without words, or its name where it is not here."""
        drawn = self._figure(image_id)
        return tag("p", image_id) if drawn is None else picture(drawn)

    def _figure(self, image_id: str) -> Figure | None:
        if image_id not in self._drawn:
            pixels = self._source.image_of(image_id)
            drawn = None
            if pixels is not None:
                tile = base_tile(pixels, 0, 0, side=SIDE).picture
                drawn = self._folder.add(
                    Figure(f"example-{len(self._drawn)}", "png", png_bytes(tile), "", image_id, tile.size)
                )
            self._drawn[image_id] = drawn
        return self._drawn[image_id]
