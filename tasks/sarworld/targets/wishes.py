"""Which targets the images of a data set shall hold, and in which cells (section 14.6 of the task specification).

Dealt in blocks of ten images from a block's own generator: every block is balanced by itself, and a longer data set
leaves the wishes of a shorter one as they are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tasks.sarworld.draws import Draws
from tasks.sarworld.targets.body import is_aircraft, typical_size

BLOCK = 10  # so that one image in ten is empty (section 14.4)
MOST = 8  # section 14.6: counts 1-8
_MOST_ON_WIDE_GROUND, _WIDE_GROUND_M = 12, 500.0  # section 14.3: 1 to 12 per scene; where there is room for a dozen
_ONE_CELL_SHARE = 0.38  # our choice: several targets, all in one cell; section 14.6 asks for 40 % with two or more
# Our choice, by trial: what still finds a place without squeezing. Metres kept around a target; shares of the area.
_AIRCRAFT_GAP_M, _SHIP_GAP_M = 8.0, 24.0
_GROUND_SHARE, _CELL_SHARE = 0.33, 0.68


class Group(NamedTuple):
    """Targets that shall stand together."""

    cell: int
    """1 to 9, row by row from the top left (section 6.1)."""
    types: tuple[str, ...]


def target_wish(
    seed: int, dataset: str, number: int, extent: tuple[float, float], classes: tuple[str, ...]
) -> tuple[Group, ...]:
    """What image `number` of a data set shall show: nothing in one of ten, else up to eight, on wide ground twelve.

    Args:
        seed: Of the world.
        dataset: Its name; each has its own draws.
        number: From 0.
        extent: Height and width of the ground in metres; what does not fit on it is not wished.
        classes: Types to choose from.
    """
    block, place = divmod(number, BLOCK)
    return _block(seed, dataset, block, extent, classes)[place]


@lru_cache(maxsize=64)
def _block(
    seed: int, dataset: str, block: int, extent: tuple[float, float], classes: tuple[str, ...]
) -> tuple[tuple[Group, ...], ...]:
    draws = Draws(seed, f"{dataset} wishes")
    # Counts do not hang on the ground, so that a data set of uneven images is balanced too.
    rng = draws.generator(f"counts {block}")
    counts = [*range(MOST + 1), _extra_count(rng, extent)]
    order = rng.permutation(BLOCK)
    dealer = _Dealer(draws.generator(f"targets {block}"), extent, classes)
    wishes: list[tuple[Group, ...]] = [()] * BLOCK
    # The fullest first: what large types are left over fits where there are few.
    for place in sorted(range(BLOCK), key=lambda place: (-counts[place], place)):
        wishes[int(order[place])] = dealer.deal(counts[place])
    return tuple(wishes)


def _extra_count(rng: np.random.Generator, extent: tuple[float, float]) -> int:
    usual, many, draw = rng.integers(1, MOST + 1), rng.integers(MOST + 1, _MOST_ON_WIDE_GROUND + 1), rng.random()
    return int(many if min(extent) >= _WIDE_GROUND_M and draw < 0.5 else usual)


class _Dealer:
    """Deals types and cells so that the least used come first."""

    def __init__(self, rng: np.random.Generator, extent: tuple[float, float], classes: tuple[str, ...]) -> None:
        self._rng = rng
        self._classes = classes
        self._area = extent[0] * extent[1]
        gap = _AIRCRAFT_GAP_M if is_aircraft(classes[0]) else _SHIP_GAP_M
        sizes = [typical_size(name) for name in classes]
        self._rooms = {
            name: (length + gap) * (width + gap) for name, (length, width) in zip(classes, sizes, strict=True)
        }
        self._used = dict.fromkeys(classes, 0)
        self._load = np.zeros(9)

    def deal(self, count: int) -> tuple[Group, ...]:
        if count == 0:
            return ()
        types = self._types(count)
        parts = [types]
        if count > 1 and self._rng.random() >= _ONE_CELL_SHARE:
            cuts = int(self._rng.integers(1, min(count, 6)))
            places = sorted(1 + int(cut) for cut in self._rng.permutation(count - 1)[:cuts])
            parts = [types[a:b] for a, b in zip([0, *places], [*places, count], strict=True)]
        return self._cells([piece for part in parts for piece in self._pieces(part)])

    def _types(self, count: int) -> list[str]:
        least = min(self._rooms.values())
        room = _GROUND_SHARE * self._area
        chosen: list[str] = []
        for left in range(count - 1, -1, -1):
            fitting = [name for name in self._classes if self._rooms[name] + left * least <= room]
            fitting = fitting or [min(self._classes, key=lambda name: self._rooms[name])]
            name = fitting[self._draw(np.array([self._used[name] for name in fitting], dtype=np.float64))]
            self._used[name] += 1
            room -= self._rooms[name]
            chosen.append(name)
        return [chosen[int(index)] for index in self._rng.permutation(count)]

    def _pieces(self, types: list[str]) -> list[tuple[str, ...]]:
        """A part cut further where it is too much for one cell."""
        pieces: list[list[str]] = []
        room = 0.0
        for name in types:
            if not pieces or self._rooms[name] > room:
                pieces.append([])
                room = _CELL_SHARE * self._area / 9
            pieces[-1].append(name)
            room -= self._rooms[name]
        return [tuple(piece) for piece in pieces]

    def _cells(self, pieces: list[tuple[str, ...]]) -> tuple[Group, ...]:
        pieces = sorted(pieces, key=len, reverse=True)
        if len(pieces) > 9:
            # More pieces than cells: the smallest share theirs.
            pieces = [*pieces[:8], tuple(name for piece in pieces[8:] for name in piece)]
        free = list(range(9))
        groups = []
        for piece in pieces:
            cell = free.pop(self._draw(self._load[free]))
            self._load[cell] += len(piece)
            groups.append(Group(cell + 1, piece))
        return tuple(sorted(groups))

    def _draw(self, used: np.ndarray[tuple[int], np.dtype[np.float64]]) -> int:
        """One of several, rather one that was used less."""
        weights = np.exp(-1.2 * (used - used.min()))
        return int(self._rng.choice(len(used), p=weights / weights.sum()))
