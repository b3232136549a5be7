"""The manifest of a version: what it stands on, and the hash of every file that it consists of.

A version exists when its manifest does, so publishing is one rename. A manifest holds the hash of its parent's, so the
newest one vouches for the whole line down to version 0.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from foundation.errors import BenchError, CheckError, MissingError
from foundation.files import pretty_json, read_json
from foundation.hashing import hash_bytes, hash_file

FORMAT = 1
BASE = "base.jsonl"
VOCABULARY = "vocabulary.txt"
CUTS = "cuts.jsonl"
CLEAN = "clean.jsonl"
PLANTED = "planted.jsonl"

_NAME = re.compile(r"v(\d+)\.manifest\.json")
# Without its manifest a version does not exist: whoever deletes a damaged one un-publishes it.
_AGAIN = "restore the file from a copy, or build another store in another folder with `klip text build`"


class Lengths(NamedTuple):
    """Tokens of the texts of version 0, [CLS] to [SEP]: nearest-rank percentiles (section 3.4)."""

    p50: int
    p95: int
    p99: int
    longest: int


class Manifest(NamedTuple):
    """What a version is."""

    version: int
    parent: int | None
    parent_manifest: str | None
    """Hash of the parent's manifest."""
    files: dict[str, str]
    """SHA-256 by name."""
    vocabulary: str
    """Digest of the vocabulary."""
    corpus: str
    """Digest of texts and images that the store was built from."""
    budget: dict[str, int]
    """max_len and max_seg_len."""
    counts: dict[str, int]
    """Segments per status."""
    provenance: dict[str, Any]
    """Hashes of checkpoint and configuration, the pass, and whatever else its maker states; empty in version 0."""
    lengths: dict[str, Lengths]
    """Before and after values were cut; in version 0 only."""

    def content(self) -> bytes:
        """The file."""
        lengths = {when: entry._asdict() for when, entry in self.lengths.items()}
        return pretty_json({"format": FORMAT, **self._asdict(), "lengths": lengths})


def manifest_path(folder: Path, version: int) -> Path:
    """Where the manifest of a version lies."""
    return folder / f"v{version}.manifest.json"


def overlay_name(version: int) -> str:
    """The file of changes of a version."""
    return f"v{version}.overlay.jsonl"


def published(folder: Path) -> list[int]:
    """Versions whose manifests are there."""
    found = [match for path in folder.glob("v*.manifest.json") if (match := _NAME.fullmatch(path.name))]
    return sorted(int(match[1]) for match in found)


def read_manifest(folder: Path, version: int) -> Manifest:
    """A manifest that is whole; its files are checked by `verify`."""
    path = manifest_path(folder, version)
    if not path.is_file():
        known = published(folder)
        raise MissingError(
            f"the text store has no version {version}" if known else "no text store here",
            where=str(folder),
            way_out=f"versions: {', '.join(map(str, known))}" if known else "make one with `klip text build`",
        )
    try:
        data = read_json(path)
    except BenchError as error:
        raise CheckError(f"a damaged manifest: {error.what}", where=str(path), way_out=_AGAIN) from error
    if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
        raise CheckError("not a manifest of this format", where=str(path), way_out=_AGAIN)
    try:
        data["lengths"] = {when: Lengths(**entry) for when, entry in data["lengths"].items()}
        manifest = Manifest(**data)
    except (TypeError, KeyError, AttributeError) as error:
        raise CheckError(f"a damaged manifest: {error}", where=str(path), way_out=_AGAIN) from error
    if manifest.version != version:
        raise CheckError(f"this is the manifest of version {manifest.version}", where=str(path), way_out=_AGAIN)
    return manifest


def verify(folder: Path, manifest: Manifest) -> None:
    """Refuses a version whose files are not those that it was published with."""
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise CheckError(f"version {manifest.version} lacks a file", where=str(path), way_out=_AGAIN)
        if hash_file(path) != expected:
            raise CheckError(
                f"the file does not match the manifest of version {manifest.version}: it was changed after publication",
                where=str(path),
                way_out=_AGAIN,
            )
    if manifest.parent is not None:
        parent = manifest_path(folder, manifest.parent)
        if not parent.is_file() or hash_bytes(parent.read_bytes()) != manifest.parent_manifest:
            raise CheckError(
                f"version {manifest.version} stands on a version {manifest.parent} that is no longer what it was",
                where=str(parent),
                way_out=_AGAIN,
            )
