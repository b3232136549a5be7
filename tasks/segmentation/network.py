"""Segmenter with the mask-transformer decoder (Strudel et al., ICCV 2021; section 5.1 of the task specification).

Patch tokens of the encoder and one learned vector per class go through transformer blocks together; a patch's logit for
a class is the cosine of the two, projected, and a layer norm over classes follows. The decoder is as wide as the
encoder, with a head per 64 channels (12 of 768, 16 of 1024), without dropout of whole paths: that is the encoder's.
Encoders of any kind fit: what is asked of them is tokens and their grid, so a hierarchical network gives its last map.
"""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import normalize

from adapters.interface import Encoder, Features
from foundation.seeds import derive_seed
from tasks.under_heads import UnderHeads

_HEAD_WIDTH = 64  # section 5.1: 768 / 12 and 1024 / 16
_INITIAL_STD = 0.02


class MaskDecoder(nn.Module):
    """Tokens of patches to their logits."""

    def __init__(self, width: int, classes: int, *, blocks: int, dropout: float, seed: int) -> None:
        super().__init__()
        self.embed = nn.Linear(width, width)
        self.class_vectors = nn.Parameter(torch.empty(1, classes, width))
        self.blocks = nn.Sequential(
            *(
                Block(
                    width,
                    heads_of(width),
                    qkv_bias=True,
                    proj_drop=dropout,
                    attn_drop=dropout,
                    norm_layer=nn.LayerNorm,  # eps 1e-5, as Segmenter has it; timm's own default is 1e-6
                )
                for _ in range(blocks)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.project_patches = nn.Linear(width, width, bias=False)
        self.project_classes = nn.Linear(width, width, bias=False)
        self.class_norm = nn.LayerNorm(classes)
        self._initialise(torch.Generator().manual_seed(derive_seed("decoder", seed)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, N, K] of tokens [B, N, D]."""
        patches = tokens.shape[1]
        joined = torch.cat([self.embed(tokens), self.class_vectors.expand(len(tokens), -1, -1)], dim=1)
        joined = self.norm(self.blocks(joined))
        of_patches = normalize(self.project_patches(joined[:, :patches]), dim=-1)
        of_classes = normalize(self.project_classes(joined[:, patches:]), dim=-1)
        logits: Tensor = self.class_norm(of_patches @ of_classes.transpose(1, 2))
        return logits

    def _initialise(self, generator: torch.Generator) -> None:
        """Weights and class vectors from a narrow normal distribution, as Segmenter begins; biases 0, norms 1."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_INITIAL_STD, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.class_vectors, std=_INITIAL_STD, generator=generator)


class Segmenter(UnderHeads):
    """An encoder under a mask decoder, whose class vectors are not decayed."""

    undecayed = frozenset({"decoder.class_vectors"})

    def __init__(self, encoder: Encoder, classes: int, *, blocks: int, dropout: float, seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = MaskDecoder(encoder.width, classes, blocks=blocks, dropout=dropout, seed=seed)
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, h, w, K] on the encoder's grid of images [B, C, H, W]."""
        features: Features = self.encoder(images)
        logits: Tensor = self.decoder(features.tokens)
        return logits.view(len(logits), *features.grid, self.classes)


def heads_of(width: int) -> int:
    """One per 64 channels; the next smaller number that divides the width, for widths that 64 does not."""
    return next(heads for heads in range(max(1, width // _HEAD_WIDTH), 0, -1) if width % heads == 0)
