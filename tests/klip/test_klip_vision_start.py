"""Starting the image tower from published layouts (section 2.6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.interface import Grid
from adapters.positions import resize_positions
from foundation.errors import BenchError, CellError
from klip.model.klip import KLIP
from klip.model.start import fill_vision, start_towers, start_vision
from tests.klip.toy_pairs import SPECIALS, VOCABULARY, small_settings

SIDE, PATCH = 32, 8


def model(**changes: Any) -> KLIP:
    settings = small_settings(image={"size": SIDE, "patch": PATCH}, **changes)
    return KLIP(settings, VOCABULARY, SPECIALS).eval()


def from_timm(side: int = SIDE, classes: int = 3) -> Any:
    import timm

    torch.manual_seed(0)
    return timm.create_model(
        "vit_base_patch16_224",
        img_size=side,
        patch_size=PATCH,
        embed_dim=16,
        depth=2,
        num_heads=2,
        num_classes=classes,
    ).eval()


def images() -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def test_a_file_of_timm_gives_timms_features(tmp_path: Path) -> None:
    reference, path = from_timm(), tmp_path / "vit.pt"
    torch.save(reference.state_dict(), path)
    ours = model(model={"init": {"vision": str(path)}})
    start_towers(ours)
    with torch.no_grad():
        expected = reference.forward_features(images())
        found = ours.encode_image(images()).memory
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_file_of_transformers_gives_its_features(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=SIDE,
        patch_size=PATCH,
        layer_norm_eps=1e-6,
    )
    reference, ours = ViTModel(config, add_pooling_layer=False).train(False), model()
    reference.save_pretrained(tmp_path)
    report = start_vision(ours, str(tmp_path / "model.safetensors"))
    assert not report.missing
    with torch.no_grad():
        expected = reference(images()).last_hidden_state
        found = ours.encode_image(images()).memory
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_positions_of_another_size_are_resized_and_the_class_row_kept() -> None:
    reference, ours = from_timm(side=2 * SIDE), model()
    report = fill_vision(ours, reference.state_dict(), where="here")
    table = reference.pos_embed.detach()
    expected = resize_positions(table, old=Grid(8, 8), new=Grid(4, 4), class_token=True)
    assert report.reshaped == ("pos_embed",)
    assert torch.equal(ours.state_dict()["vision.pos_embed"], expected)
    assert torch.equal(expected[:, 0], table[:, 0])
    assert "head.weight" in report.dropped


def test_a_tower_of_another_size_is_refused_whole() -> None:
    ours, before = model(), model().state_dict()
    state = from_timm().state_dict()
    del state["blocks.1.attn.qkv.weight"]
    with pytest.raises(CellError, match="missing"):
        fill_vision(ours, state, where="here")
    with pytest.raises(CellError, match="no vision transformer"):
        fill_vision(ours, {"conv1.weight": torch.zeros(3, 3)}, where="here")
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_a_name_that_timm_does_not_know_is_refused_without_a_network() -> None:
    with pytest.raises(BenchError, match="timm"):
        start_vision(model(), "timm:vit_that_nobody_built")
