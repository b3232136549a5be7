"""What the shapes of a checkpoint say in words: for people who are told that a file does not fit, or is another one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt

from adapters.geometry import vit_name

Shapes = Mapping[str, tuple[int, ...]]

_BLOCK = re.compile(r"blocks\.(\d+)\.")
_FAMILIES = {
    "hivit": "HiViT (SARATR-X)",
    "sar_jepa": "SAR-JEPA",
    "prithvi": "Prithvi",
    "moco_v3": "MoCo v3",
    "blip": "BLIP or FUSAR-KLIP",
    "hf_blip": "BLIP as Hugging Face writes it",
    "bita": "BITA",
    "changeclip": "ChangeCLIP",
    "mmseg_vit": "OpenMMLab ViT (BAN)",
    "hf_clip": "CLIP as Hugging Face writes it",
    "openai_clip": "CLIP as OpenAI and open_clip write it",
    "hf_vit": "ViT as Hugging Face writes it",
    "flax_npz": "ViT of Google's JAX code",
    "timm": "plain ViT (timm, MAE, DeiT)",
}


def facts(shapes: Shapes) -> str | None:
    """The geometry that canonical names and shapes speak of; None where they say nothing."""
    kernel = shapes.get("patch_embed.proj.weight")
    if kernel is None or len(kernel) not in (4, 5):
        return None
    patch, channels = kernel[-1], kernel[1]
    if "absolute_pos_embed" in shapes:  # hierarchical: the width is that of the last stage
        width, depth = shapes["absolute_pos_embed"][-1], _depth(shapes, "attn.qkv.weight")
        patch *= 4  # two merges of two by two
    else:
        width, depth = kernel[0], _depth(shapes)
    said = f"width {width}, depth {depth}, patch {patch}, {channels} channels"
    if "norm_pre.weight" in shapes:
        said += ", norm before the first block"
    return said


def named(shapes: Shapes) -> str | None:
    """The same, with timm's name in front where timm has one for it."""
    said = facts(shapes)
    if said is None or "absolute_pos_embed" in shapes:
        return said
    kernel = shapes["patch_embed.proj.weight"]
    name = vit_name(kernel[0], _depth(shapes), kernel[-1], _side(shapes) * kernel[-1] or 224)
    return f"{name} ({said})" if name and "norm_pre.weight" not in shapes else said


def described(shapes: Shapes, layout: str, original: Shapes) -> str:
    """One line on a file: family, geometry, image size, and what else it holds; empty where there is no encoder."""
    if layout == "bita" and "patch_embed.proj.weight" not in shapes:
        return (
            f"{_FAMILIES[layout]}: the trained layer norm alone, without the tower" if "norm.weight" in shapes else ""
        )
    said = facts(shapes)
    if said is None or not any(name.endswith("attn.qkv.weight") for name in shapes):
        return ""
    side = _side(shapes)
    if side:
        said += f", {side} x {side} tokens"
    text = any("text" in name or "token_embedding" in name for name in original)
    said += ", with a text side" if text else ""
    # Only OpenAI's own archives keep these numbers; all who train on from them drop them.
    said += ", OpenAI's own file" if any(name.endswith("input_resolution") for name in original) else ""
    return f"{_FAMILIES.get(layout, layout)}: {said}"


def _depth(shapes: Shapes, end: str = "") -> int:
    return len({match[1] for name in shapes if name.endswith(end) and (match := _BLOCK.match(name))})


def _side(shapes: Shapes) -> int:
    """Side of the square that the position table covers; 0 where there is none."""
    for name, extra in (("pos_embed", int("cls_token" in shapes)), ("absolute_pos_embed", 0)):
        table = shapes.get(name)
        if table is not None and len(table) == 3:
            rows = table[-2] - extra
            return isqrt(rows) if rows > 0 and isqrt(rows) ** 2 == rows else 0
    return 0
