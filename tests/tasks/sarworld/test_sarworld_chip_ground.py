"""The ground of chips: target in the frame, true contexts, bystanders without a label, draws by layer."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import numpy as np
import pytest

from tasks.sarworld import chip_ground
from tasks.sarworld.chip_ground import chip_layout
from tasks.sarworld.draws import Draws
from tasks.sarworld.ground import COVERS, Layout, Shape, grid_shape, polygon_pixels, rasterise
from tasks.sarworld.plan import Item, plan
from tasks.sarworld.targets.body import ground_box, ground_plan

DATASETS = ("fusar_air", "fusar_ship", "sar_acd")


@cache
def grounds(dataset: str) -> tuple[tuple[Item, Layout, Shape], ...]:
    """Every third chip of a data set."""
    return tuple((item, *chip_layout(item, 0)) for item in plan(dataset, "mini")[::3])


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_target_comes_first_and_lies_inside_the_frame(dataset: str) -> None:
    for item, layout, shape in grounds(dataset):
        target = layout.targets[0]
        assert (target.type, target.labelled) == (item.label, True)
        assert not any(other.labelled for other in layout.targets[1:])
        assert layout.extent == pytest.approx((shape[0] * item.grid.pixel_m, shape[1] * item.grid.pixel_m))
        left, low, right, high = ground_box(target)
        assert max(-left, right) <= layout.extent[1] / 2
        assert max(-low, high) <= layout.extent[0] / 2


def test_sar_acd_chips_have_their_own_sizes_and_wide_bodies_larger_ones() -> None:
    shapes = {name: [s for item, _, s in grounds("sar_acd") if item.label == name] for name in ("ARJ21", "A330")}
    assert len(set(shapes["ARJ21"])) > 4
    assert np.mean(shapes["A330"]) > 1.3 * np.mean(shapes["ARJ21"])


@pytest.mark.parametrize("dataset", DATASETS)
def test_headings_spread_over_all_directions(dataset: str) -> None:
    eighths = Counter(int(layout.targets[0].heading // (math.pi / 4)) for _, layout, _ in grounds(dataset))
    assert len(eighths) == 8
    assert max(eighths.values()) <= 0.25 * eighths.total()


@pytest.mark.parametrize("dataset", DATASETS)
def test_targets_lie_on_what_their_context_names(dataset: str) -> None:
    covers = {
        "apron": {"tarmac", "grass"},  # an apron's edge may run under a wing tip, not under the middle
        "runway": {"tarmac"},
        "grass": {"grass"},
        "quay": {"water"},
        "anchorage": {"water"},
        "open sea": {"sea"},
    }
    contexts = Counter[str]()
    for item, layout, shape in grounds(dataset):
        target, pixel_m = layout.targets[0], item.grid.pixel_m
        cover = rasterise(layout, shape, pixel_m).cover
        row, column = (round(v / pixel_m + (n - 1) / 2) for v, n in ((target.y, shape[0]), (target.x, shape[1])))
        assert COVERS[cover[row, column]] in covers[target.context]
        contexts[target.context] += 1
    assert set(contexts) == (
        {"quay", "anchorage", "open sea"} if dataset == "fusar_ship" else {"apron", "runway", "grass"}
    )


@pytest.mark.parametrize("dataset", DATASETS)
def test_nothing_stands_on_the_target(dataset: str) -> None:
    distractors = 0
    for _, layout, _ in grounds(dataset):
        shape = grid_shape(layout.extent, 0.5)
        body = np.zeros(shape, dtype=bool)
        for outline in ground_plan(layout.targets[0]):
            body[polygon_pixels(outline, shape, 0.5)] = True
        others = [outline for other in layout.targets[1:] for outline in ground_plan(other)]
        for outline in (*others, *(building.corners() for building in layout.buildings)):
            assert not body[polygon_pixels(outline, shape, 0.5)].any()
            distractors += 1
    assert distractors > 5


def test_a_quay_carries_cranes_and_the_ship_lies_alongside() -> None:
    moored = [layout for _, layout, _ in grounds("fusar_ship") if layout.targets[0].context == "quay"]
    assert len(moored) >= 8
    for layout in moored:
        assert {"quay", "cranes", "calm water"} <= set(layout.facts.surroundings)
        assert layout.targets[0].moving_m == 0.0


def test_ships_under_way_are_at_sea() -> None:
    moving = [layout.targets[0] for _, layout, _ in grounds("fusar_ship") if layout.targets[0].moving_m > 0]
    assert len(moving) >= 5
    assert {target.context for target in moving} == {"open sea"}


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_chip_is_drawn_from_its_own_generators(dataset: str) -> None:
    items = plan(dataset, "mini")[:6]
    forward = [chip_layout(item, 3)[0].targets for item in items]
    backward = [chip_layout(item, 3)[0].targets for item in reversed(items)]
    assert forward == backward[::-1]
    assert len({targets[0].heading for targets in forward}) == len(items)
    assert forward[0][0].heading != chip_layout(items[0], 4)[0].targets[0].heading


def test_a_layer_that_draws_more_leaves_the_other_layers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    item = plan("sar_acd", "mini")[5]
    before, _ = chip_layout(item, 0)

    class Greedy(Draws):
        """Draws a thousand numbers for the distractors before anything else does."""

        __slots__ = ()

        def generator(self, layer: str) -> np.random.Generator:
            rng = super().generator(layer)
            if layer == "distractors":
                rng.random(1000)
            return rng

    monkeypatch.setattr(chip_ground, "Draws", Greedy)
    after, _ = chip_layout(item, 0)
    assert before.targets[0] == after.targets[0]
    assert all(np.array_equal(a.corners, b.corners) for a, b in zip(before.patches, after.patches, strict=True))
    assert not np.array_equal(before.fixtures.x, after.fixtures.x)
