"""A pre-training corpus: a folder with `texts.jsonl` and the images that its ids name, checked before any training.

The id of a record is the path of its image relative to the folder. Beside the texts may stand what a synthetic world
knows: `texts_clean.jsonl` (the same texts without planted errors) and `planted.jsonl` (where the errors are).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import islice
from pathlib import Path, PurePosixPath

from foundation.errors import CheckError, MissingError
from foundation.hashing import hash_lines, hash_value
from foundation.progress import Progress, silent
from klip.text import SegmentedText, read_corpus

TEXTS = "texts.jsonl"
CLEAN = "texts_clean.jsonl"
TEMPLATE_TEXTS = "texts_template.jsonl"
"""What `data.text=template` reads, and the CLIP objective."""
PLANTED = "planted.jsonl"

_BITS = 63
_WAY_OUT = "give a folder with texts.jsonl and the images that its ids name"


@dataclass(frozen=True)
class Corpus:
    """Texts in the order of the file, each with an image that is there and whole."""

    folder: Path
    texts: tuple[SegmentedText, ...]
    """Version 0 of the texts."""
    image_hashes: tuple[str, ...]
    """SHA-256 of each image file."""
    source: Path
    """The file that the texts were read from."""

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id of every row."""
        return tuple(text.image_id for text in self.texts)

    @cached_property
    def digest(self) -> str:
        """Hash of ids, texts and images, in order."""
        rows = zip(self.texts, self.image_hashes, strict=True)
        return hash_lines(f"{hash_value(_as_data(text))} {image}" for text, image in rows)

    def image_path(self, row: int) -> Path:
        """Where the image of a row lies."""
        return self.folder / self.ids[row]


def read_corpus_folder(
    folder: Path, *, texts: Path | None = None, limit: int | None = None, progress: Progress = silent
) -> Corpus:
    """Reads the texts and looks at every image; the first thing that is wrong is an error with its place.

    Args:
        folder: The corpus.
        texts: Another file of texts about the same images, in place of `texts.jsonl`.
        limit: Only the first records.
        progress: Told about every image.
    """
    if not folder.is_dir():
        raise MissingError("no such corpus folder", where=str(folder), way_out=_WAY_OUT)
    source = texts or folder / TEXTS
    found = tuple(islice(read_corpus(source), limit))
    if not found:
        raise CheckError("the corpus has no records", where=str(source), way_out=_WAY_OUT)
    hashes = []
    for row, text in enumerate(found):
        progress(row, len(found), "reading images")
        hashes.append(_hash_of_whole_image(folder, text.image_id, source))
    progress(len(found), len(found), "reading images")
    return Corpus(folder, found, tuple(hashes), source)


def text_hash(text: SegmentedText) -> int:
    """63 bits of the segments that are present, as the tokeniser sees them: texts that are equal are no negatives."""
    shown = [[segment.field, *segment.value.lower().split()] for segment in text.segments if segment.present]
    return int(hash_value(shown)[:16], 16) >> (64 - _BITS)


def _as_data(text: SegmentedText) -> list[str]:
    return [text.image_id, text.domain, *(segment.value for segment in text.segments)]


def _hash_of_whole_image(folder: Path, image_id: str, source: Path) -> str:
    """The hash of the file; one that is cut off or no image is refused without decoding its pixels."""
    from PIL import Image

    place = PurePosixPath(image_id)
    if place.is_absolute() or ".." in place.parts:
        raise CheckError(
            f"the id {image_id!r} leads out of the corpus folder",
            where=str(source),
            way_out="make ids the paths of images relative to the folder",
        )
    path = folder / place
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingError(
            f"the image of a text cannot be read: {error.strerror}",
            where=str(path),
            way_out="add the image, or take its record out of the texts",
        ) from error
    try:
        with Image.open(BytesIO(data)) as image:
            image.verify()
    except Exception as error:  # what Pillow raises for a damaged file depends on where it is damaged
        raise unreadable(path, error) from error
    return hashlib.sha256(data).hexdigest()


def unreadable(path: Path, error: Exception) -> CheckError:
    """The error for a file that is there, but is no image of one channel."""
    return CheckError(
        f"unreadable image: {' '.join(str(error).split()) or type(error).__name__}",
        where=str(path),
        way_out="write it anew as an 8-bit grey PNG, or take its record out of the texts",
    )
