"""Other networks of timm fit the same interface."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from adapters.card import Architecture
from adapters.interface import Encoder
from adapters.load import load
from adapters.registry import select
from adapters.timm_encoder import TimmEncoder, build_timm, create_network
from foundation.errors import UsageError

# One of each family: convolutional with batch norm, convolutional with layer norm, windowed attention.
NETWORKS = {
    "resnet10t": [2, 4, 8, 16, 32],
    "convnext_atto": [4, 8, 16, 32],
    "swin_tiny_patch4_window7_224": [4, 8, 16, 32],
}


SMALL: dict[str, Any] = {"seed": 0, "pretrained": False, "img_size": 64}


def built(name: str, seed: int = 0) -> TimmEncoder:
    encoder = load(select(f"timm:{name}")[0], image_size=64, seed=seed, drop_path=0.1).encoder
    assert isinstance(encoder, TimmEncoder)
    return encoder.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_tokens_and_pooled_features_belong_together(name: str) -> None:
    encoder = built(name)
    assert isinstance(encoder, Encoder)
    with torch.no_grad():
        batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        features, maps = encoder(batch), encoder.maps(batch)
    assert [one.stride for one in maps] == NETWORKS[name]
    for one in maps:
        assert one.values.shape[2:] == (64 // one.stride, 64 // one.stride)
    assert features.class_token is None
    assert features.grid == (2, 2)
    assert features.pooled.shape == (2, encoder.width)
    assert features.tokens.shape == (2, 4, encoder.width)


@pytest.mark.parametrize("name", [*NETWORKS, "vit_tiny_patch16_224.augreg_in21k", "deit3_small_patch16_224"])
def test_the_pooled_feature_is_what_timm_feeds_its_own_head(name: str) -> None:
    """Final norm and pooling included: without them a network would compete with one hand tied."""
    encoder = TimmEncoder(create_network(Architecture(kind="timm", timm_name=name), **SMALL), in_channels=3).eval()
    batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = encoder(batch)
        torch.testing.assert_close(features.pooled, encoder.network(batch))
    if hasattr(encoder.network, "cls_token"):
        assert features.class_token is not None
        torch.testing.assert_close(features.class_token, features.pooled)
        assert features.tokens.shape[1] == features.grid.h * features.grid.w


# Last convolutions wider than the last map, heads that widen behind the pooling, several tokens before the patches.
ODD = [
    "mixnet_s",
    "ghostnet_050",
    "lcnet_035",
    "efficientvit_b0",
    "vgg11",
    "deit_tiny_distilled_patch16_224",
    "eva02_tiny_patch14_224",
]


@pytest.mark.parametrize("name", ODD)
def test_whatever_the_network_every_feature_has_the_encoders_width(name: str) -> None:
    size = 56 if "patch14" in name else 64
    encoder = build_timm(Architecture(kind="timm", timm_name=name), image_size=size, seed=0).eval()
    batch = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, maps = encoder(batch), encoder.maps(batch)
    assert features.pooled.shape == (2, encoder.width)
    assert features.tokens.shape == (2, features.grid.h * features.grid.w, encoder.width)
    assert features.grid == (size // encoder.stride, size // encoder.stride)
    assert features.class_token is None or features.class_token.shape == (2, encoder.width)
    assert [tuple(one.values.shape[2:]) for one in maps] == [(size // one.stride,) * 2 for one in maps]
    names = {parameter for parameter, _ in encoder.named_parameters()}
    assert encoder.no_weight_decay() <= names
    assert {encoder.layer_id(one) for one in names} <= set(range(encoder.layer_count + 2))


def test_tokens_are_the_cells_of_the_last_map_in_row_order() -> None:
    encoder = built("resnet10t")
    batch = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, last = encoder(batch), encoder.maps(batch)[-1]
    assert features.grid == (3, 2)
    torch.testing.assert_close(features.tokens.transpose(1, 2).unflatten(2, (3, 2)), last.values)
    torch.testing.assert_close(features.pooled, features.tokens.mean(dim=1))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pit_ti_224", "no grid of tokens"),  # gives its class token alone
        ("coat_tiny", "no grid of tokens"),  # gives one set of tokens per scale
        ("halonet26t", "64 pixels"),  # attends within blocks that do not divide its maps
    ],
)
def test_networks_that_cannot_fit_are_refused_when_built(name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        build_timm(Architecture(kind="timm", timm_name=name), image_size=64, seed=0)
    assert "timm:resnet18" in caught.value.way_out


def test_the_trial_at_building_leaves_statistics_and_mode_alone() -> None:
    encoder = build_timm(Architecture(kind="timm", timm_name="resnet10t"), image_size=64, seed=0)
    assert encoder.training
    assert torch.equal(encoder.network.get_buffer("bn1.running_mean"), torch.zeros(64))
    assert torch.equal(encoder.network.get_buffer("bn1.num_batches_tracked"), torch.tensor(0))


@pytest.mark.parametrize("name", ["convnext_atto", "swin_tiny_patch4_window7_224", "deit3_small_patch16_224"])
def test_every_parameter_that_is_trained_gets_a_gradient(name: str) -> None:
    encoder = TimmEncoder(create_network(Architecture(kind="timm", timm_name=name), **SMALL), in_channels=3).train()
    encoder(torch.randn(2, 3, 64, 64)).pooled.square().sum().backward()
    idle = [name for name, parameter in encoder.named_parameters() if parameter.grad is None]
    assert idle == []


@pytest.mark.parametrize(
    ("name", "stem", "last", "after"),
    [
        ("resnet10t", "network.conv1.0.weight", "network.layer4.0.conv1.weight", None),
        ("convnext_atto", "network.stem.0.weight", "network.stages.3.blocks.0.gamma", "network.head.norm.weight"),
    ],
)
def test_layers_are_numbered_by_stage(name: str, stem: str, last: str, after: str | None) -> None:
    encoder = built(name)
    names = {parameter for parameter, _ in encoder.named_parameters()}
    assert {stem, last} <= names
    assert (encoder.layer_id(stem), encoder.layer_id(last), encoder.layer_count) == (0, 4, 4)
    if after:
        assert after in names
        assert encoder.layer_id(after) == 5


def test_the_seed_decides_the_start_and_the_global_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = built("resnet10t", 1), built("resnet10t", 1), built("resnet10t", 2)
    assert torch.equal(torch.random.get_rng_state(), before)
    weight = "network.layer1.0.conv1.weight"
    assert torch.equal(first.state_dict()[weight], again.state_dict()[weight])
    assert not torch.equal(first.state_dict()[weight], other.state_dict()[weight])


def test_a_name_unknown_to_timm_is_answered_with_near_ones() -> None:
    with pytest.raises(UsageError) as caught:
        load(select("timm:resnet81")[0], image_size=64, seed=0)
    assert "resnet18" in caught.value.way_out


def test_weights_that_timm_cannot_get_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from foundation.errors import MissingError

    true_create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: object) -> object:
        if pretrained:
            raise OSError("no route to host")
        return true_create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(MissingError, match="no route to host") as caught:
        load(select("timm:resnet10t@pretrained")[0], image_size=64, seed=0)
    assert "cache" in caught.value.way_out


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_statistics_come_with_timms_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    true_create = timm.create_model

    def without_download(name: str, *, pretrained: bool, **options: object) -> object:
        assert pretrained
        return true_create(name, **options)

    monkeypatch.setattr(timm, "create_model", without_download)
    model = load(select(f"timm:{name}@pretrained")[0], image_size=64, seed=0)
    config = true_create(name).pretrained_cfg
    assert model.contract.mean == tuple(config["mean"])
    assert model.weights_hash
    assert model.report.matched
