"""Opens a file that a stranger sent: nothing is unpacked to disk, and nothing is read that was not expected.

Sizes, names and kinds are checked from the table of contents, before the first byte of content is read. A file that
holds more than its table says ends in a checksum error, so the limits cannot be talked around.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from foundation.errors import CheckError
from leaderboard.submission import is_expected_name

_ENCRYPTED = 0x1
_PACK_AGAIN = "pack it again with `leaderboard pack`"


class Limits(NamedTuple):
    """How large a submission may be; far above what the eleven tasks need."""

    files: int = 10_000
    file_bytes: int = 256 * 2**20
    total_bytes: int = 2 * 2**30


class Container:
    """The content of an opened bundle."""

    def __init__(self, archive: zipfile.ZipFile, limits: Limits) -> None:
        self._archive = archive
        entries = archive.infolist()
        if len(entries) > limits.files:
            raise CheckError(f"{len(entries)} files, at most {limits.files} are taken", way_out=_PACK_AGAIN)
        total = sum(entry.file_size for entry in entries)
        if total > limits.total_bytes:
            raise CheckError(f"{total} bytes unpacked, at most {limits.total_bytes} are taken", way_out=_PACK_AGAIN)
        self.names: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            problem = _problem(entry, limits)
            if entry.orig_filename in self.names:
                problem = "is in the bundle twice"
            if problem:
                raise CheckError(f"{entry.orig_filename!r} {problem}", way_out=_PACK_AGAIN)
            self.names[entry.orig_filename] = entry

    def read(self, name: str) -> bytes:
        """The content of a file that is in `names`."""
        try:
            return self._archive.read(self.names[name])
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise CheckError(f"{name} is damaged: {error}", way_out=_PACK_AGAIN) from error


@contextmanager
def open_container(path: Path, limits: Limits) -> Iterator[Container]:
    """Opens a bundle for the time of the block; what is wrong with it as a container is a `CheckError`."""
    size = path.stat().st_size
    if size > limits.total_bytes:
        raise CheckError(f"{size} bytes, at most {limits.total_bytes} are taken", way_out=_PACK_AGAIN)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise CheckError(f"not a whole zip file: {error}", way_out=_PACK_AGAIN) from error
    with archive:
        yield Container(archive, limits)


def _problem(entry: zipfile.ZipInfo, limits: Limits) -> str:
    """What is wrong with an entry of the table of contents; empty if nothing is."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    # The original name: zipfile cuts names at a zero byte and replaces separators.
    if not is_expected_name(entry.orig_filename):
        return "is no name for a submission"
    if kind not in (0, stat.S_IFREG):
        return "is a link or another special file"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in an unusual way"
    if entry.file_size > limits.file_bytes:
        return f"has {entry.file_size} bytes, at most {limits.file_bytes} are taken"
    return ""
