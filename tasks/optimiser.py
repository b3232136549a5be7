"""The optimiser of a protocol over a model's parameters: decay by kind of parameter, rate by depth."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn

from tasks.protocol.settings import OptimiserSettings

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


def kind_of(model: nn.Module, name: str, positions: Collection[str] = ()) -> str:
    """class_token, position, norm, bias or weight; `positions` are names that the encoder itself exempts from decay."""
    owner, _, leaf = name.rpartition(".")
    if leaf == "cls_token":
        return "class_token"
    if name in positions or "pos_embed" in leaf or leaf.startswith("rel_pos") or leaf == "lookup_table_weight":
        return "position"
    if isinstance(model.get_submodule(owner), _NORMS):
        return "norm"
    return "bias" if leaf == "bias" else "weight"


def build_optimiser(
    model: nn.Module,
    settings: OptimiserSettings,
    *,
    layer_id: Callable[[str], int] | None = None,
    layer_count: int = 0,
    positions: Collection[str] = (),
) -> torch.optim.Optimizer:
    """Groups parameters by what they are treated with; each group knows its share of the rate as `rate_scale`.

    `layer_id` maps a parameter name to 0 (embeddings) .. layer_count + 1 (head), which keeps the full rate. `positions`
    are parameters that the encoder exempts from decay whatever they are called, such as tables of relative positions.
    """
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = kind_of(model, name, positions) not in settings.no_decay
        layer = layer_count + 1
        if settings.layer_decay is not None and layer_id is not None:
            layer = layer_id(name)
        scale = (settings.layer_decay or 1.0) ** (layer_count + 1 - layer)
        group = groups.setdefault(
            (decayed, scale),
            {"params": [], "weight_decay": settings.weight_decay if decayed else 0.0, "rate_scale": scale},
        )
        group["params"].append(parameter)
    ordered = [groups[key] for key in sorted(groups)]
    if settings.name == "sgd":
        return torch.optim.SGD(ordered, lr=settings.rate, momentum=settings.momentum)
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    # One pass over the parameters instead of ten: a tenth of a step of small networks on the CPU.
    return kind(ordered, lr=settings.rate, betas=settings.betas, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Sets the rate of every group by its share."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate_scale"]
