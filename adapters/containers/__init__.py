"""Every kind of file that weights are published in, read without running any code from it.

What decides is the content, not the name: torch's zip and older pickles, TorchScript archives, safetensors, NumPy
archives, a zip around any of these, and the index of a sharded model. `read` unpacks what training scripts wrap
around the tensors and says what it left out.

Accepted trade-off: a zip around a checkpoint is unpacked into the temporary folder, since neither torch nor
safetensors read from within a compressed member.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adapters.containers.faults import unreadable
from adapters.containers.shards import INDEX_SUFFIX, read_shards
from foundation.errors import CellError, MissingError, storage_error

if TYPE_CHECKING:
    from torch import Tensor

NESTING = ("state_dict", "model", "model_state_dict", "module")
"""Keys under which training scripts keep the tensors (section 4 of the adapter specification)."""

CHECKPOINT_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".safetensors", ".npz")
"""Endings of what may be meant inside a zip."""

Keep = Callable[[str], bool]
"""Whether a tensor of this name is wanted."""

_PICKLE_MARK = 0x80  # first byte of every pickle since protocol 2
_ZIP_MARK = b"PK"
_FIRST_BYTES = 16


class Container(NamedTuple):
    """The tensors of a file by name, and what the file was."""

    tensors: dict[str, Tensor]
    """Floating ones as float32, whole numbers as they are."""
    kind: str
    """torch, torch legacy, TorchScript, safetensors, npz, or sharded ...; "zip > " in front of what a zip held."""
    nesting: str
    """The keys around the tensors, joined by dots; empty where there were none."""
    ignored: tuple[str, ...]
    """What is not in `tensors`: settings, optimizers, objects without meaning here, tensors nobody wanted."""
    owned: bool = False
    """Whether the tensors lie in memory of their own, not in a file that somebody may write to."""


class Content(NamedTuple):
    """What one reader found: nested mappings with tensors in them, before anything is unpacked."""

    value: Any
    kind: str
    owned: bool = False


def read(path: Path, keep: Keep | None = None) -> Container:
    """The tensors of any supported file; only those that `keep` wants, where it is given.

    Of a sharded model only the shards with wanted tensors are opened. Where not all tensors are wanted, the file is
    mapped rather than read: towers are small beside the language models that they are published in.
    """
    if path.name.endswith(INDEX_SUFFIX):
        tensors, left, kind = read_shards(path, keep, lambda shard, wanted: read(shard, wanted).tensors)
        return Container(tensors, kind, "", left)
    content = read_content(path, mapped=keep is not None)
    mapping, nesting, siblings = _unpacked(content.value)
    tensors = {}
    ignored = list(siblings)
    for name, value in mapping.items():
        if _is_tensor(value) and (keep is None or keep(str(name))):
            tensors[str(name)] = _float32(value)
        else:
            ignored.append(str(name))
    if not any(_is_tensor(value) for value in mapping.values()):
        raise CellError(
            "the file holds no tensors by name",
            where=str(path),
            way_out="open it where it was written and save the tensors alone: torch.save(model.state_dict(), path)",
        )
    return Container(tensors, content.kind, nesting, tuple(ignored), content.owned)


def read_content(path: Path, *, mapped: bool = False) -> Content:
    """What a single file holds, as it is nested there; `mapped` only as far as somebody looks."""
    if not path.is_file():
        raise MissingError("no such checkpoint", where=str(path), way_out="check the path")
    first = _first_bytes(path)
    if first[:2] == _ZIP_MARK:
        return _read_zip(path, mapped)
    if first[:1] == bytes([_PICKLE_MARK]):
        from adapters.containers.torch_files import read_legacy

        return Content(read_legacy(path), "torch legacy")
    if first[8:9] == b"{":  # eight bytes of length, then a JSON header
        from adapters.containers.safe_files import read_safetensors

        return Content(read_safetensors(path), "safetensors")
    raise unreadable(path, "no known kind of checkpoint starts like this")


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_FIRST_BYTES)
    except OSError as error:
        raise unreadable(path, error) from error


def _read_zip(path: Path, mapped: bool) -> Content:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:  # damaged headers ask for features
        raise unreadable(path, error) from error
    base = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in base:
        from adapters.containers.torch_files import read_torchscript, read_zip

        if "constants.pkl" in base:
            return Content(read_torchscript(path), "TorchScript")
        value, owned = read_zip(path, mapped=mapped)
        return Content(value, "torch", owned)
    if names and all(name.endswith(".npy") for name in names):
        from adapters.containers.safe_files import read_npz

        return Content(read_npz(path), "npz")
    inside = [name for name in names if name.endswith(CHECKPOINT_SUFFIXES)]
    if len(inside) != 1:
        found = ", ".join(sorted(inside or names)[:5]) or "nothing"
        raise CellError(
            f"a zip must hold exactly one checkpoint; this one holds {found}",
            where=str(path),
            way_out="unpack it and name the checkpoint itself",
        )
    return _read_inside(path, inside[0], mapped)


def _read_inside(path: Path, member: str, mapped: bool) -> Content:
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / "checkpoint"  # a name of ours: the member's may point anywhere
        try:
            with zipfile.ZipFile(path) as archive, archive.open(member) as source, unpacked.open("wb") as target:
                while piece := source.read(1 << 20):
                    target.write(piece)
        except OSError as error:
            raise storage_error(error, unpacked) from error
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
            raise unreadable(path, error) from error
        try:
            content = read_content(unpacked, mapped=mapped)
        except CellError as error:  # the unpacked copy is gone when this is read
            raise CellError(error.what, where=f"{path}, {member}", way_out=error.way_out) from error
    return Content(content.value, f"zip > {content.kind}", content.owned)


def _unpacked(value: Any) -> tuple[Mapping[Any, Any], str, list[str]]:
    """The innermost mapping of tensors, the keys that lead to it, and what lies beside them."""
    path: list[str] = []
    siblings: list[str] = []
    while isinstance(value, Mapping):
        inner = next((key for key in NESTING if isinstance(value.get(key), Mapping)), None)
        if inner is None:
            return value, ".".join(path), siblings
        siblings += [str(key) for key in value if key != inner]
        path.append(inner)
        value = value[inner]
    return {}, ".".join(path), siblings


def _is_tensor(value: Any) -> bool:
    from torch import Tensor

    return isinstance(value, Tensor)


def _float32(value: Tensor) -> Tensor:
    """As float32; a tensor of one repeated value stays one (stride 0), however large its shape."""
    value = value.detach()
    if not value.is_floating_point():
        return value
    if 0 in value.stride() and value.numel() > 1:
        once = value[tuple(slice(0, 1) if step == 0 else slice(None) for step in value.stride())]
        return once.float().expand(value.shape)
    return value.float()
