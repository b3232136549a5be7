"""Where a model's weights should lie, and whether they do: found out without torch and without a network.

Nothing is ever downloaded here. A model whose weights are not there keeps its row, with the reason and with
exactly what to fetch and where to put it.
"""

from __future__ import annotations

from pathlib import Path

from adapters.card import ModelCard, WeightSource, WeightState
from adapters.layouts import LAYOUTS

NOT_FREE = ("-nc", "non-commercial", "research only")
"""Words in a licence that forbid commercial use (section 11 of the adapter specification asks to flag these)."""


def weight_file(card: ModelCard, weights_root: Path | None) -> Path | None:
    """The file that would be read: the user's own path, or `<weights-root>/<id>/<file name>`."""
    source = card.weights
    if source.kind == "file":
        return Path(source.path).expanduser() if source.path else None
    if source.kind in ("none", "random", "timm") or weights_root is None:
        return None
    return weights_root / card.id / _basename(card)


def weight_state(card: ModelCard, weights_root: Path | None) -> WeightState:
    """Whether the card can be loaded here and now, and if not, the way out."""
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
    if kind == "file":
        return _own_file(card)
    path = weight_file(card, weights_root)
    if path is None or not path.is_file():
        return _not_here(card, path)
    if card.layout not in LAYOUTS:
        return WeightState(
            state="unsupported",
            path=str(path),
            reason="the file is here, but the reader for its layout is not built yet",
            way_out='rename its tensors to the names of timm and describe it in a model file with layout = "timm"',
        )
    return WeightState(state="ready", path=str(path))


def fetch_advice(source: WeightSource, target: str) -> str:
    """What to download and where to put it, with the licence where it restricts use."""
    if source.kind == "hub":
        origin = f"https://huggingface.co/{source.hub_id}"
        what = f"download {source.filename} from {origin}"
        if source.revision:
            what += f" (revision {source.revision})"
    elif source.kind == "url":
        what = f"download {source.url}"
    else:
        what = f"fetch {source.filename or 'the weights'} by hand, starting at {source.url}"
    advice = f"{what} and save it as {target}"
    if any(word in source.licence.lower() for word in NOT_FREE):
        advice += f" (licence: {source.licence}; not for commercial use)"
    return advice


def _own_file(card: ModelCard) -> WeightState:
    path = weight_file(card, None)
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


def _not_here(card: ModelCard, path: Path | None) -> WeightState:
    target = str(path) if path is not None else f"<weights-root>/{card.id}/{_basename(card)}"
    if card.weights.kind == "unreleased":
        return WeightState(
            state="missing",
            path=str(path) if path else None,
            reason="unreleased: the authors have not published these weights",
            way_out=f"watch {card.weights.url}; once published, save the file as {target}",
        )
    advice = fetch_advice(card.weights, target)
    if path is None:
        advice += ", then run with --weights-root <weights-root>"
    return WeightState(
        state="missing", path=str(path) if path else None, reason="weights missing: not on this machine", way_out=advice
    )


def _basename(card: ModelCard) -> str:
    # Where no file name is published or confirmed, the card's id serves.
    return Path(card.weights.filename).name if card.weights.filename else f"{card.id}.pth"
