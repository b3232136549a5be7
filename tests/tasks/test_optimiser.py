"""Which parameters are decayed and how fast each layer learns, on a real encoder."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from adapters.encoder import PlainViT
from adapters.load import load
from adapters.registry import catalog
from tasks.optimiser import build_optimiser, kind_of, set_rate
from tasks.protocol import task_settings
from tasks.protocol.settings import OptimiserSettings


class UnderHead(nn.Module):
    """An encoder with a head, as every task builds it."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(128, 3)


@pytest.fixture(scope="module")
def model() -> UnderHead:
    """The small encoder of the catalogue: four blocks of width 128."""
    encoder = load(catalog()["random-mini"], image_size=32, seed=0).encoder
    assert isinstance(encoder, PlainViT)
    return UnderHead(encoder)


def _layer_id(model: UnderHead, name: str) -> int:
    encoder = model.encoder
    assert isinstance(encoder, PlainViT)
    return encoder.layer_id(name.removeprefix("encoder.")) if name.startswith("encoder.") else encoder.layer_count + 1


def _groups(model: nn.Module, optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, dict[str, object]]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            yield names[id(parameter)], group


def _expected_kind(name: str) -> str:
    if name.endswith(("cls_token", "pos_embed")):
        return "class_token" if name.endswith("cls_token") else "position"
    if re.search(r"\.norm\d?\.", name):
        return "norm"
    return "bias" if name.endswith("bias") else "weight"


def _settings(**changes: object) -> OptimiserSettings:
    values = {"name": "adamw", "rate": 0.01, "weight_decay": 0.3, "no_decay": ()}
    return OptimiserSettings.model_validate({**values, **changes})


def test_every_parameter_is_of_the_kind_its_name_says(model: UnderHead) -> None:
    kinds = {name: kind_of(model, name) for name, _ in model.named_parameters()}
    assert kinds == {name: _expected_kind(name) for name in kinds}
    assert set(kinds.values()) == {"class_token", "position", "norm", "bias", "weight"}


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation"])
def test_decay_is_that_of_the_protocol(model: UnderHead, task: str) -> None:
    settings = task_settings("paper", task).training.optimiser
    optimiser = build_optimiser(model, settings)
    spared = {"classification": {"class_token", "position"}, "detection": {"class_token", "position", "norm"}}
    for name, group in _groups(model, optimiser):
        decayed = _expected_kind(name) not in spared.get(task, set())
        assert group["weight_decay"] == (settings.weight_decay if decayed else 0.0), name


@pytest.mark.parametrize("layer_decay", [None, 0.7])
def test_every_parameter_is_optimised_once(model: UnderHead, layer_decay: float | None) -> None:
    settings = _settings(no_decay=("norm",), layer_decay=layer_decay)
    optimiser = build_optimiser(model, settings, layer_id=lambda name: _layer_id(model, name), layer_count=4)
    names = [name for name, _ in _groups(model, optimiser)]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def test_layers_learn_slower_the_further_they_are_from_the_head(model: UnderHead) -> None:
    # Section 4.1: 0.7 per layer. Head and final norm at full rate, the last block one step below, embeddings last.
    optimiser = build_optimiser(
        model, _settings(layer_decay=0.7), layer_id=lambda name: _layer_id(model, name), layer_count=4
    )
    scales = {name: group["rate_scale"] for name, group in _groups(model, optimiser)}
    for name, scale in scales.items():
        block = re.search(r"blocks\.(\d)\.", name)
        steps = 4 - int(block[1]) if block else 0 if name.startswith(("head", "encoder.norm")) else 5
        assert scale == pytest.approx(0.7**steps), name
    assert scales["head.weight"] == scales["encoder.norm.weight"] == 1.0
    assert scales["encoder.pos_embed"] == pytest.approx(0.7**5)


def test_without_layer_decay_all_learn_at_one_rate(model: UnderHead) -> None:
    optimiser = build_optimiser(model, _settings(), layer_id=lambda name: _layer_id(model, name), layer_count=4)
    assert {group["rate_scale"] for group in optimiser.param_groups} == {1.0}


def test_a_rate_is_set_by_its_share(model: UnderHead) -> None:
    optimiser = build_optimiser(
        model, _settings(layer_decay=0.5), layer_id=lambda name: _layer_id(model, name), layer_count=4
    )
    set_rate(optimiser, 0.02)
    rates = {name: group["lr"] for name, group in _groups(model, optimiser)}
    assert rates["head.weight"] == 0.02
    assert rates["encoder.blocks.3.mlp.fc1.weight"] == pytest.approx(0.01)
    assert rates["encoder.cls_token"] == pytest.approx(0.02 / 2**5)


def test_fixed_parameters_are_left_out(model: UnderHead) -> None:
    model.head.bias.requires_grad_(False)
    try:
        names = {name for name, _ in _groups(model, build_optimiser(model, _settings()))}
    finally:
        model.head.bias.requires_grad_(True)
    assert "head.bias" not in names and "head.weight" in names


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.BatchNorm1d, nn.InstanceNorm1d])
def test_norms_of_every_kind_are_norms(kind: type[nn.Module]) -> None:
    options = {"affine": True} if kind is nn.InstanceNorm1d else {}
    model = nn.Sequential(nn.Linear(4, 4), kind(4, **options))
    assert [kind_of(model, name) for name in ("0.weight", "0.bias", "1.weight", "1.bias")] == [
        *("weight", "bias", "norm", "norm")
    ]
    assert kind_of(nn.Sequential(nn.GroupNorm(2, 4)), "0.bias") == "norm"


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_the_optimiser_is_the_one_named(model: UnderHead, name: str, kind: type[torch.optim.Optimizer]) -> None:
    optimiser = build_optimiser(model, _settings(name=name, momentum=0.9, betas=(0.8, 0.95)))
    assert type(optimiser) is kind
    group = optimiser.param_groups[0]
    assert group["lr"] == 0.01
    assert group["momentum"] == 0.9 if name == "sgd" else group["betas"] == (0.8, 0.95)


def test_decay_acts_on_what_is_decayed_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    optimiser = build_optimiser(model, _settings(no_decay=("norm", "bias"), rate=0.1))
    set_rate(optimiser, 0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    values = {name: parameter.flatten()[0].item() for name, parameter in model.named_parameters()}
    assert values == pytest.approx({"0.weight": 1 - 0.1 * 0.3, "0.bias": 1.0, "1.weight": 1.0, "1.bias": 1.0})


def test_what_an_encoder_exempts_from_decay_is_exempt_whatever_it_is_called() -> None:
    """Swin keeps tables of relative positions under a name that says nothing to anybody else."""
    model = nn.Module()
    model.encoder = nn.Linear(3, 3, bias=False)
    model.encoder.odd_table = nn.Parameter(torch.ones(4, 4))
    exempt = {"encoder.odd_table"}
    assert kind_of(model, "encoder.odd_table") == "weight"
    assert kind_of(model, "encoder.odd_table", exempt) == "position"
    settings = task_settings("paper", "detection", "ViT-Base").training.optimiser
    assert "position" in settings.no_decay
    decayed = {
        group["weight_decay"]
        for group in build_optimiser(model, settings, positions=exempt).param_groups
        if any(parameter is model.encoder.odd_table for parameter in group["params"])
    }
    assert decayed == {0.0}
