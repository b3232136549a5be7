"""The momentum twins (section 5.2): slow copies of both towers, which make the keys and soft targets of contrast."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from klip.model.klip import KLIP
from klip.model.text_stack import Layer
from klip.tokens.batch import TokenBatch


class MomentumTwin(nn.Module):
    """A copy of a model without what has no twin: matching head, decoder's self-attention, language head, tau.

    Its forward is the original's, on the copy. It never learns by gradients.
    """

    def __init__(self, online: KLIP, *, dropout: bool = False) -> None:
        super().__init__()
        self.keeps_dropout = dropout
        self.model = copy.deepcopy(online)
        del self.model.itm_head, self.model.language_head, self.model.temperature
        for layer in self.model.text.layers:
            assert isinstance(layer, Layer)
            del layer.self_dec
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> MomentumTwin:
        """Stays without dropout and drop path unless told otherwise (`ema.dropout`, BLIP's way)."""
        super().train(mode and self.keeps_dropout)
        return self

    @torch.no_grad()
    def features(self, images: Tensor, tokens: TokenBatch) -> tuple[Tensor, Tensor]:
        """Features of images and texts, fp32 of unit length."""
        return self.model.encode_image(images).features, self.model.encode_text(tokens)

    @torch.no_grad()
    def follow(self, online: KLIP, momentum: float) -> None:
        """Moves every weight to `m` times itself plus `1 - m` times the model's; once per step of the optimiser."""
        own = dict(self.model.named_parameters())
        theirs = dict(online.named_parameters())
        torch._foreach_lerp_(list(own.values()), [theirs[name].data for name in own], 1 - momentum)
