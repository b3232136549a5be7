"""ViT archives of Google's JAX code (ImageNet-21k, augreg): kernels transposed, heads apart, names with slashes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.layouts import Converted
from adapters.layouts.hf_clip import stacked
from adapters.layouts.tower import Renaming, find_tower, rename

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

NAME = "flax_npz"
MARKER = "embedding/kernel"
BLOCK = "Transformer/encoderblock_{i}"
_ATTENTION = BLOCK + "/MultiHeadDotProductAttention_1"
RENAMING = Renaming(
    {
        "cls": "cls_token",
        "Transformer/posembed_input/pos_embedding": "pos_embed",
        "embedding/kernel": "patch_embed.proj.weight",
        "embedding/bias": "patch_embed.proj.bias",
        "Transformer/encoder_norm/scale": "norm.weight",
        "Transformer/encoder_norm/bias": "norm.bias",
        BLOCK + "/LayerNorm_0/scale": "blocks.{i}.norm1.weight",
        BLOCK + "/LayerNorm_0/bias": "blocks.{i}.norm1.bias",
        BLOCK + "/LayerNorm_2/scale": "blocks.{i}.norm2.weight",
        BLOCK + "/LayerNorm_2/bias": "blocks.{i}.norm2.bias",
        _ATTENTION + "/query/kernel": "blocks.{i}.attn.q.weight",
        _ATTENTION + "/query/bias": "blocks.{i}.attn.q.bias",
        _ATTENTION + "/key/kernel": "blocks.{i}.attn.k.weight",
        _ATTENTION + "/key/bias": "blocks.{i}.attn.k.bias",
        _ATTENTION + "/value/kernel": "blocks.{i}.attn.v.weight",
        _ATTENTION + "/value/bias": "blocks.{i}.attn.v.bias",
        _ATTENTION + "/out/kernel": "blocks.{i}.attn.proj.weight",
        _ATTENTION + "/out/bias": "blocks.{i}.attn.proj.bias",
        BLOCK + "/MlpBlock_3/Dense_0/kernel": "blocks.{i}.mlp.fc1.weight",
        BLOCK + "/MlpBlock_3/Dense_0/bias": "blocks.{i}.mlp.fc1.bias",
        BLOCK + "/MlpBlock_3/Dense_1/kernel": "blocks.{i}.mlp.fc2.weight",
        BLOCK + "/MlpBlock_3/Dense_1/bias": "blocks.{i}.mlp.fc2.bias",
    }
)
HEADS = ("head/", "pre_logits/")


def convert(state: Mapping[str, Tensor], card: ModelCard) -> Converted:
    """The encoder with kernels as torch has them: outputs first."""
    tower = find_tower(state, MARKER, card, layout=NAME, usual=("", "opt/target/"))
    converted, dropped = rename(tower, RENAMING, layout=NAME, dropped=HEADS)
    turned = {name: _turned(name, value) for name, value in converted.items()}
    return Converted(stacked(turned), (*dropped, *tower.outside))


def _turned(name: str, value: Tensor) -> Tensor:
    if name == "patch_embed.proj.weight":
        return value.permute(3, 2, 0, 1)  # height, width, in, out
    if ".attn.proj.weight" in name:
        return value.flatten(0, 1).T  # heads, width of a head, out
    if ".attn." in name and name.endswith("weight"):
        return value.flatten(1).T  # in, heads, width of a head
    if ".attn." in name and value.ndim == 2:
        return value.flatten()  # biases of the heads
    return value.T if ".mlp." in name and value.ndim == 2 else value
