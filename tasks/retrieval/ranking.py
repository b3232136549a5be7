"""Two stages of retrieval: features are compared with all, the best are read together with the image (section 7).

Work is done once for what is the same: keys and values of an image serve all texts that are matched with it, a text
that stands under several images is read once, and a pair that both directions ask for is matched once. Texts are
matched in order of their length, so there is little padding, and in portions that stay in the cache of a processor.

Where the second stage begins ties count against the model (decision 9 of the task specification): of images, or of
different texts, with equal scores either all are among the best or none. Captions of one text are no tie that the
model could break; they are one candidate that is read once, so all of them are taken, and whoever owns one of them has
all the others beside it with an equal score. Metrics then count them as wrong answers that stand before it, or as
right ones where an equal text is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from klip.model.klip import KLIP
from klip.tokens.batch import TokenBatch
from tasks.input_path import InputPath
from tasks.language.images import Squares
from tasks.language.tokens import Pieces, reading

Scores = NDArray[np.float32]
Told = Callable[[int, int], None]
"""Is told how many images of how many have been matched."""

LOOK_BATCH = 32
"""Images that go through the encoder at once."""
CPU_TOKENS, GPU_TOKENS = 1024, 32768
"""Tokens, padding included, that are matched with an image at once."""


class Looked(NamedTuple):
    """What the image tower says of all images."""

    memory: Tensor
    """[images, N, width of the text]; on the device."""
    features: Tensor
    """fp32 [images, e]."""


class Read(NamedTuple):
    """The different texts, the shortest first."""

    tokens: TokenBatch
    features: Tensor
    """fp32 [texts, e]."""
    lengths: NDArray[np.int64]
    """Tokens of each."""
    which: NDArray[np.int64]
    """For each caption its text."""


class Ranked(NamedTuple):
    """What each query has retrieved, the best first; one may have fewer than another, or none."""

    candidates: list[NDArray[np.int64]]
    scores: list[Scores]
    """Of the candidates; NaN where a score is no number."""


class Rankings(NamedTuple):
    """Both directions."""

    i2t: Ranked
    t2i: Ranked


@torch.inference_mode()
def look(model: KLIP, to_input: InputPath, images: Squares) -> Looked:
    """Encodes 8-bit squares in batches."""
    model.eval()
    states = [
        model.encode_image(to_input(torch.from_numpy(np.array(images[low : low + LOOK_BATCH])).to(model.device)))
        for low in range(0, len(images), LOOK_BATCH)
    ]
    return Looked(torch.cat([state.memory for state in states]), torch.cat([state.features for state in states]))


@torch.inference_mode()
def read(model: KLIP, captions: Sequence[Pieces]) -> Read:
    """Encodes captions, equal ones once."""
    model.eval()
    texts = sorted(set(captions), key=lambda pieces: (len(pieces), pieces))
    place = {pieces: number for number, pieces in enumerate(texts)}
    tokens = reading(texts, model.specials).to(model.device)
    lengths = tokens.lengths.cpu().numpy()
    features = [
        model.encode_text(_texts(tokens, np.arange(low, high), lengths)) for low, high in _portions(lengths, model)
    ]
    which = np.array([place[pieces] for pieces in captions], dtype=np.int64)
    return Read(tokens, torch.cat(features), lengths, which)


@torch.inference_mode()
def rank(model: KLIP, looked: Looked, texts: Read, rerank: int, told: Told | None = None) -> Rankings:
    """Candidates of every image among all captions, and of every caption among all images.

    Args:
        model: Whose matching head decides.
        looked: All images.
        texts: All captions.
        rerank: How many candidates are matched, scored by the logit of "match" plus the cosine; no others are
            retrieved. Fewer where a tie stands at the border, more where copies of one text do. 0: all by the cosine
            alone.
        told: Progress of the second stage.
    """
    # Not in the format of the network: bf16 has 8 bits, by which many a cosine would tie with another.
    with torch.autocast(looked.features.device.type, enabled=False):
        by_text = (looked.features.float() @ texts.features.float().T).cpu().numpy()
    cosine = by_text[:, texts.which]
    if not rerank:
        return Rankings(ranked(cosine), ranked(cosine.T))
    nearest = _nearest(cosine, rerank, texts.which), _nearest(cosine.T, rerank, np.arange(len(by_text)))
    wanted = np.zeros(by_text.shape, dtype=np.bool_)
    for image, captions in enumerate(nearest[0]):
        wanted[image, texts.which[captions]] = True
    for text, images in zip(texts.which, nearest[1], strict=True):
        wanted[images, text] = True
    both = (by_text + match_logits(model, looked.memory, texts, wanted, told))[:, texts.which]
    return Rankings(ranked(both, nearest[0]), ranked(both.T, nearest[1]))


@torch.inference_mode()
def match_logits(
    model: KLIP, memory: Tensor, texts: Read, wanted: NDArray[np.bool_], told: Told | None = None
) -> Scores:
    """Logit of "match" of the wanted pairs [images, texts]; NaN elsewhere."""
    model.eval()
    found = np.full(wanted.shape, np.nan, dtype=np.float32)
    mask, states = texts.tokens.mask, _read_ahead(model, texts)
    for image, row in enumerate(wanted):
        chosen = np.flatnonzero(row)
        if len(chosen):
            keys = model.visual_memory(memory[image : image + 1])
            index = torch.from_numpy(chosen).to(model.device)
            logits = []
            for low, high in _portions(texts.lengths[chosen], model):
                longest, part = int(texts.lengths[chosen[high - 1]]), index[low:high]
                read = states[:, :longest].index_select(0, part)
                logits.append(model.itm_ahead(read, mask[part, :longest], keys, rounds=high - low)[:, 1])
            found[image, chosen] = torch.cat(logits).float().cpu().numpy()
        if told is not None:
            told(image + 1, len(wanted))
    return found


def ranked(scores: Scores, candidates: Sequence[NDArray[np.int64]] | None = None) -> Ranked:
    """The candidates of each row by their final scores, equal ones as they came and NaN last; None: all columns."""
    if candidates is None:
        candidates = list(np.broadcast_to(np.arange(scores.shape[1]), scores.shape))
    found = Ranked([], [])
    for row, chosen in zip(scores, candidates, strict=True):
        order = chosen[np.argsort(-row[chosen], kind="stable")]
        found.candidates.append(order)
        found.scores.append(row[order])
    return found


def _read_ahead(model: KLIP, texts: Read) -> Tensor:
    """States [texts, L, d] of all texts, as far as no image has a say; zero behind their ends."""
    portions = [
        model.read_ahead(_texts(texts.tokens, np.arange(low, high), texts.lengths))
        for low, high in _portions(texts.lengths, model)
    ]
    width = texts.tokens.width
    return torch.cat([torch.nn.functional.pad(part, (0, 0, 0, width - part.shape[1])) for part in portions])


def _texts(tokens: TokenBatch, chosen: NDArray[np.int64], lengths: NDArray[np.int64]) -> TokenBatch:
    """Some of the texts, the last of which is the longest, without columns that all of them lack."""
    index = torch.from_numpy(chosen).to(tokens.ids.device)
    return tokens.cut(int(lengths[chosen[-1]])).rows(index)


def _portions(lengths: NDArray[np.int64], model: KLIP) -> list[tuple[int, int]]:
    """Where to divide texts of rising length."""
    room = CPU_TOKENS if model.device.type == "cpu" else GPU_TOKENS
    portions, low = [], 0
    for high in range(1, len(lengths) + 1):
        if high == len(lengths) or (high + 1 - low) * lengths[high] > room:
            portions.append((low, high))
            low = high
    return portions


def _nearest(scores: Scores, k: int, same: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The k best of each row, NaN last; a tie at the border is left out, or taken whole where it is one thing.

    Args:
        scores: [queries, gallery].
        k: How many.
        same: By column, what it is a copy of; copies have equal scores in every row.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    if k >= scores.shape[1]:
        return list(order)
    inside, outside = (np.take_along_axis(scores, order[:, at : at + 1], axis=1) for at in (k - 1, k))
    tied = np.flatnonzero(inside == outside)  # NaN equals nothing: it stays, for it counts against the model anyway
    block = scores[tied] == inside[tied]
    several = (block & (same != same[order[tied, k - 1]][:, None])).any(axis=1)
    kept = np.full(len(scores), k)
    kept[tied] = (scores[tied] > inside[tied]).sum(axis=1) + np.where(several, 0, block.sum(axis=1))
    return [row[:number].copy() for row, number in zip(order, kept, strict=True)]
