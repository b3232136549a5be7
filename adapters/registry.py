"""Models by name: the catalogue, groups of it, and what a user writes after `--models`. Never imports torch.

The names on the command line are the ids of cards, groups of cards, `name=path:architecture` for a file of
one's own, and `timm:NAME` (`timm:NAME@pretrained`) for anything that timm builds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from adapters.card import Architecture, Backbone, ModelCard, WeightSource
from adapters.catalogue import (
    common_input,
    installed_cards,
    load_model_file,
    require_unique,
    shipped_cards,
)
from adapters.geometry import backbone_group, timm_architecture
from adapters.weights import weight_file, weight_state
from foundation.errors import UsageError
from foundation.names import unknown_name

__all__ = [
    "catalog",
    "catalog_problems",
    "common_input",
    "groups",
    "load_model_file",
    "select",
    "weight_file",
    "weight_state",
]

LIST_COMMAND = "harness list models"
_PRETRAINED = ("@pretrained", ":pretrained")


def catalog() -> dict[str, ModelCard]:
    """Every known model by id: the shipped ones in the paper's order, then those of installed packages."""
    cards = [*shipped_cards(), *installed_cards()[0]]
    require_unique(cards, "the catalogue")
    return {card.id: card for card in cards}


def catalog_problems() -> list[str]:
    """What installed packages did wrong, each with its distribution and the way out."""
    return installed_cards()[1]


def groups(extra: Sequence[ModelCard] = ()) -> dict[str, list[str]]:
    """Names for several models at once: backbone groups, kinds, tables of the paper, and `all`."""
    return _groups([*catalog().values(), *extra])


def select(spec: str, extra: Sequence[ModelCard] = ()) -> list[ModelCard]:
    """The models that `spec` names, in the order of the catalogue and each once.

    `spec` is a comma-separated list of ids, groups, `name=path:architecture` and `timm:NAME`; `extra` are
    the cards of a model file.
    """
    known = [*catalog().values(), *extra]
    require_unique(known, "the catalogue together with the model file")
    named = _groups(known)
    ids = {card.id for card in known}
    chosen: set[str] = set()
    written: dict[str, ModelCard] = {}
    for item in _items(spec):
        if item in named:
            chosen.update(named[item])
        elif item in ids:
            chosen.add(item)
        elif "=" in item or item.startswith("timm:"):
            card = _file_card(item) if "=" in item else _timm_card(item)
            _add_written(card, item, written, taken=ids | named.keys())
        else:
            raise unknown_name("model", item, [*ids, *named], see=LIST_COMMAND)
    return [*(card for card in known if card.id in chosen), *written.values()]


def _items(spec: str) -> list[str]:
    items = [item.strip() for item in spec.split(",") if item.strip()]
    if not items:
        raise UsageError("no model named", way_out=f"name at least one, or `all`; see `{LIST_COMMAND}`")
    return items


def _groups(cards: Iterable[ModelCard]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"all": []}
    for card in cards:
        names = ["all", card.backbone.lower(), card.kind, *(f"table{number}" for number in card.tables)]
        for name in dict.fromkeys(names):
            found.setdefault(name, []).append(card.id)
    return found


def _add_written(card: ModelCard, item: str, written: dict[str, ModelCard], *, taken: set[str]) -> None:
    if card.id in taken:
        raise UsageError(
            f"the name {card.id!r} already belongs to the catalogue",
            where=item,
            way_out="choose another name before the =",
        )
    if written.setdefault(card.id, card) != card:
        raise UsageError(f"the name {card.id!r} is given to two models", where=item, way_out="choose two names")


def _file_card(item: str) -> ModelCard:
    """`mine=ckpt.pth:vit_base_patch16_224`."""
    name, _, rest = item.partition("=")
    path, _, architecture = rest.rpartition(":")
    if not (name and path and architecture):
        raise UsageError(
            "a model of your own needs a name, a file and an architecture",
            where=item,
            way_out="write name=path:architecture, for example mine=ckpt.pth:vit_base_patch16_224",
        )
    return _written_card(
        name,
        name,
        timm_architecture(architecture),
        WeightSource(kind="file", filename=Path(path).name, path=path, licence="yours"),
        item,
        kind="own",
    )


def _timm_card(item: str) -> ModelCard:
    """`timm:resnet18`, or `timm:resnet18@pretrained` (`:pretrained` is how it is spelt in an id)."""
    name = item.removeprefix("timm:")
    pretrained = name.endswith(_PRETRAINED)
    for ending in _PRETRAINED:
        name = name.removesuffix(ending)
    if not name:
        raise UsageError("timm: needs a model name", where=item, way_out="for example timm:resnet18")
    source = WeightSource(kind="timm", filename=name, licence="see the timm model card") if pretrained else None
    return _written_card(
        f"timm:{name}{':pretrained' if pretrained else ''}",
        f"{name} ({'timm, pre-trained' if pretrained else 'from scratch'})",
        timm_architecture(name),
        source or WeightSource(kind="random"),
        item,
        kind="timm",
    )


def _written_card(
    identifier: str, name: str, architecture: Architecture, weights: WeightSource, item: str, *, kind: str
) -> ModelCard:
    backbone: Backbone = "other"
    if architecture.kind == "vit":
        backbone = backbone_group(architecture.width, architecture.depth)
    try:
        return ModelCard(
            id=identifier,
            name=name,
            backbone=backbone,
            kind=kind,
            architecture=architecture,
            # What the authors' vision pipelines feed to every model (section 2.2 of the task specification).
            input=common_input("half"),
            weights=weights,
            layout="timm" if weights.kind in ("file", "timm") else None,
        )
    except ValidationError as error:
        raise UsageError(
            f"not a possible model name: {identifier!r}",
            where=item,
            way_out="use lower-case letters, digits, and . _ : - only, starting with a letter or digit",
        ) from error
