"""How well the versions of a text fit their image, many at a time (sections 6.2 and 6.8 of the KLIP specification).

All versions of a text are compared with the same image, the same negatives and the same temperature, so a difference of
two scores comes from the texts alone. Each image goes through the ViT once and its visual tokens are projected for
cross-attention once; versions are made by moving token ids, not by tokenising again. Only text features need a score of
contrast, so that is asked for every version, and matching only where it can still change a decision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from foundation.errors import CheckError, UsageError
from foundation.seeds import derive_seed
from klip.settings import SLOTS
from klip.tokens.batch import TokenBatch, without

if TYPE_CHECKING:
    from klip.model.klip import KLIP
    from klip.model.queue import FeatureQueue
    from klip.model.text_stack import Memory
    from klip.scio.material import Material

VERSIONS = SLOTS + 1
"""The full text, and the text without each of its segments."""

_NEVER = float("-inf")
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Bank(NamedTuple):
    """The negatives of a pass, the same for every version of every text."""

    vision: Tensor
    """fp32 [M, e]."""
    text: Tensor
    image_id: Tensor
    """int64 [M]."""
    text_hash: Tensor

    def __len__(self) -> int:
        return len(self.image_id)


class Seen(NamedTuple):
    """Images as the scores need them."""

    memory: Memory
    """Keys and values of the visual tokens."""
    vision: Tensor
    """fp32 [b, e]."""
    left_out: Tensor
    """bool [b, M]: rows of the bank that show the same image or say the same text."""
    partition: Tensor
    """[b]: logarithm of the summed similarities to the bank's texts; the same for all versions."""


class Scores(NamedTuple):
    """Scores [b, 9] of the full text and of the eight versions; NaN where there is none or it was not asked."""

    itc: NDArray[np.float64]
    itm: NDArray[np.float64]
    tokens: NDArray[np.int64]
    """[b, 9], 0 where there is no version."""


class Scorer:
    """A model that judges texts against a bank of negatives.

    The model must be frozen for as long as scores are to be compared (`frozen`): dropout would make the sign of small
    differences random.
    """

    def __init__(self, model: KLIP, bank: Bank, *, precision: str = "fp32") -> None:
        if model.training:
            raise UsageError("the model is in training mode", way_out="score inside of `with frozen(model)`")
        self.model, self.bank, self.precision = model, bank, precision

    def look(self, images: Tensor, image_id: Tensor, text_hash: Tensor) -> Seen:
        """The ViT and the projections of cross-attention, once per image."""
        with self.encoders():
            state = self.model.encode_image(images)
            memory = self.model.visual_memory(state.memory)
        left_out = (image_id[:, None] == self.bank.image_id) | (text_hash[:, None] == self.bank.text_hash)
        similarity = (state.features @ self.bank.text.T / self._tau).masked_fill(left_out, _NEVER)
        return Seen(memory, state.features, left_out, similarity.logsumexp(dim=1))

    def itc(self, tokens: TokenBatch, seen: Seen, index: Tensor) -> Tensor:
        """InfoNCE both ways [n] of texts with image `index`: softplus of negatives less positive, nothing cancels."""
        with self.encoders():
            states = self.model.text.text(tokens.ids, tokens.mask)
        features = self.model.text_feature(states.float())
        positive = (features * seen.vision[index]).sum(dim=1) / self._tau
        negatives = (features @ self.bank.vision.T / self._tau).masked_fill(seen.left_out[index], _NEVER)
        i2t = F.softplus(seen.partition[index] - positive)
        return (i2t + F.softplus(negatives.logsumexp(dim=1) - positive)) / 2

    def itm(self, tokens: TokenBatch, seen: Seen, index: Tensor) -> Tensor:
        """Logit of match less logit of mismatch [n], in fp32 (contradiction C2)."""
        with self.encoders():
            states = self.model.fused(tokens, seen.memory, index, first_only=True)
        logits = self.model.itm_from(states.float())
        return logits[:, 1] - logits[:, 0]

    def versions(self, tokens: TokenBatch, seen: Seen, *, every_match: bool = False) -> Scores:
        """Scores of each text and of its versions without one segment.

        Args:
            tokens: One text per image, in their order.
            seen: The images.
            every_match: Matching of all versions; else of the full text and of those that contrast prefers to it.
        """
        rows, slots = tokens.present.nonzero(as_tuple=True)
        own = torch.arange(len(tokens), device=tokens.ids.device)
        shorter = self.shortened(tokens, rows, F.one_hot(slots, SLOTS).bool())
        itc = torch.full((len(tokens), VERSIONS), float("nan"), device=tokens.ids.device)
        itm, counts = itc.clone(), torch.zeros_like(itc, dtype=torch.int64)
        itc[:, 0] = self.itc(tokens, seen, own)
        itm[:, 0] = self.itm(tokens, seen, own)
        counts[:, 0], counts[rows, slots + 1] = tokens.lengths, shorter.lengths
        itc[rows, slots + 1] = self.itc(shorter, seen, rows)
        asked = torch.ones_like(rows, dtype=torch.bool) if every_match else itc[rows, slots + 1] < itc[rows, 0]
        chosen = asked.nonzero().flatten()
        if len(chosen):
            itm[rows[chosen], slots[chosen] + 1] = self.itm(shorter.rows(chosen).trimmed(), seen, rows[chosen])
        return Scores(numbers(itc), numbers(itm), counts.cpu().numpy())

    def shortened(self, tokens: TokenBatch, rows: Tensor, drop: Tensor) -> TokenBatch:
        """The texts of `rows` without the segments of `drop` [n, 8]."""
        return without(tokens.rows(rows), drop, self.model.specials.pad).trimmed()

    @property
    def _tau(self) -> Tensor:
        low, high = self.model.settings.itc.tau_clamp
        return self.model.temperature.float().clamp(low, high)

    def encoders(self) -> AbstractContextManager[object]:
        """The precision of towers and fusion; heads, similarities and losses are always fp32 (section 6.2)."""
        device = self.model.device.type
        return torch.autocast(device, dtype=_PRECISIONS[self.precision], enabled=self.precision != "fp32")


@contextmanager
def frozen(model: KLIP) -> Iterator[KLIP]:
    """The model without dropout and gradients; afterwards it is as it was."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield model
    finally:
        model.train(was_training)


def bank_rows(count: int, size: int, seed: int) -> NDArray[np.int64]:
    """Rows of the bank: `size` of `count`, at most all but one, from a generator of their own (section 6.2)."""
    if count < 2:
        raise CheckError("one text has no negatives", way_out="give a corpus of two images or more")
    generator = np.random.default_rng(derive_seed("scio bank", seed))
    return np.sort(generator.permutation(count)[: max(1, min(size, count - 1))])


def encode_bank(
    model: KLIP, material: Material, rows: NDArray[np.int64], *, chunk: int, precision: str = "fp32"
) -> Bank:
    """Features of the images and full texts of `rows`; only these are encoded, not the whole corpus."""
    features = [
        encode_pairs(model, material, rows[start : start + chunk], precision) for start in range(0, len(rows), chunk)
    ]
    image_id, text_hash = material.hashes(rows, model.device)
    return Bank(
        torch.cat([pair[0] for pair in features]), torch.cat([pair[1] for pair in features]), image_id, text_hash
    )


def encode_pairs(
    model: KLIP, material: Material, rows: NDArray[np.int64], precision: str = "fp32"
) -> tuple[Tensor, Tensor]:
    """Features of images and texts."""
    dtype = _PRECISIONS[precision]
    with torch.autocast(model.device.type, dtype=dtype, enabled=precision != "fp32"):
        vision = model.encode_image(material.images(rows, model.device)).features
        tokens = material.packed(rows, model.device)
        states = model.text.text(tokens.ids, tokens.mask)
    return vision, model.text_feature(states.float())


def bank_of_queue(queue: FeatureQueue) -> Bank:
    """The queue of training as it is now (`scio.negatives=queue`)."""
    return Bank(*(part.clone() for part in queue.rows()))


def numbers(scores: Tensor) -> NDArray[np.float64]:
    """Scores as they are logged: fp32 values."""
    return scores.float().cpu().numpy().astype(np.float64)
