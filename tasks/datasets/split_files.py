"""A split on disk: two lists of image ids and a JSON file that says which data set and data they are of, and why.

split.json          what follows here, with the SHA-256 of both lists
split.train.txt     one image id a line
split.test.txt
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from foundation.errors import BenchError, MissingError, UsageError
from foundation.files import read_json, write_bytes, write_json
from foundation.hashing import hash_bytes
from tasks.datasets.records import DatasetIndex
from tasks.splits import Split

FORMAT = 1
PARTS = ("train", "test")


class SplitFile(NamedTuple):
    """A split that was read."""

    split: Split
    sha256: str
    """Of the JSON file, which holds those of the lists."""


def write_split_file(
    path: Path, dataset: str, data_hash: str, split: Split, reasons: dict[str, Any]
) -> tuple[Path, ...]:
    """Writes the lists, then the JSON file that vouches for them."""
    lists = {part: "".join(f"{name}\n" for name in getattr(split, part)).encode() for part in PARTS}
    files = {part: path.with_suffix(f".{part}.txt") for part in PARTS}
    for part, content in lists.items():
        write_bytes(files[part], content)
    write_json(
        path,
        {
            "format": FORMAT,
            "dataset": dataset,
            "data_hash": data_hash,
            "split_hash": split.hash,
            "parts": {
                part: {"file": files[part].name, "images": len(getattr(split, part)), "sha256": hash_bytes(lists[part])}
                for part in PARTS
            },
            **reasons,
        },
    )
    return path, *files.values()


def read_split_file(path: Path, index: DatasetIndex) -> SplitFile:
    """The split of a JSON file, checked against its own hashes and the data set.

    Raises:
        MissingError: A file is missing or is not what the JSON file says.
        UsageError: It is of another data set or of other data, or names images that are not there.
    """
    try:
        raw = read_json(path)
        if raw["format"] != FORMAT:
            raise ValueError(f"format {raw['format']}, known is {FORMAT}")
        of, made_of = str(raw["dataset"]), str(raw["data_hash"])
        parts = {part: _names(path, raw["parts"][part]) for part in PARTS}
    except BenchError as error:
        raise MissingError(error.what, where=error.where, way_out=_ANEW) from error
    except (KeyError, TypeError, ValueError) as error:
        raise MissingError(f"not a split: {error}", where=str(path), way_out=_ANEW) from error
    if of != index.dataset:
        raise UsageError(f"a split of {of}, not of {index.dataset}", where=str(path), way_out="name the data set's own")
    known = {image.image_id for image in index.images}
    unknown = [name for part in PARTS for name in parts[part] if name not in known]
    if unknown:
        raise UsageError(
            f"{len(unknown)} images of the split are not in {index.dataset}, e.g. {unknown[0]}",
            where=str(path),
            way_out="use the data and the options that the split was made with, or make it anew",
        )
    if made_of != index.data_hash:
        raise UsageError(
            f"the split was made of other data of {index.dataset}: {made_of[:12]}, these are {index.data_hash[:12]}",
            where=str(path),
            way_out="use the files and the options, such as --label-map, that it was made with, or make it anew",
        )
    every = [*parts["train"], *parts["test"]]
    if len(set(every)) < len(every):
        raise MissingError("an image stands twice in the split", where=str(path), way_out=_ANEW)
    return SplitFile(Split(parts["train"], parts["test"]), hash_bytes(path.read_bytes()))


def with_parts(index: DatasetIndex, found: SplitFile) -> DatasetIndex:
    """The index with these parts as its official ones; images in neither take no part."""
    part_of = {name: part for part in PARTS for name in getattr(found.split, part)}
    images = tuple(image._replace(part=part_of.get(image.image_id, "")) for image in index.images)
    choices = (*index.choices, ("split_sha256", found.sha256[:16]))
    return replace(index, images=images, pool=("train",), ratio=None, choices=choices)


_ANEW = "make it anew with: harness data audit NAME --emit FILE"


def _names(path: Path, part: Any) -> tuple[str, ...]:
    file = path.parent / Path(part["file"]).name
    try:
        content = file.read_bytes()
    except OSError as error:
        raise MissingError(f"cannot read the list: {error.strerror}", where=str(file), way_out=_ANEW) from error
    if hash_bytes(content) != part["sha256"]:
        raise MissingError("the list was changed since it was written", where=str(file), way_out=_ANEW)
    return tuple(content.decode().splitlines())
