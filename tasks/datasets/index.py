"""The index of a data set: every image with its label, size and hashes, and the files that cannot be read.

Made once per state of the files (names, sizes, modification times) and kept in the cache, so that planning a run
costs no decoding. Content hashes are taken of what the files hold, never of when they were written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from foundation.cache import cache_root
from foundation.errors import BenchError, MissingError
from foundation.files import read_json, write_json
from foundation.hashing import hash_bytes, hash_file, hash_lines, hash_sources, hash_value
from foundation.progress import Progress, silent

INDEX_VERSION = 1
ALLOWED_BAD_SHARE = 0.01
"""More unreadable files than this stop the run unless they are allowed (section 2.1)."""


class ImageFile(NamedTuple):
    """One image as the layout of its data set shows it, before it is opened."""

    image_id: str
    path: Path
    label: int
    band: str = ""


class Listing(NamedTuple):
    """All images of a data set, as found."""

    classes: tuple[str, ...]
    files: tuple[ImageFile, ...]


class ImageEntry(NamedTuple):
    """One readable image."""

    image_id: str
    path: str
    label: int
    width: int
    height: int
    dtype: str
    band: str
    pixel_hash: str
    difference_hash: int


class BadFile(NamedTuple):
    """One file that cannot be read."""

    path: str
    reason: str


@dataclass(frozen=True)
class DatasetIndex:
    """What is known of a data set without opening its images again."""

    dataset: str
    root: Path
    label_map: str
    classes: tuple[str, ...]
    images: tuple[ImageEntry, ...]
    bad: tuple[BadFile, ...]
    data_hash: str
    world: str | None = None

    @property
    def synthetic(self) -> bool:
        """True for rendered data."""
        return self.world is not None


def index_dataset(
    dataset: str, root: Path, listing: Listing, *, label_map: str, world: str | None, progress: Progress = silent
) -> DatasetIndex:
    """The index of the listed files, from the cache where nothing changed."""
    fingerprint = hash_value(
        {
            "version": INDEX_VERSION,
            "decoding": decoding_hash(),
            "dataset": dataset,
            "root": str(root.resolve()),
            "label_map": label_map,
            "classes": listing.classes,
            "files": [_state(file, root) for file in listing.files],
        }
    )
    cached = cache_root() / "index" / f"{dataset}-{fingerprint[:20]}.json"
    if cached.exists():
        try:
            return _from_json(read_json(cached), dataset, root, label_map, world)
        except (BenchError, KeyError, TypeError, ValueError):
            cached.unlink(missing_ok=True)  # damaged: it can be made again
    index = _open_all(dataset, root, listing, label_map, world, progress)
    write_json(cached, _to_json(index))
    return index


def decoding_hash() -> str:
    """What turns a file into pixels: our sources and the libraries. Caches of pixels and of their hashes hang on it."""
    home = Path(__file__).resolve().parent
    versions = [f"{name} {version(name)}" for name in ("pillow", "tifffile", "numpy")]
    return hash_lines([hash_sources([home / "decode.py", home.parent / "pixels.py"]), *versions])


def require_readable(index: DatasetIndex, *, allow_bad: bool) -> None:
    """Refuses a data set with more than one per cent of unreadable files, unless they are allowed."""
    total = len(index.images) + len(index.bad)
    if not index.images:
        raise MissingError(
            f"no readable image in {index.dataset}"
            + (f", e.g. {index.bad[0].path}: {index.bad[0].reason}" if index.bad else ""),
            where=str(index.root),
            way_out="look at the files or fetch it anew",
        )
    if len(index.bad) > ALLOWED_BAD_SHARE * total and not allow_bad:
        shown = "; ".join(f"{bad.path}: {bad.reason}" for bad in index.bad[:5])
        raise MissingError(
            f"{len(index.bad)} of {total} images of {index.dataset} cannot be read: {shown}"
            + (" ..." if len(index.bad) > 5 else ""),
            where=str(index.root),
            way_out="fetch these files anew, or run with --allow-bad to leave them out (the record will list them)",
        )


def _state(file: ImageFile, root: Path) -> list[Any]:
    status = file.path.stat()
    return [file.image_id, str(file.path.relative_to(root)), status.st_size, status.st_mtime_ns, file.label, file.band]


def _open_all(
    dataset: str, root: Path, listing: Listing, label_map: str, world: str | None, progress: Progress
) -> DatasetIndex:
    from tasks.datasets.decode import read_raw, to_grey

    images: list[ImageEntry] = []
    bad: list[BadFile] = []
    contents: list[str] = []
    for done, file in enumerate(listing.files):
        if done % 50 == 0:
            progress(done, len(listing.files), f"indexing {dataset}")
        relative = file.path.relative_to(root).as_posix()
        content = "unreadable"
        try:
            content = hash_file(file.path)
            raw = read_raw(file.path)
            grey = to_grey(raw)
        except Exception as error:  # image libraries raise everything, from OSError to struct.error
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            # Records of the same data are the same wherever the data lie.
            bad.append(BadFile(relative, reason.replace(str(file.path), relative)[:200]))
            continue
        finally:
            contents.append(f"{relative} {listing.classes[file.label]} {content}")
        height, width = grey.shape
        images.append(
            ImageEntry(
                file.image_id,
                relative,
                file.label,
                width,
                height,
                str(raw.dtype),
                file.band,
                hash_bytes(f"{height}x{width} ".encode() + grey.tobytes()),
                difference_hash(grey),
            )
        )
    progress(len(listing.files), len(listing.files), f"indexing {dataset}")
    return DatasetIndex(
        dataset,
        root,
        label_map,
        listing.classes,
        tuple(images),
        tuple(bad),
        hash_lines([f"classes {','.join(listing.classes)}", *sorted(contents)]),
        world,
    )


def difference_hash(grey: Any) -> int:
    """64 bits: on a 9 x 8 reduction, is each pixel darker than its right neighbour?"""
    import numpy as np
    from PIL import Image

    small = np.asarray(Image.fromarray(grey).resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (small[:, :-1] < small[:, 1:]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def duplicates_across(index: DatasetIndex, train: Sequence[str], test: Sequence[str]) -> tuple[int, int]:
    """Exact and near duplicate pairs between the parts (near: at most 4 of the 64 bits differ)."""
    import numpy as np

    by_id = {image.image_id: image for image in index.images}
    exact_hashes: dict[str, int] = {}
    for name in train:
        exact_hashes[by_id[name].pixel_hash] = exact_hashes.get(by_id[name].pixel_hash, 0) + 1
    exact = sum(exact_hashes.get(by_id[name].pixel_hash, 0) for name in test)
    left = np.array([by_id[name].difference_hash for name in train], dtype=np.uint64)
    near = 0
    for name in test:
        right = np.uint64(by_id[name].difference_hash)
        near += int((np.bitwise_count(left ^ right) <= 4).sum())
    return exact, near


def _to_json(index: DatasetIndex) -> dict[str, Any]:
    return {
        "classes": list(index.classes),
        "data_hash": index.data_hash,
        "images": [list(image) for image in index.images],
        "bad": [list(file) for file in index.bad],
    }


def _from_json(raw: dict[str, Any], dataset: str, root: Path, label_map: str, world: str | None) -> DatasetIndex:
    return DatasetIndex(
        dataset,
        root,
        label_map,
        tuple(raw["classes"]),
        tuple(ImageEntry(*image) for image in raw["images"]),
        tuple(BadFile(*file) for file in raw["bad"]),
        raw["data_hash"],
        world,
    )
