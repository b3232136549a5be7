"""SAR-JEPA: in a few windows of an image most patches are masked, and gradients of the masked ones are predicted.

Where the original has relative positions, this one is a plain ViT with the fixed table, as section 12 of the KLIP
specification has it. All windows of a batch go through the encoder as one batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from klip.unimodal.baseline import Baseline, Head, HeadPlan, InputStatistics
from klip.unimodal.gradient_by_ratio import multi_scale_gradient
from klip.unimodal.settings import BaselineSettings
from klip.unimodal.tower import encoded, keep_random, patch_tokens, patches_of, share_kept, taken


class GradientPrediction(Baseline):
    """The encoder, a mask token at its input, and a predictor that is thrown away."""

    def __init__(self, settings: BaselineSettings, statistics: InputStatistics) -> None:
        super().__init__(settings, statistics)
        jepa, tower = settings.jepa, settings.tower
        self.predictor = Head(
            tower.width,
            HeadPlan(jepa.predictor_width, jepa.predictor_depth, jepa.predictor_heads),
            len(jepa.half_sizes) * tower.patch**2,
            mask_width=tower.width,
            seed=settings.seed,
            purpose="sar-jepa-predictor",
        )

    def forward(self, views: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squared error of the gradients of masked patches."""
        (grey,) = views
        jepa = self.settings.jepa
        places = random_windows(len(grey), self.settings.tower.side, jepa.window, jepa.windows, generator)
        inside = jepa.window**2
        kept = share_kept(inside, 1 - jepa.masked)
        _, masked = keep_random(len(grey) * jepa.windows, inside, kept, generator)
        places, masked = places.to(grey.device), masked.to(grey.device)
        predicted = self.predicted(grey, places, masked)
        target = taken(self.target(grey), places.flatten(1)).reshape(len(places) * jepa.windows, inside, -1)
        return {"loss": (taken(predicted, masked).float() - taken(target, masked)).square().mean()}

    def predicted(self, grey: Tensor, places: Tensor, masked: Tensor) -> Tensor:
        """[B * windows, w * w, scales * P * P] for windows at `places` [B, windows, w * w]."""
        tokens = patch_tokens(self.encoder, self.input_of(grey))
        windows = taken(tokens, places.flatten(1)).reshape(-1, places.shape[2], tokens.shape[2])
        at = self.encoder.pos_embed
        assert at is not None  # every tower here has a table
        rows = at[0, 1:][places.flatten(0, 1)]  # a masked patch is known by its place alone
        hidden = torch.zeros(windows.shape[:2], dtype=torch.bool, device=windows.device).scatter(1, masked, True)
        windows = torch.where(hidden[:, :, None], (self.predictor.mask_token + rows).to(windows.dtype), windows)
        states = self.predictor.embed(encoded(self.encoder, windows))
        predicted: Tensor = self.predictor(states)
        return predicted[:, 1:]

    @torch.no_grad()
    def target(self, grey: Tensor) -> Tensor:
        """[B, N, scales * P * P]: gradients on all scales, patch by patch, in full precision."""
        jepa = self.settings.jepa
        with torch.autocast(grey.device.type, enabled=False):
            gradients = multi_scale_gradient(grey.float(), jepa.half_sizes, jepa.floor)
        return patches_of(gradients, self.settings.tower.patch)


def random_windows(count: int, side: int, window: int, windows: int, generator: torch.Generator) -> Tensor:
    """Places of patches [count, windows, window * window] of square windows, anywhere inside the image."""
    corner = torch.randint(0, side - window + 1, (2, count, windows, 1), generator=generator, device=generator.device)
    step = torch.arange(window, device=generator.device)
    rows = corner[0][..., None] + step.view(1, 1, -1, 1)
    columns = corner[1][..., None] + step.view(1, 1, 1, -1)
    return (rows * side + columns).reshape(count, windows, window * window)
