"""Geometry of timm's plain vision transformers, read from their names alone.

Listing and planning must know the comparison group of a user's model without importing torch, so the
public geometry is written down here; `tests/adapters/test_encoder.py` compares it with timm itself.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from adapters.card import Architecture, Backbone


class Size(NamedTuple):
    """Width, depth and heads of a ViT."""

    width: int
    depth: int
    heads: int


SIZES = {
    "tiny": Size(192, 12, 3),
    "small": Size(384, 12, 6),
    "base": Size(768, 12, 12),
    "large": Size(1024, 24, 16),
}
"""Public geometry of timm's plain ViTs."""

_VIT_NAME = re.compile(r"vit_(?P<size>tiny|small|base|large)_patch(?P<patch>[1-9]\d*)_(?P<image>[1-9]\d*)(\.\w+)?")


def backbone_group(width: int, depth: int) -> Backbone:
    """The comparison group of a plain ViT: section 2.3 of the task specification knows two sizes."""
    if (width, depth) == SIZES["base"][:2]:
        return "ViT-Base"
    if (width, depth) == SIZES["large"][:2]:
        return "ViT-Large"
    return "other"


def timm_architecture(name: str) -> Architecture:
    """The architecture behind a timm name: a plain ViT of ours where the name says so, else timm's own model."""
    match = _VIT_NAME.fullmatch(name)
    if match is None:
        return Architecture(kind="timm", timm_name=name)
    size = SIZES[match["size"]]
    return Architecture(
        kind="vit",
        timm_name=name,
        width=size.width,
        depth=size.depth,
        heads=size.heads,
        patch=int(match["patch"]),
        activation="gelu",
        image_size=int(match["image"]),
    )


def vit_name(width: int, depth: int, patch: int, image_size: int) -> str | None:
    """The timm name with this geometry, where timm has one."""
    for word, size in SIZES.items():
        if (size.width, size.depth) == (width, depth):
            return f"vit_{word}_patch{patch}_{image_size}"
    return None
