"""A file fills an encoder completely or not at all, runs no code, and every misfit names the way out."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from adapters.card import Architecture, ModelCard, WeightSource
from adapters.checkpoint import shapes_say
from adapters.containers import read
from adapters.encoder import PlainViT, build_vit, resize_positions
from adapters.interface import Grid, LoadedModel
from adapters.load import load
from adapters.registry import common_input, select, weight_state
from adapters.simple_features import SimpleFeatures
from adapters.timm_encoder import TimmEncoder
from foundation.errors import BenchError, CellError, MissingError
from foundation.hashing import hash_file
from tests.adapters.published_files import save_torchscript

MINI = Architecture(kind="vit", width=32, depth=2, heads=2, patch=8, activation="gelu", image_size=32)
State = dict[str, Tensor]


def card_for(path: Path, architecture: Architecture = MINI, **weights: str) -> ModelCard:
    return ModelCard(
        id="mine",
        name="Mine",
        backbone="other",
        kind="own",
        architecture=architecture,
        input=common_input("half"),
        weights=WeightSource(kind="file", path=str(path), **weights),
        layout="timm",
    )


def loaded(path: Path, architecture: Architecture = MINI, image_size: int = 32) -> LoadedModel:
    return load(card_for(path, architecture), image_size=image_size, seed=0)


def weights(architecture: Architecture = MINI, seed: int = 3) -> State:
    return dict(build_vit(architecture, image_size=architecture.image_size, seed=seed).state_dict())


def encoder_of(model: LoadedModel) -> PlainViT:
    assert isinstance(model.encoder, PlainViT)
    return model.encoder.eval()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ckpt.pth"


def test_a_file_written_by_timm_gives_the_features_of_timm(path: Path) -> None:
    network = timm.create_model("vit_tiny_patch16_224", num_classes=5).eval()
    torch.save(network.state_dict(), path)
    (card,) = select(f"mine={path}:vit_tiny_patch16_224")
    assert weight_state(card, None).state == "ready"
    model = load(card, image_size=224, seed=0)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs, ours = network.forward_features(images), encoder_of(model)(images)
    torch.testing.assert_close(ours.pooled, theirs[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.tokens, theirs[:, 1:], atol=1e-5, rtol=0)
    assert model.report.dropped == ("head.weight", "head.bias")
    assert model.weights_hash == hash_file(path)
    assert model.trainable


def test_a_convolutional_network_of_ones_own_loads_by_the_same_words(path: Path) -> None:
    network = timm.create_model("resnet10t", num_classes=4).eval()
    torch.save(network.state_dict(), path)
    model = load(select(f"mine={path}:resnet10t")[0], image_size=64, seed=0)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert isinstance(model.encoder, TimmEncoder)
    with torch.no_grad():
        ours, theirs = model.encoder.eval().maps(images)[-1].values, network.forward_features(images)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}, "optimizer": {}},
        lambda state: {"state_dict": {"model": state}},
        lambda state: {name: value.half() for name, value in state.items()},
    ],
    ids=["flat", "model", "state_dict and module", "nested twice", "half precision"],
)
def test_the_usual_wrappings_are_understood(path: Path, wrap: Callable[[State], object]) -> None:
    state = weights()
    torch.save(wrap(state), path)
    model = loaded(path)
    for name, value in encoder_of(model).state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, state[name], atol=1e-3, rtol=0)
    assert set(model.report.matched) == state.keys()
    assert model.report.missing == model.report.unexpected == model.report.reshaped == ()


def test_floating_tensors_come_back_as_float32_and_whole_numbers_as_they_are(path: Path) -> None:
    torch.save({"a": torch.ones(2).bfloat16(), "b": torch.arange(3), "epoch": 4}, path)
    assert {name: value.dtype for name, value in read(path).tensors.items()} == {
        "a": torch.float32,
        "b": torch.int64,
    }


def test_safetensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ckpt.safetensors"
    state = weights()
    save_file(state, path)
    assert torch.equal(encoder_of(loaded(path)).state_dict()["norm.weight"], state["norm.weight"])


def test_the_position_table_is_resized_to_the_task_and_reported(path: Path) -> None:
    state = weights()
    torch.save(state, path)
    model = loaded(path, image_size=64)
    assert model.report.reshaped == ("pos_embed",)
    expected = resize_positions(state["pos_embed"], old=Grid(4, 4), new=Grid(8, 8), class_token=True)
    assert torch.equal(encoder_of(model).state_dict()["pos_embed"], expected)


def test_what_belongs_to_nothing_here_is_reported(path: Path) -> None:
    torch.save(weights() | {"decoder_embed.weight": torch.ones(2, 2), "mask_token": torch.ones(1)}, path)
    report = loaded(path).report
    assert report.unexpected == ("decoder_embed.weight", "mask_token")
    assert report.as_dict()["unexpected"] == {"count": 2, "names": ["decoder_embed.weight", "mask_token"]}


def test_a_report_shows_twenty_names_and_all_counts(path: Path) -> None:
    torch.save(weights(), path)
    shown = loaded(path).report.as_dict()["matched"]
    assert (shown["count"], len(shown["names"])) == (len(weights()), 20)


@pytest.mark.parametrize(
    "write", [torch.save, lambda state, path: save_torchscript(path, state)], ids=["zip", "mapped"]
)
def test_a_loaded_model_does_not_change_with_its_file(path: Path, write: Callable[[State, Path], None]) -> None:
    write(weights(), path)
    encoder = encoder_of(loaded(path))
    with path.open("r+b") as stream:  # as a training script overwrites its checkpoint
        stream.write(bytes(path.stat().st_size))
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, weights()[name]), name


def test_tensors_that_share_their_numbers_in_the_file_are_apart_in_the_model(path: Path) -> None:
    state = weights()
    state["blocks.1.attn.qkv.weight"] = state["blocks.0.attn.qkv.weight"]
    whole = torch.stack([state["blocks.0.norm1.weight"], state["blocks.0.norm2.weight"]])
    state["blocks.0.norm1.weight"], state["blocks.0.norm2.weight"] = whole[0], whole[1]
    torch.save(state, path)
    found = encoder_of(loaded(path)).state_dict()
    with torch.no_grad():
        found["blocks.0.attn.qkv.weight"].zero_()
        found["blocks.0.norm1.weight"].zero_()
    assert torch.equal(found["blocks.1.attn.qkv.weight"], state["blocks.1.attn.qkv.weight"])
    assert torch.equal(found["blocks.0.norm2.weight"], state["blocks.0.norm2.weight"])
    assert all(value.untyped_storage().nbytes() == 4 * value.numel() for value in found.values())


# ---- files that do not fit


def changed(**changes: object) -> State:
    return weights(MINI.model_copy(update=changes))


@pytest.mark.parametrize(
    ("state", "complaint", "hint"),
    [
        (changed(width=64), "have another shape", "width 64"),
        (changed(depth=1), "are missing (blocks.1.", "depth 1"),
        (changed(depth=3), "have no place in the encoder (blocks.2.", "depth 3"),
        (changed(patch=16), "have another shape (patch_embed", "patch 16"),
        (changed(in_channels=1), "have another shape (patch_embed", "1 channels"),
        (changed(pre_norm=True), "have no place in the encoder (norm_pre.", "norm before the first block"),
        (changed(class_token=False), "are missing (cls_token", "width 32"),
        (changed(patch_bias=False), "are missing (patch_embed.proj.bias", "width 32"),
        (changed(final_norm=False), "are missing (norm.", "width 32"),
        ({"visual.conv1.weight": torch.ones(2)}, "are missing", "write them as timm does"),
    ],
    ids=[
        "width",
        "shallow",
        "deep",
        "patch",
        "grey",
        "pre-norm",
        "no class token",
        "no bias",
        "no norm",
        "other names",
    ],
)
def test_another_architecture_is_refused_with_what_the_shapes_say(
    path: Path, state: State, complaint: str, hint: str
) -> None:
    torch.save(state, path)
    with pytest.raises(CellError) as caught:
        loaded(path)
    assert complaint in caught.value.what
    assert hint in caught.value.way_out
    assert str(path) in caught.value.where


def test_shapes_that_timm_has_a_name_for_are_called_by_it() -> None:
    with torch.device("meta"):
        network = timm.create_model("vit_base_patch32_384", num_classes=0)
    said = shapes_say(network.state_dict())
    assert said is not None
    assert said.startswith("vit_base_patch32_384 ")


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(path: Path, poison: float) -> None:
    state = weights()
    state["blocks.1.mlp.fc1.weight"][0, 0] = poison
    torch.save(state, path)
    with pytest.raises(CellError, match=r"NaN or infinite weights in blocks\.1\.mlp\.fc1\.weight"):
        loaded(path)


def test_every_truncation_is_an_error_that_names_the_file(path: Path) -> None:
    torch.save(weights(), path)
    whole = path.read_bytes()
    for kept in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(CellError, match="truncated, damaged") as caught:
            read(path)
        assert str(path) in caught.value.where
        assert "fetch the file again" in caught.value.way_out


@pytest.mark.parametrize("name", ["ckpt.pth", "ckpt.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"\x80\x02garbage", b"PK\x03\x04broken", b"\xff" * 64]
)
def test_what_is_no_checkpoint_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BenchError) as caught:
        read(path)
    assert str(path) in caught.value.where
    assert caught.value.way_out


class Dangerous:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_code_in_a_checkpoint_is_not_run_and_its_tensors_are_read(path: Path, tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    torch.save({"model": weights(), "args": Dangerous(witness)}, path)
    assert set(loaded(path).report.matched) == weights().keys()
    assert not witness.exists()


def test_settings_of_the_training_script_in_the_file_do_no_harm(path: Path) -> None:
    torch.save({"model": weights(), "args": argparse.Namespace(lr=1)}, path)
    assert set(loaded(path).report.matched) == weights().keys()


def test_a_checkpoint_that_is_a_whole_pickled_model_is_refused(path: Path) -> None:
    torch.save(build_vit(MINI, image_size=32, seed=0), path)
    with pytest.raises(CellError, match="foreign objects are never loaded") as caught:
        loaded(path)
    assert "state_dict" in caught.value.way_out


def test_a_torchscript_archive_of_ones_own_is_read_without_running_it(path: Path) -> None:
    save_torchscript(path, weights())
    assert torch.equal(encoder_of(loaded(path)).state_dict()["norm.weight"], weights()["norm.weight"])


@pytest.mark.parametrize("content", [{"epoch": 3}, torch.ones(3), [1, 2]])
def test_a_file_without_named_tensors_is_refused(path: Path, content: object) -> None:
    torch.save(content, path)
    with pytest.raises(CellError, match="no tensors by name"):
        read(path)


def test_a_file_that_is_not_there_is_missing(path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        loaded(path)
    assert caught.value.exit_code == 3
    with pytest.raises(MissingError):
        read(path)


def test_a_file_with_another_checksum_than_the_published_one_is_refused(path: Path) -> None:
    torch.save(weights(), path)
    with pytest.raises(MissingError, match="not the published one"):
        load(card_for(path, sha256="0" * 64), image_size=32, seed=0)
    load(card_for(path, sha256=hash_file(path)), image_size=32, seed=0)


def test_a_published_model_without_its_file_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="clip-vit-b-16 cannot be loaded") as caught:
        load(select("clip-vit-b-16")[0], image_size=224, seed=0, weights_root=tmp_path)
    assert "openaipublic" in caught.value.way_out


# ---- models without a file, and layouts


def test_a_random_model_depends_on_its_seed_only() -> None:
    (card,) = select("random-mini")
    first, again, other = (
        encoder_of(load(card, image_size=64, seed=seed)).state_dict()["blocks.0.attn.proj.weight"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_hand_made_features_are_loaded_as_not_trainable() -> None:
    model = load(select("simple-features")[0], image_size=64, seed=0)
    assert isinstance(model.encoder, SimpleFeatures)
    assert not model.trainable
    assert model.weights_hash is None
