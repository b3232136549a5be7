"""Near duplicates: planted copies of sarworld chips are found again, cousins are not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tasks.datasets.near_duplicates import CERTAIN, MARGIN, Match, find_matches, outlines, turned
from tasks.sarworld.clutter import intensity
from tasks.sarworld.plan import plan
from tasks.sarworld.render import scene_of
from tasks.sarworld.scatterers import render
from tasks.sarworld.sets.catalogue import MAKERS

Grey = NDArray[np.uint8]
COPIES = ("speckle", "crop", "turn", "turn and speckle", "jpeg")


class Planted(NamedTuple):
    """Images, which of them show the same, and in which way."""

    images: list[Grey]
    origin: list[int]
    kind: list[str]


def _grey(amplitude: NDArray[np.float32]) -> Grey:
    grey: Grey = np.rint(np.minimum(amplitude / np.quantile(amplitude, 0.998), 1) * 255).astype(np.uint8)
    return grey


def _jpeg(grey: Grey) -> Grey:
    import io

    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "JPEG", quality=60)
    decoded: Grey = np.asarray(Image.open(stream), dtype=np.uint8)
    return decoded


@pytest.fixture(scope="module")
def planted() -> Planted:
    """160 aircraft chips, of every eighth a copy of each kind."""
    items = plan("sar_acd", "default")
    items = [items[place] for place in np.random.default_rng(5).permutation(len(items))[:160]]
    found = Planted([], [], [])
    for number, item in enumerate(items):
        ground = MAKERS["sar_acd"].ground(item, 0)
        product = ground.acquisition.product
        scene = scene_of(ground.layout, ground.shape, ground.acquisition, 0)
        echoes = render(scene.points, ground.shape, product)
        looks = [
            _grey(np.sqrt(intensity(np.random.default_rng([take, number]), scene.power, product, echoes)))
            for take in range(2 if number % 8 == 0 else 1)
        ]
        versions = {"original": looks[0]}
        if len(looks) == 2:
            height, width = looks[0].shape
            versions |= {
                "speckle": looks[1],
                "crop": looks[0][height // 12 :, : width - width // 12],
                "turn": turned(looks[0], 1 + number // 8 % 7),
                "turn and speckle": turned(looks[1], 1 + number // 8 % 7),
                "jpeg": _jpeg(looks[0]),
            }
        for kind, image in versions.items():
            found.images.append(np.ascontiguousarray(image))
            found.origin.append(number)
            found.kind.append(kind)
    return found


@pytest.fixture(scope="module")
def matches(planted: Planted) -> list[Match]:
    return find_matches(outlines(planted.images, [image.shape for image in planted.images]))


@pytest.mark.parametrize("kind", COPIES)
def test_nine_of_ten_copies_of_every_kind_are_found(planted: Planted, matches: list[Match], kind: str) -> None:
    found = {(match.first, match.second) for match in matches}
    originals = {origin: place for place, origin in enumerate(planted.origin) if planted.kind[place] == "original"}
    copies = [place for place, name in enumerate(planted.kind) if name == kind]
    assert len(copies) == 20
    hits = sum((originals[planted.origin[place]], place) in found for place in copies)
    assert hits >= 0.9 * len(copies)


def test_nine_of_ten_pairs_that_are_named_are_copies(planted: Planted, matches: list[Match]) -> None:
    right = sum(planted.origin[match.first] == planted.origin[match.second] for match in matches)
    assert len(matches) > 150 and right >= 0.9 * len(matches)


def test_every_pair_says_why_it_counts(matches: list[Match]) -> None:
    assert all(match.first < match.second for match in matches)
    assert all(match.similarity >= CERTAIN or match.margin >= MARGIN for match in matches)
    assert [match.similarity for match in matches] == sorted((match.similarity for match in matches), reverse=True)


def test_the_turn_brings_the_second_image_onto_the_first(planted: Planted, matches: list[Match]) -> None:
    by_pair = {(match.first, match.second): match for match in matches}
    checked = 0
    for place, kind in enumerate(planted.kind):
        match = by_pair.get((place - 3, place)) if kind == "turn" else None
        if match is not None:
            assert np.array_equal(turned(planted.images[place], match.turn), planted.images[place - 3])
            checked += 1
    assert checked >= 18


def test_an_order_of_the_images_changes_nothing(planted: Planted, matches: list[Match]) -> None:
    backwards = planted.images[::-1]
    found = find_matches(outlines(backwards, [image.shape for image in backwards]))
    last = len(backwards) - 1
    mirrored = {(last - match.second, last - match.first) for match in found}
    same = {(match.first, match.second) for match in matches}
    assert len(mirrored & same) >= 0.98 * len(mirrored | same)


def test_lone_ships_on_a_calm_sea_are_no_copies() -> None:
    """One bright spot aligns with any other: too little of the image carries the correlation."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:240, :240]
    tiles = []
    for _ in range(40):
        middle, width, heading = rng.uniform(70, 170, 2), rng.uniform(2, 5), rng.uniform(0, np.pi)
        along = (rows - middle[0]) * np.sin(heading) + (columns - middle[1]) * np.cos(heading)
        beside = (rows - middle[0]) * np.cos(heading) - (columns - middle[1]) * np.sin(heading)
        ship = np.exp(-((along / rng.uniform(2, 5) / width) ** 2) - (beside / width) ** 2)
        tiles.append(np.minimum(rng.gamma(4, (12 + 200 * ship) / 4), 255).astype(np.uint8))
    found = find_matches(outlines(tiles, [tile.shape for tile in tiles]))
    assert len(found) <= 3  # of 780 pairs; without the rule they were 33


def test_noise_matches_nothing() -> None:
    rng = np.random.default_rng(4)
    images = [rng.integers(1, 256, (48, 48), dtype=np.uint8) for _ in range(80)]
    assert find_matches(outlines(images, [image.shape for image in images])) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (300, 5), (512, 512)])
def test_empty_and_odd_images_are_no_error(shape: tuple[int, int]) -> None:
    images = [np.zeros(shape, dtype=np.uint8), np.full(shape, 255, dtype=np.uint8), np.zeros(shape, dtype=np.uint8)]
    assert find_matches(outlines(images, [shape] * 3)) == []


def test_no_image_or_one_has_no_copies() -> None:
    assert find_matches(outlines([], [])) == []
    one = np.ones((9, 9), dtype=np.uint8)
    assert find_matches(outlines([one], [(9, 9)])) == []


def test_a_pair_by_difference_hash_is_looked_at_too(planted: Planted) -> None:
    few = [planted.images[0], planted.images[5]]
    assert planted.origin[0] == planted.origin[5]
    found = find_matches(outlines(few, [image.shape for image in few]), [(1, 0)])
    assert [(match.first, match.second) for match in found] == [(0, 1)]
