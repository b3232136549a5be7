"""Where a model's weights should lie, and whether they do: found out without torch and without a network.

Nothing is ever downloaded here. A model whose weights are not there keeps its row, with the reason, the command that
fetches them, and exactly what to fetch by hand and where to put it.
"""

from __future__ import annotations

import os
from pathlib import Path

from adapters.card import ModelCard, WeightSource, WeightState
from adapters.checkpoint_files import wanted_prefix
from adapters.containers.shards import INDEX_SUFFIX, shards_of
from adapters.layouts import LAYOUTS
from adapters.shipped import shipped_file
from foundation.cache import cache_root
from foundation.errors import BenchError, UsageError

VARIABLE = "FUSAR_KLIP_WEIGHTS"
NOT_FREE = ("-nc", "non-commercial", "research only")
"""Words in a licence that forbid commercial use (section 11 of the adapter specification asks to flag these)."""

PUBLISHED = ("hub", "url", "manual", "unreleased")
"""Kinds of sources whose files lie under the weights root."""


def default_weights_root() -> Path:
    """The folder named by FUSAR_KLIP_WEIGHTS, else `weights` in the cache."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen).expanduser() if chosen else cache_root() / "weights"


def weights_root_of(chosen: Path | None) -> Path:
    """The folder that the user chose, or the default one, which need not be there yet."""
    if chosen is None:
        return default_weights_root()
    if not chosen.is_dir():
        raise UsageError(
            "the weights root is not a folder",
            where=str(chosen),
            way_out="name the folder that holds the weights, or leave --weights-root out for "
            f"{default_weights_root()}; `harness weights fetch MODEL` makes one",
        )
    return chosen


def weight_file(card: ModelCard, weights_root: Path | None) -> Path | None:
    """The file that would be read: the user's own path, this package's, or `<weights-root>/<id>/<file name>`."""
    source = card.weights
    if source.kind == "file":
        return Path(source.path).expanduser() if source.path else None
    if source.kind == "shipped":
        return shipped_file(card)
    if source.kind not in PUBLISHED:
        return None
    return weights_root_of(weights_root) / card.id / basename(card)


def text_file(card: ModelCard, weights_root: Path | None) -> Path | None:
    """The model's own text side, beside its weights; None where the card names none or it is not there."""
    main = weight_file(card, weights_root)
    if card.text is None or main is None:
        return None
    path = main.with_name(card.text.filename)
    return path if path.is_file() else None


def further_files(card: ModelCard, main: Path) -> tuple[Path, ...]:
    """What has to lie beside `main`: the shards that its index names, and the companion where `main` falls short.

    An index says whether its shards hold the tower; of any other file with a companion it is taken that it does not.
    """
    shards: tuple[Path, ...] = ()
    if main.name.endswith(INDEX_SUFFIX) and main.is_file():
        prefix = wanted_prefix(card)
        shards = shards_of(main, lambda name: prefix in name)
    if card.companion is None or shards:
        return shards
    return (main.with_name(card.companion.filename),)


def weight_state(card: ModelCard, weights_root: Path | None) -> WeightState:
    """Whether the card can be loaded here and now, and if not, the way out."""
    weights_root_of(weights_root)  # a folder that the user chose must be there, whatever the model
    if card.architecture is None:
        return WeightState(
            state="unsupported",
            reason="answers questions itself and has no encoder; answerers are not built yet",
            way_out="its reported numbers are shown in Table 7",
        )
    kind = card.weights.kind
    if kind in ("none", "random"):
        return WeightState(state="ready")
    if kind == "timm":
        return WeightState(
            state="ready", reason="timm fetches these weights on first use, or takes them from its cache"
        )
    path = weight_file(card, weights_root)
    if kind == "file":
        return _own_file(card, path)
    if kind == "shipped" and path is not None:
        return _shipped(card, path)
    if path is None or not path.is_file():
        return _not_here(card, path, weights_root)
    return _published(card, path, weights_root)


def fetch_advice(source: WeightSource, target: str) -> str:
    """What to download and where to put it, with the licence where it restricts use."""
    if source.kind == "hub":
        what = f"download {source.filename} from {hub_page(source)}"
        if source.revision:
            what += f" (revision {source.revision})"
    elif source.kind == "url":
        what = f"download {source.url}"
    elif source.steps:
        what = "; ".join(source.steps)
    else:
        what = f"fetch {source.filename or 'the weights'} by hand, starting at {source.url}"
    advice = f"{what} and save it as {target}"
    if is_restricted(source):
        advice += f" (licence: {source.licence}; not for commercial use)"
    return advice


def hub_page(source: WeightSource) -> str:
    """The page of the source's repository on the hub."""
    return f"https://huggingface.co/{source.hub_id}"


def is_restricted(source: WeightSource) -> bool:
    """Whether the licence forbids commercial use."""
    return any(word in source.licence.lower() for word in NOT_FREE)


def basename(card: ModelCard) -> str:
    """The name of the main file; where none is published or confirmed, the card's id serves."""
    return Path(card.weights.filename).name if card.weights.filename else f"{card.id}.pth"


def _own_file(card: ModelCard, path: Path | None) -> WeightState:
    if path is None:
        return WeightState(
            state="missing", reason="the card names no file", way_out="set weights.path in the model file"
        )
    if not path.is_file():
        return WeightState(state="missing", path=str(path), reason="no such file", way_out=f"check the path {path}")
    if card.layout not in LAYOUTS:
        return WeightState(
            state="unsupported",
            path=str(path),
            reason=f"no reader for the layout {card.layout!r}",
            way_out=f"set layout in the model file to one of {', '.join(sorted(LAYOUTS))}",
        )
    return WeightState(state="ready", path=str(path))


def _shipped(card: ModelCard, path: Path) -> WeightState:
    if path.is_file():
        return WeightState(state="ready", path=str(path))
    return WeightState(
        state="missing",
        path=str(path),
        reason="the weights that belong to this package are not in this installation",
        way_out=f"install the package anew, or train them: `klip zoo build {card.id} --help`",
    )


def _published(card: ModelCard, path: Path, weights_root: Path | None) -> WeightState:
    try:
        further = further_files(card, path)
    except BenchError as error:
        return WeightState(state="missing", path=str(path), reason=error.what, way_out=error.way_out)
    absent = [other.name for other in further if not other.is_file()]
    if absent:
        return WeightState(
            state="missing",
            path=str(path),
            reason=f"weights incomplete: {', '.join(absent)} is not beside {path.name}",
            way_out=_fetch_command(card, weights_root),
        )
    if card.layout not in LAYOUTS:
        return WeightState(
            state="unsupported",
            path=str(path),
            reason="the file is here, but the reader for its layout is not built yet",
            way_out='rename its tensors to the names of timm and describe it in a model file with layout = "timm"',
        )
    return WeightState(state="ready", path=str(path))


def _not_here(card: ModelCard, path: Path | None, weights_root: Path | None) -> WeightState:
    target = str(path)
    if card.weights.kind == "unreleased":
        return WeightState(
            state="missing",
            path=target,
            reason="unreleased: the authors have not published these weights",
            way_out=f"watch {card.weights.url}; once published, save the file as {target}",
        )
    advice = fetch_advice(card.weights, target)
    if card.weights.kind != "manual":
        advice = f"{_fetch_command(card, weights_root)}, or {advice}"
    return WeightState(state="missing", path=target, reason="weights missing: not on this machine", way_out=advice)


def _fetch_command(card: ModelCard, weights_root: Path | None) -> str:
    root = f" --weights-root {weights_root}" if weights_root is not None else ""
    return f"`harness weights fetch {card.id}{root}`"
