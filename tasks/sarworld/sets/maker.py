"""What every data set of the world offers to the builder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tasks.sarworld.annotate import truth_of
from tasks.sarworld.ground import Layout, Shape
from tasks.sarworld.plan import Item
from tasks.sarworld.render import Acquisition, amplitude
from tasks.sarworld.truth import Domain, Truth

Amplitude = np.ndarray[tuple[int, int], np.dtype[np.float32]]


class Ground(NamedTuple):
    """An item before it is drawn."""

    layout: Layout
    shape: Shape
    acquisition: Acquisition
    domain: Domain
    site: str
    parent: str
    """The scene that this image was cut from; images of one parent share the sensor's view and the grounds' gains."""


class Maker(NamedTuple):
    """How a data set is made."""

    ground: Callable[[Item, int], Ground]
    """Of an item, for a world's seed."""
    encode: Callable[[Item, int, Ground], dict[str, bytes]]
    """The item's files by path."""
    tables: Callable[[Sequence[Item], Sequence[Truth], int], dict[str, bytes]]
    """Files of the whole data set, by path."""


def no_tables(items: Sequence[Item], truths: Sequence[Truth], seed: int) -> dict[str, bytes]:
    """A data set of images alone."""
    del items, truths, seed
    return {}


def drawn(seed: int, ground: Ground) -> Amplitude:
    """The image of an item as amplitude."""
    return amplitude(ground.layout, ground.shape, ground.acquisition, seed)


def truth(item: Item, seed: int, ground: Ground) -> Truth:
    """What is true about an item's image."""
    return truth_of(
        ground.layout,
        ground.shape,
        ground.acquisition,
        seed,
        image_id=item.files[0],
        domain=ground.domain,
        site=ground.site,
    )


def json_lines(rows: Sequence[Any]) -> bytes:
    """One JSON object a line, in the order given."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def pretty_json(value: Any) -> bytes:
    """A JSON file that a person can read."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
