"""The linear readings of frozen towers: what they take for the truth, and that they find what features hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tasks.datasets.masks import read_mask
from tests.bench.ladder.probes import (
    DATASETS,
    SEEDED,
    Probed,
    Read,
    Reading,
    Shape,
    above_scratch,
    cell_classes,
    cell_targets,
    lines_of,
    read,
    read_brightness,
    reading,
    shape_of,
)
from tests.bench.ladder.rungs import Parts, parts, pixels
from tests.bench.ladder.vision import BOXES, CHIPS

RNG = np.random.default_rng(0)
SIDE = 4


def test_a_cell_has_the_class_of_most_of_its_labelled_pixels() -> None:
    mask = np.full((6, 6), 255, dtype=np.uint8)
    mask[:3, :3] = [[0, 1, 1], [1, 1, 0], [2, 2, 2]]
    mask[3:, 3:] = 2
    mask[0, 4] = 1  # one labelled pixel among unlabelled ones
    assert cell_classes(mask, 2, 3).tolist() == [1, 1, -1, 2]


def test_cells_of_sides_that_do_not_divide_the_image_cover_it_once() -> None:
    mask = RNG.integers(0, 3, (13, 13)).astype(np.uint8)
    found = cell_classes(mask, 4, 3)
    edges = [0, 3, 6, 9, 13]
    wanted = [
        np.bincount(mask[edges[r] : edges[r + 1], edges[c] : edges[c + 1]].ravel()).argmax()
        for r in range(4)
        for c in range(4)
    ]
    assert found.tolist() == wanted


class _Box(NamedTuple):
    x: float
    y: float
    width: float
    height: float
    label: int


class _Image(NamedTuple):
    width: int
    height: int
    boxes: tuple[_Box, ...]


def test_a_target_lies_in_the_cell_of_its_centre() -> None:
    image: Any = _Image(100, 100, (_Box(40, 0, 30, 20, 0), _Box(90, 90, 20, 20, 6)))
    cells = cell_targets(image, 2).reshape(2, 2)
    assert cells.tolist() == [[0, 1], [0, 7]]  # a centre on the border counts to the last cell


def test_cells_are_those_of_the_central_square_that_a_tower_sees() -> None:
    wide: Any = _Image(200, 100, (_Box(60, 10, 10, 10, 0), _Box(0, 0, 20, 20, 1), _Box(130, 70, 10, 10, 2)))
    assert cell_targets(wide, 2).reshape(2, 2).tolist() == [[1, 0], [0, 3]]  # the second lies beside it
    grey = np.zeros((100, 200), dtype=np.uint8)
    grey[:50, 50:100] = 255
    seen = read_brightness([grey], 16).tokens[0, :, 0].reshape(2, 2)
    assert seen[0, 0] > 200 and seen[0, 1] < 50 and seen[1].max() < 50


def test_tokens_along_one_line_span_one_direction_and_isotropic_ones_all() -> None:
    line = RNG.standard_normal((50, 4, 1)) * np.ones(8)
    assert shape_of(line).directions == pytest.approx(1.0, abs=1e-6)
    ball = RNG.standard_normal((2000, 4, 8))
    assert shape_of(ball).directions == pytest.approx(8.0, abs=0.1)
    assert shape_of(ball).common < 0.01


def test_what_all_tokens_share_is_counted_apart() -> None:
    ball = RNG.standard_normal((2000, 4, 8))
    moved = ball + 3.0
    assert shape_of(moved).common == pytest.approx(9 / 10, abs=0.01)
    assert shape_of(moved).directions == pytest.approx(shape_of(ball).directions)


def found_in(world: Path, dataset: str) -> Parts:
    return parts(world, dataset, BOXES.get(dataset), "HH")


def truth_of(found: Parts, dataset: str, part: Any) -> Any:
    if dataset in CHIPS:
        return np.array([entry.label for entry in part])
    if dataset in BOXES:
        return np.stack([cell_targets(entry, SIDE) for entry in part])
    return np.stack([cell_classes(read_mask(found.index, entry), SIDE, len(found.index.classes)) for entry in part])


def features(found: Parts, dataset: str, part: Any, *, telling: bool) -> Read:
    """Features of noise that hold the answer in one place or do not."""
    truth = truth_of(found, dataset, part)
    tokens = RNG.standard_normal((len(part), SIDE**2, 24))
    pooled = RNG.standard_normal((len(part), 24))
    if telling and dataset in CHIPS:
        pooled = 20.0 * np.eye(24)[truth] + pooled
    elif telling:
        tokens = 20.0 * np.eye(24)[truth] + tokens
    return Read(pooled, tokens, SIDE)


@pytest.mark.parametrize("dataset", DATASETS)
def test_an_answer_that_lies_in_the_features_is_read_and_none_is_read_from_noise(world: Path, dataset: str) -> None:
    found = found_in(world, dataset)
    values = {}
    for telling in (True, False):
        train, test = (features(found, dataset, part, telling=telling) for part in (found.train, found.test))
        values[telling] = reading(found, train, test, dataset)
    occurring = set(np.unique(truth_of(found, dataset, found.test))) - {-1}
    if occurring <= set(np.unique(truth_of(found, dataset, found.train))):
        assert values[True].value > 99
    assert values[False].value < values[True].value - 20
    assert values[False].trivial == values[True].trivial < values[True].value


def test_every_start_from_scratch_is_another_tower_and_a_shipped_one_is_not(world: Path) -> None:
    from adapters.registry import catalog

    found = found_in(world, "fusar_air")
    images = pixels(found, found.train[:3])
    first, same, other = (read(catalog()[SEEDED], images, 64, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.tokens, same.tokens)
    assert not np.allclose(first.tokens, other.tokens)
    shipped = [read(catalog()["klip-mini"], images, 64, seed=seed) for seed in (0, 1)]
    assert np.array_equal(shipped[0].tokens, shipped[1].tokens)
    assert shipped[0].side == 8


def test_brightness_is_mean_and_spread_of_each_patch() -> None:
    image = RNG.integers(0, 256, (16, 16)).astype(np.uint8)
    found = read_brightness([image], 16)
    patch = image[:8, 8:].astype(float)
    assert found.side == 2
    assert found.tokens[0, 1].tolist() == pytest.approx([patch.mean(), patch.std()])
    assert found.pooled[0].tolist() == pytest.approx([image.mean(), image.astype(float).std()])


def probed(model: str, *values: float) -> Probed:
    return Probed(model, tuple(Reading("fusar_air", "top1", 10.0, value, Shape(0.5, 4.0)) for value in values))


def test_to_be_above_scratch_a_model_must_be_above_its_luckiest_start() -> None:
    table = {
        "fusar_air": [probed("mae-mini", 31.0), probed(SEEDED, 20.0, 30.0)],
        "sar_acd": [probed("mae-mini", 29.0), probed(SEEDED, 20.0, 30.0)],
    }
    assert above_scratch("mae-mini", table) == ["fusar_air"]
    assert "25.0 +- 7.1, highest 30.0 of 2" in lines_of("fusar_air", table["fusar_air"])
