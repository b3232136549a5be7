"""The one vision transformer: it computes what timm's computes, at every size, and starts from its seed alone."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import QuickGELU
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from adapters.card import Architecture
from adapters.encoder import PlainViT, build_vit, compile_encoder
from adapters.geometry import SIZES, timm_architecture
from adapters.interface import Encoder
from foundation.errors import UsageError

PLAIN = Architecture(kind="vit", width=48, depth=3, heads=3, patch=8, activation="gelu", image_size=32)
CLIP_LIKE = PLAIN.model_copy(
    update={"activation": "quick_gelu", "norm_eps": 1e-5, "pre_norm": True, "patch_bias": False}
)
SAR_LIKE = PLAIN.model_copy(update={"in_channels": 1, "final_norm": False, "position": "none"})
BAN_LIKE = CLIP_LIKE.model_copy(update={"final_norm": False})
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


# ---- norms and layers that are read


def test_the_output_norm_is_applied_to_all_tokens_after_the_last_block() -> None:
    bare = build(BAN_LIKE)
    normed = build(BAN_LIKE.model_copy(update={"output_norm": True}))
    assert set(normed.state_dict()) - set(bare.state_dict()) == {"output_norm.weight", "output_norm.bias"}
    normed.load_state_dict(bare.state_dict(), strict=False)
    with torch.no_grad():
        before, after = bare(images(32)), normed(images(32))
        expected = nn.functional.layer_norm(before.tokens, (48,), eps=1e-5)
    torch.testing.assert_close(after.tokens, expected)
    torch.testing.assert_close(after.pooled, nn.functional.layer_norm(before.pooled, (48,), eps=1e-5))


def test_the_output_norm_is_the_final_norm_under_another_name() -> None:
    final = build(CLIP_LIKE)
    output = build(CLIP_LIKE.model_copy(update={"final_norm": False, "output_norm": True}))
    make_visible(final)
    output.load_state_dict(
        {
            name.replace("norm.", "output_norm.") if name.startswith("norm.") else name: value
            for name, value in final.state_dict().items()
        }
    )
    assert torch.equal(final(images(32)).tokens, output(images(32)).tokens)


@pytest.mark.parametrize(("layer", "blocks"), [(1, 1), (2, 2), (3, 3), (-1, 3), (-2, 2)])
def test_an_earlier_layer_is_read_before_the_final_norm(layer: int, blocks: int) -> None:
    """Counted as hidden states are: -2 is LLaVA's reading."""
    whole, partial = build(PLAIN), build(PLAIN.model_copy(update={"feature_layer": layer}))
    partial.load_state_dict(whole.state_dict(), strict=True)
    short = build(PLAIN.model_copy(update={"depth": blocks, "final_norm": False}))
    short.load_state_dict({name: value for name, value in whole.state_dict().items() if name in short.state_dict()})
    assert torch.equal(partial(images(32)).tokens, short(images(32)).tokens)
    assert torch.equal(partial(images(32)).pooled, short(images(32)).pooled)


@pytest.mark.parametrize("layer", [0, 4, -4, 7])
def test_a_layer_that_is_not_there_is_refused(layer: int) -> None:
    with pytest.raises(UsageError, match="not one of 3 blocks"):
        build(PLAIN.model_copy(update={"feature_layer": layer}))


# ---- training and inference


VARIANTS = {
    "plain": PLAIN,
    "clip": CLIP_LIKE,
    "no class token": NO_CLASS,
    "sine-cosine": PLAIN.model_copy(update={"position": "sincos2d"}),
    "space and time": PLAIN.model_copy(update={"position": "sincos3d", "in_channels": 6}),
    "relative": PLAIN.model_copy(update={"position": "irpe_k", "in_channels": 1}),
    "bita": BAN_LIKE.model_copy(update={"output_norm": True}),
    "llava": CLIP_LIKE.model_copy(update={"feature_layer": -2}),
}
variants = pytest.mark.parametrize("architecture", VARIANTS.values(), ids=list(VARIANTS))


@variants
def test_every_parameter_that_is_trained_gets_a_gradient(architecture: Architecture) -> None:
    encoder = build(architecture).train()
    features = encoder(images((32, 40), architecture.in_channels))
    (features.pooled.square().sum() + features.tokens.square().sum()).backward()
    trained = {name: parameter for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert [name for name, parameter in trained.items() if parameter.grad is None] == []
    assert [name for name, parameter in trained.items() if not parameter.grad.abs().sum() > 0] == []  # type: ignore[union-attr]


@variants
def test_an_image_has_the_same_features_in_any_batch(architecture: Architecture) -> None:
    encoder = build(architecture)
    make_visible(encoder)
    batch = images((40, 32), architecture.in_channels, count=3)
    with torch.no_grad():
        together, alone = encoder(batch), encoder(batch[1:2])
        shuffled = encoder(batch[[2, 0, 1]])
        again = encoder(batch)
    torch.testing.assert_close(together.tokens[1:2], alone.tokens, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.pooled[[2, 0, 1]], shuffled.pooled, atol=1e-5, rtol=1e-5)
    assert torch.equal(together.tokens, again.tokens)


@variants
def test_half_precision_stays_near_single(architecture: Architecture) -> None:
    encoder = build(architecture)
    make_visible(encoder)
    batch = images(32, architecture.in_channels)
    with torch.no_grad():
        single = encoder(batch).tokens
        with torch.autocast("cpu", torch.bfloat16):
            half = encoder(batch).tokens
    error = (half.float() - single).norm() / single.norm()
    assert error < 0.05  # bfloat16 has eight bits
    assert half.isfinite().all()


@variants
def test_inference_mode_does_not_spoil_later_training(architecture: Architecture) -> None:
    encoder = build(architecture)
    batch = images((40, 48), architecture.in_channels)
    with torch.inference_mode():
        before = encoder(batch).pooled
    after = encoder(batch).pooled
    after.sum().backward()
    torch.testing.assert_close(after.detach(), before.clone(), atol=1e-6, rtol=1e-6)


@variants
def test_a_copy_is_independent_and_computes_the_same(architecture: Architecture) -> None:
    """Momentum encoders are copies."""
    encoder = build(architecture)
    with torch.no_grad():
        encoder(images((40, 32), architecture.in_channels))  # fills the memory of tables
    twin = copy.deepcopy(encoder)
    batch = images((40, 32), architecture.in_channels)
    with torch.no_grad():
        expected = encoder(batch).pooled
        assert torch.equal(twin(batch).pooled, expected)
        for parameter in twin.parameters():
            parameter.mul_(2.0)
        assert not torch.equal(twin(batch).pooled, expected)
        assert torch.equal(encoder(batch).pooled, expected)


@variants
def test_a_compiled_encoder_has_the_same_names_and_features(architecture: Architecture) -> None:
    """The backend that only traces: what the fast one makes of it needs minutes, and a compiler."""
    encoder = build(architecture)
    names = list(encoder.state_dict())
    batches = [images(side, architecture.in_channels) for side in (32, (40, 32))]
    with torch.no_grad():
        expected = [encoder(batch).tokens for batch in batches]
        compile_encoder(encoder, backend="eager")
        found = [encoder(batch).tokens for batch in batches]
        maps = encoder.maps(batches[0])
    torch._dynamo.reset()
    for before, after in zip(expected, found, strict=True):
        torch.testing.assert_close(after, before, atol=1e-6, rtol=1e-5)
    assert list(encoder.state_dict()) == names
    assert maps[0].values.shape == (2, 48, 4, 4)


def test_maps_share_memory_with_the_tokens() -> None:
    encoder = build(PLAIN)
    with torch.no_grad():
        (one,) = encoder.maps(images(32))
    assert one.values._base is not None
    assert one.values._base.shape == (2, 17, 48)


@pytest.mark.parametrize("architecture", [PLAIN, NO_CLASS], ids=["class token", "none"])
def test_the_token_path_is_contiguous(architecture: Architecture) -> None:
    """Else every block would copy."""
    seen = []
    encoder = build(architecture)
    encoder.blocks[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous()))
    encoder(images(32))
    assert seen == [True]


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


def test_another_kind_of_architecture_is_refused() -> None:
    with pytest.raises(UsageError, match="not a plain ViT"):
        build(Architecture(kind="hivit", image_size=32))


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
