"""The folder of one page while it is written: pictures first, the page last, leftovers of an older page removed."""

from __future__ import annotations

from pathlib import Path

from foundation.errors import storage_error
from foundation.files import write_bytes
from results.figures.figure import Figure, write_figure
from results.pages.html import key_of

PAGE = "index.html"
CHOSEN = "chosen"
"""Name of the numbers of a page's answers on the chosen images, which the page of all models reads again."""
_OURS = frozenset({".png", ".svg", ".csv"})


class PageFolder:
    """Knows which files belong to the page that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: set[str] = set()

    def is_current(self, *keys: str) -> bool:
        """Whether the page is there and was made from what one of these keys names."""
        try:
            with (self.path / PAGE).open("rb") as stream:
                return key_of(stream.read(1024)) in keys
        except OSError:
            return False

    def add(self, figure: Figure) -> Figure:
        """Writes a figure and gives it back."""
        self._files.update(write_figure(figure, self.path))
        return figure

    def finish(self, page: bytes) -> None:
        """Writes the page; whatever an older one had beside it and this one has not goes."""
        try:
            for path in self.path.glob("*"):
                if path.suffix in _OURS and path.name not in self._files:
                    path.unlink()
        except OSError as error:
            raise storage_error(error, self.path) from error
        write_bytes(self.path / PAGE, page)
