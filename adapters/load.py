"""From a card to a model that the tasks can run: weights found, checked and in place, with a report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from adapters.card import Architecture, Companion, InputContract, ModelCard, WeightSource
from adapters.checkpoint_files import companion_file, wanted_prefix, weights_hash
from adapters.interface import LoadedModel, LoadMode, LoadReport
from adapters.layouts import Converted, layout
from adapters.load_modes import card_for
from adapters.weights import text_file, weight_file, weight_state, weights_root_of
from foundation.cache import cached_file_hash
from foundation.errors import CellError, MissingError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.initial_values import Startable
    from adapters.timm_encoder import TimmEncoder


class _Request(NamedTuple):
    """What the caller asked for."""

    card: ModelCard
    """As the mode understands it."""
    architecture: Architecture
    image_size: int
    seed: int
    weights_root: Path | None
    dropout: float
    drop_path: float
    mode: LoadMode
    depth: int
    """Blocks that the card itself declares, whatever the mode builds."""


def load(
    card: ModelCard,
    *,
    image_size: int,
    seed: int,
    weights_root: Path | None = None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    mode: LoadMode = "native",
) -> LoadedModel:
    """Builds the card's encoder for images of `image_size` and fills it.

    `seed` decides the initial values of what no file fills and nothing else; `dropout` and `drop_path` act in
    training only; `mode` is one of section 3.3 of the adapter specification. The loaded model's card and contract are
    those of the mode.
    """
    state = weight_state(card, weights_root)
    if state.state != "ready" or card.architecture is None:
        raise MissingError(
            f"{card.id} cannot be loaded: {state.reason}", where=state.path or card.id, way_out=state.way_out
        )
    text = text_file(card, weights_root)
    if text is not None and card.text is not None and cached_file_hash(text) != card.text.sha256:
        raise MissingError(
            "the file of the text side is not the one that the card names",
            where=str(text),
            way_out="export it again with its card, or take `text` out of the card",
        )
    fitted = card_for(card, mode)
    assert fitted.architecture is not None  # a mode changes an architecture, it takes none away
    depth = card.architecture.depth
    root = weights_root
    request = _Request(fitted, fitted.architecture, image_size, seed, root, dropout, drop_path, mode, depth)
    return replace(_loaded(request), text_file=text, weights_root=weights_root_of(weights_root))


def _loaded(request: _Request) -> LoadedModel:
    architecture = request.architecture
    if architecture.kind == "features":
        from adapters.simple_features import SimpleFeatures

        return LoadedModel(request.card, SimpleFeatures(), _contract(request.card), trainable=False)
    if architecture.kind in ("vit", "hivit"):
        return _load_own(request)
    if architecture.kind == "timm":
        return _load_timm(request)
    return _load_object(request, architecture.factory or "")


def _load_own(request: _Request) -> LoadedModel:
    from adapters.checkpoint import fill

    card, architecture = request.card, request.architecture
    random = card.weights.kind == "random"
    seed = request.seed if random or request.mode == "paper_plain" else None
    if not random and card.weights.kind != "timm":
        path = _required_file(card, request.weights_root)
        report, checksum, filled = _fill_from(path, lambda: _build(request, seed=seed), request)
        return LoadedModel(card, filled, _contract(card), report, checksum)  # type: ignore[arg-type]
    encoder = _build(request, seed=seed)
    if random:
        report = LoadReport(mode=request.mode)
        return LoadedModel(card, encoder, _contract(card), report)  # type: ignore[arg-type]
    from adapters.timm_encoder import create_network

    network = create_network(architecture, seed=request.seed, pretrained=True)
    content = network.state_dict()
    converted = layout(card.layout or "timm")(content, card)
    report = fill(encoder, converted, card, where=f"timm:{architecture.timm_name}", mode=request.mode)
    config = network.pretrained_cfg
    return LoadedModel(card, encoder, _timm_contract(card, config), report, _hash_tensors(content))  # type: ignore[arg-type]


def _build(request: _Request, *, seed: int | None) -> Startable:
    size, dropout, drop_path = request.image_size, request.dropout, request.drop_path
    if request.architecture.kind == "hivit":
        from adapters.hivit import build_hivit

        return build_hivit(request.architecture, image_size=size, seed=seed, dropout=dropout, drop_path=drop_path)
    from adapters.encoder import build_vit

    return build_vit(request.architecture, image_size=size, seed=seed, dropout=dropout, drop_path=drop_path)


def _fill_from(path: Path, build: Callable[[], Startable], request: _Request) -> tuple[LoadReport, str, Startable]:
    """Builds an encoder and fills it from a file and, where that falls short, from its companion."""
    from adapters.checkpoint import fill, with_companion

    card = request.card
    # The checksum is one pass over the file, reading it another; the encoder is built meanwhile.
    with ThreadPoolExecutor(2) as others:
        reading = others.submit(_main_file, path, card)
        checksum = others.submit(_checked_hash, card, path)
        encoder = build()
        main, owned = reading.result()
        converted, borrowed = main, tuple[str, ...]()
        if card.companion is not None and _falls_short(main, encoder):
            companion = companion_file(card, path)
            if companion is None:
                raise _no_companion(card, card.companion, path)
            whole = card.model_copy(update={"prefix": None, "weights": WeightSource(kind="none")})
            second, mine = _converted(companion, whole, card.companion.layout)
            owned = owned and mine
            converted, borrowed = with_companion(main, second, encoder, depth=request.depth)
        report = fill(encoder, converted, card, where=str(path), mode=request.mode, borrowed=borrowed, adopt=owned)
        if card.companion is not None and report.borrowed:
            note = f"{len(report.borrowed)} of {len(report.matched)} tensors come from {card.companion.filename}"
            report = replace(report, notes=(*report.notes, note))
        return report, checksum.result(), encoder


def _main_file(path: Path, card: ModelCard) -> tuple[Converted, bool]:
    """The main file's tensors; none where it holds no encoder and a companion may stand in."""
    from adapters.layouts.tower import NoTowerError

    try:
        return _converted(path, card, card.layout or "timm")
    except NoTowerError:
        if card.companion is None:
            raise
        return Converted({}, ()), True


def _converted(path: Path, card: ModelCard, name: str) -> tuple[Converted, bool]:
    """A file's tensors under canonical names, and whether they are in memory that is ours."""
    from adapters.containers import read

    prefix = wanted_prefix(card)
    container = read(path, (lambda tensor: prefix in tensor) if prefix else None)
    try:
        return layout(name)(container.tensors, card), container.owned
    except CellError as error:  # layouts know no files
        raise type(error)(error.what, where=error.where or str(path), way_out=error.way_out) from error


def _falls_short(converted: Converted, encoder: Startable) -> bool:
    return not encoder.state_dict(keep_vars=True).keys() <= converted.state.keys()


def _no_companion(card: ModelCard, companion: Companion, path: Path) -> MissingError:
    return MissingError(
        f"{path.name} does not hold the whole encoder of {card.id}; the rest is published as {companion.filename}",
        where=str(path),
        way_out=f"download {companion.url} and save it as {path.with_name(companion.filename)}",
    )


def _load_timm(request: _Request) -> LoadedModel:
    from adapters.checkpoint import fill
    from adapters.timm_encoder import build_timm

    card = request.card
    pretrained = card.weights.kind == "timm"
    encoder: TimmEncoder = build_timm(
        request.architecture,
        image_size=request.image_size,
        seed=request.seed,
        pretrained=pretrained,
        dropout=request.dropout,
        drop_path=request.drop_path,
    )
    if card.weights.kind == "random":
        return LoadedModel(card, encoder, _contract(card))
    if pretrained:
        content = encoder.network.state_dict()
        report = LoadReport(matched=tuple(sorted(content)))
        contract = _timm_contract(card, encoder.pretrained_config)
        return LoadedModel(card, encoder, contract, report, _hash_tensors(content))
    path = _required_file(card, request.weights_root)
    checksum = _checked_hash(card, path)
    converted, _ = _converted(path, card, card.layout or "timm")
    report = fill(encoder.network, converted, card, where=str(path))
    return LoadedModel(card, encoder, _contract(card), report, checksum)


def _load_object(request: _Request, factory: str) -> LoadedModel:
    """What a package builds itself; a file, where the card names one, must fill it as it fills timm's networks."""
    from adapters.objects import build_object

    card = request.card
    encoder = build_object(
        request.architecture,
        factory,
        image_size=request.image_size,
        seed=request.seed,
        dropout=request.dropout,
        drop_path=request.drop_path,
    )
    path = weight_file(card, request.weights_root)
    if path is None:  # random weights, or the package's own
        return LoadedModel(card, encoder, _contract(card))
    from adapters.checkpoint import fill

    checksum = _checked_hash(card, path)
    converted, _ = _converted(path, card, card.layout or "timm")
    report = fill(encoder, converted, card, where=str(path))  # type: ignore[arg-type]
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
    """The checksum of all files of the model; the main one must be the published one where that is known."""
    found: dict[Path, str] = {}

    def remembered(file: Path) -> str:
        if file not in found:
            found[file] = cached_file_hash(file)
        return found[file]

    whole = weights_hash(card, path, remembered)
    published = {path: card.weights.sha256}
    companion = companion_file(card, path)
    if card.companion is not None and companion is not None:
        published[companion] = card.companion.sha256
    for file, expected in published.items():
        if expected is not None and remembered(file) != expected:
            raise MissingError(
                f"the weight file is not the published one: SHA-256 {remembered(file)}, expected {expected}",
                where=str(file),
                way_out="fetch the file again, or run your own file as name=path:architecture",
            )
    return whole


def _hash_tensors(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + b"\n")
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
