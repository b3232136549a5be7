"""How an encoder without weights starts: each parameter from a generator of its own.

So neither the global random state nor the depth of a model changes what a parameter starts from.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from foundation.seeds import derive_seed

_STD = 0.02  # timm's initial spread of position tables and linear weights


class Startable(nn.Module):
    """A network that knows its tables and its initial values."""

    @abstractmethod
    def fill_fixed_tables(self) -> None:
        """Writes the tables that follow from the geometry and are no weights."""

    @abstractmethod
    def initialise(self, name: str, parameter: Tensor, generator: torch.Generator) -> None:
        """Writes the initial values of one parameter."""


Network = TypeVar("Network", bound=Startable)


def started(make: Callable[[], Network], seed: int | None) -> Network:
    """Builds a network; `seed` None leaves its parameters unset, for a checkpoint that fills all of them."""
    with torch.device("meta"):  # no time and no random numbers for values that are overwritten anyway
        network = make()
    network.to_empty(device="cpu")
    with torch.no_grad():
        network.fill_fixed_tables()
        if seed is not None:
            for name, parameter in network.named_parameters():
                network.initialise(name, parameter, torch.Generator().manual_seed(derive_seed("encoder", seed, name)))
    return network


def usual(name: str, parameter: Tensor, generator: torch.Generator) -> None:
    """Initial values of timm for linear layers and norms: no bias, norms that change nothing, small weights."""
    if name.endswith("bias"):
        parameter.zero_()
    elif parameter.ndim == 1:
        parameter.fill_(1.0)
    else:
        nn.init.trunc_normal_(parameter, std=_STD, generator=generator)


def patch_projection(parameter: Tensor, generator: torch.Generator, *, fan_in: int) -> None:
    """Uniform within 1 / sqrt(fan in), the default of convolutions, for kernel and bias alike."""
    bound = 1 / math.sqrt(fan_in)
    parameter.uniform_(-bound, bound, generator=generator)
