"""What SCIO works on: the texts of one version with their images, ready for the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.errors import CheckError
from klip.augment import normalise
from klip.corpus import text_hash
from klip.settings import SLOTS
from klip.text import SegmentedText
from klip.tokens.batch import TokenBatch, pack
from klip.tokens.layout import TextTokens, length

if TYPE_CHECKING:
    from klip.store.text_store import TextStore
    from klip.tokens.vocabulary import Vocabulary


@dataclass(frozen=True)
class Material:
    """N pairs of image and text."""

    texts: Sequence[SegmentedText]
    """Of version `version`, row by row."""
    tokens: Sequence[TextTokens]
    """The same as tokens, within the budget."""
    pixels: NDArray[np.uint8]
    """[N, S, S]."""
    text_hash: NDArray[np.int64]
    """[N]: equal texts are no negatives of each other."""
    vocabulary: Vocabulary
    mean: Sequence[float]
    """Of the three channels that the model takes."""
    std: Sequence[float]
    version: int = 0
    digest: str = ""
    """Hash of the corpus, for the audit log."""
    image_id: NDArray[np.int64] | None = None
    """[N]: equal where two rows show the same image; None: every row has its own."""

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def images_of(self) -> NDArray[np.int64]:
        """[N]: which image a row shows."""
        return np.arange(len(self), dtype=np.int64) if self.image_id is None else self.image_id

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """[N]: tokens of each text."""
        return np.array([length(text) for text in self.tokens], dtype=np.int64)

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """[N, 8]: segments that the model reads."""
        return np.array([[slot is not None for slot in text] for text in self.tokens], dtype=np.bool_).reshape(
            -1, SLOTS
        )

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Ids of the images."""
        return [self.texts[row].image_id for row in rows]

    def packed(self, rows: NDArray[np.int64], device: torch.device) -> TokenBatch:
        """Texts as tensors."""
        return pack([self.tokens[row] for row in rows], self.vocabulary.specials).to(device)

    def images(self, rows: NDArray[np.int64], device: torch.device) -> Tensor:
        """Normalised images [b, 3, S, S], without augmentation."""
        grey = torch.from_numpy(np.ascontiguousarray(self.pixels[rows])).to(device)
        return normalise(grey.float() / 255, self.mean, self.std)

    def hashes(self, rows: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Ids of the images and hashes of the texts."""
        found = (torch.from_numpy(part[rows]).to(device) for part in (self.images_of, self.text_hash))
        return next(found), next(found)

    def require_whole_texts(self, longest: int) -> None:
        """Refuses texts that do not fit: cut ones would show hidden segments when one is removed (section 3.4)."""
        over = np.flatnonzero(self.lengths > longest)
        if len(over):
            raise CheckError(
                f"{len(over)} texts are longer than text.max_len = {longest}, the longest has {self.lengths.max()}",
                where=", ".join(self.ids(over[:5])),
                way_out="build the text store anew with this text.max_len: `klip text build`",
            )


def material_of(
    store: TextStore,
    version: int,
    pixels: NDArray[np.uint8],
    mean: Sequence[float],
    std: Sequence[float],
    *,
    image_hashes: Sequence[str] | None = None,
) -> Material:
    """A version of a store with the images of its corpus, in the same order.

    With the hashes of the image files, rows that show the same image are no negatives of each other.
    """
    texts = store.texts(version)
    if len(pixels) != len(texts):
        raise CheckError(
            f"{len(pixels)} images and {len(texts)} texts",
            where=str(store.folder),
            way_out="give the images of the corpus that the store was built from, all of them",
        )
    return Material(
        texts=texts,
        tokens=store.tokens(version),
        pixels=pixels,
        text_hash=np.array([text_hash(text) for text in texts], dtype=np.int64),
        vocabulary=store.vocabulary,
        mean=tuple(mean),
        std=tuple(std),
        version=version,
        digest=store.manifest(0).corpus,
        image_id=None if image_hashes is None else _groups(image_hashes),
    )


def _groups(hashes: Sequence[str]) -> NDArray[np.int64]:
    """For each row the first row with the same hash."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(name, row) for row, name in enumerate(hashes)], dtype=np.int64)
