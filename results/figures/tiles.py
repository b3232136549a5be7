"""Pictures made of pixels: an image at the size of a tile, boxes and class maps drawn on it, tiles side by side.

Pillow with the fonts that come with matplotlib: the same on every machine, and much faster than a plot per tile.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from foundation.errors import CheckError, MissingError
from results.figures.colours import IGNORED, MATCHED, MISSED, RIGHT, TRUTH, UNMATCHED, WRONG, Colour
from results.figures.matching import Matching

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image, ImageDraw, ImageFont

    Pixels = NDArray[np.uint8]

SIDE = 288
"""Longest side of a tile in pixels: two fit beside each other on a phone."""
IGNORE = 255
"""Mask value of pixels that are neither learnt nor scored (section 2.1 of the task specification)."""
_BLANK: Colour = (70, 76, 84)
"""Where the image itself is not here."""
_PAPER: Colour = (255, 255, 255)
_INK: Colour = (28, 39, 51)


class Tile(NamedTuple):
    """An image at the size it is shown, and how much it was enlarged."""

    picture: Image.Image
    scale: float


def base_tile(pixels: Pixels | None, width: int, height: int, side: int = SIDE) -> Tile:
    """The image with its longest side brought to `side`; without pixels a plain ground of that shape."""
    from PIL import Image

    if pixels is not None:
        height, width = pixels.shape[:2]
    scale = side / max(width, height, 1)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if pixels is None:
        return Tile(Image.new("RGB", size, _BLANK), scale)
    # Enlarged pixels stay squares: nobody should take interpolation for resolution.
    kind = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
    return Tile(Image.fromarray(pixels).resize(size, kind).convert("RGB"), scale)


def truth_tile(tile: Tile, targets: Sequence[Sequence[float]]) -> Image.Image:
    """The targets of the ground truth."""
    return _boxes(tile, [(row[:4], TRUTH, 0) for row in targets])


def detection_tile(tile: Tile, matching: Matching, targets: Sequence[Sequence[float]]) -> Image.Image:
    """Matched detections blue, unmatched ones red and dashed, missed targets yellow and dotted."""
    drawn: list[tuple[Sequence[float], Colour, int]] = [(targets[place][:4], MISSED, 2) for place in matching.missed]
    for detection in reversed(matching.detections):  # the surest last, so on top
        drawn.append((detection.box, UNMATCHED, 5) if detection.target is None else (detection.box, MATCHED, 0))
    return _boxes(tile, drawn)


def mask_tile(mask: Pixels, colours: Sequence[Colour], side: int = SIDE) -> Image.Image:
    """A class map in its colours; ignored pixels black."""
    import numpy as np
    from PIL import Image

    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(colours)] = np.array(colours, dtype=np.uint8).reshape(-1, 3)
    table[IGNORE] = IGNORED
    return Image.fromarray(table[_reduced(mask, side)])


def error_tile(predicted: Pixels, truth: Pixels, side: int = SIDE) -> Image.Image:
    """Wrong pixels red, right ones pale, ignored ones black."""
    import numpy as np
    from PIL import Image

    said, true = _reduced(predicted, side), _reduced(truth, side)
    shown = np.where((said == true)[..., None], np.array(RIGHT, np.uint8), np.array(WRONG, np.uint8))
    shown[true == IGNORE] = IGNORED
    return Image.fromarray(shown)


def decode_mask(text: str) -> Pixels:
    """The class ids of a mask that is stored as a base64 PNG."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",)) as image:
            return np.asarray(image.convert("L") if image.mode != "L" else image, dtype=np.uint8)
    except (binascii.Error, OSError, UnidentifiedImageError, ValueError) as error:
        raise CheckError(
            f"a stored mask is no 8-bit PNG in base64: {error}",
            way_out="delete the cell's folder and run it again",
        ) from error


def side_by_side(
    heads: Sequence[str], rows: Sequence[tuple[str, Sequence[tuple[Image.Image, str]]]], side: int = 240
) -> Image.Image:
    """A sheet: `heads` above the columns, a title above each row, words under each tile."""
    from PIL import Image, ImageDraw

    gap, head, title, words = 8, 24, 20, 20
    wide = gap + len(heads) * (side + gap)
    shrunk = [[(_fit(tile, side), text) for tile, text in tiles] for _, tiles in rows]
    tall = [title + max(tile.height for tile, _ in tiles) + words for tiles in shrunk]
    sheet = Image.new("RGB", (wide, head + sum(tall) + gap), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, text in enumerate(heads):
        _write(draw, (gap + place * (side + gap), 5), text, side, bold=True)
    top = head
    for (name, _), tiles, height in zip(rows, shrunk, tall, strict=True):
        _write(draw, (gap, top + 3), name, wide - 2 * gap)
        for place, (tile, text) in enumerate(tiles):
            left = gap + place * (side + gap)
            sheet.paste(tile, (left, top + title))
            _write(draw, (left, top + title + tile.height + 2), text, side)
        top += height
    return sheet


def contact_sheet(tiles: Sequence[tuple[Image.Image, Sequence[str]]], columns: int = 4, side: int = 150) -> Image.Image:
    """Tiles in rows with lines of words under each."""
    from PIL import Image, ImageDraw

    gap, line = 8, 17
    lines = max(len(words) for _, words in tiles)
    step = side + lines * line + gap
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (gap + columns * (side + gap), gap + rows * step), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (tile, words) in enumerate(tiles):
        left, top = gap + place % columns * (side + gap), gap + place // columns * step
        small = _fit(tile, side)
        sheet.paste(small, (left + (side - small.width) // 2, top + (side - small.height) // 2))
        for number, text in enumerate(words):
            _write(draw, (left, top + side + 2 + number * line), text, side)
    return sheet


def _fit(tile: Image.Image, side: int) -> Image.Image:
    from PIL import Image

    if max(tile.size) == side:
        return tile
    scale = side / max(tile.size)
    size = (max(1, round(tile.width * scale)), max(1, round(tile.height * scale)))
    return tile.resize(size, Image.Resampling.LANCZOS)


def _reduced(mask: Pixels, side: int) -> Pixels:
    """Class ids at the size of a tile: the nearest pixel, since ids cannot be averaged."""
    import numpy as np

    height, width = mask.shape
    scale = side / max(height, width, 1)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    rows = ((np.arange(tall) + 0.5) * height / tall).astype(np.int64)
    columns = ((np.arange(wide) + 0.5) * width / wide).astype(np.int64)
    reduced: Pixels = mask[rows[:, None], columns[None, :]]
    return reduced


def _boxes(tile: Tile, boxes: Sequence[tuple[Sequence[float], Colour, int]]) -> Image.Image:
    from PIL import ImageDraw

    picture = tile.picture.copy()
    draw = ImageDraw.Draw(picture)
    for (x, y, width, height), colour, dash in boxes:
        left, top = round(x * tile.scale), round(y * tile.scale)
        right, foot = round((x + width) * tile.scale) - 1, round((y + height) * tile.scale) - 1
        left, right = sorted((max(0, left), min(picture.width - 1, right)))
        top, foot = sorted((max(0, top), min(picture.height - 1, foot)))
        for edge in (
            ((left, top), (right, top)),
            ((right, top), (right, foot)),
            ((left, foot), (right, foot)),
            ((left, top), (left, foot)),
        ):
            _edge(draw, *edge, colour, dash)
    return picture


def _edge(draw: ImageDraw.ImageDraw, start: tuple[int, int], end: tuple[int, int], colour: Colour, dash: int) -> None:
    """An upright or level line two pixels wide, in pieces of `dash` pixels with gaps as long, or whole."""
    across = start[1] == end[1]
    length = (end[0] - start[0]) if across else (end[1] - start[1])
    for offset in range(0, length + 1, 2 * dash) if dash else (0,):
        reach = min(offset + dash - 1, length) if dash else length
        if across:
            box = (start[0] + offset, start[1], start[0] + reach, start[1] + 1)
        else:
            box = (start[0], start[1] + offset, start[0] + 1, start[1] + reach)
        draw.rectangle(box, fill=colour)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], words: str, width: int, *, bold: bool = False) -> None:
    font = _font("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf", 12)
    text = words
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2].rstrip("…") + "…"
    draw.text(place, text, fill=_INK, font=font)


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    found = find_spec("matplotlib")  # found, not imported: that would take longer than the picture
    if found is None or found.origin is None:
        raise MissingError("matplotlib is not installed, its fonts are needed", way_out="pip install matplotlib")
    path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
