"""The one vision transformer: it computes what timm's computes, at every size, and starts from its seed alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import QuickGELU
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from adapters.card import Architecture
from adapters.encoder import PlainViT, build_vit, resize_positions, sincos_table
from adapters.geometry import SIZES, timm_architecture
from adapters.interface import Encoder, Grid
from foundation.errors import UsageError

PLAIN = Architecture(kind="vit", width=48, depth=3, heads=3, patch=8, activation="gelu", image_size=32)
CLIP_LIKE = PLAIN.model_copy(
    update={"activation": "quick_gelu", "norm_eps": 1e-5, "pre_norm": True, "patch_bias": False}
)
SAR_LIKE = PLAIN.model_copy(update={"in_channels": 1, "final_norm": False, "position": "none"})
NO_CLASS = PLAIN.model_copy(update={"class_token": False})


def reference(architecture: Architecture) -> VisionTransformer:
    """The same network, built by timm."""
    return VisionTransformer(
        img_size=architecture.image_size,
        patch_size=architecture.patch,
        in_chans=architecture.in_channels,
        num_classes=0,
        global_pool="token" if architecture.class_token else "avg",
        fc_norm=False,
        embed_dim=architecture.width,
        depth=architecture.depth,
        num_heads=architecture.heads,
        class_token=architecture.class_token,
        pos_embed="none" if architecture.position == "none" else "learn",
        pre_norm=architecture.pre_norm,
        final_norm=architecture.final_norm,
        dynamic_img_size=True,
        act_layer=QuickGELU if architecture.activation == "quick_gelu" else nn.GELU,
        norm_layer=lambda width, **options: nn.LayerNorm(width, eps=architecture.norm_eps, **options),
    )


def images(side: int | tuple[int, int], channels: int = 3, count: int = 2) -> Tensor:
    height, width = (side, side) if isinstance(side, int) else side
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(7))


def build(architecture: Architecture, seed: int = 0, **options: float) -> PlainViT:
    return build_vit(architecture, image_size=architecture.image_size, seed=seed, **options).eval()


def make_visible(encoder: PlainViT) -> None:
    """Class token and norms start near neutral; larger values make faults in them show."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("architecture", [PLAIN, CLIP_LIKE, SAR_LIKE, NO_CLASS], ids=["plain", "clip", "sar", "mean"])
@pytest.mark.parametrize("size", [32, 64, 16, (24, 40)], ids=str)
def test_the_same_weights_give_the_features_of_timm(architecture: Architecture, size: int | tuple[int, int]) -> None:
    encoder = build(architecture)
    make_visible(encoder)
    other = reference(architecture).eval()
    other.load_state_dict(encoder.state_dict(), strict=True)
    batch = images(size, architecture.in_channels)
    with torch.no_grad():
        ours, theirs = encoder(batch), other.forward_features(batch)
    prefix = int(architecture.class_token)
    torch.testing.assert_close(ours.tokens, theirs[:, prefix:], atol=1e-5, rtol=0)
    pooled = theirs[:, 0] if prefix else theirs.mean(dim=1)
    torch.testing.assert_close(ours.pooled, pooled, atol=1e-5, rtol=0)
    assert (ours.class_token is not None) == architecture.class_token


@settings(max_examples=15, deadline=None)
@given(
    heads=st.integers(1, 3),
    depth=st.integers(1, 3),
    patch=st.sampled_from([4, 7, 16]),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    class_token=st.booleans(),
    channels=st.integers(1, 6),
)
def test_shapes_hold_for_any_geometry(
    heads: int, depth: int, patch: int, rows: int, columns: int, class_token: bool, channels: int
) -> None:
    architecture = Architecture(
        kind="vit",
        width=8 * heads,
        depth=depth,
        heads=heads,
        patch=patch,
        activation="gelu",
        class_token=class_token,
        in_channels=channels,
        image_size=2 * patch,
    )
    encoder = build(architecture)
    batch = images((rows * patch, columns * patch), channels)
    features, (only_map,) = encoder(batch), encoder.maps(batch)
    assert features.grid == (rows, columns)
    assert features.tokens.shape == (2, rows * columns, 8 * heads)
    assert features.pooled.shape == (2, 8 * heads)
    assert only_map.values.shape == (2, 8 * heads, rows, columns)
    assert only_map.stride == patch
    # The map is the tokens in row order.
    torch.testing.assert_close(only_map.values[:, :, -1, 0], features.tokens[:, (rows - 1) * columns])


def test_quick_gelu_is_not_gelu() -> None:
    plain, quick = build(PLAIN), build(PLAIN.model_copy(update={"activation": "quick_gelu"}))
    quick.load_state_dict(plain.state_dict())
    assert (plain(images(32)).pooled - quick(images(32)).pooled).abs().max() > 1e-4


def test_the_encoder_fits_the_protocol() -> None:
    assert isinstance(build(PLAIN), Encoder)


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
def test_geometry_read_from_a_name_is_that_of_timm(size: str) -> None:
    import timm

    name = f"vit_{size}_patch16_224"
    architecture = timm_architecture(name)
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=0)
        ours = PlainViT(architecture, image_size=224)
    assert architecture.width == network.embed_dim == SIZES[size].width
    assert architecture.heads == network.blocks[0].attn.num_heads
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in network.state_dict().items()
    }


# ---- positions


def test_resizing_positions_keeps_the_class_row() -> None:
    table = torch.randn(1, 17, 8)
    resized = resize_positions(table, old=Grid(4, 4), new=Grid(6, 3), class_token=True)
    assert resized.shape == (1, 19, 8)
    assert torch.equal(resized[:, 0], table[:, 0])


def test_resizing_keeps_a_constant_table_constant() -> None:
    table = torch.full((1, 16, 8), 3.0)
    torch.testing.assert_close(
        resize_positions(table, old=Grid(4, 4), new=Grid(7, 5), class_token=False), torch.full((1, 35, 8), 3.0)
    )


def test_a_resized_table_is_remembered_only_until_the_weights_change() -> None:
    encoder = build(PLAIN)
    assert encoder.pos_embed is not None
    with torch.no_grad():
        before = encoder(images(64)).pooled
        assert torch.equal(encoder(images(64)).pooled, before)
        encoder.pos_embed.mul_(3.0)
        after = encoder(images(64)).pooled
        fresh = build(PLAIN)
        fresh.load_state_dict(encoder.state_dict())
        assert not torch.equal(after, before)
        assert torch.equal(after, fresh(images(64)).pooled)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_reach_the_table_through_the_resizing(training: bool) -> None:
    encoder = build(PLAIN).train(training)
    assert encoder.pos_embed is not None
    with torch.no_grad():
        encoder(images(64))  # fills the memory, which must not be what is differentiated
    for _ in range(2):
        encoder.pos_embed.grad = None
        encoder(images(64)).pooled.square().sum().backward()
        assert encoder.pos_embed.grad is not None
        assert encoder.pos_embed.grad.abs().sum() > 0


def test_the_sine_cosine_table_is_that_of_the_formula() -> None:
    table = sincos_table(Grid(2, 3), 8, class_token=True)[0]
    assert torch.equal(table[0], torch.zeros(8))
    row, column = 1.0, 2.0  # the last cell
    expected = [
        *(torch.tensor([column, column / 100]).sin()),
        *(torch.tensor([column, column / 100]).cos()),
        *(torch.tensor([row, row / 100]).sin()),
        *(torch.tensor([row, row / 100]).cos()),
    ]
    torch.testing.assert_close(table[-1], torch.stack(expected))


def test_a_sine_cosine_table_is_fixed() -> None:
    encoder = build(PLAIN.model_copy(update={"position": "sincos2d"}))
    assert encoder.pos_embed is not None
    assert not encoder.pos_embed.requires_grad
    assert torch.equal(encoder.pos_embed, sincos_table(Grid(4, 4), 48, class_token=True))


# ---- errors


def test_sides_that_the_patch_does_not_divide_are_refused_with_sides_that_it_does() -> None:
    with pytest.raises(UsageError, match="patches of 8") as caught:
        build(PLAIN)(images((32, 36)))
    assert "32 or 40" in caught.value.way_out
    with pytest.raises(UsageError, match="patches of 8"):
        build_vit(PLAIN, image_size=30, seed=0)


def test_the_wrong_number_of_channels_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\[B, 3, H, W\]"):
        build(PLAIN)(images(32, channels=1))


@pytest.mark.parametrize("position", ["sincos3d", "irpe_k"])
def test_position_terms_that_are_not_built_say_so(position: str) -> None:
    with pytest.raises(UsageError, match="not built yet"):
        build(PLAIN.model_copy(update={"position": position}))


# ---- seeds and training


def test_the_seed_alone_decides_the_start() -> None:
    torch.manual_seed(1)
    first = build(PLAIN, seed=5).state_dict()
    torch.manual_seed(2)
    second = build(PLAIN, seed=5).state_dict()
    other = build(PLAIN, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], other["blocks.0.attn.qkv.weight"])
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], first["blocks.1.attn.qkv.weight"])


def test_building_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    build(PLAIN, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_deeper_model_starts_from_the_same_first_blocks() -> None:
    shallow = build(PLAIN).state_dict()
    deep = build(PLAIN.model_copy(update={"depth": 4})).state_dict()
    assert all(torch.equal(shallow[name], deep[name]) for name in shallow)


def test_initial_values_are_spread_as_those_of_timm() -> None:
    architecture = PLAIN.model_copy(update={"width": 192})
    ours, theirs = build(architecture).state_dict(), reference(architecture).state_dict()
    for name in ("pos_embed", "blocks.0.attn.qkv.weight", "blocks.2.mlp.fc2.weight", "patch_embed.proj.weight"):
        assert ours[name].std().item() == pytest.approx(theirs[name].std().item(), rel=0.1), name
        assert ours[name].abs().max().item() == pytest.approx(theirs[name].abs().max().item(), rel=0.35), name
    for name in ("norm.weight", "norm.bias", "blocks.0.attn.qkv.bias"):
        assert torch.equal(ours[name], theirs[name]), name


def test_dropout_and_drop_path_act_in_training_only() -> None:
    still, noisy = build(PLAIN), build(PLAIN, dropout=0.5, drop_path=0.5)
    assert torch.equal(still(images(32)).pooled, noisy(images(32)).pooled)
    noisy.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(noisy(images(32)).pooled, noisy(images(32)).pooled)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in noisy.blocks]
    assert rates == [0.0, 0.25, 0.5]  # grows linearly with depth


def test_layers_are_numbered_from_the_embeddings_to_the_final_norm() -> None:
    encoder = build(CLIP_LIKE)
    ids = {name: encoder.layer_id(name) for name, _ in encoder.named_parameters()}
    assert {ids[name] for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "norm_pre.weight")} == {0}
    assert (ids["blocks.0.norm1.weight"], ids["blocks.2.mlp.fc2.bias"]) == (1, 3)
    assert ids["norm.weight"] == encoder.layer_count + 1 == 4
    assert encoder.no_weight_decay() <= ids.keys()
