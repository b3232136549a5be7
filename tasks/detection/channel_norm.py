"""Layer norm over the channels of maps."""

from __future__ import annotations

from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of [B, C, h, w]; no copy is made of maps in channels-last order."""

    def forward(self, maps: Tensor) -> Tensor:
        """The same shape, in channels-last order."""
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
