"""The pieces that texts are made of: a WordPiece vocabulary as BERT has it, given or trained (section 3.3).

Texts are lower-cased and split as BERT's uncased models do it, and the names of special pieces mean nothing in a value:
`[SEG]` in a text is three pieces, never the end of a segment. A file is one piece a line, BERT's `vocab.txt`.

The trainer of `tokenizers` numbers the pieces that continue a word in the order of a hash table, which differs from run
to run and decides ties between merges. They are therefore handed to it in a fixed order, before it looks at the texts.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from foundation.errors import CheckError, MissingError, UsageError
from foundation.files import write_bytes
from foundation.hashing import hash_lines

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import BertNormalizer

DEFAULT_SIZE = 2000
"""Pieces of a trained vocabulary, Table 2.1 for the tiny model."""

_UNKNOWN, _SEGMENT_END, _UNUSED = "[UNK]", "[SEG]", "[unused1]"
_NAMED = ("[PAD]", _UNKNOWN, "[CLS]", "[SEP]", "[MASK]")
_NEW = ("[DEC]", "[ENC]")
_CONTINUED = "##"
_LONGEST_WORD = 100  # characters; longer words are unknown, as in BERT
_SEEN_TWICE = 2  # a merge that occurs once is a name, not a word of the field
_SHOWN = 3

_CLOSING = re.compile(r" (?=[,.;:!?%)\]}])")
_OPENING = re.compile(r"(?<=[(\[{]) ")
_INNER = re.compile(r"(?<=\w) ([-/'’]) (?=\w)")
_DECIMAL = re.compile(r"(?<=\d)([.:]) (?=\d)|(?<=\d)(,) (?=\d{3}\b)")


class Specials(NamedTuple):
    """Rows of the pieces that no text holds."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int
    seg: int
    """Ends a segment."""
    dec: int
    """Begins a text that is written."""
    enc: int
    """Begins a text that is read together with an image."""


class Vocabulary:
    """Pieces in their order; [DEC] and [ENC] are the last two."""

    def __init__(self, pieces: Sequence[str], *, where: str = "") -> None:
        self.pieces = _with_new(pieces, where)
        rows = {piece: row for row, piece in enumerate(self.pieces)}
        end = rows[_SEGMENT_END] if _SEGMENT_END in rows else rows[_UNUSED]
        pad, unk, cls, sep, mask = (rows[name] for name in _NAMED)
        dec, enc = (rows[name] for name in _NEW)
        self.specials = Specials(pad, unk, cls, sep, mask, end, dec, enc)
        self.digest = hash_lines(self.pieces)

    @property
    def size(self) -> int:
        """Rows of the table of embeddings."""
        return len(self.pieces)

    def encode(self, text: str) -> tuple[int, ...]:
        """The pieces of a text, without specials around them."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_all(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """`encode` of many texts at once."""
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [tuple(entry.ids) for entry in found]

    def decode(self, ids: Sequence[int]) -> str:
        """Readable text; specials are left out. Encoding it gives the same pieces again.

        Only blanks beside punctuation are removed, and BERT splits at punctuation with or without them.
        """
        words: list[str] = []
        for row in ids:
            piece = self.pieces[row]
            if row in self._silent:
                continue
            if piece.startswith(_CONTINUED) and piece != _CONTINUED and words:
                words[-1] += piece.removeprefix(_CONTINUED)
            else:
                words.append(piece.removeprefix(_CONTINUED) if piece != _CONTINUED else piece)
        text = _OPENING.sub("", _CLOSING.sub("", " ".join(words)))
        text = _INNER.sub(r"\1", _INNER.sub(r"\1", text))  # twice: in `a - b - c` they share the b
        return _DECIMAL.sub(lambda match: match[1] or match[2], text)

    def continues(self, row: int) -> bool:
        """Whether a piece goes on with the word before it."""
        return row in self._continuing

    def shortened(self, text: str, count: int) -> str:
        """The longest beginning of the text that has at most `count` pieces.

        A character is never divided, so where one is several pieces (Korean syllables) there may be fewer; the pieces
        that are left are the first ones of the whole text.
        """
        ends = self._tokenizer.encode(text, add_special_tokens=False).offsets
        if len(ends) <= count:
            return text
        shorter = (text[:end] for _, end in reversed(ends[:count]))
        return next((start for start in shorter if len(self.encode(start)) <= count), "")

    def save(self, path: Path) -> None:
        """One piece a line."""
        write_bytes(path, "".join(f"{piece}\n" for piece in self.pieces).encode())

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """A file of `save`, or the `vocab.txt` of an uncased BERT model."""
        if not path.is_file():
            raise MissingError(
                "no such vocabulary file",
                where=str(path),
                way_out="give a vocab.txt, or train one with `klip tokenizer train`",
            )
        try:
            lines = path.read_bytes().decode().split("\n")  # only that: BERT's pieces include other separators
        except UnicodeDecodeError as error:
            raise CheckError(
                f"the vocabulary is not UTF-8 at byte {error.start + 1}", where=str(path), way_out="give a vocab.txt"
            ) from error
        pieces = [line.removesuffix("\r") for line in lines]
        return cls(pieces[:-1] if pieces[-1] == "" else pieces, where=str(path))

    @classmethod
    def train(cls, texts: Iterable[str], size: int = DEFAULT_SIZE) -> Vocabulary:
        """A vocabulary of `size` rows at most, of what is frequent in the texts; in any order it comes out the same.

        Letters, digits and ASCII punctuation are always there, so what is written later is rarely unknown.
        """
        from tokenizers import trainers

        tokenizer = _bert_tokenizer({})
        known = list(texts)
        fixed = [*_NAMED, _SEGMENT_END, *_alphabet(known)]
        if size < len(fixed) + len(_NEW):
            raise UsageError(
                f"a vocabulary of {size} has no room for the {len(fixed) + len(_NEW)} letters, digits and specials",
                way_out=f"take a larger size, for example {DEFAULT_SIZE}",
            )
        trainer = trainers.WordPieceTrainer(
            vocab_size=size - len(_NEW), min_frequency=_SEEN_TWICE, special_tokens=fixed, show_progress=False
        )
        tokenizer.train_from_iterator(known, trainer)
        found = tokenizer.get_vocab()
        return cls(sorted(found, key=found.__getitem__))

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return _bert_tokenizer({piece: row for row, piece in enumerate(self.pieces)})

    @cached_property
    def _silent(self) -> frozenset[int]:
        return frozenset(self.specials) - {self.specials.unk}

    @cached_property
    def _continuing(self) -> frozenset[int]:
        return frozenset(
            row for row, piece in enumerate(self.pieces) if piece.startswith(_CONTINUED) and piece != _CONTINUED
        )


def _with_new(given: Sequence[str], where: str) -> tuple[str, ...]:
    """The pieces with [DEC] and [ENC] at the end; refused where they are no uncased WordPiece vocabulary."""
    twice = len(given) - len(set(given))
    if twice:
        raise CheckError(f"{twice} pieces of the vocabulary occur twice", where=where, way_out="give it as published")
    lacking = [name for name in _NAMED if name not in given]
    if _SEGMENT_END not in given and _UNUSED not in given:
        lacking.append(f"{_SEGMENT_END} or {_UNUSED}")
    if lacking:
        raise CheckError(
            f"not a vocabulary of BERT's kind: {', '.join(lacking)} not among its {len(given)} pieces",
            where=where,
            way_out="give a vocab.txt with one piece a line, or train one with `klip tokenizer train`",
        )
    cased = [piece for piece in given if piece != piece.lower() and not (piece[0] == "[" and piece[-1] == "]")]
    if cased:
        raise CheckError(
            f"the vocabulary is cased ({', '.join(cased[:_SHOWN])}), but texts are lower-cased",
            where=where,
            way_out="give the vocabulary of an uncased model",
        )
    held = [name for name in _NEW if name in given]
    if held and tuple(given[-len(_NEW) :]) != _NEW:
        raise CheckError(
            f"{' and '.join(held)} must be the last two pieces of the vocabulary",
            where=where,
            way_out="give the vocabulary as `klip tokenizer train` or a text store wrote it, or one without them",
        )
    return tuple(given) if held else (*given, *_NEW)


def _alphabet(texts: Sequence[str]) -> list[str]:
    """Single characters, at the beginning of a word and inside it, sorted."""
    normalizer = _bert_normalizer()
    letters = set(string.ascii_lowercase + string.digits)
    seen = letters | set(string.punctuation)
    inner = set(letters)
    for text in texts:
        characters = set(normalizer.normalize_str(text))
        seen |= {character for character in characters if not character.isspace()}
        inner |= {character for character in characters if character.isalnum()}
    return [*sorted(seen), *(_CONTINUED + character for character in sorted(inner))]


def _bert_normalizer() -> BertNormalizer:
    from tokenizers.normalizers import BertNormalizer

    return BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)


def _bert_tokenizer(rows: dict[str, int]) -> Tokenizer:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(
        models.WordPiece(
            vocab=rows,
            unk_token=_UNKNOWN,
            max_input_chars_per_word=_LONGEST_WORD,
            continuing_subword_prefix=_CONTINUED,
        )
    )
    tokenizer.normalizer = _bert_normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer
