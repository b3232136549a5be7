"""MAE: three quarters of the patches are removed, the encoder sees the rest, a small decoder paints the removed ones.

Grey is repeated over the encoder's channels, so the target is the one channel that there is: the same loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adapters.encoder import sincos_table
from klip.unimodal.baseline import Baseline, Head, HeadPlan, InputStatistics
from klip.unimodal.settings import BaselineSettings
from klip.unimodal.tower import encoded, keep_random, patch_tokens, patches_of, share_kept, taken

_TARGET_EPS = 1e-6  # added to the variance of a patch


class MaskedAutoencoder(Baseline):
    """The encoder, and a decoder that is thrown away."""

    decoder_positions: Tensor

    def __init__(self, settings: BaselineSettings, statistics: InputStatistics) -> None:
        super().__init__(settings, statistics)
        mae, tower = settings.mae, settings.tower
        plan = HeadPlan(mae.decoder_width, mae.decoder_depth, mae.decoder_heads)
        self.decoder = Head(
            tower.width,
            plan,
            tower.patch**2,
            mask_width=mae.decoder_width,
            seed=settings.seed,
            purpose="mae-decoder",
        )
        table = sincos_table(self.encoder.grid, mae.decoder_width, class_token=True)
        self.register_buffer("decoder_positions", table, persistent=False)

    def forward(self, views: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squared error of the removed patches."""
        (grey,) = views
        total = self.settings.tower.side**2
        kept, removed = keep_random(len(grey), total, share_kept(total, self.settings.mae.keep), generator)
        kept, removed = kept.to(grey.device), removed.to(grey.device)
        painted = self.painted(grey, kept, removed)
        target = taken(self.target(grey), removed)
        return {"loss": (taken(painted, removed).float() - target).square().mean()}

    def painted(self, grey: Tensor, kept: Tensor, removed: Tensor) -> Tensor:
        """[B, N, P * P]: every patch as the decoder sees it, in the order of the image."""
        visible = taken(patch_tokens(self.encoder, self.input_of(grey)), kept)
        states = self.decoder.embed(encoded(self.encoder, visible))
        absent = self.decoder.mask_token.to(states.dtype).expand(len(grey), removed.shape[1], -1)
        # Kept and removed places together are an order of all of them; sorting it puts every token in its place.
        back = torch.cat([kept, removed], dim=1).argsort(dim=1)
        tokens = taken(torch.cat([states[:, 1:], absent], dim=1), back)
        tokens = torch.cat([states[:, :1], tokens], dim=1) + self.decoder_positions
        painted: Tensor = self.decoder(tokens)
        return painted[:, 1:]

    def target(self, grey: Tensor) -> Tensor:
        """[B, N, P * P]: pixels of every patch, each patch with mean 0 and variance 1 if asked for."""
        patches = patches_of(grey[:, None].float(), self.settings.tower.patch)
        if not self.settings.mae.normalise_target:
            return patches
        mean = patches.mean(dim=2, keepdim=True)
        return (patches - mean) / (patches.var(dim=2, keepdim=True) + _TARGET_EPS).sqrt()
