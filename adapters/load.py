"""From a card to a model that the tasks can run: weights found, checked and in place, with a report."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.card import Architecture, InputContract, ModelCard
from adapters.interface import LoadedModel, LoadReport
from adapters.layouts import layout
from adapters.weights import weight_file, weight_state
from foundation.errors import MissingError, UsageError
from foundation.hashing import hash_file

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.encoder import PlainViT
    from adapters.timm_encoder import TimmEncoder


def load(
    card: ModelCard,
    *,
    image_size: int,
    seed: int,
    weights_root: Path | None = None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> LoadedModel:
    """Builds the card's encoder for images of `image_size` and fills it.

    `seed` decides the initial values of models without weights and nothing else; `dropout` and `drop_path` act in
    training only.
    """
    state = weight_state(card, weights_root)
    if state.state != "ready" or card.architecture is None:
        raise MissingError(
            f"{card.id} cannot be loaded: {state.reason}", where=state.path or card.id, way_out=state.way_out
        )
    architecture = card.architecture
    if architecture.kind == "features":
        from adapters.simple_features import SimpleFeatures

        return LoadedModel(card, SimpleFeatures(), _contract(card), trainable=False)
    if architecture.kind == "vit":
        return _load_vit(card, architecture, image_size, seed, weights_root, dropout, drop_path)
    if architecture.kind == "timm":
        return _load_timm(card, architecture, image_size, seed, weights_root, dropout, drop_path)
    raise UsageError(
        f"the architecture {architecture.kind!r} is not built yet", where=card.id, way_out="choose another model"
    )


def _load_vit(
    card: ModelCard,
    architecture: Architecture,
    image_size: int,
    seed: int,
    weights_root: Path | None,
    dropout: float,
    drop_path: float,
) -> LoadedModel:
    from adapters.checkpoint import fill, read_checkpoint
    from adapters.encoder import build_vit

    random = card.weights.kind == "random"
    encoder: PlainViT = build_vit(
        architecture, image_size=image_size, seed=seed if random else None, dropout=dropout, drop_path=drop_path
    )
    if random:
        return LoadedModel(card, encoder, _contract(card))
    convert = layout(card.layout or "timm")
    if card.weights.kind == "timm":
        from adapters.timm_encoder import create_network

        network = create_network(architecture, seed=seed, pretrained=True)
        content = network.state_dict()
        report = fill(encoder, convert(content, card), card, where=f"timm:{architecture.timm_name}")
        config = network.pretrained_cfg
        return LoadedModel(card, encoder, _timm_contract(card, config), report, _hash_tensors(content))  # type: ignore[arg-type]
    path = _required_file(card, weights_root)
    checksum = _checked_hash(card, path)
    report = fill(encoder, convert(read_checkpoint(path), card), card, where=str(path))
    return LoadedModel(card, encoder, _contract(card), report, checksum)


def _load_timm(
    card: ModelCard,
    architecture: Architecture,
    image_size: int,
    seed: int,
    weights_root: Path | None,
    dropout: float,
    drop_path: float,
) -> LoadedModel:
    from adapters.checkpoint import fill, read_checkpoint
    from adapters.timm_encoder import build_timm

    pretrained = card.weights.kind == "timm"
    encoder: TimmEncoder = build_timm(
        architecture, image_size=image_size, seed=seed, pretrained=pretrained, dropout=dropout, drop_path=drop_path
    )
    if card.weights.kind == "random":
        return LoadedModel(card, encoder, _contract(card))
    if pretrained:
        content = encoder.network.state_dict()
        report = LoadReport(matched=tuple(sorted(content)))
        contract = _timm_contract(card, encoder.pretrained_config)
        return LoadedModel(card, encoder, contract, report, _hash_tensors(content))
    path = _required_file(card, weights_root)
    checksum = _checked_hash(card, path)
    converted = layout(card.layout or "timm")(read_checkpoint(path), card)
    report = fill(encoder.network, converted, card, where=str(path))
    return LoadedModel(card, encoder, _contract(card), report, checksum)


def _contract(card: ModelCard) -> InputContract:
    if card.input is None:
        raise UsageError("the card states no input contract", where=card.id, way_out="add `input` to the model's card")
    return card.input


def _timm_contract(card: ModelCard, config: Mapping[str, object]) -> InputContract:
    """The statistics that timm ships with the weights: they belong together."""
    update = {key: config[key] for key in ("mean", "std")}
    return InputContract.model_validate(_contract(card).model_dump() | update)


def _required_file(card: ModelCard, weights_root: Path | None) -> Path:
    path = weight_file(card, weights_root)
    if path is None:  # weight_state has said "ready", so a file is there
        raise MissingError("the card names no weight file", where=card.id, way_out="set weights in the model's card")
    return path


def _checked_hash(card: ModelCard, path: Path) -> str:
    found = hash_file(path)
    expected = card.weights.sha256
    if expected is not None and found != expected:
        raise MissingError(
            f"the weight file is not the published one: SHA-256 {found}, expected {expected}",
            where=str(path),
            way_out="fetch the file again, or run your own file as name=path:architecture",
        )
    return found


def _hash_tensors(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + b"\n")
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
