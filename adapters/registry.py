"""Models by name: the catalogue, groups of it, and what a user writes after `--models`. Never imports torch.

The names on the command line are the ids of cards, groups of cards, `name=path:architecture` for a file of
one's own, and models of other libraries: `timm:NAME` (`timm:NAME@pretrained`) for anything that timm builds,
`open_clip:NAME@TAG` for the ViTs of open_clip, `hf:ORG/NAME` for CLIP and ViT models in the Hugging Face cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from adapters.card import Backbone, ModelCard, WeightSource
from adapters.catalogue import (
    common_input,
    installed_cards,
    load_model_file,
    require_unique,
    shipped_cards,
)
from adapters.geometry import backbone_group, timm_architecture
from adapters.library_models import (
    OPEN_CLIP_LAYOUT,
    LibraryModel,
    hub_model,
    is_open_clip_name,
    open_clip_architecture,
    open_clip_model,
)
from adapters.timm_names import require_timm_name
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

    `spec` is a comma-separated list of ids, groups, `name=path:architecture`, `timm:NAME`, `open_clip:NAME@TAG` and
    `hf:ORG/NAME`; `extra` are the cards of a model file.
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
        elif (write := _writer(item)) is not None:
            _add_written(write(item), item, written, taken=ids | named.keys())
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


def _writer(item: str) -> Callable[[str], ModelCard] | None:
    """What makes a card of an item that is no name of the catalogue."""
    if "=" in item:
        return _file_card
    return _LIBRARIES.get(item.partition(":")[0]) if ":" in item else None


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
    described = timm_architecture(architecture)
    layout, contract = "timm", "half"
    if described.kind == "timm" and is_open_clip_name(architecture):
        described, layout, contract = open_clip_architecture(architecture), OPEN_CLIP_LAYOUT, "clip"
    elif described.kind == "timm":
        require_timm_name(architecture)
    source = WeightSource(kind="file", filename=Path(path).name, path=path, licence="yours")
    return _written_card(name, LibraryModel(name, described, common_input(contract), source, layout, ""), item, "own")


def _timm_card(item: str) -> ModelCard:
    """`timm:resnet18`, or `timm:resnet18@pretrained` (`:pretrained` is how it is spelt in an id)."""
    name = item.removeprefix("timm:")
    pretrained = name.endswith(_PRETRAINED)
    for ending in _PRETRAINED:
        name = name.removesuffix(ending)
    if not name:
        raise UsageError("timm: needs a model name", where=item, way_out="for example timm:resnet18")
    architecture = timm_architecture(name)
    if architecture.kind == "timm" or pretrained:
        require_timm_name(name)
    source = WeightSource(kind="timm", filename=name) if pretrained else WeightSource(kind="random")
    if pretrained:
        source = source.model_copy(update={"licence": "see the timm model card"})
    # What the authors' vision pipelines feed to every model (section 2.2 of the task specification).
    printed = f"{name} ({'timm, pre-trained' if pretrained else 'from scratch'})"
    model = LibraryModel(printed, architecture, common_input("half"), source, "timm" if pretrained else None, "")
    return _written_card(f"timm:{name}{':pretrained' if pretrained else ''}", model, item, "timm")


def _open_clip_card(item: str) -> ModelCard:
    """`open_clip:ViT-B-32@laion2b_s34b_b79k`; without a tag from scratch. An id has `:` before the tag."""
    written = item.removeprefix("open_clip:")
    name, _, tag = written.replace("@", ":").partition(":")
    if not name:
        way_out = "for example open_clip:ViT-B-32@laion2b_s34b_b79k"
        raise UsageError("open_clip: needs a model name", where=item, way_out=way_out)
    model = open_clip_model(name, tag or None)
    identifier = f"open_clip:{model.name}".replace("@", ":").lower()
    printed = f"{model.name} (open_clip{'' if tag else ', from scratch'})"
    return _written_card(identifier, model._replace(name=printed), item, "open_clip")


def _hub_card(item: str) -> ModelCard:
    """`hf:openai/clip-vit-base-patch16`; `--` for the slash is how an id spells it."""
    model = hub_model(item.removeprefix("hf:"))
    return _written_card(f"hf:{model.name.replace('/', '--')}".lower(), model, item, "hub")


_LIBRARIES = {"timm": _timm_card, "open_clip": _open_clip_card, "hf": _hub_card}


def _written_card(identifier: str, model: LibraryModel, item: str, kind: str) -> ModelCard:
    architecture = model.architecture
    backbone: Backbone = "other"
    if architecture.kind == "vit":
        backbone = backbone_group(architecture.width, architecture.depth)
    try:
        return ModelCard(
            id=identifier,
            name=model.name,
            backbone=backbone,
            kind=kind,
            architecture=architecture,
            input=model.input,
            weights=model.weights,
            layout=model.layout,
            note=model.note,
        )
    except ValidationError as error:
        raise UsageError(
            f"not a possible model name: {identifier!r}",
            where=item,
            way_out="use lower-case letters, digits, and . _ : - only, starting with a letter or digit",
        ) from error
