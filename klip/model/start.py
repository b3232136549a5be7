"""Where the towers start: at random, or from published weights (section 2.6 of the KLIP specification).

The image tower is filled by the benchmark's own rooms: every layout they read is read here, and position tables are
resized as they do it. Nothing is fetched unless `timm:NAME` asks for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import Tensor

from foundation.errors import CellError, MissingError, UsageError
from klip.model.bert_weights import BertReport, load_bert_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapters.interface import LoadReport
    from klip.model.klip import KLIP

RANDOM = "random"
_TIMM = "timm:"


def start_towers(model: KLIP) -> None:
    """Fills the towers as `model.init` of its settings says; before twins are made of them."""
    start = model.settings.model.init
    if start.vision != RANDOM:
        start_vision(model, start.vision)
    if start.text != RANDOM:
        start_text(model, start.text)


def start_text(model: KLIP, source: str) -> BertReport:
    """Fills the text stack from a BERT file or folder."""
    return load_bert_file(model, _existing(source, "model.init.text"))


def start_vision(model: KLIP, source: str) -> LoadReport:
    """Fills the image tower from `timm:NAME` or a file in any layout that the benchmark reads."""
    from adapters.containers import read

    if source.startswith(_TIMM):
        return fill_vision(model, _timm_state(source.removeprefix(_TIMM), model), where=source, layouts=("timm",))
    path = _existing(source, "model.init.vision")
    return fill_vision(model, read(path).tensors, where=str(path))


def fill_vision(
    model: KLIP, state: Mapping[str, Tensor], *, where: str, layouts: tuple[str, ...] | None = None
) -> LoadReport:
    """Puts a checkpoint's tensors into the image tower, completely or not at all.

    Without `layouts` the names in the file decide; the most particular layout that gives a whole tower is taken.
    """
    from adapters.card import ModelCard, WeightSource
    from adapters.checkpoint import fill
    from adapters.encoder import PlainViT
    from adapters.layouts import layout, recognise

    if layouts is None:
        layouts = tuple(one.layout for one in recognise({name: tuple(value.shape) for name, value in state.items()}))
    if not layouts:
        raise CellError(
            "no vision transformer is recognised in the file",
            where=where,
            way_out="write its tensors under the names of timm's vision transformers",
        )
    tower = cast(PlainViT, model.vision)
    card = ModelCard(
        id="image-tower",
        name="image tower",
        backbone="other",
        kind="image tower of KLIP",
        architecture=tower.architecture,
        weights=WeightSource(kind="none"),
    )
    failures = []
    for name in layouts:
        try:
            return fill(tower, layout(name)(state, card), card, where=where)
        except CellError as error:
            failures.append(error)
    raise failures[0]


def _timm_state(name: str, model: KLIP) -> Mapping[str, Tensor]:
    from adapters.card import Architecture
    from adapters.timm_encoder import create_network
    from adapters.timm_names import require_timm_name

    require_timm_name(name)
    wanted = Architecture(kind="timm", timm_name=name, in_channels=model.vision.in_channels)
    state: dict[str, Tensor] = create_network(wanted, seed=model.settings.seed, pretrained=True).state_dict()
    return state


def _existing(source: str, key: str) -> Path:
    path = Path(source).expanduser()
    if ":" in source and not path.exists():
        raise UsageError(
            f"{key} names no source that is known: {source}",
            way_out=f"`{RANDOM}`, a file, or for the image tower `{_TIMM}NAME`",
        )
    if not path.exists():
        raise MissingError(f"{key} names no file", where=str(path), way_out=f"check the path, or set {key}={RANDOM}")
    return path
