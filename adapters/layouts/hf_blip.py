"""BLIP as Hugging Face writes it: CLIP's words, but queries, keys and values in one tensor and a patch bias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.layouts import Converted
from adapters.layouts.tower import NoTowerError, Renaming, find_tower, rename

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

NAME = "hf_blip"
MARKER = "embeddings.patch_embedding.weight"
RENAMING = Renaming(
    {
        "embeddings.class_embedding": "cls_token",
        "embeddings.position_embedding": "pos_embed",
        "embeddings.patch_embedding.{end}": "patch_embed.proj.{end}",
        "encoder.layers.{i}.layer_norm1.{end}": "blocks.{i}.norm1.{end}",
        "encoder.layers.{i}.self_attn.qkv.{end}": "blocks.{i}.attn.qkv.{end}",
        "encoder.layers.{i}.self_attn.projection.{end}": "blocks.{i}.attn.proj.{end}",
        "encoder.layers.{i}.layer_norm2.{end}": "blocks.{i}.norm2.{end}",
        "encoder.layers.{i}.mlp.fc1.{end}": "blocks.{i}.mlp.fc1.{end}",
        "encoder.layers.{i}.mlp.fc2.{end}": "blocks.{i}.mlp.fc2.{end}",
        "post_layernorm.{end}": "norm.{end}",
    }
)
OTHERS = ("text_", "itm_head.", "vision_proj.", "logit_scale")


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """The vision tower; text encoder, decoder and heads are left out."""
    tower = find_tower(state, MARKER, card, layout=NAME, usual=("vision_model.", ""))
    if "embeddings.position_embedding" not in tower.inner:
        raise NoTowerError(
            "no position table of BLIP's kind: this looks like CLIP",
            way_out="choose the layout hf_clip",
        )
    converted, dropped = rename(tower, RENAMING, layout=NAME, dropped=OTHERS)
    return Converted(converted, (*dropped, *tower.outside))
