"""Progress as a plain call, so that workers need not know who watches."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told how far a piece of work is; must be cheap, is called often."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total` steps are done; `note` says what is going on."""


def silent(done: int, total: int, note: str = "") -> None:
    """The progress that nobody watches."""
