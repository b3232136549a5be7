"""Labelled boxes as captions and questions speak of them. Never imports torch."""

from __future__ import annotations

from typing import NamedTuple

from foundation.errors import CheckError
from tasks.builders.captions import NOUNS, Domain, Target
from tasks.builders.geometry import Box, Size
from tasks.datasets.composed import DOMAINS, part_of
from tasks.datasets.records import DatasetIndex, ImageEntry

_UNTYPED = frozenset(noun.one for noun in NOUNS.values())
"""Class names that say no type: the labels are class-agnostic."""


class Scene(NamedTuple):
    """What is told of one image."""

    targets: list[Target]
    size: Size
    domain: Domain


def scene_of(index: DatasetIndex, image: ImageEntry) -> Scene:
    """The targets of an image. A box whose class is only the noun of a domain, "ship", has no type to tell."""
    source = part_of(image.image_id)
    if source not in DOMAINS:
        raise CheckError(
            f"nothing is known of what the boxes of {source} hold, so nothing is said or asked of its images",
            where=image.image_id,
            way_out=f"take images of {', '.join(DOMAINS)}",
        )
    named = [(box, index.classes[box.label]) for box in image.boxes]
    targets = [
        Target(Box(box.x, box.y, box.width, box.height), None if name in _UNTYPED else name) for box, name in named
    ]
    return Scene(targets, Size(image.width, image.height), DOMAINS[source])


def described(index: DatasetIndex, image: ImageEntry) -> Scene:
    """The same for captions, which tell the types of all targets or of none: without those of some, of none."""
    scene = scene_of(index, image)
    if all(target.type is not None for target in scene.targets):
        return scene
    return scene._replace(targets=[target._replace(type=None) for target in scene.targets])


def types_of(index: DatasetIndex) -> tuple[str, ...]:
    """The label list: names that say a type."""
    return tuple(name for name in index.classes if name not in _UNTYPED)
