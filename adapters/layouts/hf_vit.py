"""Plain vision transformers as Hugging Face writes them (ViT, DeiT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.layouts import Converted
from adapters.layouts.hf_clip import stacked
from adapters.layouts.tower import Renaming, find_tower, rename

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

NAME = "hf_vit"
MARKER = "embeddings.patch_embeddings.projection.weight"
_BLOCK = "encoder.layer.{i}."
RENAMING = Renaming(
    {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection.{end}": "patch_embed.proj.{end}",
        _BLOCK + "layernorm_before.{end}": "blocks.{i}.norm1.{end}",
        _BLOCK + "attention.attention.query.{end}": "blocks.{i}.attn.q.{end}",
        _BLOCK + "attention.attention.key.{end}": "blocks.{i}.attn.k.{end}",
        _BLOCK + "attention.attention.value.{end}": "blocks.{i}.attn.v.{end}",
        _BLOCK + "attention.output.dense.{end}": "blocks.{i}.attn.proj.{end}",
        _BLOCK + "layernorm_after.{end}": "blocks.{i}.norm2.{end}",
        _BLOCK + "intermediate.dense.{end}": "blocks.{i}.mlp.fc1.{end}",
        _BLOCK + "output.dense.{end}": "blocks.{i}.mlp.fc2.{end}",
        "layernorm.{end}": "norm.{end}",
    }
)
OTHERS = ("embeddings.mask_token", "pooler.", "classifier.", "decoder.")


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """The encoder without pooler and classifier."""
    tower = find_tower(state, MARKER, card, layout=NAME, usual=("vit.", ""))
    converted, dropped = rename(tower, RENAMING, layout=NAME, dropped=OTHERS)
    return Converted(stacked(converted), (*dropped, *tower.outside))
