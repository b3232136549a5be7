"""Where half precision ends: similarities, matching scores and losses (sections 4.1 and 6.2)."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(values: Tensor) -> Tensor:
    """The values in fp32, or in fp64 where they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
