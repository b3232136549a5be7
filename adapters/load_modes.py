"""The three ways to fit a published checkpoint to an encoder (section 3.3 of the adapter specification).

A mode changes the card, and with it what is built and what its layout keeps; `checkpoint.fill` does the rest. This
module never imports torch.
"""

from __future__ import annotations

from typing import get_args

from adapters.card import Architecture, InputContract, ModelCard
from adapters.geometry import SIZES
from adapters.interface import LoadMode
from foundation.errors import UsageError
from foundation.names import unknown_name

PATCH = 16
"""Of the modes resampled16 and paper_plain."""

FULL_DEPTH = {"ViT-Base": SIZES["base"].depth, "ViT-Large": SIZES["large"].depth}


def card_for(card: ModelCard, mode: LoadMode) -> ModelCard:
    """The card as this mode understands it; refuses modes that mean nothing for its architecture."""
    if mode not in get_args(LoadMode):
        raise unknown_name("load mode", mode, get_args(LoadMode), see="harness run --help")
    architecture = card.architecture
    if mode == "native" or architecture is None or architecture.kind == "features":
        return card
    if architecture.kind != "vit":
        raise UsageError(
            f"the mode {mode!r} is for plain vision transformers, and this is a {architecture.kind} architecture",
            where=card.id,
            way_out="load it as published: native",
        )
    if mode == "resampled16":
        return card.model_copy(update={"architecture": architecture.model_copy(update={"patch": PATCH})})
    return card.model_copy(update={"architecture": _plain(card, architecture), "input": _three_channels(card.input)})


def _plain(card: ModelCard, architecture: Architecture) -> Architecture:
    """What the authors' own configurations build: plain ViT/16, GELU, no norm before the blocks, a patch bias."""
    return Architecture(
        kind="vit",
        width=architecture.width,
        # The blocks that a truncated tower lacks are there, with random weights.
        depth=FULL_DEPTH.get(card.backbone, architecture.depth),
        heads=architecture.heads,
        patch=PATCH,
        mlp_ratio=architecture.mlp_ratio,
        activation="gelu",
        norm_eps=1e-6,
        image_size=architecture.image_size,
    )


def _three_channels(contract: InputContract | None) -> InputContract | None:
    """The contract for three equal channels; statistics of other numbers of channels are averaged."""
    if contract is None or contract.channels == 3:
        return contract
    mean, std = (sum(values) / len(values) for values in (contract.mean, contract.std))
    return InputContract.model_validate(
        contract.model_dump() | {"channels": 3, "grey_rule": "replicate", "mean": (mean,) * 3, "std": (std,) * 3}
    )
