"""OpenMMLab's vision transformer: BAN's frozen tower, the CLIP files of its model zoo, mmpretrain's spelling.

SAN splits CLIP: the first blocks are the image encoder, the last ones, the final norm and the projection stand in
the decode head as `rec_with_attnbias` (section 5 of the adapter specification). A card deeper than the image encoder
gets them appended; for a card of the image encoder's depth they are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.layouts import Converted
from adapters.layouts.tower import Renaming, find_tower, rename

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

NAME = "mmseg_vit"
MARKER = "patch_embed.projection.weight"
RENAMING = Renaming(
    {
        "cls_token": "cls_token",
        "pos_embed": "pos_embed",
        "patch_embed.projection.{end}": "patch_embed.proj.{end}",
        "ln_pre.{end}": "norm_pre.{end}",
        "pre_norm.{end}": "norm_pre.{end}",
        "layers.{i}.ln1.{end}": "blocks.{i}.norm1.{end}",
        "layers.{i}.attn.attn.in_proj_{end}": "blocks.{i}.attn.qkv.{end}",
        "layers.{i}.attn.attn.out_proj.{end}": "blocks.{i}.attn.proj.{end}",
        "layers.{i}.attn.qkv.{end}": "blocks.{i}.attn.qkv.{end}",
        "layers.{i}.attn.proj.{end}": "blocks.{i}.attn.proj.{end}",
        "layers.{i}.ln2.{end}": "blocks.{i}.norm2.{end}",
        "layers.{i}.ffn.layers.0.0.{end}": "blocks.{i}.mlp.fc1.{end}",
        "layers.{i}.ffn.layers.1.{end}": "blocks.{i}.mlp.fc2.{end}",
        "ln1.{end}": "norm.{end}",
    }
)
TAIL = "decode_head.rec_with_attnbias."
_TAIL_BLOCK = re.compile(r"layers\.(\d+)\.(.+)")
_TAIL_RENAMING = Renaming(
    {
        "norms.0.{end}": "norm1.{end}",
        "attentions.0.attn.in_proj_{end}": "attn.qkv.{end}",
        "attentions.0.attn.out_proj.{end}": "attn.proj.{end}",
        "norms.1.{end}": "norm2.{end}",
        "ffns.0.layers.0.0.{end}": "mlp.fc1.{end}",
        "ffns.0.layers.1.{end}": "mlp.fc2.{end}",
    }
)


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """The image encoder, and its tail where file and card have one."""
    tower = find_tower(state, MARKER, card, layout=NAME, usual=("image_encoder.", "backbone.", ""))
    converted, dropped = rename(tower, RENAMING, layout=NAME)
    split = len({name.split(".")[1] for name in converted if name.startswith("blocks.")})
    wanted = card.architecture is None or card.architecture.depth > split
    final = wanted and (card.architecture is None or card.architecture.final_norm)
    for name, value in tower.outside.items():
        ours = _tail_name(name, split)
        if ours is not None and (final if ours.startswith("norm.") else wanted):
            converted[ours] = value
        else:
            dropped.append(name)
    return Converted(converted, tuple(dropped))


def _tail_name(name: str, split: int) -> str | None:
    """The canonical name of a tensor of the tail; None for everything else, the projection included."""
    if not name.startswith(TAIL):
        return None
    name = name.removeprefix(TAIL)
    if name.startswith("ln_post."):
        return name.replace("ln_post", "norm")
    block = _TAIL_BLOCK.fullmatch(name)
    ours = _TAIL_RENAMING(block[2]) if block else None
    return f"blocks.{split + int(block[1])}.{ours}" if block and ours else None
