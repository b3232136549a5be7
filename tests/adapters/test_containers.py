"""Every kind of file that weights are published in gives the same tensors, and says what it left out."""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from adapters.containers import read
from foundation.errors import BenchError, CellError, MissingError
from tests.adapters.published_files import (
    save_mmengine,
    save_npz,
    save_safetensors,
    save_shards,
    save_torchscript,
    save_zip,
)

State = dict[str, Tensor]


def some_tensors() -> State:
    generator = torch.Generator().manual_seed(4)
    return {
        "visual.conv1.weight": torch.randn(4, 3, 2, 2, generator=generator),
        "visual.ln.bias": torch.randn(4, generator=generator),
        "logit_scale": torch.tensor(2.5),
        "count": torch.arange(3),
    }


def save(path: Path, content: object) -> None:
    torch.save(content, path)


def save_old(path: Path, content: object) -> None:
    """As torch wrote before 1.6: a chain of pickles."""
    torch.save(content, path, _use_new_zipfile_serialization=False)


SAVERS = [pytest.param(save, id="zip"), pytest.param(save_old, id="legacy")]


def assert_same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        wanted = value.float() if value.is_floating_point() else value
        assert found[name].dtype == wanted.dtype, name
        assert torch.equal(found[name], wanted), name


@pytest.mark.parametrize(
    ("write", "name", "kind", "nesting"),
    [
        (save, "a.pt", "torch", ""),
        (save_old, "a.pth", "torch legacy", ""),
        (save_safetensors, "a.safetensors", "safetensors", ""),
        (save_npz, "a.npz", "npz", ""),
        (save_torchscript, "a.pt", "TorchScript", ""),
        (save_mmengine, "a.pth", "torch", "state_dict"),
        (save_zip, "a.zip", "zip > torch", "state_dict"),
    ],
    ids=["zip", "legacy", "safetensors", "npz", "TorchScript", "mmengine", "zip in zip"],
)
def test_every_kind_of_file_gives_the_same_tensors(
    tmp_path: Path, write: Callable[[Path, State], None], name: str, kind: str, nesting: str
) -> None:
    state = some_tensors()
    write(tmp_path / name, state)
    container = read(tmp_path / name)
    assert_same(container.tensors, state)
    assert (container.kind, container.nesting) == (kind, nesting)


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "weights.pth", some_tensors())
    assert read(tmp_path / "weights.pth").kind == "safetensors"
    save(tmp_path / "weights.safetensors", some_tensors())
    assert read(tmp_path / "weights.safetensors").kind == "torch"


@pytest.mark.parametrize("write", SAVERS)
@pytest.mark.parametrize("keys", [("model",), ("state_dict",), ("state_dict", "model"), ("model_state_dict",)])
def test_wrappings_are_unpacked_and_siblings_named(
    tmp_path: Path, write: Callable[[Path, object], None], keys: tuple[str, ...]
) -> None:
    content: object = some_tensors()
    for key in reversed(keys):
        content = {"epoch": 3, key: content}
    write(tmp_path / "a.pt", content)
    container = read(tmp_path / "a.pt")
    assert_same(container.tensors, some_tensors())
    assert container.nesting == ".".join(keys)
    assert set(container.ignored) == {"epoch"}


@pytest.mark.parametrize("write", SAVERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_becomes_float32(
    tmp_path: Path, write: Callable[[Path, object], None], dtype: torch.dtype
) -> None:
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in some_tensors().items()}
    # a Namespace, so that the reader of last resort is at work as well
    write(tmp_path / "a.pt", {"model": state, "args": argparse.Namespace(lr=1)})
    container = read(tmp_path / "a.pt")
    assert_same(container.tensors, state)
    assert container.ignored == ("args",)


@pytest.mark.parametrize("write", SAVERS)
def test_views_parameters_and_repeated_values_survive_beside_foreign_objects(
    tmp_path: Path, write: Callable[[Path, object], None]
) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    state = {
        "whole": whole,
        "row": whole[2],
        "turned": whole.T,
        "parameter": torch.nn.Parameter(whole[:2].clone()),
        "shared": whole,
        "empty": torch.empty(0, 3),
    }
    write(tmp_path / "a.pt", {"model": state, "args": argparse.Namespace(path=Path("x"))})
    assert_same(read(tmp_path / "a.pt").tensors, {name: value.detach() for name, value in state.items()})


@pytest.mark.parametrize("write", SAVERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_huge_tensor_of_one_value_stays_small(
    tmp_path: Path, write: Callable[[Path, object], None], dtype: torch.dtype
) -> None:
    write(
        tmp_path / "a.pt", {"huge": torch.ones(1, dtype=dtype).expand(100_000, 100_000), "args": argparse.Namespace()}
    )
    huge = read(tmp_path / "a.pt").tensors["huge"]
    assert (tuple(huge.shape), huge.dtype, huge.untyped_storage().nbytes()) == ((100_000, 100_000), torch.float32, 4)


def test_foreign_objects_become_nothing_and_their_package_is_not_looked_for(tmp_path: Path) -> None:
    import sys

    save_mmengine(tmp_path / "a.pth", some_tensors())
    container = read(tmp_path / "a.pth")
    assert set(container.ignored) == {"meta", "message_hub", "optimizer"}
    assert not any(name.startswith("mmengine") for name in sys.modules)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_torchscript_archive_gives_what_torch_would_read_from_it(tmp_path: Path) -> None:
    class Part(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.LayerNorm(4)
            self.scale = torch.nn.Parameter(torch.randn(3).half())

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(x)
            return y

    model = torch.nn.Sequential(Part(), torch.nn.Linear(4, 4))
    path = tmp_path / "a.pt"
    traced = torch.jit.trace(model, torch.randn(2, 4))  # type: ignore[no-untyped-call]
    traced.save(str(path))
    reference = torch.jit.load(str(path)).state_dict()  # type: ignore[no-untyped-call]
    assert_same(read(path).tensors, reference)


def test_numbers_that_were_read_whole_are_ones_own_and_mapped_ones_are_not(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", some_tensors())
    assert read(tmp_path / "a.pt").owned
    assert not read(tmp_path / "a.pt", lambda name: name.startswith("visual.")).owned
    save_torchscript(tmp_path / "b.pt", some_tensors())
    assert not read(tmp_path / "b.pt").owned


# ---- sharded models


@pytest.mark.parametrize("safe", [False, True], ids=["bin", "safetensors"])
def test_only_the_shards_with_wanted_tensors_are_opened(tmp_path: Path, safe: bool) -> None:
    tower = {f"model.vision_tower.{name}": value for name, value in some_tensors().items()}
    index = tmp_path / ("model.safetensors.index.json" if safe else "pytorch_model.bin.index.json")
    save_shards(index, tower | {"lm_head.weight": torch.ones(2, 2)}, safe=safe)
    (first,) = tmp_path.glob("*-00001-of-*")
    first.write_bytes(b"not a shard at all")
    container = read(index, lambda name: "vision_tower" in name)
    expected = {name: value.half() for name, value in tower.items()}
    assert_same(container.tensors, {name: value.float() for name, value in expected.items()})
    assert container.ignored == ("lm_head.weight",)
    assert container.kind == ("sharded safetensors" if safe else "sharded torch")
    with pytest.raises(CellError, match="truncated, damaged"):
        read(index)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index = tmp_path / "pytorch_model.bin.index.json"
    save_shards(index, {"model.vision_tower.a": torch.ones(2)})
    (shard,) = tmp_path.glob("*-00002-of-*")
    shard.unlink()
    with pytest.raises(MissingError, match=shard.name) as caught:
        read(index)
    assert str(tmp_path) in caught.value.way_out


def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    save(tmp_path / "secret.bin", some_tensors())
    folder = tmp_path / "model"
    folder.mkdir()
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../secret.bin"}}), encoding="utf-8")
    with pytest.raises(CellError, match="no file beside it"):
        read(index)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', "\x00"])
def test_a_broken_index_is_an_error(tmp_path: Path, text: str) -> None:
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(text, encoding="utf-8")
    with pytest.raises(CellError, match="index of shards"):
        read(index)


def test_an_index_that_promises_too_much_is_an_error(tmp_path: Path) -> None:
    index = tmp_path / "pytorch_model.bin.index.json"
    save_shards(index, {"vision_tower.a": torch.ones(2)})
    promised = json.loads(index.read_text(encoding="utf-8"))
    promised["weight_map"]["vision_tower.b"] = "pytorch_model-00002-of-00002.bin"
    index.write_text(json.dumps(promised), encoding="utf-8")
    with pytest.raises(CellError, match="in no shard"):
        read(index)


# ---- damaged files and other files


@pytest.mark.parametrize(
    "write", [save, save_old, save_safetensors, save_npz, save_torchscript, save_mmengine, save_zip]
)
def test_every_truncation_is_an_error_that_names_the_file(tmp_path: Path, write: Callable[[Path, State], None]) -> None:
    path = tmp_path / "a.pt"
    write(path, some_tensors())
    whole = path.read_bytes()
    for kept in {0, 1, 9, len(whole) // 3, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:kept])
        with pytest.raises(BenchError) as caught:
            read(path)
        assert str(path) in caught.value.where
        assert caught.value.way_out


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x80\x02garbage", b"PK\x03\x04", b"\xff" * 64])
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.npz", "a.zip"])
def test_what_is_no_checkpoint_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CellError, match="not a readable checkpoint") as caught:
        read(path)
    assert "fetch the file again" in caught.value.way_out


def test_a_zip_with_several_checkpoints_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one/epoch_1.pt", b"x")
        archive.writestr("one/epoch_2.pt", b"x")
    with pytest.raises(CellError, match=r"epoch_1\.pt, one/epoch_2\.pt"):
        read(path)


def test_a_member_that_points_out_of_the_folder_is_unpacked_inside_it(tmp_path: Path) -> None:
    inside = tmp_path / "inside.pt"
    save(inside, some_tensors())
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inside, "../../escaped.pt")
    inside.unlink()
    assert_same(read(path).tensors, some_tensors())
    assert not list(tmp_path.parent.glob("**/escaped.pt"))


@pytest.mark.parametrize("write", SAVERS)
@pytest.mark.parametrize("content", [{"epoch": 3}, torch.ones(3), [1, 2], {"model": {"lr": 1}}])
def test_a_file_without_named_tensors_is_refused(
    tmp_path: Path, write: Callable[[Path, object], None], content: object
) -> None:
    write(tmp_path / "a.pt", content)
    with pytest.raises(CellError, match="no tensors by name"):
        read(tmp_path / "a.pt")


@pytest.mark.parametrize("write", SAVERS)
def test_a_whole_pickled_model_is_refused_with_the_way_to_save_it(
    tmp_path: Path, write: Callable[[Path, object], None]
) -> None:
    write(tmp_path / "a.pt", torch.nn.Linear(2, 2))
    with pytest.raises(CellError, match=r"whole object \(torch\.nn\.modules\.linear\.Linear\)") as caught:
        read(tmp_path / "a.pt")
    assert "state_dict" in caught.value.way_out


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(CellError, match="foreign objects are never loaded"):
        read(tmp_path / "a.npz")


def test_bytes_of_a_safetensors_file_that_lie_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(4)}, path)
    path.write_bytes(path.read_bytes().replace(b"[4]", b"[9]"))
    with pytest.raises(CellError, match="not a readable checkpoint"):
        read(path)
