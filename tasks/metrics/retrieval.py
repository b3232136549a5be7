"""Recall at k of image and text retrieval, both ways (section 11.3 of the task specification).

`i2t` is an image that ranks texts, the paper's TXT columns; `t2i` is a text that ranks images, its IMG columns. Ties
count against the model: a positive stands behind every negative with the same score.

A score of NaN or minus infinity says that the pair was not retrieved, as outside the candidates of a second stage. Such
a positive is never found; such a negative stands in nobody's way, unless it is NaN, which might be anything.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CheckError
from foundation.seeds import derive_seed
from results.record import Baselines, Metric
from results.statistics import bootstrap

Scores = NDArray[np.floating[Any]]
Ranks = NDArray[np.float64]
Positives = NDArray[np.bool_]
Owners = NDArray[np.integer[Any]]

AT = (1, 5, 10)
"""The columns of the paper's Table 6."""
NO_QUERIES = "no test images"


@dataclass(frozen=True)
class RetrievalScores:
    """What two rankings are worth."""

    metrics: dict[str, Metric]
    """`i2t_r1` .. `t2i_r10` and their mean `r_mean`; with texts given, the same with `_eq`."""
    baselines: Baselines
    warnings: tuple[str, ...]


def ranks(scores: Scores, positives: Positives) -> Ranks:
    """How many negatives are placed before the best-placed positive of each query; infinite where none is retrieved.

    Args:
        scores: queries x gallery.
        positives: of the same shape; every query needs one.
    """
    if scores.shape != positives.shape or scores.ndim != 2:
        raise CheckError(
            f"scores of shape {scores.shape} for positives of shape {positives.shape}",
            way_out="give one score per query and candidate",
        )
    if not positives.any(axis=1).all():
        raise CheckError(
            f"query {int(np.argmin(positives.any(axis=1)))} has no right answer in the gallery",
            way_out="leave out images without captions, and captions of images that are not in the gallery",
        )
    best = np.where(positives & ~np.isnan(scores), scores, -np.inf).max(axis=1, initial=-np.inf)
    # Not "at least as high" but "not lower": a NaN is not lower.
    ahead = ~positives & ~(scores < best[:, None])
    placed: Ranks = ahead.sum(axis=1).astype(np.float64)
    placed[best == -np.inf] = np.inf
    return placed


def owned(owners: Owners, images: int, texts: Sequence[str] | None = None) -> Positives:
    """Which captions (columns) are right for which images (rows).

    Args:
        owners: image of every caption.
        images: how many there are.
        texts: of the captions; a caption is then right for every image that owns one with the same normalised text.
    """
    if len(owners) and not 0 <= int(owners.min()) <= int(owners.max()) < images:
        raise CheckError(
            f"a caption belongs to image {int(owners.max())}, there are {images}",
            way_out="number images from 0",
        )
    strict: Positives = owners[None, :] == np.arange(images)[:, None]
    if texts is None:
        return strict
    if len(texts) != len(owners):
        raise CheckError(f"{len(texts)} texts for {len(owners)} captions", way_out="give one text per caption")
    numbers: dict[str, int] = {}
    same = np.array([numbers.setdefault(normalised_text(text), len(numbers)) for text in texts], dtype=np.int64)
    has = np.zeros((images, len(numbers)), dtype=np.bool_)
    has[owners, same] = True
    return has[:, same]


def normalised_text(text: str) -> str:
    """Case, punctuation and spaces do not tell two captions apart."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return " ".join(re.sub(r"[^\w\s]|_", " ", folded).split())


def recall(placed: Ranks, k: int, gallery: int) -> float | None:
    """Share of the queries answered among the first k, in per cent; 100 by definition where k exceeds the gallery."""
    if not len(placed):
        return None
    return 100.0 if k > gallery else 100.0 * float((placed < k).mean())


def chance_recall(positives: Positives, k: int) -> float:
    """Expected recall of a random order, exact: 1 - C(G - p, k) / C(G, k) for p positives, mean over the queries."""
    gallery = positives.shape[1]
    if k > gallery:
        return 100.0
    sizes, queries = np.unique(positives.sum(axis=1), return_counts=True)
    missed = [
        math.comb(gallery - right, k) / math.comb(gallery, k) * times
        for right, times in zip(sizes.tolist(), queries.tolist(), strict=True)
    ]
    return 100.0 * (1.0 - math.fsum(missed) / len(positives))


def score(
    i2t: Scores, t2i: Scores, owners: Owners, texts: Sequence[str] | None = None, *, intervals: bool = True
) -> RetrievalScores:
    """All recalls, their chance and what to mind.

    Args:
        i2t: images x captions, as images rank captions.
        t2i: captions x images, as captions rank images; the transposed `i2t` where there is a single stage.
        owners: image of every caption.
        texts: of the captions, for the equivalence-aware variants.
        intervals: resample images, each with its captions, for 95 % intervals.
    """
    images, captions = len(i2t), len(owners)
    if i2t.shape != (images, captions) or t2i.shape != (captions, images):
        raise CheckError(
            f"scores of shape {i2t.shape} and {t2i.shape} for {captions} captions",
            way_out="give images x captions and captions x images",
        )
    metrics: dict[str, Metric] = {}
    chance: dict[str, float | None] = {}
    for ending in ("", "_eq") if texts is not None else ("",):
        right = owned(owners, images, texts if ending else None)
        placed = {"i2t": ranks(i2t, right), "t2i": ranks(t2i, right.T)}
        metrics |= _recalls(placed, {"i2t": captions, "t2i": images}, owners, ending, intervals)
        chance |= _chance({"i2t": right, "t2i": right.T}, ending)
    lost = int(np.isnan(i2t).sum() + np.isnan(t2i).sum())
    warnings = (f"{lost} of {i2t.size + t2i.size} scores are NaN and count against the model",) if lost else ()
    return RetrievalScores(metrics, Baselines(chance=chance, majority=dict(chance)), warnings)


def _recalls(
    placed: dict[str, Ranks], gallery: dict[str, int], owners: Owners, ending: str, intervals: bool
) -> dict[str, Metric]:
    images = gallery["t2i"]
    columns = [(way, k) for way in placed for k in AT]
    if not images:
        names = [*(f"{way}_r{k}" for way, k in columns), "r_mean"]
        return {f"{name}{ending}": Metric(value=None, reason=NO_QUERIES) for name in names}
    by_image = {"i2t": np.arange(images), "t2i": owners}
    tallies: list[_Tally] = []
    metrics: dict[str, Metric] = {}
    for way, k in columns:
        beyond = k > gallery[way]
        found = (placed[way] < k) | beyond
        tally = _Tally(_per_image(by_image[way], found, images), _per_image(by_image[way], None, images))
        tallies.append(tally)
        reason = f"{gallery[way]} candidates: 100 by definition" if beyond else ""
        value = recall(placed[way], k, gallery[way])
        metrics[f"{way}_r{k}{ending}"] = _metric(value, len(found), [tally], intervals and not beyond, reason)
    values = [metric.value for metric in metrics.values() if metric.value is not None]
    reason = "some of the six are 100 by definition" if any(metric.reason for metric in metrics.values()) else ""
    mean = math.fsum(values) / len(values)
    metrics[f"r_mean{ending}"] = _metric(mean, images, tallies, intervals, reason)
    return metrics


class _Tally(NamedTuple):
    """One recall by image, so that images can be drawn with all their captions."""

    found: NDArray[np.float64]
    asked: NDArray[np.float64]


def _per_image(image: Owners, chosen: NDArray[np.bool_] | None, images: int) -> NDArray[np.float64]:
    weights = None if chosen is None else chosen.astype(np.float64)
    return np.asarray(np.bincount(image, weights=weights, minlength=images), dtype=np.float64)


def _metric(value: float | None, n: int, tallies: Sequence[_Tally], interval: bool, reason: str) -> Metric:
    if not interval:
        return Metric(value=value, n=n, reason=reason)
    images = len(tallies[0].asked)
    found = np.stack([tally.found for tally in tallies])
    asked = np.stack([tally.asked for tally in tallies])

    def mean_recall(chosen: NDArray[np.int64]) -> float:
        drawn = np.bincount(chosen, minlength=images).astype(np.float64)
        return 100.0 * float(((found @ drawn) / (asked @ drawn)).mean())

    low, high = bootstrap(mean_recall, images, seed=derive_seed("retrieval", images))
    return Metric(value=value, low=low, high=high, interval="bootstrap(1000)", n=n, reason=reason)


def _chance(right: dict[str, Positives], ending: str) -> dict[str, float | None]:
    names = {f"{way}_r{k}": (way, k) for way in right for k in AT}
    if not right["i2t"].size:
        return {f"{name}{ending}": None for name in (*names, "r_mean")}
    values = {name: chance_recall(right[way], k) for name, (way, k) in names.items()}
    everything = {**values, "r_mean": math.fsum(values.values()) / len(values)}
    return {f"{name}{ending}": value for name, value in everything.items()}
