"""A pickle reader that can build tensors and plain data, and nothing else.

A pickle is a program: it names functions and classes of any installed module and calls them. Here every name is
answered by an object of ours. The few names that torch needs for tensors get a builder with that one ability; every
other name becomes an inert stub, which may be called, filled and stored without anything happening. Nothing is
imported, no attribute of a foreign object is set, and what a stub was given is kept only as data.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

STORAGE_TYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
"""Names under which torch files a tensor's numbers; UntypedStorage is bytes and says its type elsewhere."""


class Storage(NamedTuple):
    """The numbers of a tensor as the file keeps them."""

    values: torch.UntypedStorage
    dtype: torch.dtype


class Stub:
    """Stands for any foreign class, function or object; its state is the data it was given."""

    __slots__ = ("name", "state")
    name: str
    state: dict[Any, Any]

    def __new__(cls, *_args: object, **_options: object) -> Stub:
        """Whatever the arguments: nothing is done with them."""
        made: Stub = object.__new__(cls)
        made.name = ""
        made.state = {}
        return made

    def __init__(self, *_args: object, **_options: object) -> None:
        pass

    def __call__(self, *_args: object, **_options: object) -> Stub:
        """Another stub."""
        made = Stub()
        made.name = self.name
        return made

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """For classes that behave as lists."""

    def extend(self, values: object) -> None:
        """For classes that behave as lists."""

    def add(self, value: object) -> None:
        """For classes that behave as sets."""


class _Dictionary(dict[Any, Any]):
    """What an OrderedDict becomes: without attributes, so that none of its methods can be replaced."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


class _Builder:
    """An allowed name: may be called, cannot be changed."""

    __slots__ = ("_build",)
    _build: Callable[..., Any]

    def __init__(self, build: Callable[..., Any]) -> None:
        object.__setattr__(self, "_build", build)

    def __call__(self, *args: object, **_options: object) -> Any:
        return self._build(*args)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("builders are fixed")

    def __setstate__(self, state: object) -> None:
        pass


class _Marker(NamedTuple):
    """A storage type or dtype of torch, as a word."""

    dtype: torch.dtype | None


class InertUnpickler(pickle.Unpickler):
    """Reads one pickle; `storage_of` finds the numbers that a persistent id speaks of."""

    def __init__(self, stream: IO[bytes], storage_of: Callable[[tuple[Any, ...]], Storage] | None = None) -> None:
        super().__init__(stream, encoding="latin1")  # pickles of Python 2 hold bytes where text is meant
        self._storage_of = storage_of
        self.foreign: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """A builder for what tensors need, an inert stub for everything else. Never imports."""
        if (module, name) in _BUILDERS:
            return _Builder(_BUILDERS[module, name])
        if module in ("torch", "torch.cuda", "torch.storage"):
            if name in STORAGE_TYPES:
                return _Marker(STORAGE_TYPES[name])
            if name in ("UntypedStorage", "TypedStorage"):
                return _Marker(None)
        if module == "torch" and isinstance(dtype := torch.__dict__.get(name), torch.dtype):
            return _Marker(dtype)
        self.foreign.add(f"{module}.{name}")
        return _stub_class(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        """The numbers behind a persistent id; a stub where it speaks of anything but a storage."""
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module":
            return pid[1]  # older files name the class of a pickled model this way: a stub like any other
        if self._storage_of is None or not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            return Stub()
        return self._storage_of(pid)


def storage_dtype(pid: tuple[Any, ...]) -> torch.dtype:
    """The type of the numbers that a persistent id speaks of; bytes where it leaves that open."""
    marker = pid[1]
    return marker.dtype if isinstance(marker, _Marker) and marker.dtype is not None else torch.uint8


def tensors_within(value: Any, prefix: str = "") -> dict[str, Tensor]:
    """The tensors in nested dictionaries and stubs, by their path with dots."""
    found: dict[str, Tensor] = {}
    waiting: list[tuple[str, Any]] = [(prefix, value)]
    seen: set[int] = set()
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, Tensor):
            found[path] = item
            continue
        inner = item.state if isinstance(item, Stub) else item
        if isinstance(inner, Mapping) and id(inner) not in seen:
            seen.add(id(inner))
            waiting += [(f"{path}.{key}" if path else str(key), inner[key]) for key in reversed(list(inner))]
    return found


def _stub_class(name: str) -> type[Stub]:
    """A class of its own per name: pickles make instances of it in every way a class can be used."""

    class Named(Stub):
        __slots__ = ()

        def __new__(cls, *_args: object, **_options: object) -> Named:
            made: Named = object.__new__(cls)
            made.name = name
            made.state = {}
            return made

    return Named


def _tensor(storage: Any, offset: Any = 0, size: Any = (), stride: Any = (), *_rest: object) -> Any:
    if not isinstance(storage, Storage):
        return Stub()
    flat = torch.empty(0, dtype=storage.dtype)
    return flat.set_(storage.values, offset, tuple(size), tuple(stride))  # torch checks the bounds


def _tensor_v3(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    _requires_grad: object = None,
    _hooks: object = None,
    marker: Any = None,
    *_rest: object,
) -> Any:
    if isinstance(storage, Storage) and isinstance(marker, _Marker) and marker.dtype is not None:
        storage = Storage(storage.values, marker.dtype)
    return _tensor(storage, offset, size, stride)


def _first(value: Any = None, *_rest: object) -> Any:
    return value


def _from_type(build: Any, _type: object = None, args: Any = (), *_rest: object) -> Any:
    return build(*args) if isinstance(build, _Builder) else Stub()


def _dictionary(items: Any = (), *_rest: object) -> _Dictionary:
    return _Dictionary(items)


_BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _dictionary,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch", "Tensor"): _first,
    ("torch.nn.parameter", "Parameter"): _first,
}
"""Everything that a pickle can have built."""
