"""One figure: what is drawn, the numbers it was drawn from, and words for those who cannot see it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from foundation.errors import storage_error
from foundation.files import write_bytes

if TYPE_CHECKING:
    from PIL import Image

KEY_FIELD = "Drawn from"
"""Text field of a PNG file that says which numbers and which code it was drawn from."""


class Figure(NamedTuple):
    """A drawn figure."""

    name: str
    """File name without its ending."""
    ending: str
    """png or svg; empty for numbers alone, which a page shows as a table."""
    picture: bytes
    table: str
    """CSV of the numbers that were drawn; empty for a picture of pixels alone."""
    alt: str
    """What it shows, in words."""
    size: tuple[int, int]
    """Width and height in pixels, so that a page does not jump while it loads."""

    @property
    def file(self) -> str:
        """Name of the picture's file."""
        return f"{self.name}.{self.ending}"

    @property
    def table_file(self) -> str:
        """Name of the file with the numbers; empty if there is none."""
        return f"{self.name}.csv" if self.table else ""


def csv_text(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A CSV file with every digit; None is an empty place."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([["" if value is None else value for value in row] for row in rows])
    return stream.getvalue()


def numbers_alone(name: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Figure:
    """Numbers whose picture is a table or other pictures of the page itself."""
    return Figure(name, "", b"", csv_text(heads, rows), "", (0, 0))


def write_figure(figure: Figure, folder: Path, *, atomic: bool = False) -> list[str]:
    """Writes picture and numbers; returns the names of the files.

    Accepted trade-off: by default files are not flushed one by one. Pages have dozens of pictures that can be drawn
    again, and only the page itself, written last and whole, says that they are there.
    """
    files = {figure.file: figure.picture} if figure.ending else {}
    if figure.table:
        files[figure.table_file] = figure.table.encode()
    for name, content in files.items():
        path = folder / name
        if atomic:
            write_bytes(path, content)
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise storage_error(error, path) from error
    return list(files)


def png_bytes(image: Image.Image, key: str = "") -> bytes:
    """A PNG without anything but its pixels and, if given, the key of what it was drawn from."""
    from PIL import PngImagePlugin

    facts = PngImagePlugin.PngInfo()
    if key:
        facts.add_text(KEY_FIELD, key)
    stream = io.BytesIO()
    image.save(stream, format="PNG", pnginfo=facts, compress_level=4)
    return stream.getvalue()


def drawn_from(path: Path) -> str:
    """The key of a PNG file that `png_bytes` or the radar wrote; empty if there is no such file."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return str(image.info.get(KEY_FIELD, ""))
    except (OSError, UnidentifiedImageError):
        return ""
