"""The index of a data set: every image with its label, size and hashes, and the files that cannot be read.

Made once per state of the files (names, sizes, modification times) and kept in the cache, so that planning a run
costs no decoding. Content hashes are taken of what the files hold, never of when they were written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from foundation.cache import cache_root
from foundation.errors import BenchError, MissingError
from foundation.files import canonical_json, read_json, write_json
from foundation.hashing import hash_bytes, hash_file, hash_lines, hash_sources, hash_value
from foundation.progress import Progress, silent
from tasks.datasets.just_decoded import JUST_DECODED
from tasks.datasets.records import NO_LABEL, BadFile, Box, DatasetIndex, ImageEntry, ImageFile, Listing, Remarks
from tasks.lookahead import each_opened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

__all__ = [
    "BadFile",
    "DatasetIndex",
    "ImageEntry",
    "ImageFile",
    "Listing",
    "difference_hash",
    "duplicates_across",
    "index_dataset",
    "require_readable",
]

INDEX_VERSION = 2
ALLOWED_BAD_SHARE = 0.01
"""More unusable files than this stop the run unless they are allowed (section 2.1)."""


def index_dataset(
    dataset: str, root: Path, listing: Listing, *, label_map: str, world: str | None, progress: Progress = silent
) -> DatasetIndex:
    """The index of the listed files, from the cache where nothing changed."""
    from adapters.decode import decoding_hash

    fingerprint = hash_value(
        {
            "version": INDEX_VERSION,
            "decoding": [decoding_hash(), _checks_hash()],
            "dataset": dataset,
            "root": str(root.resolve()),
            "label_map": label_map,
            "classes": listing.classes,
            "palette": listing.palette,
            "files": [_state(file, root) for file in listing.files],
        }
    )
    cached = cache_root() / "index" / f"{dataset}-{fingerprint[:20]}.json"
    opened = None
    if cached.exists():
        try:
            opened = _from_json(read_json(cached))
        except (BenchError, KeyError, TypeError, ValueError):
            cached.unlink(missing_ok=True)  # damaged: it can be made again
    if opened is None:
        opened = _open_all(dataset, root, listing, progress)
        write_json(cached, _to_json(opened))
    return DatasetIndex(
        dataset=dataset,
        root=root,
        label_map=label_map,
        classes=listing.classes,
        images=opened.images,
        bad=opened.bad,
        data_hash=opened.data_hash,
        world=world,
        palette=listing.palette,
        pool=listing.pool,
        ratio=listing.ratio,
        choices=listing.choices,
        remarks=opened.remarks,
        has_boxes=listing.has_boxes,
    )


@cache
def _checks_hash() -> str:
    """What else turns files into entries: boxes, masks, composites."""
    home = Path(__file__).resolve().parent
    return hash_sources([home / "boxes.py", home / "images.py", home / "masks.py"])


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
            f"{len(index.bad)} of {total} images of {index.dataset} cannot be used: {shown}"
            + (" ..." if len(index.bad) > 5 else ""),
            where=str(index.root),
            way_out="fetch these files anew, or run with --allow-bad to leave them out (the record will list them)",
        )


class _Opened(NamedTuple):
    """What opening the files has shown; the part of the index that is worth keeping."""

    images: tuple[ImageEntry, ...]
    bad: tuple[BadFile, ...]
    data_hash: str
    remarks: Remarks


def _state(file: ImageFile, root: Path) -> list[Any]:
    paths = [file.path, *file.more, *([file.mask] if file.mask else [])]
    rest = file._replace(path=root, mask=None, more=())
    return [[_file_state(path, root) for path in paths], [str(value) for value in rest[2:]], file.image_id]


def _file_state(path: Path, root: Path) -> list[Any]:
    name = path.relative_to(root).as_posix()
    try:
        status = path.stat()
    except OSError:
        return [name, None]
    return [name, status.st_size, status.st_mtime_ns]


def _open_all(dataset: str, root: Path, listing: Listing, progress: Progress) -> _Opened:
    opening = _Opening(root, listing)
    looks = each_opened(_look, listing.files, progress, f"indexing {dataset}")
    for file, seen in zip(listing.files, looks, strict=True):
        opening.add(file, seen)
    progress(len(listing.files), len(listing.files), f"indexing {dataset}")
    return opening.outcome()


class _Seen(NamedTuple):
    """What a file holds, as far as it says so alone."""

    dtype: str
    pixels: Pixels
    pixel_hash: str
    difference_hash: int


class _Look(NamedTuple):
    """What looking into a file came to."""

    hashes: list[str]
    """Of its bytes, as far as they could be read."""
    seen: _Seen | Exception


def _look(file: ImageFile) -> _Look:
    """Opens one file; called from several threads."""
    hashes = ["unreadable"]
    try:
        if file.problem:
            raise ValueError(file.problem)
        hashes = [hash_file(path) for path in (file.path, *file.more)]
        return _Look(hashes, _decode(file))
    except Exception as error:  # image libraries raise everything, from OSError to struct.error
        return _Look(hashes, error)


def _decode(file: ImageFile) -> _Seen:
    from adapters.decode import read_raw
    from tasks.datasets.images import to_pixels

    raw = [read_raw(path) for path in (file.path, *file.more)]
    pixels = to_pixels(raw)
    pixel_hash = hash_bytes("x".join(map(str, pixels.shape)).encode() + b" " + pixels.tobytes())
    return _Seen(str(raw[0].dtype), pixels, pixel_hash, difference_hash(pixels if pixels.ndim == 2 else pixels[..., 1]))


class _Opening:
    """Takes what was seen in files in their order: entries, bad files and what the data hash is taken of."""

    def __init__(self, root: Path, listing: Listing) -> None:
        self.root = root
        self.listing = listing
        self.images: list[ImageEntry] = []
        self.bad: list[BadFile] = []
        self.contents: list[str] = []
        self.remarks = Remarks()
        self.masks: dict[Path, Any] = {}

    def add(self, file: ImageFile, look: _Look) -> None:
        relative = file.path.relative_to(self.root).as_posix()
        entry = None
        try:
            if isinstance(look.seen, Exception):
                raise look.seen
            entry = self._entry(file, relative, look.seen)
            self.images.append(entry)
        except Exception as error:  # a look brings everything that image libraries raise
            reason = file.problem or f"{type(error).__name__}: {error}".splitlines()[0]
            # Records of the same data are the same wherever the data lie.
            self.bad.append(BadFile(relative, reason.replace(f"{self.root}/", "")[:200]))
        finally:
            self.contents.append(self._content(file, relative, " ".join(look.hashes), entry))

    def outcome(self) -> _Opened:
        head = f"classes {','.join(self.listing.classes)}"
        return _Opened(tuple(self.images), tuple(self.bad), hash_lines([head, *sorted(self.contents)]), self.remarks)

    def _content(self, file: ImageFile, relative: str, content: str, entry: ImageEntry | None) -> str:
        if file.label != NO_LABEL:
            return f"{relative} {self.listing.classes[file.label]} {content}"
        if entry is None:
            return f"{relative} left out {content}"
        boxes = canonical_json([list(box) for box in entry.boxes]).decode()
        return f"{file.image_id} {relative} {content} boxes {boxes} mask {entry.mask_hash}"

    def _entry(self, file: ImageFile, relative: str, seen: _Seen) -> ImageEntry:
        from tasks.datasets.boxes import check_boxes

        height, width = seen.pixels.shape[:2]
        checked = check_boxes(file.boxes, width, height)
        entry = ImageEntry(
            image_id=file.image_id,
            path=relative,
            label=file.label,
            width=width,
            height=height,
            dtype=seen.dtype,
            band=file.band,
            pixel_hash=seen.pixel_hash,
            difference_hash=seen.difference_hash,
            group=file.group,
            part=file.part,
            boxes=checked.kept,
            more=tuple(path.relative_to(self.root).as_posix() for path in file.more),
        )
        if file.mask:
            entry = self._with_mask(entry, file.mask)
        JUST_DECODED.keep(entry.pixel_hash, seen.pixels)
        stated = file.stated_size
        self.remarks = self.remarks._replace(
            clipped_boxes=self.remarks.clipped_boxes + checked.clipped,
            dropped_boxes=self.remarks.dropped_boxes + checked.dropped,
            other_sizes=self.remarks.other_sizes + (stated is not None and stated != (width, height)),
        )
        return entry

    def _with_mask(self, entry: ImageEntry, path: Path) -> ImageEntry:
        import numpy as np

        from tasks.datasets.masks import decode_mask

        if path not in self.masks:
            self.masks = {path: decode_mask(path, self.listing.palette)}  # polarisations of a place share one
            unknown = self.remarks.unknown_pixels + self.masks[path].unknown
            self.remarks = self.remarks._replace(unknown_pixels=unknown)
        ids = self.masks[path].ids
        if ids.shape != (entry.height, entry.width):
            raise ValueError(f"has {entry.width} x {entry.height} pixels, its mask {ids.shape[1]} x {ids.shape[0]}")
        counts = np.bincount(ids.ravel(), minlength=256)[: len(self.listing.classes)]
        return entry._replace(
            mask=path.relative_to(self.root).as_posix(),
            mask_hash=hash_bytes(f"{ids.shape} ".encode() + ids.tobytes()),
            class_pixels=tuple(int(count) for count in counts),
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


def _to_json(opened: _Opened) -> dict[str, Any]:
    return {
        "data_hash": opened.data_hash,
        "images": [list(image) for image in opened.images],
        "bad": [list(file) for file in opened.bad],
        "remarks": opened.remarks._asdict(),
    }


def _from_json(raw: dict[str, Any]) -> _Opened:
    return _Opened(
        tuple(_entry_from_json(image) for image in raw["images"]),
        tuple(BadFile(*file) for file in raw["bad"]),
        raw["data_hash"],
        Remarks(**raw["remarks"]),
    )


def _entry_from_json(raw: list[Any]) -> ImageEntry:
    entry = ImageEntry(*raw)
    return entry._replace(
        boxes=tuple(Box(*box) for box in entry.boxes),
        class_pixels=tuple(entry.class_pixels),
        more=tuple(entry.more),
    )
