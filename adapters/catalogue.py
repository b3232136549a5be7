"""Where cards come from: the catalogue of this room, files of users, installed packages. Never imports torch.

A card that does not validate in a file is an error that names the file and the field. A package that
misbehaves is not allowed to take the others with it: what it did is collected as a problem instead.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from adapters.card import Architecture, InputContract, ModelCard
from adapters.shipped import zoo_card_files
from foundation.errors import MissingError, UsageError
from foundation.hashing import hash_sources

ENTRY_POINT_GROUP = "fusar_klip_bench.models"
CATALOG_FILE = Path(__file__).with_name("catalog.toml")


def load_model_file(path: Path) -> list[ModelCard]:
    """The cards of a TOML file with the same tables as `catalog.toml`.

    `input = "clip"` may name an `[inputs]` table of the same file or one of the catalogue's. The path of a weight file
    may be relative to the model file.
    """
    document = _read_toml(path)
    inputs = dict(_catalog_inputs()) | document.get("inputs", {})
    entries = document.get("model", [])
    if not isinstance(entries, list) or not entries:
        raise UsageError("no models in the file", where=str(path), way_out="write one [[model]] table per model")
    return _cards(entries, inputs, path)


@cache
def shipped_cards() -> tuple[ModelCard, ...]:
    """The cards of `catalog.toml`, in the order of the paper's tables; those of the zoo stand before random-mini."""
    cards = load_model_file(CATALOG_FILE)
    zoo = [card for path in zoo_card_files() for card in load_model_file(path)]
    place = next((at for at, card in enumerate(cards) if card.backbone == "mini"), len(cards))
    found = (*cards[:place], *zoo, *cards[place:])
    require_unique(found, "the catalogue together with the zoo")
    return found


def common_input(name: str) -> InputContract:
    """One of the catalogue's named input contracts: clip, imagenet, half, none, single, six_bands."""
    return InputContract.model_validate(_catalog_inputs()[name])


def installed_cards() -> tuple[list[ModelCard], list[str]]:
    """The cards of installed packages (entry points), and what went wrong with any of them.

    A wrong card takes only its own entry point out; the models of other packages go on.
    """
    cards: list[ModelCard] = []
    problems: list[str] = []
    taken = {card.id for card in shipped_cards()}
    for entry in sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: (entry.name, entry.value)):
        try:
            found = _cards_of(entry.load())
        except (Exception, SystemExit) as error:  # a foreign package may raise anything
            problems.append(_problem(entry, f"{type(error).__name__}: {error}"))
            continue
        for card in found:
            if card.id in taken:
                problems.append(_problem(entry, f"the model id {card.id!r} is already taken"))
            else:
                taken.add(card.id)
                cards.append(card)
    return cards, problems


def require_unique(cards: Iterable[ModelCard], where: str) -> None:
    """Raises when two cards share an id."""
    seen: set[str] = set()
    for card in cards:
        if card.id in seen:
            raise UsageError(
                f"the model id {card.id!r} is used twice", where=where, way_out="give each model its own id"
            )
        seen.add(card.id)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingError(
            f"cannot read the model file: {error.strerror}", where=str(path), way_out="check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"not valid TOML: {error}", where=str(path), way_out="correct that line") from error


@cache
def _catalog_inputs() -> dict[str, Any]:
    inputs: dict[str, Any] = _read_toml(CATALOG_FILE)["inputs"]
    return inputs


def _cards(entries: list[Any], inputs: dict[str, Any], path: Path) -> list[ModelCard]:
    cards = []
    for position, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise UsageError("'model' must be a table", where=str(path), way_out="start each model with [[model]]")
        name = entry.get("id", f"number {position}")
        if entry.get("architecture") == "none":  # TOML cannot say null
            entry = entry | {"architecture": None}
        contract = entry.get("input")
        if isinstance(contract, str):
            if contract not in inputs:
                raise UsageError(
                    f"unknown input {contract!r}",
                    where=f"{path}, model {name}",
                    way_out=f"write a table, or one of {', '.join(sorted(inputs))}",
                )
            entry = entry | {"input": inputs[contract]}
        try:
            cards.append(_beside(with_code(ModelCard.model_validate(entry)), path))
        except ValidationError as error:
            raise UsageError(
                f"the model card is not valid: {_first_complaint(error)}",
                where=f"{path}, model {name}",
                way_out="correct that field; adapters/catalog.toml shows each of them",
            ) from error
    require_unique(cards, str(path))
    return cards


def _beside(card: ModelCard, model_file: Path) -> ModelCard:
    """The card with the place of its weights where they lie beside the model file, so that both can be moved."""
    source = card.weights
    if source.kind != "file" or source.path is None or not (beside := model_file.parent / source.path).is_file():
        return card
    return card.model_copy(update={"weights": source.model_copy(update={"path": str(beside)})})


def _first_complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg']}" if field else str(first["msg"])


def _cards_of(value: Any) -> list[ModelCard]:
    """The cards that an entry point stands for: a card, a card with its factory, several, or a function giving them."""
    if callable(value) and not isinstance(value, ModelCard):
        value = value()
    if isinstance(value, ModelCard) or _is_pair(value):
        value = [value]
    return [with_code(_card_of(one)) for one in value]


def _is_pair(value: Any) -> bool:
    """Whether it is a card together with the function that builds its encoder."""
    return isinstance(value, tuple) and len(value) == 2 and not isinstance(value[1], ModelCard) and callable(value[1])


def _card_of(value: Any) -> ModelCard:
    card, factory = value if _is_pair(value) else (value, None)
    if not isinstance(card, ModelCard):
        raise TypeError(f"expected a ModelCard, got {type(card).__name__}")
    if factory is None:
        return card
    # Cards travel to worker processes, functions only by their names.
    stated = card.architecture.model_dump(exclude_unset=True) if card.architecture is not None else {}
    path = f"{factory.__module__}:{factory.__qualname__}"
    architecture = Architecture.model_validate(stated | {"kind": "object", "factory": path})
    return card.model_copy(update={"architecture": architecture})


def with_code(card: ModelCard) -> ModelCard:
    """The card with the hash of its factory's sources, so that a record made by other code is not taken for it.

    Counted are all Python files of the package that the factory is in.
    """
    architecture = card.architecture
    factory: str | None = getattr(architecture, "factory", None)
    if architecture is None or factory is None:
        return card
    top = factory.partition(":")[0].partition(".")[0]
    spec = find_spec(top)
    if spec is None:
        raise UsageError(
            f"the factory {factory} is in no installed package",
            where=card.id,
            way_out=f"install the package that holds {top}, or correct `factory` in the card",
        )
    homes = [Path(place) for place in spec.submodule_search_locations or ()]
    sources = [path for home in homes for path in sorted(home.rglob("*.py"))] or [Path(str(spec.origin))]
    code = hash_sources([path for path in sources if path.is_file()])
    return card.model_copy(update={"architecture": architecture.model_copy(update={"code": code})})


def _problem(entry: metadata.EntryPoint, reason: str) -> str:
    distribution = entry.dist.name if entry.dist is not None else "an unknown package"
    return (
        f"models of {distribution} (entry point {entry.name} = {entry.value}) are left out: {reason}; "
        f"way out: update or uninstall {distribution}, or tell its authors"
    )
