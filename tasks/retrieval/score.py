"""Scores of a retrieval: a pure function of stored rankings and truth (section 11.3 of the task specification)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CheckError
from tasks.answer_rows import is_number, object_with, require_unrepeated
from tasks.metrics.retrieval import AT, normalised_text
from tasks.metrics.retrieval import score as recalls
from tasks.task import Row, Scored

FIELDS = ("way", "query", "candidates", "scores")
_WAY_OUT = '{"way": "i2t" or "t2i", "query": id, "candidates": [ids], "scores": [a number, or null, for each]}'


class _Asked(NamedTuple):
    """The test part."""

    images: list[str]
    captions: list[str]
    texts: list[str]
    owners: NDArray[np.int64]


def score(predictions: Sequence[Row], truth: Row) -> Scored:
    """Metrics, baselines, details and warnings of one cell.

    What a query did not name as a candidate it has not retrieved; a score of null is none and counts against the model.
    """
    asked = _asked(truth)
    matrices = _matrices(predictions, asked)
    found = recalls(matrices["i2t"], matrices["t2i"], asked.owners, asked.texts)
    depth = {way: int((matrix != -np.inf).sum(axis=1).max(initial=0)) for way, matrix in matrices.items()}
    return {
        "metrics": found.metrics,
        "baselines": found.baselines,
        "details": {
            "ceiling": ceiling(asked.texts, asked.owners, len(asked.images)),
            "different_texts": len({normalised_text(text) for text in asked.texts}),
            "captions": len(asked.captions),
            "most_candidates": depth,
        },
        "warnings": list(found.warnings),
    }


def ceiling(texts: Sequence[str], owners: NDArray[np.int64], images: int) -> dict[str, float | None]:
    """What is expected of one who knows what is written of each image, and nothing else of it.

    Equal texts have equal scores, and ties count against: an image finds a caption by the one that the fewest others
    have. A caption finds its image by chance among all images that it is written of.
    """
    names = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in AT]
    if not images:
        return dict.fromkeys([*names, "r_mean"])
    normal = [normalised_text(text) for text in texts]
    copies = Counter(normal)
    own = Counter(zip(owners.tolist(), normal, strict=True))
    having = Counter(text for _, text in own)
    ahead = [len(texts)] * images
    for (image, text), count in own.items():
        ahead[image] = min(ahead[image], copies[text] - count)
    i2t = [100.0 * sum(before < k for before in ahead) / images for k in AT]
    t2i = [100.0 * math.fsum(min(1.0, k / having[text]) for text in normal) / len(normal) for k in AT]
    return {**dict(zip(names, i2t + t2i, strict=True)), "r_mean": math.fsum(i2t + t2i) / len(names)}


def _asked(truth: Row) -> _Asked:
    images, captions, texts, owners = [], [], [], []
    for number, row in enumerate(truth["test"]):
        images.append(str(row["image_id"]))
        if not row["captions"]:
            raise CheckError(
                "an image has no captions, so nothing would be right for it",
                where=images[-1],
                way_out="leave it out of the truth file",
            )
        for caption in row["captions"]:
            captions.append(str(caption["caption_id"]))
            texts.append(str(caption["text"]))
            owners.append(number)
    for kind, names in (("image", images), ("caption", captions)):
        require_unrepeated(kind, names)
    return _Asked(images, captions, texts, np.array(owners, dtype=np.int64))


def _matrices(predictions: Sequence[object], asked: _Asked) -> dict[str, NDArray[np.float64]]:
    """Queries x gallery, both ways; minus infinity where nothing was retrieved."""
    places = {
        "i2t": ({name: n for n, name in enumerate(asked.images)}, {name: n for n, name in enumerate(asked.captions)}),
    }
    places["t2i"] = places["i2t"][::-1]
    matrices = {way: np.full((len(rows), len(columns)), -np.inf) for way, (rows, columns) in places.items()}
    answered: set[tuple[str, str]] = set()
    for number, row in enumerate(predictions):
        way, query = _query(row, f"line {number + 1} of the predictions", places.keys())
        if (way, query) in answered:
            raise CheckError(f"{way} query answered twice: {query}", way_out="one line per query and way")
        answered.add((way, query))
        queries, gallery = places[way]
        if query in queries:
            assert isinstance(row, dict)
            columns = _columns(row["candidates"], gallery, f"{way} query {query}")
            matrices[way][queries[query], columns] = _numbers(row["scores"], len(columns), f"{way} query {query}")
    wanted = {(way, query) for way, (queries, _) in places.items() for query in queries}
    odd = sorted(answered ^ wanted)
    if odd:
        raise CheckError(
            f"predictions and truth name different queries, {len(odd)} in all, e.g. {odd[0][0]} {odd[0][1]}",
            way_out="rank for exactly the test images (i2t) and test captions (t2i) of the truth file",
        )
    return matrices


def _query(row: object, where: str, ways: Any) -> tuple[str, str]:
    fields = object_with(row, FIELDS, where, _WAY_OUT)
    way, query = fields["way"], fields["query"]
    if not isinstance(way, str) or way not in ways:
        raise CheckError(f"there is no way {way!r}"[:200], where=where, way_out=_WAY_OUT)
    if not isinstance(query, str):
        raise CheckError(f"a query is no text but {type(query).__name__}", where=where, way_out=_WAY_OUT)
    return way, query


def _columns(candidates: object, gallery: dict[str, int], where: str) -> list[int]:
    if not isinstance(candidates, list | tuple):
        raise CheckError(f"candidates are no list but {type(candidates).__name__}", where=where, way_out=_WAY_OUT)
    unknown = [name for name in candidates if not isinstance(name, str) or name not in gallery]
    if unknown:
        raise CheckError(
            f"a candidate is not in the gallery: {unknown[0]!r}"[:200],
            where=where,
            way_out="name captions (i2t) or images (t2i) of the test part",
        )
    columns = [gallery[name] for name in candidates]
    if len(set(columns)) < len(columns):
        repeated = next(name for name, count in Counter(candidates).items() if count > 1)
        raise CheckError(f"a candidate is named twice: {repeated}", where=where, way_out="name each at most once")
    return columns


def _numbers(scores: object, wanted: int, where: str) -> list[float]:
    if not isinstance(scores, list | tuple):
        raise CheckError(f"scores are no list but {type(scores).__name__}", where=where, way_out=_WAY_OUT)
    if len(scores) != wanted:
        raise CheckError(f"{len(scores)} scores for {wanted} candidates", where=where, way_out=_WAY_OUT)
    odd = [value for value in scores if value is not None and not is_number(value)]
    if odd:
        raise CheckError(f"a score is no number: {odd[0]!r}"[:200], where=where, way_out=_WAY_OUT)
    return [math.nan if value is None else float(value) for value in scores]
