"""How pyramid and heads start: every parameter from a generator of its own, made from the seed and its name."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from foundation.seeds import derive_seed
from tasks.detection.channel_norm import ChannelNorm

_PROPOSAL_STD = 0.01  # of all layers of the proposal network, as of the class layer: Faster R-CNN's
_BOX_STD = 0.001  # of the layer that gives the boxes: Fast R-CNN's


@torch.no_grad()
def initialise(parts: dict[str, nn.Module], seed: int) -> None:
    """Fills modules that were built without values; `parts` are pyramid, proposals and box_head."""
    for part, module in parts.items():
        module.to_empty(device="cpu")
        for name, parameter in module.named_parameters():
            owner = module.get_submodule(name.rpartition(".")[0])
            generator = torch.Generator().manual_seed(derive_seed("detector", seed, part, name))
            _fill(f"{part}.{name}", owner, parameter, generator)


def _fill(name: str, owner: nn.Module, parameter: Tensor, generator: torch.Generator) -> None:
    if name.endswith(".bias"):
        parameter.zero_()
    elif isinstance(owner, ChannelNorm):
        parameter.fill_(1.0)
    elif name.startswith("proposals.") or name == "box_head.logits.weight":
        parameter.normal_(std=_PROPOSAL_STD, generator=generator)
    elif name == "box_head.deltas.weight":
        parameter.normal_(std=_BOX_STD, generator=generator)
    elif name == "box_head.hidden.weight":
        nn.init.xavier_uniform_(parameter, generator=generator)  # as the convolutional head of mmdet starts
    elif name.startswith("box_head."):
        nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu", generator=generator)
    else:
        bound = 1 / math.sqrt(_fan_in(owner, parameter))  # the default of convolutions, which ViTDet's pyramid keeps
        parameter.uniform_(-bound, bound, generator=generator)


def _fan_in(owner: nn.Module, weight: Tensor) -> int:
    # A deconvolution that doubles the sides gives each of its outputs from one cell.
    return weight.shape[0] if isinstance(owner, nn.ConvTranspose2d) else weight[0].numel()
