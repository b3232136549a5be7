"""What a weight file is, told from its first bytes, its checksum, and the names and shapes of its tensors.

A wrong file in the right place gives a model that loads and is worse, or an error about tensor names; so it is called
by the name of what it is.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from adapters.card import ModelCard
from adapters.catalogue import shipped_cards
from adapters.checkpoint_files import wanted_prefix
from adapters.containers.shards import INDEX_SUFFIX, shards_of
from foundation.errors import BenchError

# Section 9.7 of the adapter specification: OpenAI keeps each file in a folder named by its SHA-256.
OPENAI_CLIP = {
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "ViT-B-16.pt",
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "ViT-B-32.pt",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "ViT-L-14.pt",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": "ViT-L-14-336px.pt",
}
OPENAI_SCALARS = {"input_resolution", "context_length", "vocab_size"}
"""Numbers that only OpenAI's own archives carry among their tensors (section 4)."""

NO_TOWER = "the shards hold a language model alone"

_OPENAI_PLACE = "openaipublic.azureedge.net"
_FIRST_BYTES = 256
_KERNEL = re.compile(
    r"^(?P<prefix>.*?)(conv1\.weight|embeddings\.patch_embedding\.weight|patch_embed\.proj(ection)?\.weight)$"
)
_BLOCK = re.compile(r"(?:^|\.)(?:resblocks|blocks|layers)\.(\d+)\.")
_MOMENTUM = re.compile(r"(_m|momentum_encoder)\.")


class Geometry(NamedTuple):
    """What shapes say of the vision tower in a file."""

    width: int
    depth: int
    patch: int
    channels: int

    def __str__(self) -> str:
        family = {(768, 12): "ViT-B", (1024, 24): "ViT-L", (1280, 32): "ViT-H", (384, 12): "ViT-S"}
        known = family.get((self.width, self.depth))
        if known and self.channels == 3:
            return f"{known}/{self.patch}"
        return f"width {self.width}, {self.depth} blocks, patch {self.patch}, {self.channels} channels"


class Inside(NamedTuple):
    """What a look at names and shapes has found."""

    description: str
    """The file in words; empty where nothing is known."""
    complaint: str
    """Why it cannot be the card's file; empty where it can."""


def first_look(path: Path) -> str:
    """What is wrong with a file at first sight; empty where nothing is. Reads a few bytes."""
    try:
        with path.open("rb") as stream:
            start = stream.read(_FIRST_BYTES)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of git-lfs; the file itself has not been downloaded"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, saved instead of the file"
    if start.startswith(b"PK\x03\x04"):
        return "" if zipfile.is_zipfile(path) else "its end is missing: the download stopped early"
    if start[:1] in (b"\x80", b"{") or start[8:9] == b"{":
        return ""
    return "it is no checkpoint of any known kind"


def known_file(sha256: str) -> str:
    """The published file with this checksum, in words; empty where none is known."""
    if sha256 in OPENAI_CLIP:
        return f"{OPENAI_CLIP[sha256]} of OpenAI CLIP"
    pinned = (card for card in shipped_cards() if card.weights.sha256 == sha256)
    return next((f"{card.weights.filename} of {card.name}" for card in pinned), "")


def look_inside(card: ModelCard, path: Path) -> Inside:
    """Reads names and shapes, says what they are, and whether they can be the card's. Imports torch."""
    from adapters.containers import read
    from adapters.layouts import recognise

    prefix = wanted_prefix(card) if path.name.endswith(INDEX_SUFFIX) else ""
    try:
        if prefix and not shards_of(path, lambda name: prefix in name):
            return Inside(f"shards without any tensor of {prefix.rstrip('.')}", "" if card.companion else NO_TOWER)
        container = read(path, lambda name: prefix in name)
    except BenchError as error:
        return Inside("", error.what)
    shapes = {name: tuple(int(side) for side in tensor.shape) for name, tensor in container.tensors.items()}
    found = recognise(shapes)
    if not found:
        starts = ", ".join(sorted(shapes)[:3])
        return Inside("", f"its tensors are named as in no known layout ({starts}, ...)")
    geometry = geometry_of(shapes)
    openai = bool((shapes.keys() | set(container.ignored)) & OPENAI_SCALARS)
    description = f"OpenAI's own CLIP {geometry}" if openai else found[0].description
    if container.kind.endswith("TorchScript"):
        description += ", a TorchScript archive"
    return Inside(description, _complaint(card, [match.layout for match in found], geometry, openai=openai))


def geometry_of(shapes: Mapping[str, tuple[int, ...]]) -> Geometry | None:
    """Width, depth, patch and channels of the vision tower; None where there is none."""
    for name, shape in shapes.items():
        match = _KERNEL.match(name)
        if match is None or len(shape) not in (4, 5) or _MOMENTUM.search(name):
            continue
        prefix = match["prefix"]
        blocks = {int(found[1]) for other in shapes if other.startswith(prefix) and (found := _BLOCK.search(other))}
        return Geometry(shape[0], max(blocks, default=-1) + 1, shape[-1], shape[1])
    return None


def _complaint(card: ModelCard, layouts: list[str], geometry: Geometry | None, *, openai: bool) -> str:
    # Several layouts may be able to read one file; published files are told apart by the most particular one.
    readable = layouts if card.weights.kind == "file" else layouts[:1]
    if card.layout is not None and card.layout not in readable:
        return f"its tensors are laid out as {layouts[0]}, those of {card.name} as {card.layout}"
    if openai and card.weights.kind != "file" and _OPENAI_PLACE not in (card.weights.url or ""):
        return f"{card.name} was trained on from it and has a file of its own"
    wanted = card.architecture
    if wanted is None or wanted.kind != "vit" or geometry is None:
        return ""
    differs = [
        f"{word} {found}, not {expected}"
        for word, found, expected in (
            ("width", geometry.width, wanted.width),
            ("patch", geometry.patch, wanted.patch),
            ("channels", geometry.channels, wanted.in_channels),
        )
        if found != expected
    ]
    if geometry.depth < wanted.depth:
        differs.append(f"{geometry.depth} blocks, not {wanted.depth}")
    return "; ".join(differs)
