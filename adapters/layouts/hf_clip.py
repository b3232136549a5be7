"""CLIP as Hugging Face writes it, alone or inside a language model: CLIP on the hub, VHM, GeoChat.

Queries, keys and values are three tensors, stacked here in this order; the norm before the blocks is misspelt
upstream. Newer libraries leave out `vision_model.`, so any prefix will do (section 5 of the adapter specification).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.layouts import Converted
from adapters.layouts.tower import Renaming, find_tower, rename, shortened
from foundation.errors import CellError

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

NAME = "hf_clip"
MARKER = "embeddings.patch_embedding.weight"
RENAMING = Renaming(
    {
        "embeddings.class_embedding": "cls_token",
        "embeddings.position_embedding.weight": "pos_embed",
        "embeddings.patch_embedding.weight": "patch_embed.proj.weight",
        "pre_layrnorm.{end}": "norm_pre.{end}",
        "encoder.layers.{i}.layer_norm1.{end}": "blocks.{i}.norm1.{end}",
        "encoder.layers.{i}.self_attn.q_proj.{end}": "blocks.{i}.attn.q.{end}",
        "encoder.layers.{i}.self_attn.k_proj.{end}": "blocks.{i}.attn.k.{end}",
        "encoder.layers.{i}.self_attn.v_proj.{end}": "blocks.{i}.attn.v.{end}",
        "encoder.layers.{i}.self_attn.out_proj.{end}": "blocks.{i}.attn.proj.{end}",
        "encoder.layers.{i}.layer_norm2.{end}": "blocks.{i}.norm2.{end}",
        "encoder.layers.{i}.mlp.fc1.{end}": "blocks.{i}.mlp.fc1.{end}",
        "encoder.layers.{i}.mlp.fc2.{end}": "blocks.{i}.mlp.fc2.{end}",
        "post_layernorm.{end}": "norm.{end}",
    }
)
BUFFERS = ("embeddings.position_ids",)
OTHERS = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """The vision tower; the text side or the language model is left out."""
    tower = find_tower(state, MARKER, card, layout=NAME, usual=("vision_model.", ""))
    converted, dropped = rename(tower, RENAMING, layout=NAME, dropped=BUFFERS + OTHERS)
    for name in ("cls_token", "pos_embed"):
        if name in converted:
            converted[name] = converted[name].reshape(1, -1, converted[name].shape[-1])
    return Converted(stacked(converted), (*dropped, *tower.outside))


def stacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`attn.q`, `attn.k` and `attn.v` of each block as the rows of one `attn.qkv`, in this order."""
    import torch

    whole: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        head, dot, rest = name.partition(".attn.")
        if dot and rest[:2] in ("q.", "k.", "v."):
            parts.setdefault(f"{head}.attn.qkv.{rest[2:]}", {})[rest[0]] = value
        else:
            whole[name] = value
    torn = [name for name, found in parts.items() if len(found) < 3]
    if torn:
        raise CellError(
            f"queries, keys or values are missing ({shortened(torn)})",
            way_out="the file is not complete: fetch or save it again",
        )
    for name, found in parts.items():
        whole[name] = torch.cat([found[letter] for letter in "qkv"])
    return whole
