"""Images that belong together: joined into units that a split does not divide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tasks.datasets.records import DatasetIndex


def joined(names: Iterable[str], together: Iterable[Sequence[str]]) -> dict[str, str]:
    """Name to unit: whatever is linked, directly or through others, has the alphabetically first name of it."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for group in together:
        for name in group[1:]:
            first, second = sorted((root(group[0]), root(name)))
            parent[second] = first
    return {name: root(name) for name in parent}


def identical_images(index: DatasetIndex) -> list[tuple[str, ...]]:
    """Image ids with the same pixels, of every group of at least two."""
    return _alike({image.image_id: image.pixel_hash for image in index.images})


def own_groups(index: DatasetIndex) -> list[tuple[str, ...]]:
    """Image ids of the scenes and places that the data set itself names."""
    return _alike({image.image_id: image.group for image in index.images if image.group})


def grouped(
    index: DatasetIndex, together: Iterable[Sequence[str]], choice: tuple[str, str] | None = None
) -> DatasetIndex:
    """The index with linked images in one group, besides the groups that it has."""
    units = joined((image.image_id for image in index.images), [*own_groups(index), *together])
    members: dict[str, int] = defaultdict(int)
    for unit in units.values():
        members[unit] += 1
    kept = {image.image_id: image.group for image in index.images}
    images = tuple(
        image._replace(group=_name(units[image.image_id], kept) if members[units[image.image_id]] > 1 else image.group)
        for image in index.images
    )
    return replace(index, images=images, choices=(*index.choices, choice) if choice else index.choices)


def _name(unit: str, groups: Mapping[str, str]) -> str:
    """Groups that the data set names keep their names, as the hash of the split is taken of them."""
    return groups[unit] or unit


def _alike(keys: Mapping[str, str]) -> list[tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(keys):
        found[keys[name]].append(name)
    return [tuple(group) for group in found.values() if len(group) > 1]
