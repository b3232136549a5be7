"""Finding the encoder's tensors in a file, and giving them their canonical names.

Files hold more than one encoder: momentum copies, text towers, decoders. The encoder is found by the kernel of its
patch embedding; where several are found, the card decides, then the layout's usual place, and never the first match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from foundation.errors import CellError

if TYPE_CHECKING:
    from torch import Tensor

    from adapters.card import ModelCard

WRAPPERS = ("module.", "_orig_mod.")
"""What distributed training and compilation put in front of every name, once or more."""

_COPY = re.compile(r"(_m|momentum\w*|\w+_momentum|\w+_ema|ema)[./]")
_NAMES_IN_MESSAGES = 4


class NoTowerError(CellError):
    """The file holds no encoder in this layout."""


class Tower(NamedTuple):
    """The encoder's part of a file."""

    prefix: str
    inner: dict[str, Tensor]
    """Tensors under the prefix, by the rest of their names."""
    outside: dict[str, Tensor]
    """All others, by their full names."""


class Renaming:
    """A table of templates, file name -> canonical name; `{i}` is a block's number, `{end}` weight or bias."""

    def __init__(self, table: Mapping[str, str]) -> None:
        self._rules = [(_pattern(theirs), ours) for theirs, ours in table.items()]

    def __call__(self, name: str) -> str | None:
        """The canonical name; None for a name that the table does not know."""
        for pattern, ours in self._rules:
            if match := pattern.fullmatch(name):
                return ours.format(**match.groupdict())
        return None


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the wrappers' prefixes."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        short = without_wrappers(name)
        if short in found:
            raise CellError(
                f"{short!r} is in the file twice, with and without {'/'.join(WRAPPERS)} in front",
                way_out="save one model only: torch.save(model.state_dict(), path)",
            )
        found[short] = value
    return found


def without_wrappers(name: str) -> str:
    """One name without the wrappers' prefixes."""
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


def find_tower(
    state: Mapping[str, Tensor], marker: str, card: ModelCard, *, layout: str, usual: Sequence[str] = ()
) -> Tower:
    """The encoder whose patch embedding is called `marker`, after whatever prefix."""
    state = unwrapped(state)
    prefix = _prefix(state, marker, card, layout, usual)
    inner = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return Tower(prefix, inner, {name: value for name, value in state.items() if not name.startswith(prefix)})


def rename(
    tower: Tower, renaming: Callable[[str], str | None], *, layout: str, dropped: Sequence[str] = ()
) -> tuple[dict[str, Tensor], list[str]]:
    """The tower under canonical names, and the names left out because they start as one of `dropped`.

    An unknown name inside a tower is an error: it would be a part of the encoder that is lost. Without a prefix there
    is no telling, so it keeps its name and whoever fills the encoder decides.
    """
    state: dict[str, Tensor] = {}
    left_out: list[str] = []
    unknown: list[str] = []
    for name, value in tower.inner.items():
        ours = renaming(name)
        if ours is not None:
            state[ours] = value
        elif name.startswith(tuple(dropped)):
            left_out.append(tower.prefix + name)
        elif tower.prefix:
            unknown.append(tower.prefix + name)
        else:
            state[name] = value
    if unknown:
        raise CellError(
            f"{len(unknown)} tensors of the encoder are unknown to the layout {layout!r} ({shortened(unknown)})",
            way_out="this is another architecture: choose its layout, or write one (adapters/README.md)",
        )
    return state, left_out


def shortened(names: Iterable[str]) -> str:
    """The first few names, and how many more."""
    listed = list(names)
    more = len(listed) - _NAMES_IN_MESSAGES
    return ", ".join(listed[:_NAMES_IN_MESSAGES]) + (f" and {more} more" if more > 0 else "")


def _prefix(state: Mapping[str, Tensor], marker: str, card: ModelCard, layout: str, usual: Sequence[str]) -> str:
    ends = (f".{marker}", f"/{marker}")
    found = [name.removesuffix(marker) for name in state if name == marker or name.endswith(ends)]
    if card.prefix is not None:
        wanted = without_wrappers(card.prefix)
        if wanted in found:
            return wanted
        places = f"there are encoders under {_quoted(found)}" if found else f"nothing ends with {marker!r} at all"
        raise NoTowerError(
            f"no encoder under the card's prefix {wanted!r}; {places}",
            way_out="set `prefix` in the model's card to the one that is meant, or name the right file",
        )
    own = [prefix for prefix in found if not _COPY.search(prefix)]
    if not own and found:
        raise NoTowerError(
            f"the file holds only a momentum copy of the encoder (under {_quoted(found)})",
            way_out="name the file of the encoder itself, or set `prefix` in the model's card to use the copy",
        )
    if not own:
        raise NoTowerError(
            f"no encoder in the layout {layout!r}: no name ends with {marker!r}; "
            f"the names in the file start with {shortened(state)}",
            way_out="name the file with the vision tower, or choose the layout that the file is written in",
        )
    if len(own) == 1:
        return own[0]
    for prefix in usual:
        if prefix in own:
            return prefix
    raise CellError(
        f"the file holds several encoders, under {_quoted(own)}",
        way_out="set `prefix` in the model's card to the one that is meant",
    )


def _quoted(prefixes: Iterable[str]) -> str:
    return ", ".join(repr(prefix) for prefix in prefixes)


def _pattern(template: str) -> re.Pattern[str]:
    text = re.escape(template)
    for field, values in (("i", r"\d+"), ("end", "weight|bias")):
        text = text.replace(re.escape(f"{{{field}}}"), f"(?P<{field}>{values})")
    return re.compile(text)
