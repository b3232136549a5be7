"""Small models whose weights lie in this package: `zoo/<id>.toml` is the card, `zoo/<id>.safetensors` the weights.

They are trained by this repository's own commands (`klip zoo build`), and are what runs when nothing else is there. A
card has the tables of a model file and one more, `[made]`, that says how the weights came about. Never imports torch.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from adapters.card import ModelCard

ZOO = Path(__file__).with_name("zoo")


def zoo_card_files() -> list[Path]:
    """The cards that are here, by name."""
    return sorted(ZOO.glob("*.toml"))


def shipped_file(card: ModelCard) -> Path:
    """Where the weights of a card of kind `shipped` lie."""
    return ZOO / (card.weights.filename or f"{card.id}.safetensors")


def how_made(identifier: str) -> dict[str, Any]:
    """What the card says about how its weights came about; empty where there is none."""
    path = ZOO / f"{identifier}.toml"
    if not path.is_file():
        return {}
    made: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8")).get("made", {})
    return made
