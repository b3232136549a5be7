"""What the page of a retrieval shows: where the first right answers stand, and examples with the first five."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from results.figures.charts import bar_chart
from results.pages.examples import RULE, Pictures, beside, by_hash, verdict
from results.pages.folder import PageFolder
from results.pages.gallery import Gallery
from results.pages.html import Markup, join, picture, section, tag

EXAMPLES = 4
"""Of each direction."""
SHOWN = 5
BINS = ((1, 1), (2, 5), (6, 10), (11, 20), (21, 50), (51, None))
"""First and last place of the bars of the histogram."""
_WAYS = {"i2t": "images that rank texts", "t2i": "texts that rank images"}


class Ranked(NamedTuple):
    """One query with its candidates, the best first."""

    query: str
    candidates: tuple[tuple[str, float], ...]
    """Retrieved ones with their scores."""
    right: frozenset[str]
    place: int | None
    """Where the best-placed right answer stands, from 1; ties count against the model. None: not retrieved."""


def panels(predictions: Sequence[dict[str, Any]], gallery: Gallery, folder: PageFolder) -> Markup:
    """Histograms of places, and examples of both directions.

    Args:
        predictions: One row per query: `way`, `query`, `candidates`, `scores`.
        gallery: Truth and images of the data set.
        folder: Of the page.
    """
    owner = {str(one["caption_id"]): name for name, row in gallery.rows.items() for one in row["captions"]}
    texts = {str(one["caption_id"]): str(one["text"]) for row in gallery.rows.values() for one in row["captions"]}
    own: dict[str, list[str]] = {}
    for caption, name in owner.items():
        own.setdefault(name, []).append(caption)
    ways: dict[str, dict[str, Ranked]] = {way: {} for way in _WAYS}
    for row in predictions:
        query = str(row["query"])
        right = own.get(query, []) if row["way"] == "i2t" else [owner[query]] if query in owner else []
        ways[row["way"]][query] = ranked(row, frozenset(right))
    pictures = Pictures(gallery.source, folder)
    parts = [_histogram(way, list(found.values()), folder) for way, found in ways.items() if found]
    shown = [_from_image(ways["i2t"][name], texts, pictures) for name in by_hash(ways["i2t"], EXAMPLES)]
    more = [_from_text(ways["t2i"][name], texts, pictures) for name in by_hash(ways["t2i"], EXAMPLES)]
    words = f"{RULE} The first {SHOWN} answers of each with their scores; right ones are marked."
    return join((*parts, section("Examples", tag("p", words), pictures.note, *shown, *more)))


def ranked(row: Mapping[str, Any], right: frozenset[str]) -> Ranked:
    """A query's answers in order; a score that is no number or minus infinity says: not retrieved."""
    pairs = [
        (str(name), float(score))
        for name, score in zip(row["candidates"], row["scores"], strict=True)
        if score is not None and not math.isnan(score) and score != -math.inf
    ]
    # Among equals the wrong ones stand first (section 11.3).
    pairs.sort(key=lambda pair: (-pair[1], pair[0] in right, pair[0]))
    unknown = sum(score is None or math.isnan(score) for score in row["scores"])
    place = next((number for number, (name, _) in enumerate(pairs, 1) if name in right), None)
    return Ranked(str(row["query"]), tuple(pairs), right, None if place is None else place + unknown)


def _histogram(way: str, found: Sequence[Ranked], folder: PageFolder) -> Markup:
    places = [one.place for one in found]
    bars: list[tuple[str, float | None]] = []
    for low, high in BINS:
        count = sum(place is not None and low <= place <= (high or math.inf) for place in places)
        bars.append(
            (f"{low}" if low == high else f"{low} to {high}" if high else f"{low} and more", _share(count, places))
        )
    bars.append(("not retrieved", _share(sum(place is None for place in places), places)))
    words = "; ".join(f"place {name}: {share:.1f} %" for name, share in bars if share)
    alt = f"Place of the first right answer, {_WAYS[way]}: {words}"
    chart = bar_chart(f"places-{way}", alt, bars, "share of the queries, %")
    caption = f"{len(found)} queries. Ties count against the model."
    return section(f"Place of the first right answer: {_WAYS[way]}", picture(folder.add(chart), caption))


def _share(count: int, places: Sequence[int | None]) -> float:
    return 100.0 * count / len(places)


def _from_image(one: Ranked, texts: Mapping[str, str], pictures: Pictures) -> Markup:
    lines = [
        tag("li", verdict(texts.get(name, name), name in one.right), tag("small", f" {score:.3f}"))
        for name, score in one.candidates[:SHOWN]
    ]
    said = tag("ol", *lines) if lines else tag("p", "Nothing was retrieved.")
    return beside(pictures.alone(one.query), tag("h3", one.query), _place(one), said)


def _from_text(one: Ranked, texts: Mapping[str, str], pictures: Pictures) -> Markup:
    tiles = [
        pictures.figure(name, verdict(name, name in one.right), tag("small", f" {score:.3f}"))
        for name, score in one.candidates[:SHOWN]
    ]
    heading = tag("h3", texts.get(one.query, one.query))
    return join((heading, _place(one), tag("div", *tiles, class_="tiles")))


def _place(one: Ranked) -> Markup:
    words = "not retrieved" if one.place is None else f"at place {one.place}"
    return tag("p", f"The first right answer: {words}.")
