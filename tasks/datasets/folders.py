"""Class folders: the layout that most chip data sets share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from foundation.errors import MissingError, UsageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
"""Image files of the accepted kinds, by ending."""


def images_below(folder: Path) -> list[Path]:
    """Image files at any depth, in name order; hidden files and folders are passed over."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def subfolders(folder: Path) -> list[Path]:
    """Folders directly below, in name order, hidden ones left out."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def require_folder(dataset: str, folder: Path, *, layout: str) -> None:
    """Says what the layout should look like when a folder of it is not there."""
    if not folder.is_dir():
        raise MissingError(
            f"{dataset}: folder not found",
            where=str(folder),
            way_out=f"expected layout: {layout}; put the data there or name another --data-root",
        )


def require_images(dataset: str, folder: Path, images: Iterable[Path]) -> None:
    """An empty class folder means a broken download: dropping the class in silence would change the task."""
    if not any(True for _ in images):
        raise MissingError(
            f"{dataset}: class folder {folder.name} holds no images",
            where=str(folder),
            way_out="fetch the data set anew, or remove the folder if the class is meant to be absent",
        )


def unknown_label_map(dataset: str, label_map: str, known: Iterable[str]) -> UsageError:
    """The error for a label map that the data set does not have."""
    return UsageError(
        f"{dataset} has no label map {label_map!r}", way_out=f"choose --label-map from {', '.join(sorted(known))}"
    )
