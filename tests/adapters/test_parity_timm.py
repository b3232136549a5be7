"""Families that write timm's names, or are read by timm or transformers: the same weights give the same features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from adapters.interface import Grid
from adapters.positions import sincos3d_table
from tests.adapters.parity import architecture, assert_equal_features, images, ours, randomise, resized
from tests.adapters.published_files import save_nested

FACTS = architecture()
NESTED = save_nested("model", epoch=1)


def their_vit(**options: Any) -> nn.Module:
    """timm's network, which resizes its own position table for other images."""
    network: nn.Module = timm.models.VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=32,
        depth=3,
        num_heads=2,
        num_classes=4,
        dynamic_img_size=True,
        **options,
    )
    randomise(network)
    return network.eval()


def their_features(network: nn.Module, size: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        tokens: Tensor = network.forward_features(images(size, channels))  # type: ignore[operator]
    return tokens[:, 0], tokens[:, 1:]


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def in_the_form_of(family: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's tensors as the family's file has them, with copies and heads that must not be taken."""
    other = {name: value + 1 for name, value in state.items()}
    if family == "blip":
        return prefixed(state, "visual_encoder.") | prefixed(other, "visual_encoder_m.") | {"temp": torch.ones(())}
    if family == "moco_v3":
        return prefixed(state, "module.base_encoder.") | prefixed(other, "module.momentum_encoder.")
    return state | {"decoder_embed.weight": torch.ones(2, 2), "mask_token": torch.ones(1, 1, 2)}


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize(
    ("family", "position"), [("timm", "learned"), ("timm", "sincos2d"), ("blip", "learned"), ("moco_v3", "sincos2d")]
)
def test_timm_and_we_agree(tmp_path: Path, family: str, position: str, size: int) -> None:
    network = their_vit()
    state = {name: value for name, value in network.state_dict().items() if family != "blip" or "head" not in name}
    NESTED(tmp_path / "a.pth", in_the_form_of(family, state))
    # A stored sine-cosine table is read from the file, whoever ordered its channels (section 3.2).
    mine = ours(tmp_path / "a.pth", architecture(position=position), family, size)
    assert_equal_features(mine, *their_features(network, size), size // 8)


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("prefix", ["", "opt/target/"])
def test_an_archive_of_google_gives_what_timm_reads_from_it(tmp_path: Path, prefix: str, size: int) -> None:
    network = their_vit()
    arrays = as_flax(dict(network.state_dict()), heads=2)
    for target, start in ((tmp_path / "a.npz", prefix), (tmp_path / "bare.npz", "")):
        np.savez(target, **{start + name: value for name, value in arrays.items()})  # type: ignore[arg-type]
    again = their_vit()
    randomise(again, seed=8)
    again.load_pretrained(str(tmp_path / "bare.npz"))  # type: ignore[operator]
    theirs = their_features(again, size)
    torch.testing.assert_close(theirs[1], their_features(network, size)[1])
    assert_equal_features(ours(tmp_path / "a.npz", FACTS, "flax_npz", size), *theirs, size // 8)


def as_flax(state: dict[str, Tensor], heads: int) -> dict[str, np.ndarray[Any, Any]]:
    """timm's tensors as Google's code keeps them."""
    width = state["cls_token"].shape[-1]
    arrays = {
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "embedding/kernel": state["patch_embed.proj.weight"].permute(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
    }
    for i in range(3):
        block, ours = f"Transformer/encoderblock_{i}", f"blocks.{i}"
        attention = f"{block}/MultiHeadDotProductAttention_1"
        weights = state[f"{ours}.attn.qkv.weight"].chunk(3)
        biases = state[f"{ours}.attn.qkv.bias"].chunk(3)
        for part, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            arrays[f"{attention}/{part}/kernel"] = weight.T.reshape(width, heads, -1)
            arrays[f"{attention}/{part}/bias"] = bias.reshape(heads, -1)
        arrays[f"{attention}/out/kernel"] = state[f"{ours}.attn.proj.weight"].T.reshape(heads, -1, width)
        arrays[f"{attention}/out/bias"] = state[f"{ours}.attn.proj.bias"]
        for number, norm in ((0, "norm1"), (2, "norm2")):
            arrays[f"{block}/LayerNorm_{number}/scale"] = state[f"{ours}.{norm}.weight"]
            arrays[f"{block}/LayerNorm_{number}/bias"] = state[f"{ours}.{norm}.bias"]
        for number in (0, 1):
            arrays[f"{block}/MlpBlock_3/Dense_{number}/kernel"] = state[f"{ours}.mlp.fc{number + 1}.weight"].T
            arrays[f"{block}/MlpBlock_3/Dense_{number}/bias"] = state[f"{ours}.mlp.fc{number + 1}.bias"]
    return {name: value.numpy() for name, value in arrays.items()}


@pytest.mark.parametrize("size", [32, 48])
def test_blip_of_transformers_and_we_agree(tmp_path: Path, size: int) -> None:
    from transformers import BlipVisionConfig, BlipVisionModel

    config = BlipVisionConfig(
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
    )
    model = BlipVisionModel(config).train(False)
    randomise(model)
    torch.save(prefixed(dict(model.state_dict()), "vision_model."), tmp_path / "a.bin")
    if size != 32:  # transformers interpolates without anti-aliasing: both sides get the table of our rule
        table = model.embeddings.position_embedding
        model.embeddings.position_embedding = nn.Parameter(resized(table, size // 8).detach())
    with torch.no_grad():
        theirs = model(images(size), interpolate_pos_encoding=False)
    # Its `last_hidden_state` is after the final norm; the pooled output has been through that norm twice.
    tokens = theirs.last_hidden_state
    mine = ours(tmp_path / "a.bin", architecture(norm_eps=1e-5), "hf_blip", size)
    assert_equal_features(mine, tokens[:, 0], tokens[:, 1:], size // 8)


@pytest.mark.parametrize("size", [32, 48])
def test_plain_vits_of_transformers_and_we_agree(tmp_path: Path, size: int) -> None:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        layer_norm_eps=1e-6,
    )
    model = ViTModel(config).train(False)
    randomise(model)
    model.save_pretrained(tmp_path)
    if size != 32:
        table = model.embeddings.position_embeddings
        model.embeddings.position_embeddings = nn.Parameter(resized(table, size // 8).detach())
        model.embeddings.image_size = model.embeddings.patch_embeddings.image_size = (size, size)
    with torch.no_grad():
        tokens = model(images(size)).last_hidden_state
    mine = ours(tmp_path / "model.safetensors", FACTS, "hf_vit", size)
    assert_equal_features(mine, tokens[:, 0], tokens[:, 1:], size // 8)


# ---- SAR-JEPA and Prithvi: no library has them, so the formulas of section 9 are written out


@pytest.mark.parametrize("prefix", ["", "encoder."])
@pytest.mark.parametrize("size", [32, 48])
def test_prithvi_is_a_plain_vit_on_one_frame(tmp_path: Path, size: int, prefix: str) -> None:
    network = their_vit(in_chans=6)
    side = size // 8
    state = {name: value for name, value in network.state_dict().items() if "head" not in name}
    table = sincos3d_table(Grid(4, 4), 32, class_token=True, frames=3)
    published = state | {"pos_embed": table, "patch_embed.proj.weight": state["patch_embed.proj.weight"][:, :, None]}
    torch.save(prefixed(published, prefix) | {"decoder_pos_embed": torch.ones(1, 2, 3)}, tmp_path / "a.pt")
    waves = []
    for axis, width in ((1, 12), (0, 12)):  # column, row; the time of the only frame is zero
        position = torch.cartesian_prod(torch.arange(side), torch.arange(side))[:, axis].double()
        angle = position[:, None] / 10000 ** (torch.arange(width // 2) / (width / 2)).double()
        waves += [angle.sin(), angle.cos()]
    waves += [torch.zeros(side**2, 4), torch.ones(side**2, 4)]
    formula = torch.cat([torch.zeros(1, 32), torch.cat([part.float() for part in waves], dim=1)])[None]
    with torch.no_grad():
        x = network.patch_embed(images(size, 6))  # type: ignore[operator]
        x = torch.cat([network.cls_token.expand(2, -1, -1), x.reshape(2, side**2, 32)], dim=1)  # type: ignore[operator]
        tokens = network.norm(network.blocks(x + formula))  # type: ignore[operator]
    facts = architecture(position="sincos3d", in_channels=6)
    mine = ours(tmp_path / "a.pt", facts, "prithvi", size)
    assert_equal_features(mine, tokens[:, 0], tokens[:, 1:], side)


def clipped(difference: int) -> int:
    """f of section 9.9: 0, +-1, +-2 for two and three, +-3 beyond."""
    size = abs(difference)
    value = size if size < 2 else 2 if size < 4 else 3
    return value if difference >= 0 else -value


def relative_attention(block: Any, x: Tensor, table: Tensor, side: int) -> Tensor:
    """Attention with contextual relative positions on the keys, pair by pair."""
    batch, count, width = x.shape
    query, key, value = block.attn.qkv(x).reshape(batch, count, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
    logits = (width // 2) ** -0.5 * query @ key.transpose(-1, -2)
    for i in range(count):
        for j in range(count):
            bucket = 49
            if i and j:
                (r, c), (rr, cc) = divmod(i - 1, side), divmod(j - 1, side)
                bucket = (clipped(r - rr) + 3) * 7 + clipped(c - cc) + 3
            logits[:, :, i, j] += query[:, :, i] @ table[0, :, bucket]
    mixed = (logits.softmax(-1) @ value).transpose(1, 2).reshape(batch, count, width)
    result: Tensor = block.attn.proj(mixed)
    return result


@pytest.mark.parametrize("size", [32, 40])
def test_sar_jepa_attends_by_relative_position_and_never_adds_its_table(tmp_path: Path, size: int) -> None:
    network: Any = their_vit(in_chans=1)
    side = size // 8
    generator = torch.Generator().manual_seed(3)
    tables = [0.3 * torch.randn(1, 16, 50, generator=generator) for _ in range(3)]
    state = {name: value for name, value in network.state_dict().items() if "head" not in name}
    state |= {f"blocks.{i}.attn.rpe_k.lookup_table_weight": table for i, table in enumerate(tables)}
    NESTED(tmp_path / "a.pth", state | {"mask_token": torch.ones(1, 1, 32), "sarfeature1.weight_x1": torch.ones(2)})
    with torch.no_grad():
        x = network.patch_embed(images(size, 1)).reshape(2, side**2, 32)
        x = torch.cat([network.cls_token.expand(2, -1, -1), x], dim=1)
        for block, table in zip(network.blocks, tables, strict=True):
            x = x + relative_attention(block, block.norm1(x), table, side)
            x = x + block.mlp(block.norm2(x))
        tokens = network.norm(x)
    facts = architecture(position="irpe_k", in_channels=1)
    mine = ours(tmp_path / "a.pth", facts, "sar_jepa", size)
    assert_equal_features(mine, tokens[:, 0], tokens[:, 1:], side)


@pytest.mark.slow  # ViT-B/16 at full width
def test_timm_and_we_agree_at_full_size(tmp_path: Path) -> None:
    network = timm.create_model("deit_base_patch16_224", num_classes=1000).eval()
    NESTED(tmp_path / "a.pth", network.state_dict())
    facts = architecture(width=768, depth=12, heads=12, patch=16, image_size=224)
    mine = ours(tmp_path / "a.pth", facts, "timm", 224)
    assert_equal_features(mine, *their_features(network, 224), 14)
