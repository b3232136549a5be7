"""Where the parts that are not visual start: from BERT, from the compared model's own text side, or at random.

The paper does not say what it did (section 7). With `model` FUSAR-KLIP keeps a trained fusion module and a vision-only
encoder does not, which alone could explain a table; so it is a setting, and records and tables name it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from adapters.weights import text_file, weight_file, weights_root_of
from foundation.cache import cached_file_hash
from foundation.errors import MissingError
from foundation.hashing import hash_value
from klip.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from adapters.card import ModelCard
    from adapters.interface import LoadedModel
    from klip.model.klip import KLIP
    from klip.settings import ModelSettings
    from tasks.protocol.settings import LanguageSettings

BERT = "bert-base-uncased"
"""Folder under the weights root: `vocab.txt` and `model.safetensors` or `pytorch_model.bin`, as published."""
_BERT_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
RANDOM = "at random"
LACKING = "at random, the model has none of its own"


class TextOrigin(NamedTuple):
    """Where the text side of a cell starts, found out before anything is loaded."""

    name: str
    """For records and tables; empty where a model has no use for a text side."""
    digest: str
    """For the key of the cell: the hash of the files, or a word where there are none."""


class TextStart(NamedTuple):
    """A vocabulary, the size of the text side, and what fills it."""

    vocabulary: Vocabulary
    model: ModelSettings | None
    """Of the text file, where the size is its and not the protocol's."""
    fill: Callable[[KLIP], None]


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
    return TextStart(vocabulary, None, lambda _: None)


def text_origin(card: ModelCard, settings: LanguageSettings, weights_root: Path | None) -> TextOrigin:
    """Where the text side of a cell will start, and the hash of it. Never imports torch.

    Args:
        card: The model whose encoder is compared.
        settings: Say which start.
        weights_root: Where published weights lie; None: the default place.

    Raises:
        MissingError: What the settings or the card name is not here.
    """
    if card.architecture is not None and card.architecture.kind == "features":
        return TextOrigin("", "none")  # answered from neighbours: nothing is read or written
    if settings.init_text == "bert":
        files = _bert_files(bert_folder(weights_root_of(weights_root)))
        return TextOrigin(f"from {BERT}", hash_value({file.name: cached_file_hash(file) for file in files}))
    if settings.init_text == "model" and card.text is not None:
        own = text_file(card, weights_root)
        if own is None:
            main = weight_file(card, weights_root)
            raise MissingError(
                f"the text side of {card.id} is not beside its weights",
                where=str(main.with_name(card.text.filename)) if main is not None else card.text.filename,
                way_out="write it there with `klip export text`, or set init_text to random",
            )
        return TextOrigin("the model's own", cached_file_hash(own))
    return TextOrigin(LACKING if settings.init_text == "model" else RANDOM, "random")


def bert_folder(weights_root: Path) -> Path:
    """Where BERT lies, whole; an error that says how to get it where it does not."""
    folder = weights_root / BERT
    if len(_bert_files(folder)) < 2:
        raise MissingError(
            "the text side starts from BERT, which is not here",
            where=str(folder),
            way_out=f"put vocab.txt and model.safetensors of {BERT} there (huggingface.co/google-bert/{BERT}), or set "
            "init_text to random or model, e.g. --set retrieval.init_text=random",
        )
    return folder


def _bert_files(folder: Path) -> list[Path]:
    """Vocabulary and weights, as far as they are there."""
    weights = [folder / name for name in _BERT_WEIGHTS if (folder / name).is_file()]
    return [path for path in (folder / "vocab.txt", *weights[:1]) if path.is_file()]


def _bert(loaded: LoadedModel) -> TextStart:
    from klip.model.bert_weights import load_bert_file

    folder = bert_folder(weights_root_of(loaded.weights_root))

    def fill(model: KLIP) -> None:
        load_bert_file(model, folder)

    return TextStart(Vocabulary.read(folder / "vocab.txt"), None, fill)


def _own(path: Path) -> TextStart:
    from klip.text_file import read_text_side

    side = read_text_side(path)

    def fill(model: KLIP) -> None:
        side.fill(model)

    return TextStart(side.vocabulary, side.model, fill)
