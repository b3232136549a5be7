"""Where the parts that are not visual start: from BERT, from the compared model's own text side, or at random.

The paper does not say what it did (section 7). With `model` FUSAR-KLIP keeps a trained fusion module and a vision-only
encoder does not, which alone could explain a table; so it is a setting, and records and tables name it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from foundation.errors import MissingError
from klip.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from adapters.interface import LoadedModel
    from klip.model.klip import KLIP
    from klip.settings import ModelSettings
    from tasks.protocol.settings import LanguageSettings

BERT = "bert-base-uncased"
"""Folder under the weights root: `vocab.txt` and `model.safetensors` or `pytorch_model.bin`, as published."""


class TextStart(NamedTuple):
    """A vocabulary, the size of the text side, and what fills it."""

    vocabulary: Vocabulary
    model: ModelSettings | None
    """Of the text file, where the size is its and not the protocol's."""
    fill: Callable[[KLIP], None]
    told: str
    """For the record."""


def text_start(loaded: LoadedModel, settings: LanguageSettings, texts: Callable[[], Sequence[str]]) -> TextStart:
    """The start of the text side.

    Args:
        loaded: The model whose encoder is compared.
        settings: Say which start, and the size of one at random.
        texts: All training texts; a vocabulary is trained from them where none is given.
    """
    if settings.init_text == "bert":
        return _bert(loaded)
    if settings.init_text == "model" and loaded.text_file is not None:
        return _own(loaded.text_file)
    vocabulary = Vocabulary.train(texts(), size=settings.text.vocabulary)
    lacking = "the model has no text side of its own: " if settings.init_text == "model" else ""
    return TextStart(vocabulary, None, lambda _: None, f"{lacking}text side at random")


def bert_folder(weights_root: Path) -> Path:
    """Where BERT lies; an error that says how to get it where it does not."""
    folder = weights_root / BERT
    if not (folder / "vocab.txt").is_file():
        raise MissingError(
            "the text side starts from BERT, which is not here",
            where=str(folder),
            way_out=f"put vocab.txt and model.safetensors of {BERT} there, or set init_text to random or model",
        )
    return folder


def _bert(loaded: LoadedModel) -> TextStart:
    from adapters.weights import weights_root_of
    from klip.model.bert_weights import load_bert_file

    folder = bert_folder(weights_root_of(loaded.weights_root))

    def fill(model: KLIP) -> None:
        load_bert_file(model, folder)

    return TextStart(Vocabulary.read(folder / "vocab.txt"), None, fill, f"text side from {BERT}")


def _own(path: Path) -> TextStart:
    from klip.text_file import read_text_side

    side = read_text_side(path)

    def fill(model: KLIP) -> None:
        side.fill(model)

    return TextStart(side.vocabulary, side.model, fill, f"text side of the model itself ({path.name})")
