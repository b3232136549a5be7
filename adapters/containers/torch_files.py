"""torch's own files: zip since 1.6, a chain of pickles before, and TorchScript archives.

torch's reader for tensors alone is tried first; it refuses whatever else a training script has put beside them
(settings in a Namespace, paths, loggers). Those files are read again by `inert_pickle`, which turns such things into
stubs. TorchScript archives are read the same way: their tensors lie in the archive like those of any other file, and
their code is left alone.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from adapters.containers.faults import unreadable
from adapters.containers.inert_pickle import InertUnpickler, Storage, Stub, storage_dtype, tensors_within
from foundation.errors import CellError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # of a zip member: sizes of name and extra field come last


def read_zip(path: Path, *, mapped: bool) -> tuple[Any, bool]:
    """The content of a zip that `torch.save` wrote, and whether its numbers are in memory of their own.

    `mapped`: tensors are not read until somebody looks.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped), not mapped
    except Exception:  # damaged or with foreign objects: the second reader tells which
        return _require_data(_read_archive(path), path), False


def read_legacy(path: Path) -> Any:
    """The content of a file that `torch.save` wrote before 1.6."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # damaged or with foreign objects: the second reader tells which
        return _require_data(_read_chain(path), path)


def read_torchscript(path: Path) -> Any:
    """The tensors of a TorchScript archive by name, with its code left alone."""
    content = _read_archive(path)
    tensors = tensors_within(content)
    if not tensors:
        raise CellError(
            "the TorchScript archive keeps its tensors in a way that cannot be read without running its code",
            where=str(path),
            way_out="if you trust it, save its tensors alone: "
            "torch.save(torch.jit.load(path).state_dict(), other_path); or fetch the model as safetensors",
        )
    return tensors


def _read_archive(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2]: name for name in archive.namelist()}
            members = _Members(path, archive, names)
            with archive.open(names["data.pkl"]) as stream:
                return InertUnpickler(stream, members.storage).load()
    except CellError:
        raise
    except Exception as error:  # a damaged pickle may fail in any way
        raise unreadable(path, _plain(error)) from error


class _Members:
    """The numbers in a zip, mapped where they lie uncompressed and aligned, else read."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, names: dict[str, str]) -> None:
        self._archive = archive
        self._names = names
        self._whole = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=path.stat().st_size)
        self._found: dict[str, torch.UntypedStorage] = {}
        order = names.get("byteorder")
        if order is not None and archive.read(order) != b"little":
            raise CellError(
                "the file was written on a big-endian machine",
                where=str(path),
                way_out="load and save it again on a common machine",
            )

    def storage(self, pid: tuple[Any, ...]) -> Storage:
        """The numbers of one storage; several tensors may share it."""
        key = str(pid[2])
        if key not in self._found:
            self._found[key] = self._read(self._names[f"data/{key}"])
        return Storage(self._found[key], storage_dtype(pid))

    def _read(self, member: str) -> torch.UntypedStorage:
        info = self._archive.getinfo(member)
        if info.compress_type == zipfile.ZIP_STORED:
            start = self._start(info)
            if start % torch.empty(0, dtype=torch.complex128).element_size() == 0:
                mapped: torch.UntypedStorage = self._whole[start : start + info.file_size]
                return mapped
        return _bytes_storage(self._archive.read(member))

    def _start(self, info: zipfile.ZipInfo) -> int:
        """Where the member's bytes begin: its local header is not the one of the directory."""
        end = info.header_offset + _LOCAL_HEADER.size
        fields = _LOCAL_HEADER.unpack(bytes(self._whole[info.header_offset : end]))
        return end + int(fields[-2]) + int(fields[-1])


def _read_chain(path: Path) -> Any:
    """Magic number, version, machine, the content, the keys of its storages, and then their numbers one by one."""
    storages: dict[str, tuple[torch.UntypedStorage, int]] = {}

    def storage_of(pid: tuple[Any, ...]) -> Storage:
        key, dtype = str(pid[2]), storage_dtype(pid)
        width = torch.empty(0, dtype=dtype).element_size()
        if key not in storages:
            length = int(pid[4]) * width
            if length > path.stat().st_size:
                raise ValueError("a tensor larger than the file")
            storages[key] = (_empty_storage(length), width)
        if len(pid) > 5 and pid[5] is not None:
            _, offset, size = pid[5]  # a part of another storage, in elements
            part = storages[key][0][int(offset) * width : (int(offset) + int(size)) * width]
            return Storage(part, dtype)
        return Storage(storages[key][0], dtype)

    try:
        with path.open("rb") as stream:
            if InertUnpickler(stream).load() != _LEGACY_MAGIC or InertUnpickler(stream).load() != _LEGACY_PROTOCOL:
                raise ValueError("not written by torch")
            InertUnpickler(stream).load()  # byte order and type sizes of the machine, long the same everywhere
            content = InertUnpickler(stream, storage_of).load()
            for key in InertUnpickler(stream).load():
                _fill(stream, *storages[str(key)])
    except CellError:
        raise
    except Exception as error:  # a damaged pickle may fail in any way
        raise unreadable(path, _plain(error)) from error
    return content


def _fill(stream: IO[bytes], storage: torch.UntypedStorage, width: int) -> None:
    (count,) = struct.unpack("<q", stream.read(8))
    if count * width != storage.nbytes():
        raise ValueError("a storage of another length than announced")
    if not count:
        return
    values = stream.read(storage.nbytes())
    if len(values) != storage.nbytes():
        raise EOFError("the numbers end early")
    storage.copy_(_bytes_storage(values))


def _empty_storage(length: int) -> torch.UntypedStorage:
    return torch.empty(length, dtype=torch.uint8).untyped_storage()


def _bytes_storage(values: bytes) -> torch.UntypedStorage:
    if not values:
        return _empty_storage(0)
    return torch.frombuffer(bytearray(values), dtype=torch.uint8).untyped_storage()


def _require_data(content: Any, path: Path) -> Any:
    """A whole pickled model holds its tensors inside foreign objects: nothing of it can be trusted to be a name."""
    if isinstance(content, Stub):
        raise CellError(
            f"the file holds a whole object ({content.name}), and foreign objects are never loaded",
            where=str(path),
            way_out="open it where it was written and save the tensors alone: torch.save(model.state_dict(), path)",
        )
    return content


def _plain(error: Exception) -> object:
    # What torch and pickle say of damaged files is a page on trust; the type of the exception says as much.
    return type(error).__name__ if isinstance(error, pickle.UnpicklingError) else error
