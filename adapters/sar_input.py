"""The one path from SAR pixels to what an encoder is fed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adapters.card import InputContract
from foundation.errors import UsageError


def encoder_input(grey: Tensor, contract: InputContract, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """8-bit grey [B, H, W] to the encoder's normalised channels [B, C, H, W].

    `mean` and `std` are on the 0..255 scale, one entry per channel of the task's three-channel statistics or of the
    contract's own; a single-channel encoder takes their average.
    """
    if grey.dtype != torch.uint8 or grey.ndim != 3:
        raise UsageError(f"8-bit grey [B, H, W] is expected, not {grey.dtype} of {grey.ndim} dimensions")
    if contract.unit != "uint8":
        raise UsageError(
            f"this model expects {contract.unit}; the data are 8-bit grey and cannot be turned back into it",
            way_out="choose a model whose card says unit = uint8",
        )
    if len(set(mean)) == 1 and len(set(std)) == 1:
        # Equal statistics: normalise the one channel and repeat it without copying.
        return grey[:, None].float().sub_(mean[0]).div_(std[0]).expand(-1, contract.channels, -1, -1)
    if contract.channels == 1:
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    if len(mean) != contract.channels:
        raise UsageError(
            f"statistics for {len(mean)} channels, but the encoder takes {contract.channels}",
            way_out="this encoder needs statistics of its own; it cannot be fed the task's",
        )
    shape = (1, contract.channels, 1, 1)
    centre = torch.tensor(mean, device=grey.device).view(shape)
    spread = torch.tensor(std, device=grey.device).view(shape)
    return (grey[:, None].float() - centre) / spread


def native_statistics(contract: InputContract) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The contract's own mean and std on the 0..255 scale."""
    return tuple(255 * value for value in contract.mean), tuple(255 * value for value in contract.std)
