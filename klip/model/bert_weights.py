"""Starting the text stack from a BERT checkpoint (section 2.6 of the KLIP specification).

A pure function turns BERT's names into ours, `load_bert` fills a model and says what became of every tensor. Both
self-attentions of a layer start from the one that BERT has; cross-attention, which BERT has not, stays random.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from adapters.checkpoint import misfits, some_of
from foundation.errors import CellError

if TYPE_CHECKING:
    from klip.model.klip import KLIP

NEW_ROWS = 2
"""[DEC] and [ENC] stand behind the pieces that BERT knows (section 3.3)."""

_LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)")
_IN_LAYER = {
    "attention.output.dense": "self.out",
    "attention.output.LayerNorm": "self.norm",
    "intermediate.dense": "ffn.up",
    "output.dense": "ffn.down",
    "output.LayerNorm": "ffn.norm",
}
_QKV = ("attention.self.query", "attention.self.key", "attention.self.value")
_OUTSIDE = {
    "embeddings.word_embeddings.weight": "text.words.weight",
    "embeddings.position_embeddings.weight": "text.positions.weight",
    "embeddings.LayerNorm.weight": "text.norm.weight",
    "embeddings.LayerNorm.bias": "text.norm.bias",
    "cls.predictions.transform.dense.weight": "language_head.dense.weight",
    "cls.predictions.transform.dense.bias": "language_head.dense.bias",
    "cls.predictions.transform.LayerNorm.weight": "language_head.norm.weight",
    "cls.predictions.transform.LayerNorm.bias": "language_head.norm.bias",
    "cls.predictions.bias": "language_head.bias",
}
_TYPES = "embeddings.token_type_embeddings.weight"
_LEFT_OUT = (
    "pooler.",  # not modelled (section 2.1)
    "embeddings.position_ids",  # a counter that old files hold
    "embeddings.token_type_ids",
    "cls.seq_relationship.",  # of the next-sentence task
    "cls.predictions.decoder.",  # the word embeddings again, and the bias again
)
_OLD_NAMES = {"gamma": "weight", "beta": "bias"}
_SHOWN = 5


class BertReport(NamedTuple):
    """What became of the tensors of a file."""

    filled: tuple[str, ...]
    """Parameters of the model that the file filled, in part where it has fewer rows."""
    random: tuple[str, ...]
    """Parameters of text stack and language head that kept their random start."""
    left_out: tuple[str, ...]
    """Tensors of the file that have no counterpart on purpose."""


class _Read(NamedTuple):
    """A file's tensors under our names."""

    state: dict[str, Tensor]
    left_out: tuple[str, ...]
    unknown: tuple[str, ...]


def load_bert(model: KLIP, state: Mapping[str, Tensor], *, where: str) -> BertReport:
    """Fills the text stack, and the language head where the file has one.

    Everything but cross-attention and language head must be in the file; whatever the file holds beyond the known
    heads is an error, as are other shapes. The vocabulary is the file's, or that with [DEC] and [ENC] added, which
    start at random.
    """
    read = _read(state)
    own = {
        name: parameter for name, parameter in model.named_parameters() if name.startswith(("text.", "language_head."))
    }
    missing = sorted(name for name in own.keys() - read.state.keys() if not _may_be_random(name))
    wrong = sorted(name for name in own.keys() & read.state.keys() if not _fits(name, read.state[name], own[name]))
    homeless = [*read.unknown, *sorted(read.state.keys() - own.keys())]
    if missing or wrong or homeless:
        raise _no_fit(read, own, where, missing=missing, wrong=wrong, homeless=homeless)
    broken = [name for name, value in read.state.items() if not value.isfinite().all()]
    if broken:
        raise CellError(
            f"the checkpoint holds NaN or infinite weights in {some_of(broken)}",
            where=where,
            way_out="the training that wrote it diverged: use an earlier checkpoint",
        )
    with torch.no_grad():
        for name, value in read.state.items():
            own[name][: len(value)].copy_(value)
    random = tuple(sorted(own.keys() - read.state.keys()))
    return BertReport(tuple(sorted(read.state)), random, read.left_out)


def load_bert_file(model: KLIP, path: Path) -> BertReport:
    """`load_bert` of a file of any supported kind, or of a folder as libraries save it."""
    from adapters.containers import read

    return load_bert(model, read(_weights_in(path)).tensors, where=str(path))


def _weights_in(path: Path) -> Path:
    """The weights inside a folder; a file is itself."""
    if not path.is_dir():
        return path
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (path / name).is_file():
            return path / name
    raise CellError(
        "the folder holds no weights",
        where=str(path),
        way_out="name the file, or a folder with model.safetensors or pytorch_model.bin",
    )


def _read(state: Mapping[str, Tensor]) -> _Read:
    known = {_plain(name): value for name, value in state.items()}
    found: dict[str, Tensor] = {}
    left_out, unknown, joined = [], [], dict[tuple[str, str], dict[str, Tensor]]()
    for name, value in known.items():
        in_layer = _LAYER.fullmatch(name)
        if name in _OUTSIDE:
            found[_OUTSIDE[name]] = value
        elif in_layer is not None:
            part, _, end = in_layer[2].rpartition(".")
            layer = f"text.layers.{in_layer[1]}."
            if part in _QKV:
                joined.setdefault((layer, end), {})[part] = value
            elif part in _IN_LAYER:
                found |= {layer + place + "." + end: value for place in _places(_IN_LAYER[part])}
            else:
                unknown.append(name)
        elif name.startswith(_LEFT_OUT):
            left_out.append(name)
        elif name != _TYPES:
            unknown.append(name)
    for (layer, end), parts in joined.items():
        if len(parts) == len(_QKV):
            together = torch.cat([parts[part] for part in _QKV])
            found |= {f"{layer}{place}.{end}": together for place in _places("self.qkv")}
    positions = found.get("text.positions.weight")
    if positions is not None and _TYPES in known:
        # All our texts are of type 0, so its row is a constant: without it every embedding would be shifted.
        found["text.positions.weight"] = positions + known[_TYPES][0]
    return _Read(found, tuple(left_out), tuple(unknown))


def _plain(name: str) -> str:
    """The name without `bert.` in front, and with today's names for the weights of norms."""
    stem, _, end = name.removeprefix("bert.").rpartition(".")
    return f"{stem}.{_OLD_NAMES.get(end, end)}"


def _places(part: str) -> tuple[str, ...]:
    if not part.startswith("self."):
        return (part,)
    return tuple(part.replace("self.", f"{kind}.", 1) for kind in ("self_enc", "self_dec"))


def _may_be_random(name: str) -> bool:
    return ".cross." in name or name.startswith("language_head.")


def _fits(name: str, value: Tensor, parameter: Tensor) -> bool:
    if name in ("text.words.weight", "language_head.bias"):
        new = len(parameter) - len(value)
        return new in (0, NEW_ROWS) and value.shape[1:] == parameter.shape[1:]
    if name == "text.positions.weight":  # a stack may be built for more positions than BERT knows, never for fewer
        return len(value) <= len(parameter) and value.shape[1:] == parameter.shape[1:]
    return value.shape == parameter.shape


def _no_fit(
    read: _Read,
    own: Mapping[str, Tensor],
    where: str,
    *,
    missing: list[str],
    wrong: list[str],
    homeless: list[str],
) -> CellError:
    complaints = misfits(own, read.state, "the text stack", missing=missing, wrong=wrong, homeless=homeless)
    return CellError(
        f"the checkpoint is no BERT of this size: {complaints}",
        where=where,
        way_out="choose the text_* settings of its configuration and the vocabulary it was trained with",
    )
