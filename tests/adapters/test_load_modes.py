"""The three ways to fit a checkpoint: as published, at patch 16, and as the plain ViT that loses what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from adapters.card import ModelCard
from adapters.encoder import PlainViT
from adapters.interface import LoadedModel, LoadMode
from adapters.load import load
from adapters.patch_kernel import resample
from adapters.registry import catalog, weight_file
from foundation.errors import UsageError
from tests.adapters.published_files import State, lavis_tower, random_values, reduced, shapes_of, write


def prepared(identifier: str, root: Path, **changes: object) -> tuple[ModelCard, State]:
    """A published model at a fraction of its width, with its file in place."""
    card = reduced(catalog()[identifier])
    assert card.architecture is not None
    card = card.model_copy(update={"architecture": card.architecture.model_copy(update=changes)})
    values = random_values(shapes_of(card))
    path = weight_file(card, root)
    assert path is not None
    write(card, path, values)
    return card, values


def loaded(card: ModelCard, root: Path, mode: LoadMode, *, image_size: int = 224, seed: int = 0) -> LoadedModel:
    return load(card, image_size=image_size, seed=seed, weights_root=root, mode=mode)


def state_of(model: LoadedModel) -> dict[str, Tensor]:
    assert isinstance(model.encoder, PlainViT)
    return dict(model.encoder.state_dict())


def test_the_mode_is_written_into_report_and_record(tmp_path: Path) -> None:
    card, _ = prepared("mae-vit-b-16", tmp_path)
    modes: tuple[LoadMode, ...] = ("native", "resampled16", "paper_plain")
    for mode in modes:
        model = loaded(card, tmp_path, mode)
        assert model.mode == model.report.mode == model.report.as_dict()["mode"] == mode
    assert load(card, image_size=224, seed=0, weights_root=tmp_path).mode == "native"


def test_an_unknown_mode_is_named_with_the_known_ones(tmp_path: Path) -> None:
    card, _ = prepared("mae-vit-b-16", tmp_path)
    with pytest.raises(UsageError, match="unknown load mode: 'paperplain'") as caught:
        loaded(card, tmp_path, "paperplain")  # type: ignore[arg-type]
    assert "paper_plain" in caught.value.way_out


def test_a_model_of_patch_16_is_the_same_in_both_faithful_modes(tmp_path: Path) -> None:
    card, _ = prepared("clip-vit-b-16", tmp_path)
    native, resampled = (state_of(loaded(card, tmp_path, mode)) for mode in ("native", "resampled16"))
    assert all(torch.equal(native[name], resampled[name]) for name in native)


@pytest.mark.parametrize("identifier", ["remoteclip-vit-b-32", "remoteclip-vit-l-14"])
def test_patches_of_16_pixels_give_the_same_number_of_tokens_to_all(tmp_path: Path, identifier: str) -> None:
    card, values = prepared(identifier, tmp_path)
    model = loaded(card, tmp_path, "resampled16")
    state = state_of(model)
    assert torch.equal(state["patch_embed.proj.weight"], resample(values["visual.conv1.weight"], 16))
    assert set(model.report.reshaped) == {"patch_embed.proj.weight", "pos_embed"}
    assert model.report.missing == model.report.lost == ()
    encoder = model.encoder
    assert isinstance(encoder, PlainViT)
    assert (encoder.stride, encoder.grid) == (16, (14, 14))
    assert encoder.architecture.activation == "quick_gelu"
    assert encoder.architecture.pre_norm


def test_a_network_that_is_no_plain_vit_has_one_mode_only(tmp_path: Path) -> None:
    card, _ = prepared("saratr-x-hivit-b", tmp_path)
    for mode in ("resampled16", "paper_plain"):
        with pytest.raises(UsageError, match="for plain vision transformers") as caught:
            loaded(card, tmp_path, mode)
        assert "native" in caught.value.way_out


# ---- paper_plain: what the authors' configurations can have produced


PLAIN = {"kind": "vit", "patch": 16, "activation": "gelu", "norm_eps": 1e-6, "pre_norm": False, "patch_bias": True}


@pytest.mark.parametrize(
    ("identifier", "lost", "missing"),
    [
        ("clip-vit-b-16", {"norm_pre.weight", "norm_pre.bias"}, {"patch_embed.proj.bias"}),
        (
            "remoteclip-vit-b-32",
            {"norm_pre.weight", "norm_pre.bias", "patch_embed.proj.weight"},
            {"patch_embed.proj.weight", "patch_embed.proj.bias"},
        ),
        ("prithvi-vit-b-16", {"patch_embed.proj.weight"}, {"patch_embed.proj.weight"}),
        ("blip-vit-b-16", set(), set()),
    ],
)
def test_the_plain_vit_lists_what_it_lost_and_what_stayed_random(
    tmp_path: Path, identifier: str, lost: set[str], missing: set[str]
) -> None:
    card, _ = prepared(identifier, tmp_path)
    model = loaded(card, tmp_path, "paper_plain")
    assert set(model.report.lost) == lost
    assert set(model.report.missing) == missing
    assert isinstance(model.encoder, PlainViT)
    plain = model.encoder.architecture.model_dump()
    assert {key: plain[key] for key in PLAIN} == PLAIN
    assert (plain["in_channels"], plain["position"], model.contract.channels) == (3, "learned", 3)
    assert set(model.report.matched) | missing == state_of(model).keys()


def test_ban_keeps_nine_blocks_and_makes_up_three(tmp_path: Path) -> None:
    card, values = prepared("ban-vit-b-16", tmp_path)
    model = loaded(card, tmp_path, "paper_plain")
    state = state_of(model)
    blocks = {name.split(".")[1] for name in model.report.missing if name.startswith("blocks.")}
    assert blocks == {"9", "10", "11"}
    assert {"norm.weight", "norm.bias"} <= set(model.report.missing)
    assert torch.equal(state["blocks.8.mlp.fc2.bias"], values["image_encoder.layers.8.ffn.layers.1.bias"])
    other = state_of(loaded(card, tmp_path, "paper_plain", seed=1))
    assert not torch.equal(other["blocks.9.attn.qkv.weight"], state["blocks.9.attn.qkv.weight"])
    assert torch.equal(other["blocks.8.attn.qkv.weight"], state["blocks.8.attn.qkv.weight"])
    again = state_of(loaded(card, tmp_path, "paper_plain"))
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_bita_makes_up_its_last_three_blocks(tmp_path: Path) -> None:
    card, _ = prepared("bita-vit-l-14", tmp_path)
    assert card.companion is not None
    path = weight_file(card, tmp_path)
    assert path is not None
    symbols = {"D": 64, "N": 257, "p": 14}
    torch.save(random_values(lavis_tower(symbols), seed=1), path.with_name(card.companion.filename))
    missing = loaded(card, tmp_path, "paper_plain").report.missing
    # LAVIS's file has 23 blocks, of which BITA never ran the last two (section 3.3 of the adapter specification).
    assert {name.split(".")[1] for name in missing if name.startswith("blocks.")} == {"21", "22", "23"}


def test_a_bias_that_no_file_holds_is_zero(tmp_path: Path) -> None:
    card, _ = prepared("clip-vit-b-16", tmp_path)
    assert not state_of(loaded(card, tmp_path, "paper_plain"))["patch_embed.proj.bias"].any()


def test_the_class_token_of_changeclip_is_doubled_in_native_only(tmp_path: Path) -> None:
    card, values = prepared("changeclip-vit-b-16", tmp_path)
    token = values["backbone.class_embedding"].reshape(1, 1, -1)
    assert torch.equal(state_of(loaded(card, tmp_path, "native", image_size=256))["cls_token"], 2 * token)
    assert torch.equal(state_of(loaded(card, tmp_path, "paper_plain", image_size=256))["cls_token"], token)


def test_sar_jepa_loses_its_relative_positions_and_gets_a_table_never_trained(tmp_path: Path) -> None:
    card, values = prepared("sar-jepa-vit-b-16", tmp_path)
    model = loaded(card, tmp_path, "paper_plain")
    state = state_of(model)
    assert set(model.report.lost) == {f"blocks.{i}.attn.rpe_k.lookup_table_weight" for i in range(12)}
    assert torch.equal(state["pos_embed"], values["pos_embed"])
    # Three equal channels with a third of the kernel each answer as the one channel did.
    assert torch.allclose(state["patch_embed.proj.weight"].sum(1), values["patch_embed.proj.weight"][:, 0], atol=1e-6)
    assert any("one-channel" in note for note in model.report.notes)
    assert model.contract.mean == (0.0,) * 3
