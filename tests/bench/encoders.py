"""The encoders: images per second against the libraries that a user would otherwise take, and time of loading."""

from __future__ import annotations

import ctypes
import gc
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.interleave import Timing, interleaved

if TYPE_CHECKING:
    from torch import Tensor, nn

    from adapters.card import Architecture

BATCH = 8
SIDE = 224
PEER = "timm"
READING = "torch.load alone"


def vit_base_forward(turns: int) -> dict[str, Timing]:
    """Features of 8 images of 224 px, ViT-B/16 in single precision on one core: ours, timm's and open_clip's."""
    return _forward(_geometry(768, 12, 12), turns)


def vit_base_training(turns: int) -> dict[str, Timing]:
    """The same with the gradients of all weights."""
    return _training(_geometry(768, 12, 12), turns)


def vit_tiny_forward(turns: int) -> dict[str, Timing]:
    """Features of 8 images of 224 px, ViT-Ti/16, where everything but the products weighs more."""
    return _forward(_geometry(192, 12, 3), turns)


def vit_tiny_training(turns: int) -> dict[str, Timing]:
    """The same with the gradients of all weights."""
    return _training(_geometry(192, 12, 3), turns)


def relative_positions(turns: int) -> dict[str, Timing]:
    """What relative positions and the fixed tables cost: ViT-Ti/16 with each kind of position, forward."""
    import torch

    from adapters.encoder import build_vit

    torch.set_num_threads(1)
    images = torch.randn(BATCH, 3, SIDE, SIDE)
    works = {}
    for position in ("learned", "sincos3d", "irpe_k"):
        architecture = _geometry(192, 12, 3).model_copy(update={"position": position})
        works[position] = _quiet(build_vit(architecture, image_size=SIDE, seed=0).eval(), images)
    return interleaved(works, turns=turns)


def loading(turns: int) -> dict[str, Timing]:
    """A ViT-B/16 from its file: everything that `load` does, and torch's reading of the file's tensors alone."""
    import torch

    from adapters.encoder import build_vit
    from adapters.load import load
    from adapters.registry import select

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vit.pth"
        torch.save(build_vit(_geometry(768, 12, 12), image_size=SIDE, seed=0).state_dict(), path)
        (card,) = select(f"mine={path}:vit_base_patch16_224")
        works: dict[str, Callable[[], object]] = {
            "load, same size": lambda: load(card, image_size=SIDE, seed=0),
            "load, resized positions": lambda: load(card, image_size=256, seed=0),
            READING: lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=False),
        }
        # Reading into pages that a predecessor left behind takes a fifth of the time, so nobody inherits any.
        spaced: dict[str, Callable[[], object]] = {"trim": _give_memory_back}
        for name, work in works.items():
            spaced |= {name: work, f"trim after {name}": _give_memory_back}
        timings = interleaved(spaced, turns=turns)
        return {name: timings[name] for name in works}


def _give_memory_back() -> None:
    """Free pages go back to the system, where the C library can be asked to do so (glibc)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


ENCODER_MEASUREMENTS: dict[str, tuple[Callable[[int], dict[str, Timing]], str]] = {
    "vit-base-forward": (vit_base_forward, PEER),
    "vit-base-training": (vit_base_training, PEER),
    "vit-tiny-forward": (vit_tiny_forward, PEER),
    "vit-tiny-training": (vit_tiny_training, PEER),
    "relative-positions": (relative_positions, "learned"),
    "loading": (loading, READING),
}
"""Name to the measurement and the peer that the others are divided by."""


def _geometry(width: int, depth: int, heads: int) -> Architecture:
    from adapters.card import Architecture

    return Architecture(kind="vit", width=width, depth=depth, heads=heads, patch=16, activation="gelu")


def _networks(architecture: Architecture) -> dict[str, nn.Module]:
    """The same network three times; open_clip's begins with a norm more and has no bias in its patch kernel."""
    from open_clip.transformer import VisionTransformer as ClipTower
    from timm.models.vision_transformer import VisionTransformer

    from adapters.encoder import build_vit

    width, depth, heads = architecture.width, architecture.depth, architecture.heads
    return {
        "ours": build_vit(architecture, image_size=SIDE, seed=0),
        PEER: VisionTransformer(
            img_size=SIDE, patch_size=16, embed_dim=width, depth=depth, num_heads=heads, num_classes=0
        ),
        "open_clip": ClipTower(
            image_size=SIDE, patch_size=16, width=width, layers=depth, heads=heads, mlp_ratio=4.0, output_dim=width
        ),
    }


def _forward(architecture: Architecture, turns: int) -> dict[str, Timing]:
    import torch

    torch.set_num_threads(1)
    images = torch.randn(BATCH, 3, SIDE, SIDE)
    return interleaved(
        {name: _quiet(network.eval(), images) for name, network in _networks(architecture).items()}, turns=turns
    )


def _quiet(network: nn.Module, images: Tensor) -> Callable[[], object]:
    import torch

    def work() -> None:
        with torch.no_grad():
            network(images)

    return work


def _training(architecture: Architecture, turns: int) -> dict[str, Timing]:
    import torch

    torch.set_num_threads(1)
    images = torch.randn(BATCH, 3, SIDE, SIDE)

    def step(network: nn.Module) -> Callable[[], object]:
        network.train()

        def work() -> None:
            network.zero_grad(set_to_none=True)
            features = network(images)
            pooled: Tensor = features if isinstance(features, torch.Tensor) else features.pooled
            pooled.square().sum().backward()  # type: ignore[no-untyped-call]

        return work

    return interleaved({name: step(network) for name, network in _networks(architecture).items()}, turns=turns)
