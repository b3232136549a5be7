"""OpenAI's and open_clip's names: CLIP, RemoteCLIP, GeoRSCLIP, SkyScript, and LAVIS's tower without a prefix.

Two position tables are in such files, the text's without a prefix and the vision's under `visual.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.layouts import Converted
from adapters.layouts.tower import Renaming, Tower, find_tower, rename

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

NAME = "openai_clip"
MARKER = "conv1.weight"
RENAMING = Renaming(
    {
        "class_embedding": "cls_token",
        "positional_embedding": "pos_embed",
        "conv1.weight": "patch_embed.proj.weight",
        "ln_pre.{end}": "norm_pre.{end}",
        "transformer.resblocks.{i}.ln_1.{end}": "blocks.{i}.norm1.{end}",
        "transformer.resblocks.{i}.attn.in_proj_{end}": "blocks.{i}.attn.qkv.{end}",
        "transformer.resblocks.{i}.attn.out_proj.{end}": "blocks.{i}.attn.proj.{end}",
        "transformer.resblocks.{i}.ln_2.{end}": "blocks.{i}.norm2.{end}",
        "transformer.resblocks.{i}.mlp.c_fc.{end}": "blocks.{i}.mlp.fc1.{end}",
        "transformer.resblocks.{i}.mlp.c_proj.{end}": "blocks.{i}.mlp.fc2.{end}",
        "ln_post.{end}": "norm.{end}",
    }
)
PROJECTION = ("proj",)
"""From the class token into the space shared with the text; the encoder ends before it."""


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """The vision tower; the text side is left out."""
    tower = find_tower(state, MARKER, card, layout=NAME, usual=("visual.", ""))
    converted, dropped = named_as_ours(tower, NAME, PROJECTION)
    return Converted(converted, (*dropped, *tower.outside))


def named_as_ours(tower: Tower, layout: str, dropped: tuple[str, ...]) -> tuple[dict[str, Tensor], list[str]]:
    """Canonical names, and class token and position table with the axes of a batch."""
    state, left_out = rename(tower, RENAMING, layout=layout, dropped=dropped)
    for name in ("cls_token", "pos_embed"):
        if name in state:
            width = state[name].shape[-1]
            state[name] = state[name].reshape(1, -1, width)
    return state, left_out
