"""The CLIP objective on template texts: the two towers of KLIP, every other text of the batch a negative.

It is the stand-in for texts made from annotations (first row of Table 8): no queue, no momentum, no matching, no
language head, and views that leave positions and counts as the texts say them.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from adapters.encoder import PlainViT
from klip.augment import augment, normalise
from klip.model.klip import KLIP
from klip.model.text_stack import Layer
from klip.settings import ContrastSettings, ImageSettings, ModelSettings, PretrainingSettings, preset
from klip.tokens.batch import TokenBatch
from klip.tokens.vocabulary import Specials
from klip.unimodal.baseline import InputStatistics
from klip.unimodal.settings import BaselineSettings


def towers_of(settings: BaselineSettings) -> PretrainingSettings:
    """KLIP's settings with these towers."""
    base = preset("paper", settings.size)
    tower, clip = settings.tower, settings.clip
    model = base.model.model_dump() | {
        "vision_width": tower.width,
        "vision_depth": tower.depth,
        "vision_heads": tower.heads,
    }
    image = base.image.model_dump() | {"size": tower.image_size, "patch": tower.patch}
    itc = base.itc.model_dump() | {"tau_init": clip.tau_init}
    return base.model_copy(
        update={
            "model": ModelSettings.model_validate(model),
            "image": ImageSettings.model_validate(image),
            "itc": ContrastSettings.model_validate(itc),
            "seed": settings.seed,
        }
    )


class ContrastivePretraining(nn.Module):
    """Image and text tower, their projections and a temperature."""

    def __init__(
        self, settings: BaselineSettings, statistics: InputStatistics, vocabulary_size: int, specials: Specials
    ) -> None:
        super().__init__()
        self.settings = settings
        self.statistics = statistics
        self.towers = KLIP(towers_of(settings), vocabulary_size, specials)
        # What only fusion and writing need: several processes could not average gradients that never come.
        del self.towers.itm_head, self.towers.language_head, self.towers.vis_to_txt
        self.towers.vis_to_txt = nn.Identity()
        for layer in self.towers.text.layers:
            assert isinstance(layer, Layer)
            del layer.self_dec
            layer.cross = None

    @property
    def encoder(self) -> PlainViT:
        """The image tower."""
        return cast(PlainViT, self.towers.vision)

    def views_of(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Views [B, S, S] that do not contradict the texts (section 2.5)."""
        return augment(pixels, generator, "safe")

    def forward(self, grey: Tensor, tokens: TokenBatch, text_hash: Tensor) -> dict[str, Tensor]:
        """Symmetric cross entropy within the batch."""
        self.towers.clamp_temperature()
        mean, std = self.statistics
        images = self.towers.encode_image(normalise(grey, mean, std)).features
        texts = self.towers.encode_text(tokens)
        groups = text_hash if self.settings.clip.group_equal_text else torch.arange(len(grey), device=grey.device)
        loss = symmetric_contrast(images, texts, self.towers.temperature, groups)
        own = torch.arange(len(grey), device=grey.device)
        hits = ((images @ texts.T).detach().argmax(dim=1) == own).float().mean()
        return {"loss": loss, "accuracy": hits, "temperature": self.towers.temperature.detach().clone()}


def symmetric_contrast(images: Tensor, texts: Tensor, temperature: Tensor, groups: Tensor) -> Tensor:
    """Mean of both directions; members of one group are positives of each other, with equal shares."""
    logits = images @ texts.T / temperature
    positive = (groups[:, None] == groups[None, :]).float()
    target = positive / positive.sum(dim=1, keepdim=True)
    return 0.5 * (_cross_entropy(logits, target) + _cross_entropy(logits.T, target))


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
