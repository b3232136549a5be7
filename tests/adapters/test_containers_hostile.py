"""No file can make the reader run, import or change anything, and no damaged file makes it fail in its own way."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.containers import read
from adapters.containers.inert_pickle import InertUnpickler, Stub
from foundation.errors import BenchError, CellError


class Calling:
    """Pickles as a call of `function` with these arguments, and as whatever comes after it in a reduction."""

    def __init__(self, function: Callable[..., object], *args: object, more: tuple[object, ...] = ()) -> None:
        self.parts = (function, args, *more)

    def __reduce__(self) -> tuple[object, ...]:
        return self.parts


class Listed(list[object]):
    """A list of a class of its own, filled item by item."""


def touching(witness: Path) -> dict[str, object]:
    """Ways to have `witness` written, each harmless but for that."""
    touch = Calling(Path.touch, witness)
    command = f"touch {witness}"
    return {
        "function": touch,
        "shell": Calling(os.system, command),
        "eval": Calling(builtins.eval, f"open({str(witness)!r}, 'w')"),
        "exec": Calling(builtins.exec, f"open({str(witness)!r}, 'w')"),
        "getattr": Calling(getattr, Calling(__import__, "os"), "system"),
        "argument of a call": Calling(dict, touch),
        "state of an object": Calling(Listed, more=({"x": touch},)),
        "item of a list": Calling(Listed, more=(None, iter([touch]))),
        "item of a mapping": Calling(dict, more=(None, None, iter([("a", touch)]))),
        "tensor": Calling(torch._utils._rebuild_tensor_v2, touch, 0, (1,), (1,), False, touch),
        "parameter": Calling(torch._utils._rebuild_parameter, touch, False, touch),
        "subclass of tensor": Calling(torch._tensor._rebuild_from_type_v2, os.system, torch.Tensor, (command,), {}),
        "torch's own loader": Calling(torch.load, witness, "cpu"),
        "pickle within": Calling(pickle.loads, pickle.dumps(touch)),
    }


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    return tmp_path / "executed"


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("way", touching(Path("x")))
def test_calls_in_a_pickle_are_not_made_and_the_tensors_beside_them_are_read(
    tmp_path: Path, witness: Path, way: str, legacy: bool
) -> None:
    path = tmp_path / "a.pt"
    content = {"first": touching(witness)[way], "model": {"a": torch.arange(3.0), "b": touching(witness)[way]}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    container = read(path)
    assert not witness.exists()
    assert torch.equal(container.tensors["a"], torch.arange(3.0))
    assert "first" in container.ignored


def test_the_ways_would_work_on_a_reader_that_trusts(tmp_path: Path, witness: Path) -> None:
    path = tmp_path / "a.pt"
    for way in ("function", "shell", "eval", "argument of a call", "item of a list", "subclass of tensor"):
        torch.save({"x": touching(witness)[way]}, path)
        with contextlib.suppress(Exception):
            torch.load(path, weights_only=False)
        assert witness.exists(), way
        witness.unlink()


@pytest.mark.parametrize("where", range(5))
def test_no_pickle_of_the_older_format_is_trusted(tmp_path: Path, witness: Path, where: int) -> None:
    # magic number, version, machine, content, keys of the storages
    parts: list[object] = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}, []]
    parts[where] = touching(witness)["function"]
    path = tmp_path / "a.pt"
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts))
    with pytest.raises(CellError):
        read(path)
    assert not witness.exists()


@pytest.mark.parametrize("member", ["data.pkl", "constants.pkl", "code/__torch__.py", "code/__torch__.py.debug_pkl"])
def test_nothing_in_a_torchscript_archive_is_run(tmp_path: Path, witness: Path, member: str) -> None:
    good, bad = tmp_path / "good.pt", tmp_path / "bad.pt"
    from tests.adapters.published_files import save_torchscript

    save_torchscript(good, {"a.weight": torch.ones(2)})
    poison = pickle.dumps(touching(witness)["function"], protocol=2)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            target.writestr(name, poison if name.endswith(member) else source.read(name))
    if member == "data.pkl":
        with pytest.raises(CellError):
            read(bad)
    else:
        assert torch.equal(read(bad).tensors["a.weight"], torch.ones(2))
    assert not witness.exists()


def test_foreign_modules_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_by_pickle.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    program = b"\x80\x02cimported_by_pickle\nthing\n)R."
    assert isinstance(InertUnpickler(io.BytesIO(program)).load(), Stub)
    assert "imported_by_pickle" not in sys.modules


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}(X\x06\x00\x00\x00_buildNub.",  # state of a builder
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}(X\x06\x00\x00\x00_buildNu\x86b.",  # and by its slots
        b"\x80\x02ccollections\nOrderedDict\n}(X\x05\x00\x00\x00itemsNub.",
        b"\x80\x02ccollections\nOrderedDict\n)R}(X\x05\x00\x00\x00itemsNub.",  # a method of a dictionary replaced
        b"\x80\x02cos\nsystem\n}(X\x08\x00\x00\x00__call__Nub.",
    ],
)
def test_a_pickle_cannot_change_what_the_next_one_is_read_by(tmp_path: Path, program: bytes) -> None:
    with contextlib.suppress(Exception):
        InertUnpickler(io.BytesIO(program)).load()
    path = tmp_path / "a.pt"
    torch.save({"model": {"a": torch.ones(2)}, "x": Calling(os.getcwd)}, path)
    assert torch.equal(read(path).tensors["a"], torch.ones(2))


def test_a_tensor_cannot_reach_beyond_its_numbers(tmp_path: Path) -> None:
    class Wide:
        def __reduce__(self) -> tuple[object, ...]:
            numbers = torch.storage.TypedStorage(  # type: ignore[no-untyped-call]
                wrap_storage=torch.ones(2).untyped_storage(), dtype=torch.float32, _internal=True
            )
            return torch._utils._rebuild_tensor_v2, (numbers, 0, (1000,), (1,), False, {})

    path = tmp_path / "a.pt"
    for legacy in (False, True):
        torch.save({"a": Wide(), "x": Calling(os.getcwd)}, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(CellError, match="not a readable checkpoint"):
            read(path)


def test_a_tensor_larger_than_its_file_is_not_allocated(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(2), "x": Calling(os.getcwd)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for old in (b"K\x02Nt", b"K\x02N"):
        whole = whole.replace(old, b"J" + struct.pack("<i", 2**30) + old[2:])
    path.write_bytes(whole)
    with pytest.raises(CellError, match="not a readable checkpoint"):
        read(path)


_PLACES = 10_000
"""More than the file has bytes, and the same number in every process."""


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path: Path, witness: Path, legacy: bool, data: st.DataObject
) -> None:
    path, intact = tmp_path / "a.pt", tmp_path / "intact.pt"
    if not intact.exists():  # saved once: the legacy format holds addresses, so every saving has another length
        content = {"model": {"a": torch.arange(6.0).reshape(2, 3)}, "x": touching(witness)["function"], "y": [1, "z"]}
        torch.save(content, intact, _use_new_zipfile_serialization=not legacy)
    whole = bytearray(intact.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, _PLACES - 1)) * len(whole) // _PLACES
        whole[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(whole))
    try:
        read(path)
    except BenchError as error:
        assert error.way_out
    assert not witness.exists()
