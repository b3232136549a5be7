"""Leakage: images of the training part that the test part holds as well, in one form or another (section 2.4).

Kinds of links, from the surest to the widest: `exact` (the same pixels), `near` (the same ground under other speckle,
cropped, turned, compressed), `overlap` (rectangles that share ground), `neighbour` (adjoining tiles of a grid), `scene`
(one parent scene, by the records or by the names).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.decode import decoding_hash
from foundation.cache import cache_root
from foundation.errors import BenchError, MissingError, UsageError
from foundation.files import read_json, write_json
from foundation.hashing import hash_lines, hash_sources
from foundation.progress import Progress, silent
from tasks.datasets.division import divide
from tasks.datasets.footprints import footprints, overlaps, scene_in_name
from tasks.datasets.images import read_pixels
from tasks.datasets.linked import grouped, identical_images, own_groups
from tasks.datasets.near_duplicates import CERTAIN, MARGIN, Match, find_matches, outlines
from tasks.datasets.records import DatasetIndex
from tasks.datasets.split_files import SplitFile, with_parts
from tasks.splits import Split

KINDS = ("exact", "near", "overlap", "neighbour", "scene")
GROUPED = ("exact", "scene")
"""Kinds whose links are kept as groups: their pairs grow with the square."""
NEAR_BITS = 4
"""Of the 64 bits of the difference hash: pairs up to this are looked at (section 2.4)."""
_MORE_PAIRS = 4
"""Pairs by difference hash per image, at most; on flat images nearly all hashes agree."""


class Link(NamedTuple):
    """Two images that should not be divided."""

    kind: str
    first: str
    second: str
    similarity: float
    """exact: 1; near: correlation; overlap and neighbour: share of the smaller rectangle."""
    note: str = ""


@dataclass(frozen=True)
class Links:
    """All that was found in a data set."""

    pairs: tuple[Link, ...]
    scenes: tuple[tuple[str, ...], ...]
    """Images of one parent scene; too many for pairs."""
    identical: tuple[tuple[str, ...], ...] = ()
    """Images with the same pixels; empty tiles can be as many."""

    def together(self, kinds: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """Images that the kinds hold together."""
        for link in self.pairs:
            if link.kind in kinds:
                yield link.first, link.second
        for kind in GROUPED:
            if kind in kinds:
                yield from self.groups(kind)

    def groups(self, kind: str) -> tuple[tuple[str, ...], ...]:
        """The groups of a kind that is not listed by pairs."""
        return self.identical if kind == "exact" else self.scenes


class KindCount(NamedTuple):
    """How often one kind occurs."""

    kind: str
    pairs: int
    across: int
    """Pairs with one image in either part."""
    test_images: int
    """Test images with such a partner in the training part."""
    share: float
    """Of all test images, in percent."""


@dataclass(frozen=True)
class Audit:
    """What leaks from the training part of a split into its test part."""

    dataset: str
    split: Split
    links: Links
    counts: tuple[KindCount, ...]
    across: tuple[Link, ...]
    """Pairs across the parts, the surest and most alike first; of identical images one for every test image, scenes
    are only counted."""
    touched: int
    """Test images with a partner of any kind but `scene` and `neighbour`."""


def audit(index: DatasetIndex, split: Split, *, progress: Progress = silent) -> Audit:
    """Finds the links of a data set and counts those that cross the parts."""
    return counted(index, split, find_links(index, progress=progress))


def counted(index: DatasetIndex, split: Split, links: Links) -> Audit:
    """Which links cross the parts of a split."""
    part_of = dict.fromkeys(split.train, "train") | dict.fromkeys(split.test, "test")
    across = [link for link in links.pairs if {part_of.get(link.first), part_of.get(link.second)} == {"train", "test"}]
    across += _identical_across(links, part_of)
    counts = tuple(_count(kind, links, across, part_of, len(split.test)) for kind in KINDS)
    sure = _test_images([link for link in across if link.kind in KINDS[:3]], part_of)
    order = sorted(across, key=lambda link: (KINDS.index(link.kind), -link.similarity, link.first, link.second))
    return Audit(index.dataset, split, links, counts, tuple(order), len(sure))


def find_links(index: DatasetIndex, *, progress: Progress = silent) -> Links:
    """Every link of a data set, whatever its parts."""
    same = {image.image_id: image.pixel_hash for image in index.images}
    near = [
        Link("near", first, second, match.similarity, _turn_note(match))
        for match, first, second in near_duplicates(index, progress)
        if same[first] != same[second]
    ]
    ground = [
        Link("overlap" if pair.share > 0 else "neighbour", pair.first, pair.second, pair.share)
        for pair in overlaps(footprints(index))
    ]
    return Links((*near, *ground), tuple(_scenes(index)), tuple(identical_images(index)))


def _identical_across(links: Links, part_of: dict[str, str]) -> Iterator[Link]:
    """Every test image whose pixels are in the training part, with one image of there."""
    for group in links.identical:
        trained = next((name for name in group if part_of.get(name) == "train"), None)
        for name in group:
            if trained is not None and part_of.get(name) == "test":
                yield Link("exact", min(trained, name), max(trained, name), 1.0)


def near_duplicates(index: DatasetIndex, progress: Progress = silent) -> list[tuple[Match, str, str]]:
    """Pairs that show the same ground, from the cache where the pixels and the code are the same."""
    content = [f"{image.image_id} {image.pixel_hash}" for image in index.images]
    home = Path(__file__).resolve().parent
    name = hash_lines([decoding_hash(), hash_sources([home / "near_duplicates.py", home / "audit.py"]), *content])
    cached = cache_root() / "near" / f"{index.dataset}-{name[:20]}.json"
    names = [image.image_id for image in index.images]
    if cached.exists():
        try:
            matches = [Match(*row) for row in read_json(cached)]
            return [(match, names[match.first], names[match.second]) for match in matches]
        except (BenchError, TypeError, ValueError, IndexError):
            cached.unlink(missing_ok=True)  # damaged: it can be made again
    sizes = [(image.height, image.width) for image in index.images]
    seen = outlines(_greys(index), sizes, progress)
    matches = find_matches(seen, _alike_by_hash(index), progress=progress)
    write_json(cached, [list(match) for match in matches])
    return [(match, names[match.first], names[match.second]) for match in matches]


def grouped_near_duplicates(index: DatasetIndex, progress: Progress = silent) -> DatasetIndex:
    """The index with identical and nearly identical images in one group (section 3.4)."""
    pairs = [(first, second) for _, first, second in near_duplicates(index, progress)]
    return grouped(index, [*identical_images(index), *pairs], ("group_near_duplicates", "yes"))


def require_kinds(kinds: Sequence[str]) -> None:
    """Refuses what is no kind of link."""
    unknown = set(kinds) - set(KINDS)
    if unknown or not kinds:
        raise UsageError(
            f"not kinds of links: {', '.join(sorted(unknown)) or 'none'}", way_out=f"choose from {', '.join(KINDS)}"
        )


def disjoint(
    index: DatasetIndex, links: Links, kinds: Sequence[str] = KINDS, *, ratio: tuple[int, int] = (4, 1)
) -> tuple[DatasetIndex, Split]:
    """A split that no link of these kinds crosses, and the index with the linked images joined.

    Where official parts count, the test part stays as it is and the training part loses the images that are linked to
    it: another division would compare training parts of other sizes. Else the rule of section 2.4 divides the units.
    """
    require_kinds(kinds)
    joined = grouped(index, links.together(kinds))
    parts = _without_linked(index, links, kinds, ratio) if index.pool else divide(joined, ratio=ratio)
    # In the order in which a run takes the images of a split file, so that both have one hash.
    as_run = divide(with_parts(index, SplitFile(parts, "")))
    return joined, parts._replace(train=as_run.train, test=as_run.test)


def _without_linked(index: DatasetIndex, links: Links, kinds: Sequence[str], ratio: tuple[int, int]) -> Split:
    parts = divide(index, ratio=ratio)
    test = set(parts.test)
    linked = {name for group in links.together(kinds) if not test.isdisjoint(group) for name in group}
    train = tuple(name for name in parts.train if name not in linked)
    if not train:
        raise MissingError(
            f"{index.dataset}: every training image is linked to a test image",
            where=str(index.root),
            way_out="choose fewer --kinds",
        )
    return Split(train, parts.test)


def split_reasons(joined: DatasetIndex, links: Links, kinds: Sequence[str]) -> dict[str, Any]:
    """Why images stand together: every unit of more than one, with the kinds of links that hold it."""
    members: dict[str, list[str]] = defaultdict(list)
    for image in joined.images:
        members[image.unit].append(image.image_id)
    unit_of = {image.image_id: image.unit for image in joined.images}
    held: dict[str, Counter[str]] = defaultdict(Counter)
    for link in links.pairs:
        if link.kind in kinds:
            held[unit_of[link.first]][link.kind] += 1
    for kind in GROUPED:
        for group in links.groups(kind) if kind in kinds else ():
            held[unit_of[group[0]]][kind] += 1
    units = [
        {"unit": unit, "links": dict(sorted(held[unit].items())), "images": names}
        for unit, names in sorted(members.items())
        if len(names) > 1
    ]
    return {
        "rule": "the official test part, and of the training part what no link of these kinds ties to it"
        if joined.pool
        else "units joined by all links of these kinds, divided by the rule of section 2.4",
        "kinds": list(kinds),
        "thresholds": {"margin": MARGIN, "certain": CERTAIN},
        "units": len(members),
        "joined": units,
    }


def classes_left_out(index: DatasetIndex, split: Split) -> list[str]:
    """Classes without an image in one of the parts: whole groups go to the test part (section 2.4)."""
    label_of = {image.image_id: image.labels for image in index.images}
    parts = [{label for name in part for label in label_of[name]} for part in (split.train, split.test)]
    return [
        f"{name} ({'test' if label in parts[1] else 'train'} part alone)"
        for label, name in enumerate(index.classes)
        if (label in parts[0]) != (label in parts[1])
    ]


def _count(kind: str, links: Links, across: Iterable[Link], part_of: dict[str, str], tests: int) -> KindCount:
    if kind in GROUPED:
        pairs = crossing = 0
        touched: set[str] = set()
        for group in links.groups(kind):
            parts = Counter(part_of.get(name) for name in group)
            pairs += len(group) * (len(group) - 1) // 2
            crossing += parts["train"] * parts["test"]
            if parts["train"]:
                touched.update(name for name in group if part_of.get(name) == "test")
    else:
        pairs = sum(link.kind == kind for link in links.pairs)
        mine = [link for link in across if link.kind == kind]
        crossing, touched = len(mine), _test_images(mine, part_of)
    return KindCount(kind, pairs, crossing, len(touched), round(100 * len(touched) / tests, 2) if tests else 0.0)


def _test_images(links: Iterable[Link], part_of: dict[str, str]) -> set[str]:
    return {name for link in links for name in (link.first, link.second) if part_of.get(name) == "test"}


def _scenes(index: DatasetIndex) -> list[tuple[str, ...]]:
    """Groups of the records, and scenes that only the names tell."""
    scenes: dict[str, list[str]] = defaultdict(list)
    for image in index.images:
        if scene := scene_in_name(image.path):
            scenes[scene].append(image.image_id)
    by_name = [tuple(names) for names in scenes.values() if len(names) > 1]
    return [*own_groups(index), *by_name]


def _greys(index: DatasetIndex) -> Iterator[NDArray[np.uint8]]:
    for image in index.images:
        pixels = read_pixels(index, image)
        yield pixels if pixels.ndim == 2 else pixels[..., 1]


def _alike_by_hash(index: DatasetIndex) -> list[tuple[int, int]]:
    """Pairs whose difference hashes nearly agree, the nearest first; no more than those are ever held.

    Images with the same pixels are known already and would crowd out the others.
    """
    hashes = np.array([image.difference_hash for image in index.images], dtype=np.uint64)
    pixels = np.unique([image.pixel_hash for image in index.images], return_inverse=True)[1]
    most = _MORE_PAIRS * len(hashes)
    held = np.empty((0, 3), dtype=np.int64)  # bits, first, second
    widest, waiting = NEAR_BITS, []
    for first in range(len(hashes) - 1):
        bits = np.bitwise_count(hashes[first] ^ hashes[first + 1 :])
        (places,) = np.nonzero((bits <= widest) & (pixels[first + 1 :] != pixels[first]))
        waiting.append(np.stack([bits[places], np.full(len(places), first), first + 1 + places], axis=1))
        if len(held) + sum(map(len, waiting)) >= most:
            held, waiting = _nearest([held, *waiting], most), []
            widest = int(held[-1, 0]) - 1  # later pairs of as many bits come after those that are held
            if widest < 0:
                break
    return [(int(first), int(second)) for _, first, second in _nearest([held, *waiting], most)]


def _nearest(rows: Sequence[NDArray[Any]], most: int) -> NDArray[np.int64]:
    every = np.concatenate(rows).astype(np.int64)
    return every[np.lexsort(every.T[::-1])[:most]]


def _turn_note(match: Match) -> str:
    turned = f"turned by {90 * (match.turn % 4)} degrees" if match.turn % 4 else ""
    return ", ".join(part for part in (turned, "mirrored" if match.turn >= 4 else "") if part)
